"""One network of a chain: how it is trained on its labels, what is written about it."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.data.counter_rng import derive_seed
from labelwise.errors import ModelError, RunError
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import Classifier, check_input
from labelwise.models.head import evaluating, probe
from labelwise.progress import Progress
from labelwise.refinery.context import PREDICTIONS, LearningPlan, NetworkSpec, TrainingContext, changed
from labelwise.runs import RESUME, ROW, atomic_write, fingerprint, finite, read_json, write_json
from labelwise.textfile import read_text
from labelwise.training.evaluate import predict_logits
from labelwise.training.fit import FitInput, FitResult, fit

NETWORK = "network.json"


def train_network(context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
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
        write_json(folder / NETWORK, {"fingerprint": lineage_hash, "lineage": lineage})
    context.runtime.accelerator.wait_for_everyone()
    if (folder / ROW).exists():
        if not context.quiet and context.runtime.is_main:
            print(f"seed {context.seed} {network.name}: finished before, skipped", file=sys.stderr)
        return dict(read_json(folder / ROW))
    cached = None if context.network_cache is None else context.network_cache / f"{network.name}-{lineage_hash}"
    if cached is not None and (cached / ROW).exists():
        _link_all(cached, folder)
        return dict(read_json(folder / ROW))
    row = finite(_train(context, network, folder, lineage_hash))  # as it will be read
    if context.runtime.is_main:
        write_json(folder / ROW, row)
        (folder / RESUME).unlink(missing_ok=True)
        if cached is not None:
            _store_in_cache(folder, cached)
    context.runtime.accelerator.wait_for_everyone()
    return dict(row)


def _store_in_cache(folder: Path, cached: Path) -> None:
    """Let other runs have a finished network; whole or not at all, and the first of two stays."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=cached.parent))
    try:
        _link_all(folder, whole)
        whole.rename(cached)
    except OSError:  # it is there already, or the disk is full: nothing is lost but time
        shutil.rmtree(whole, ignore_errors=True)


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


def _train(context: TrainingContext, network: NetworkSpec, folder: Path, lineage_hash: str) -> dict[str, Any]:
    dataset, runtime = context.dataset, context.runtime
    seed = derive_seed(context.seed, network.stream or network.name)
    torch.manual_seed(derive_seed(seed, "weights"))
    model = zoo.build(network.model, dataset.classes, context.input_spec)
    if network.start_from is None:
        checkpoint.initialise(model, network.model.init, network.model.init_by_order)
    else:
        checkpoint.initialise(model, str(network.start_from.path))
    _try_once(model)
    rows = dataset.rows("fit")
    if network.without_fold is not None:
        rows = rows[context.folds[rows] != network.without_fold]
    plan = context.problem.plan(context, network, model, _load_refineries(context, network))
    select_rows = dataset.rows("select")

    def select(candidate: Classifier) -> dict[str, float]:
        logits = predict_logits(candidate, context.loader, select_rows, runtime)
        return context.problem.select_scores(dataset, logits, select_rows)

    with Progress(f"seed {context.seed} {network.name}", quiet=context.quiet or not runtime.is_main) as progress:
        result = fit(
            model,
            plan.task,
            FitInput(context.loader, rows, context.recipe.views, _of_rows(plan, dataset.rows("fit"), rows)),
            network.train,
            seed=seed,
            folder=folder,
            runtime=runtime,
            select=select if len(select_rows) else None,
            progress=progress,
        )
    plan.check()
    row = _row(context, network, model, plan.labels, result, folder)
    if runtime.is_main:
        card = {
            "task": "single-label" if dataset.table is None else "multi-label",
            "generation": network.generation,
            "labels": plan.labels,
            "parameters": zoo.parameter_count(model.net),
            "eval_crop": context.recipe.views.eval_crop,
            "data": dataset.name,
            "lineage": lineage_hash,
            "scores": {split: row[split] for split in ("select",) if split in row},
        }
        checkpoint.save(folder, model, card)
    return row


@torch.no_grad()
def _try_once(model: Classifier) -> None:
    """A network that cannot take such images says so in one line, such as one whose pooling leaves nothing of 28 px."""
    try:
        with evaluating(model):
            model(probe(model, model.spec))
    except (RuntimeError, ValueError, AssertionError) as error:
        what = "embeddings" if model.spec.kind == "features" else "px"
        raise ModelError(
            f"model.name: {model.name} cannot take {model.spec.size} {what} ({' '.join(str(error).split())[:120]})"
        ) from None


def _of_rows(plan: LearningPlan, all_rows: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    return None if plan.sample_weight is None else plan.sample_weight[np.isin(all_rows, rows)]


def _load_refineries(context: TrainingContext, network: NetworkSpec) -> list[Classifier]:
    models = [checkpoint.load(refinery.path)[0] for refinery in network.refineries]
    for refinery, model in zip(network.refineries, models, strict=True):
        check_input(f"refinery {refinery.name}", model.spec, context.input_spec)
    return models


def _row(
    context: TrainingContext, network: NetworkSpec, model: Classifier, labels: str, result: FitResult, folder: Path
) -> dict[str, Any]:
    """Score the finished network on all three splits; test predictions are kept for paired comparisons."""
    dataset, runtime, problem = context.dataset, context.runtime, context.problem
    row: dict[str, Any] = {
        "name": network.name,
        "role": network.role,
        "generation": network.generation,
        "seed": context.seed,
        "model": network.model.name,
        "network": model.network,
        "labels": labels,
        "refineries": [refinery.name for refinery in network.refineries],
        "epochs": network.train.epochs,
        "kept_epoch": result.kept_epoch,
        "fit": problem.fit_scores(context, model),
    }
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
        if runtime.is_main:
            buffer = io.BytesIO()
            kept: dict[str, Any] = {"rows": rows, **problem.predictions(dataset, logits, rows)}
            np.savez_compressed(buffer, **kept)
            atomic_write(folder / PREDICTIONS, buffer.getvalue())
    row |= {
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.images_per_second, 1),
        "path": f"{context.folder.name}/{network.name}",
        "weights_hash": checkpoint.weights_hash(model.net),
    }
    return row
