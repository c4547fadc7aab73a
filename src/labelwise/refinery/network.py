"""One network of a chain: how it is trained on its labels, what is written about it."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import CLOSED_FORM, ModelConfig
from labelwise.data.counter_rng import derive_seed
from labelwise.data.sampling import check_batch_size
from labelwise.errors import ConfigError, ModelError, RunError
from labelwise.models import checkpoint, of_open_clip, zoo
from labelwise.models.classifier import Classifier, check_input
from labelwise.models.head import evaluating, probe
from labelwise.progress import Progress
from labelwise.refinery.closed_form import solve
from labelwise.refinery.context import PREDICTIONS, LearningPlan, TrainingContext, load_refinery
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.labellers import FrozenNetwork, RefineryLabels
from labelwise.refinery.pretrained import check_refinery
from labelwise.results import Row, read_row
from labelwise.runs import RESUME, ROW, atomic_write, fingerprint, read_json, write_json
from labelwise.settings import changed
from labelwise.store.bound import ENDLESS
from labelwise.textfile import read_text
from labelwise.training.fit import FitInput, FitResult, fit
from labelwise.training.runtime import predict_logits

NETWORK = "network.json"


def train_network(context: TrainingContext, network: NetworkSpec) -> Row:
    """Train ``network``, or continue it, or read its row where it is finished, here or in another run.

    Returns
    -------
    its row of ``results.json``

    Raises
    ------
    RunError
        If the folder holds a network of other settings, data or refineries.
    """
    context = context.with_views(network.views)
    folder = context.folder / network.name
    lineage = _lineage(context, network)
    lineage_hash = fingerprint(lineage)
    if (folder / NETWORK).exists():
        if read_json(folder / NETWORK)["fingerprint"] != lineage_hash:
            raise RunError(
                f"{folder}: was begun with another recipe, data set or refinery; give another --out or delete it"
            )
    elif context.runtime.is_main:
        write_json(folder / NETWORK, {"fingerprint": lineage_hash, "lineage": lineage}, sealed=True)
    context.runtime.accelerator.wait_for_everyone()
    if (folder / ROW).exists():
        if context.runtime.is_main:
            (folder / RESUME).unlink(missing_ok=True)  # a run that is killed behind its row leaves it
            if not context.quiet:
                print(f"seed {context.seed} {network.name}: finished before, skipped", file=sys.stderr)
        return read_row(folder / ROW)
    cached = None if context.network_cache is None else context.network_cache / f"{network.name}-{lineage_hash}"
    if cached is not None and (cached / ROW).exists():
        _link_all(cached, folder)
        return read_row(folder / ROW)
    row = _train(context, network, folder, lineage_hash)
    if context.runtime.is_main:
        write_json(folder / ROW, row.to_dict(), sealed=True)
        (folder / RESUME).unlink(missing_ok=True)
        if cached is not None:
            _store_in_cache(folder, cached)
    context.runtime.accelerator.wait_for_everyone()
    return row


def train_if_time(context: TrainingContext, network: NetworkSpec, *then: str) -> Row | None:
    """:func:`train_network`, or None where the run's deadline comes before the end of ``network`` and of the networks
    ``then``. Where choices rest on folds, everything is trained: a network cannot be judged without its folds."""
    deadline = context.deadline
    if deadline is None or context.recipe.chain.choose == "folds" or (context.folder / network.name / ROW).exists():
        return train_network(context, network)
    if not deadline.allows(network.name, *then):
        return None
    started = time.monotonic()
    row = train_network(context, network)
    deadline.took(network.name, time.monotonic() - started, row.epochs)
    return row


def _store_in_cache(folder: Path, cached: Path) -> None:
    """Let other runs have a finished network; whole or not at all, and the first of two stays."""
    with suppress(OSError):  # it is there already, or the disk is full: nothing is lost but time
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".", suffix=".tmp", dir=cached.parent, ignore_cleanup_errors=True
        ) as whole:
            _link_all(folder, Path(whole))
            Path(whole).rename(cached)


def _link_all(source: Path, target: Path) -> None:
    """Every file of ``source``, its row last, since that says that a network is finished.

    Links, because finished files are replaced and never changed in place; copies where the disk knows no links.
    """
    (target / RESUME).unlink(missing_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: file.name == ROW):
        (target / file.name).unlink(missing_ok=True)
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy2(file, target / file.name)


def _lineage(context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
    """All that the weights of ``network`` depend on."""
    more: dict[str, Any] = {}
    if network.start_from is not None:
        more["start"] = network.start_from.weights_hash
    elif network.model.init not in ("random", "pretrained"):
        more["init"] = checkpoint.file_hash(network.model.init)
    if network.train.taxonomy is not None:
        more["taxonomy"] = fingerprint(read_text(Path(network.train.taxonomy.file)))
    if context.dataset.in_files:  # whose fingerprint does not know the pixels
        more["normalisation"] = [context.input_spec.channels, *context.input_spec.mean, *context.input_spec.std]
    if network.without_fold is not None:
        more |= {"folds": context.recipe.chain.folds, "without": network.without_fold}
    if network.unseen_labels:
        more["unseen"] = context.recipe.chain.folds
    if network.store is not None:
        more["store"] = [network.store.hash, context.recipe.chain.store_rest]
    if network.refineries and len(context.dataset.rows("unlabelled")):
        more["unlabelled"] = context.recipe.chain.unlabelled.model_dump()
    return {
        "node": {
            "name": network.stream or network.name,
            "model": changed(network.model),
            "train": changed(network.train, {"checkpoint_seconds", "trackers"}),
        },
        "views": changed(context.recipe.views),
        "data": context.data_fingerprint,
        "seed": context.seed,
        "refineries": [{"name": p.name, "weights_hash": p.weights_hash} for p in network.refineries],
        **more,
        **context.problem.lineage(context, network),
    }


def _train(context: TrainingContext, network: NetworkSpec, folder: Path, lineage_hash: str) -> Row:
    dataset, runtime = context.dataset, context.runtime
    network = with_prior(context, network)
    seed = derive_seed(context.seed, network.stream or network.name)
    torch.manual_seed(derive_seed(seed, "weights"))
    model = build_model(context, network.model)
    initialise(model, network)
    rows = context.fit_rows(network)
    plan = context.problem.plan(context, network, model, refinery_labels(context, network))
    select_rows = dataset.rows("select")

    def select(candidate: Classifier) -> dict[str, float]:
        logits = predict_logits(candidate, context.loader, select_rows, runtime)
        return context.problem.select_scores(dataset, logits, select_rows)

    with Progress(f"seed {context.seed} {network.name}", quiet=context.quiet or not runtime.is_main) as progress:
        if network.model.name in CLOSED_FORM:
            result = solve(context, network, model, plan.task, progress)
        else:
            result = fit(
                model,
                plan.task,
                _fit_input(context, plan, rows, seed),
                network.train,
                folder=folder,
                runtime=runtime,
                select=select if len(select_rows) else None,
                progress=progress,
            )
    plan.assert_unchanged()
    card = {
        "task": "single-label" if dataset.table is None else "multi-label",
        "generation": network.generation,
        "labels": plan.labels,
        "parameters": zoo.parameter_count(model.net),
        "eval_crop": context.recipe.views.eval_crop,
        "data": dataset.name,
        "lineage": lineage_hash,
    }
    if result.fitted is not None:
        card["fitted"] = result.fitted
    if runtime.is_main:
        checkpoint.save(folder, model, card)  # before it is scored: an error there loses no weights
    row = _row(context, network, model, plan, result, folder)
    if runtime.is_main:
        scores = {} if row.select is None else {"select": row.select.to_dict()}
        checkpoint.save(folder, model, card | {"labels": row.labels, "scores": scores})
    return row


def check_networks(context: TrainingContext, networks: Sequence[NetworkSpec]) -> None:
    """Refuse networks that cannot be built for the data, and refineries from outside that cannot label them.

    Nothing is trained or written. Each kind of network is built once, with its first weights where a file has them.

    Raises
    ------
    LabelwiseError
        With the option's key.
    """
    for source in context.recipe.chain.refinery:
        check_refinery(source, context.dataset.classes, context.input_spec, context.trust)
    if context.recipe.chain.unknown.zero_shot is not None:
        of_open_clip.library(of_open_clip.WHERE)
    built: list[tuple[ModelConfig, tuple[str, ...], bool]] = []
    for network in networks:
        shard, views = context.runtime.shard, network.views or context.recipe.views
        check_batch_size(len(context.fit_rows(network)), network.train.batch_size, shard, views.repeats)
        options = network.labels or context.recipe.labels
        if shard.world > 1 and options.scheme == "ll-cp" and not network.refineries:
            raise ConfigError("labels.scheme ll-cp: remembers labels in one process; run it without torchrun")
        kind = (network.model, network.train.only, network.start_from is None)
        if kind in built:
            continue
        built.append(kind)
        model = build_model(context, network.model)
        if network.start_from is None:
            initialise(model, network)
        if network.train.only:
            model.train_only(network.train.only)


def with_prior(context: TrainingContext, network: NetworkSpec) -> NetworkSpec:
    """``network`` with its prior, which is trained now if it is not finished; most have none."""
    prior = context.problem.prior_network(context, network)
    if prior is None:
        return network
    row = train_network(context, prior)
    return replace(network, prior=load_refinery(row.name, context.folder.parent / row.path))


def initialise(model: Classifier, network: NetworkSpec) -> None:
    """Give ``model`` the first weights of ``network``, where they are not random."""
    if network.start_from is None:
        checkpoint.initialise(model, network.model.init, network.model.init_by_order)
    else:
        checkpoint.initialise(model, str(network.start_from.path))


@torch.no_grad()
def build_model(context: TrainingContext, config: ModelConfig) -> Classifier:
    """The network of ``config`` for the classes and inputs of the data.

    Raises
    ------
    ModelError
        If there is no such network, or it cannot take such inputs, for example if its pooling leaves nothing of 28 px.
    """
    model = zoo.build(config, context.dataset.classes, context.input_spec)
    asked, size = context.recipe.views.size, model.spec.size
    if model.spec.kind == "image" and size and asked not in (None, size):
        raise ModelError(
            f"views.size: {model.name} takes {size} px only, not {asked}; leave it out, or set model.args to"
            f" {{img_size: {asked}}} too"
        )
    try:
        with evaluating(model):
            model(probe(model, model.spec))
    except (RuntimeError, ValueError, AssertionError) as error:
        what = "embeddings" if model.spec.kind == "features" else "px"
        raise ModelError(
            f"model.name: {model.name} cannot take {model.spec.size} {what} ({' '.join(str(error).split())[:120]})"
        ) from None
    return model


def _fit_input(context: TrainingContext, plan: LearningPlan, rows: NDArray[np.int64], seed: int) -> FitInput:
    """What is trained on: views that are drawn, or those of a store."""
    loader, views = context.loader, context.recipe.views
    if plan.stored is not None:
        loader, views = loader.replaying(plan.stored), views.model_copy(update={"number": ENDLESS})
    weight = plan.sample_weight
    own = None if weight is None else weight[np.isin(context.dataset.rows("fit"), rows)]
    return FitInput(loader, context.in_order(rows), views, seed, own, plan.unlabelled)


def refinery_labels(context: TrainingContext, network: NetworkSpec) -> RefineryLabels | None:
    """The refineries of ``network`` as one labeller; None where the given labels are learnt."""
    if not network.refineries or network.store is not None:
        return None
    models = []
    for refinery in network.refineries:
        model, _ = checkpoint.load(refinery.path, context.trust)
        check_input(f"refinery {refinery.name}", model.spec, context.input_spec)
        frozen = FrozenNetwork(
            model.to(context.runtime.device),
            refinery.name,
            autocast=context.runtime.accelerator.autocast,
            batch_statistics=network.refined_labels.norm == "batch",
        )
        models.append(frozen)
    return RefineryLabels(
        models,
        context.dataset.classes,
        multi_label=context.dataset.table is not None,
        unseen=context.folds if network.unseen_labels else None,
    )


def _row(
    context: TrainingContext,
    network: NetworkSpec,
    model: Classifier,
    plan: LearningPlan,
    result: FitResult,
    folder: Path,
) -> Row:
    """Score the finished network on all splits; its answers to unseen samples are kept, to choose and to compare."""
    dataset, runtime, problem = context.dataset, context.runtime, context.problem
    row: dict[str, Any] = {
        "name": network.name,
        "role": network.role,
        "generation": network.generation,
        "seed": context.seed,
        "model": network.model.name,
        "network": model.network,
        "labels": plan.labels,
        "refineries": [refinery.name for refinery in network.refineries],
        "epochs": result.epochs,
        "kept_epoch": result.kept_epoch,
        "fit": problem.fit_scores(context, model),
    }
    count, share = len(dataset.rows("unlabelled")), context.recipe.chain.unlabelled.share
    if network.refineries and count and share > 0:
        used = 0 if plan.unlabelled is None else len(plan.unlabelled.rows)
        row["unlabelled"] = {"used": used, "foreign": count - used}
        foreign = f" ({count - used:,} of {count:,} found foreign)" if used < count else ""
        row["labels"] += f", {100 * share:g}% unlabelled{foreign}"
    if plan.zero_shot is not None:
        row["zero_shot"] = plan.zero_shot
    kept: dict[str, NDArray[Any]] = {}
    for split in ("select", "test"):
        rows = dataset.rows(split)
        if not len(rows):
            continue
        logits = predict_logits(model, context.loader, rows, runtime)
        row[split] = problem.scores(dataset, logits, rows)
        if split == "select":
            row[split] = {name: score for name, score in row[split].items() if isinstance(score, int | float)}
            continue
        row["test_samples"] = fingerprint(dataset.ids[rows].tolist())  # tables compare networks on the same ones alone
        kept |= {"rows": rows, **problem.predictions(dataset, logits, rows)}
    if len(rows := context.judges(network)):
        kept |= {"judges": rows, "judged": predict_logits(model, context.loader, rows, runtime).numpy()}
    if kept and runtime.is_main:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **kept)  # type: ignore[arg-type]
        atomic_write(folder / PREDICTIONS, buffer.getvalue())
    row |= {
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.images_per_second, 1),
        "path": f"{context.folder.name}/{network.name}",
        "weights_hash": checkpoint.weights_hash(model.net),
    }
    return Row.model_validate(row)
