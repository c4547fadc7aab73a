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
from labelwise.refinery.context import PREDICTIONS, Bench, Node, Plan, changed
from labelwise.runs import RESUME, ROW, atomic_write, fingerprint, finite, read_json, write_json
from labelwise.textfile import read_text
from labelwise.training.evaluate import predict_logits
from labelwise.training.fit import FitInput, FitResult, fit

NODE = "node.json"


def run_node(bench: Bench, node: Node) -> dict[str, Any]:
    """Train ``node``, or go on where it was stopped, or only read its row where it is finished, here or in another run.

    Returns
    -------
    its row of ``results.json``

    Raises
    ------
    RunError
        If the folder holds a network of other settings, data or refineries.
    """
    bench = bench.with_views(node.views)
    folder = bench.folder / node.name
    lineage = _lineage(bench, node)
    mark = fingerprint(lineage)
    if (folder / NODE).exists():
        if read_json(folder / NODE)["fingerprint"] != mark:
            raise RunError(
                f"{folder}: was begun with another recipe, data set or refinery; give another --out or delete it"
            )
    elif bench.runtime.is_main:
        write_json(folder / NODE, {"fingerprint": mark, "lineage": lineage})
    bench.runtime.accelerator.wait_for_everyone()
    if (folder / ROW).exists():
        if not bench.quiet and bench.runtime.is_main:
            print(f"seed {bench.seed} {node.name}: finished before, skipped", file=sys.stderr)
        return dict(read_json(folder / ROW))
    shelf = None if bench.shared is None else bench.shared / f"{node.name}-{mark}"
    if shelf is not None and (shelf / ROW).exists():
        _link_all(shelf, folder)
        return dict(read_json(folder / ROW))
    if bench.runtime.is_main:
        for stale in folder.glob(".*.tmp"):  # left by a kill in the middle of a write
            stale.unlink()
    row = finite(_train(bench, node, folder, mark))  # as it will be read
    if bench.runtime.is_main:
        write_json(folder / ROW, row)
        (folder / RESUME).unlink(missing_ok=True)
        if shelf is not None:
            _put(folder, shelf)
    bench.runtime.accelerator.wait_for_everyone()
    return dict(row)


def _put(folder: Path, shelf: Path) -> None:
    """Let other runs have a finished network; whole or not at all, and the first of two stays."""
    shelf.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=shelf.parent))
    try:
        _link_all(folder, whole)
        whole.rename(shelf)
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


def _lineage(bench: Bench, node: Node) -> dict[str, Any]:
    """All that the weights of ``node`` depend on."""
    more: dict[str, Any] = {}
    if node.start is not None:
        more["start"] = node.start.weights_hash
    elif node.model.init not in ("random", "pretrained"):
        more["init"] = checkpoint.file_hash(node.model.init)
    if node.train.taxonomy is not None:
        more["taxonomy"] = fingerprint(read_text(Path(node.train.taxonomy.file)))
    if bench.dataset.in_files:  # whose fingerprint does not know the pixels
        more["normalisation"] = [bench.data_spec.channels, *bench.data_spec.mean, *bench.data_spec.std]
    if node.without is not None:
        more |= {"folds": bench.recipe.chain.folds, "without": node.without}
    return {
        "node": {
            "name": node.stream or node.name,
            "model": changed(node.model),
            "train": changed(node.train, {"checkpoint_seconds", "trackers"}),
        },
        "views": changed(bench.recipe.views),
        "data": bench.data_fingerprint,
        "seed": bench.seed,
        "refineries": [{"name": p.name, "weights_hash": p.weights_hash} for p in node.parents],
        **more,
        **bench.goal.lineage(bench, node),
    }


def _train(bench: Bench, node: Node, folder: Path, mark: str) -> dict[str, Any]:
    dataset, runtime = bench.dataset, bench.runtime
    seed = derive_seed(bench.seed, node.stream or node.name)
    torch.manual_seed(derive_seed(seed, "weights"))
    model = zoo.build(node.model, dataset.classes, bench.data_spec)
    checkpoint.initialise(model, node.model.init if node.start is None else str(node.start.path))
    _try_once(model)
    rows = dataset.rows("fit")
    if node.without is not None:
        rows = rows[bench.folds[rows] != node.without]
    plan = bench.goal.plan(bench, node, model, _load_parents(bench, node))
    select_rows = dataset.rows("select")

    def select(candidate: Classifier) -> dict[str, float]:
        logits = predict_logits(candidate, bench.loader, select_rows, runtime)
        return bench.goal.select_scores(dataset, logits, select_rows)

    with Progress(f"seed {bench.seed} {node.name}", quiet=bench.quiet or not runtime.is_main) as progress:
        result = fit(
            model,
            plan.task,
            FitInput(bench.loader, rows, bench.recipe.views, _of_rows(plan, dataset.rows("fit"), rows)),
            node.train,
            seed=seed,
            folder=folder,
            runtime=runtime,
            select=select if len(select_rows) else None,
            progress=progress,
        )
    plan.check()
    row = _row(bench, node, model, plan.labels, result, folder)
    if runtime.is_main:
        card = {
            "task": "single-label" if dataset.table is None else "multi-label",
            "generation": node.generation,
            "labels": plan.labels,
            "parameters": zoo.parameter_count(model.net),
            "eval_crop": bench.recipe.views.eval_crop,
            "data": dataset.name,
            "lineage": mark,
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


def _of_rows(plan: Plan, all_rows: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    return None if plan.sample_weight is None else plan.sample_weight[np.isin(all_rows, rows)]


def _load_parents(bench: Bench, node: Node) -> list[Classifier]:
    models = [checkpoint.load(parent.path)[0] for parent in node.parents]
    for parent, model in zip(node.parents, models, strict=True):
        check_input(f"refinery {parent.name}", model.spec, bench.data_spec)
    return models


def _row(bench: Bench, node: Node, model: Classifier, labels: str, result: FitResult, folder: Path) -> dict[str, Any]:
    """Score the finished network on all three splits; test predictions are kept for paired comparisons."""
    dataset, runtime, goal = bench.dataset, bench.runtime, bench.goal
    row: dict[str, Any] = {
        "name": node.name,
        "role": node.role,
        "generation": node.generation,
        "seed": bench.seed,
        "model": node.model.name,
        "network": model.network,
        "labels": labels,
        "refineries": [parent.name for parent in node.parents],
        "epochs": node.train.epochs,
        "kept_epoch": result.kept_epoch,
        "fit": goal.fit_scores(bench, model),
    }
    for split in ("select", "test"):
        rows = dataset.rows(split)
        if not len(rows):
            continue
        logits = predict_logits(model, bench.loader, rows, runtime)
        row[split] = goal.scores(dataset, logits, rows)
        if split == "select":
            row[split] = {name: score for name, score in row[split].items() if isinstance(score, int | float)}
            continue
        row["test_samples"] = fingerprint(dataset.ids[rows].tolist())  # tables compare networks on the same ones alone
        if runtime.is_main:
            buffer = io.BytesIO()
            kept: dict[str, Any] = {"rows": rows, **goal.predictions(dataset, logits, rows)}
            np.savez_compressed(buffer, **kept)
            atomic_write(folder / PREDICTIONS, buffer.getvalue())
    row |= {
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.images_per_second, 1),
        "path": f"{bench.folder.name}/{node.name}",
        "weights_hash": checkpoint.weights_hash(model.net),
    }
    return row
