"""One network of a chain: what it is, how it is trained on its labels, what is written about it."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from labelwise.config import ModelConfig, Recipe, TrainConfig
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import ViewLoader
from labelwise.data.philox import derive_seed, generator
from labelwise.errors import ModelError, RunError
from labelwise.losses import entropy
from labelwise.metrics.classification import scores, topk_correct
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.refine.labellers import RefineryLabels
from labelwise.runs import RESUME, ROW, atomic_write, fingerprint, read_json, write_json
from labelwise.train.evaluate import predict_logits
from labelwise.train.fit import FitInput, FitResult, fit
from labelwise.train.labeller import GivenLabels, Labeller
from labelwise.train.progress import Progress
from labelwise.train.runtime import Runtime
from labelwise.train.task import SoftLabelTask

NODE, PREDICTIONS = "node.json", "predictions.npz"
FIT_SAMPLE = 10_000
"""Training images that the fit scores are measured on, at most."""

SCORE_VIEW = 2**32 - 1
"""Number of the random view that fit scores look at: one that training never draws."""


@dataclass(frozen=True)
class Parent:
    """A refinery: a finished network of this run, or a checkpoint from outside."""

    name: str
    path: Path
    weights_hash: str


@dataclass(frozen=True)
class Node:
    """A network to be trained. ``parents`` label its views; without any, the given labels do."""

    name: str
    role: str
    model: ModelConfig
    train: TrainConfig
    generation: int | None = None
    parents: tuple[Parent, ...] = ()


@dataclass(frozen=True)
class Bench:
    """What all networks of one seed share. ``folder`` is ``RUN/seed-S``."""

    recipe: Recipe
    dataset: Dataset
    loader: ViewLoader
    data_spec: InputSpec
    data_fingerprint: str
    runtime: Runtime
    folder: Path
    seed: int
    quiet: bool = False


def run_node(bench: Bench, node: Node) -> dict[str, Any]:
    """Train ``node``, or go on where it was stopped, or only read its row where it is finished.

    Returns
    -------
    its row of ``results.json``

    Raises
    ------
    RunError
        If the folder holds a network of other settings, data or refineries.
    """
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
    if bench.runtime.is_main:
        for stale in folder.glob(".*.tmp"):  # left by a kill in the middle of a write
            stale.unlink()
    row = _train(bench, node, folder, mark)
    if bench.runtime.is_main:
        write_json(folder / ROW, row)
        (folder / RESUME).unlink(missing_ok=True)
    bench.runtime.accelerator.wait_for_everyone()
    return row


def load_parent(name: str, path: Path) -> Parent:
    """A finished checkpoint as a refinery."""
    card = read_json(path / checkpoint.CARD)
    return Parent(name, path, str(card["weights_hash"]))


def _lineage(bench: Bench, node: Node) -> dict[str, Any]:
    """All that the weights of ``node`` depend on."""
    return {
        "node": {
            "name": node.name,
            "model": node.model.model_dump(mode="json"),
            "train": node.train.model_dump(mode="json", exclude={"checkpoint_seconds", "trackers"}),
        },
        "views": bench.recipe.views.model_dump(mode="json"),
        "data": bench.data_fingerprint,
        "seed": bench.seed,
        "refineries": [{"name": p.name, "weights_hash": p.weights_hash} for p in node.parents],
    }


def _train(bench: Bench, node: Node, folder: Path, mark: str) -> dict[str, Any]:
    dataset, runtime = bench.dataset, bench.runtime
    seed = derive_seed(bench.seed, node.name)
    torch.manual_seed(derive_seed(seed, "weights"))
    model = zoo.build(node.model, dataset.classes, bench.data_spec)
    checkpoint.initialise(model, node.model.init)
    refinery = _refinery(bench, node)
    labeller: Labeller = refinery or GivenLabels(dataset.num_classes, node.train.label_smoothing)
    rows, select_rows = dataset.rows("fit"), dataset.rows("select")
    class_weight, sample_weight = _balance(dataset, rows, node.train.balance)
    task = SoftLabelTask(
        labeller,
        model.spec.size,
        None if class_weight is None else torch.from_numpy(class_weight).to(runtime.device),
    )

    def select(candidate: Classifier) -> dict[str, float]:
        logits = predict_logits(candidate, bench.loader, select_rows, runtime)
        found = scores(logits, torch.from_numpy(dataset.label[select_rows]))
        return {name: found[name] for name in ("top1", "nll")}

    with Progress(f"seed {bench.seed} {node.name}", bench.quiet or not runtime.is_main) as progress:
        result = fit(
            model,
            task,
            FitInput(bench.loader, rows, bench.recipe.views, sample_weight),
            node.train,
            seed=seed,
            folder=folder,
            runtime=runtime,
            select=select if len(select_rows) else None,
            progress=progress,
        )
    if refinery is not None:
        refinery.assert_unchanged()
    row = _row(bench, node, model, labeller, result, folder)
    if runtime.is_main:
        card = {
            "generation": node.generation,
            "labels": labeller.describe(),
            "parameters": zoo.parameter_count(model.net),
            "eval_crop": bench.recipe.views.eval_crop,
            "data": dataset.name,
            "lineage": mark,
            "scores": {split: row[split] for split in ("select",) if split in row},
        }
        checkpoint.save(folder, model, card)
    return row


def _refinery(bench: Bench, node: Node) -> RefineryLabels | None:
    if not node.parents:
        return None
    models = [checkpoint.load(parent.path)[0] for parent in node.parents]
    for parent, model in zip(node.parents, models, strict=True):
        _check_input(parent.name, model.spec, bench.data_spec)
    names = [parent.name for parent in node.parents]
    runtime = bench.runtime
    return RefineryLabels(models, bench.dataset.classes, names, runtime.device, runtime.accelerator.autocast)


def _check_input(name: str, refinery: InputSpec, data: InputSpec) -> None:
    if refinery.kind != data.kind:
        raise ModelError(f"refinery {name} takes {refinery.kind}, the data are of kind {data.kind}")
    if refinery.kind == "features" and refinery.size != data.size:
        raise ModelError(f"refinery {name} takes {refinery.size} features, the data have {data.size}")
    if refinery.kind == "image" and refinery.channels not in (data.channels, 3):
        raise ModelError(f"refinery {name} takes {refinery.channels} channel, the data have {data.channels}")


def _balance(
    dataset: Dataset, rows: NDArray[np.int64], balance: str
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """Weights per class for the loss (mean 1 over the samples), or per sample for drawing; inverse frequency."""
    if balance == "none":
        return None, None
    count = np.bincount(dataset.label[rows], minlength=dataset.num_classes)
    weight = len(rows) / (dataset.num_classes * np.maximum(count, 1))
    if balance == "class_weights":
        return weight.astype(np.float32), None
    return None, weight[dataset.label[rows]]


def _row(
    bench: Bench, node: Node, model: Classifier, labeller: Labeller, result: FitResult, folder: Path
) -> dict[str, Any]:
    """Score the finished network on all three splits; test predictions are kept for paired comparisons."""
    dataset, loader, runtime = bench.dataset, bench.loader, bench.runtime
    row: dict[str, Any] = {
        "name": node.name,
        "role": node.role,
        "generation": node.generation,
        "seed": bench.seed,
        "model": node.model.name,
        "labels": labeller.describe(),
        "epochs": node.train.epochs,
        "kept_epoch": result.kept_epoch,
        "fit": fit_scores(bench, model),
    }
    for split in ("select", "test"):
        rows = dataset.rows(split)
        if not len(rows):
            continue
        label = torch.from_numpy(dataset.label[rows])
        logits = predict_logits(model, loader, rows, runtime)
        row[split] = scores(logits, label, dataset.classes if split == "test" else None)
        if split == "test" and runtime.is_main:
            correct = topk_correct(logits, label, 1).numpy()
            buffer = io.BytesIO()
            np.savez_compressed(buffer, rows=rows, correct=correct, prediction=logits.argmax(1).numpy())
            atomic_write(folder / PREDICTIONS, buffer.getvalue())
    row |= {
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.images_per_second, 1),
        "path": f"{bench.folder.name}/{node.name}",
        "weights_hash": checkpoint.weights_hash(model.net),
    }
    return row


def fit_scores(bench: Bench, model: Classifier) -> dict[str, float]:
    """How the network sees its own training images.

    ``top1``: accuracy against the given labels on one random crop each, in eval mode (a sample of them); ``entropy`` of
    its answers there. Where the true labels are known, from the centre view of every image: ``noise_auroc`` of
    1 - q[given] against "the given label is wrong", and ``refined_label_accuracy`` of its top class.
    """
    dataset = bench.dataset
    rows = dataset.rows("fit")
    sample = rows
    if len(rows) > FIT_SAMPLE:
        sample = np.sort(generator("fit-sample").choice(rows, FIT_SAMPLE, replace=False))
    crops = predict_logits(model, bench.loader, sample, bench.runtime, view=SCORE_VIEW, seed=bench.seed)
    given = torch.from_numpy(dataset.label[sample])
    out = {
        "top1": topk_correct(crops, given, 1).float().mean().item(),
        "entropy": entropy(torch.softmax(crops, 1)).mean().item(),
    }
    if dataset.true_label is None:
        return out
    wrong = dataset.label[rows] != dataset.true_label[rows]
    if wrong.any() and not wrong.all():
        q = torch.softmax(predict_logits(model, bench.loader, rows, bench.runtime), 1).numpy()
        out["noise_auroc"] = float(roc_auc_score(wrong, 1 - q[np.arange(len(rows)), dataset.label[rows]]))
        out["refined_label_accuracy"] = float((q.argmax(1) == dataset.true_label[rows]).mean())
    return out
