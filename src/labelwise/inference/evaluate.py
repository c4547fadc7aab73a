"""A finished checkpoint at work: evaluate it on data, name the classes of new images.

A checkpoint is multi-label when its card says so (``"task": "multi-label"``): its outputs are then separate questions,
each with a sigmoid. A card that says nothing is single-label, or whatever the data are that it is evaluated on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import DataConfig, Recipe, SplitName, ViewConfig, check_choice
from labelwise.data.dataset import Dataset, Features
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset, studies_of
from labelwise.data.readers.chexpert import COMPETITION
from labelwise.data.readers.unlabelled import read_unlabelled
from labelwise.errors import ConfigError, DataError, ModelError
from labelwise.labels.table import LabelTable
from labelwise.metrics.classification import scores as scores_of
from labelwise.metrics.multilabel import decision_scores, hard_labels, multilabel_scores, probabilities
from labelwise.metrics.operating import ThresholdRule, threshold_for
from labelwise.metrics.study import study_labels, study_scores
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier, InputSpec, check_input, class_order
from labelwise.runs import atomic_write, check_out_file, finite
from labelwise.training.evaluate import predict_logits
from labelwise.training.runtime import Runtime, start_runtime

SINGLE_LABEL, MULTI_LABEL = "single-label", "multi-label"
DECIDED = 0.5
"""Probability at or above which a category is named."""


def evaluate_checkpoint(path: Path, recipe: Recipe, split: SplitName) -> dict[str, Any]:
    """Scores of the checkpoint at ``path`` on one split of ``recipe.data``.

    Multi-label data are scored by :func:`labelwise.metrics.multilabel.multilabel_scores` at 0.5, and under ``tuned`` by
    thresholds that give every category its best F1 on ``select``, or None where that is the split to score or empty.
    CheXpert has ``studies`` too: the highest logit of a study's views against its labels, and the mean AUC of the five
    categories of its competition.

    Raises
    ------
    LabelwiseError
        If the split is empty, or the checkpoint knows other classes or inputs than the data, or is of the other kind.
    """
    check_choice("split", split, SplitName)
    model, card = checkpoint.load(path)
    dataset = load_dataset(recipe.data)
    rows = dataset.rows(split)
    if not len(rows):
        raise DataError(f"{dataset.name}: the {split} split is empty")
    _check_task(card, dataset, path)
    model = _in_order_of(model, dataset.classes, str(path))
    runtime, loader = _ready(model, card, dataset, recipe.data)
    model = model.to(runtime.device)
    found = {"schema": 1, "kind": "evaluate", "model": str(path), "data": dataset.name, "split": split}
    if dataset.table is None:
        logits = predict_logits(model, loader, rows, runtime)
        scores = scores_of(logits, torch.from_numpy(dataset.label[rows]), dataset.classes)
        return found | {"task": SINGLE_LABEL} | scores
    scores = _multi_label(dataset, dataset.table, split, lambda chosen: predict_logits(model, loader, chosen, runtime))
    studies = studies_of(recipe.data, dataset.ids[rows])
    if studies is not None:
        logits = predict_logits(model, loader, rows, runtime)
        scores["studies"] = _by_study(logits, dataset.table.take(rows), studies)
    return found | {"task": MULTI_LABEL} | scores


def predict_folder(path: Path, source: Path, out: Path, top: int, *, skip_unreadable: bool) -> tuple[int, list[str]]:
    """Write the ``top`` likeliest classes of every image under ``source`` to a CSV or JSON file.

    Of a multi-label checkpoint the probabilities are those of separate questions, and ``positive`` names all categories
    at 0.5 or above, in a CSV parted by ``|``.

    Returns
    -------
    number of images, and the unreadable ones that were skipped
    """
    if out.suffix not in (".csv", ".json"):
        raise ConfigError(f"--out {out}: the ending says the format, .csv or .json")
    check_out_file(out, "predictions", _is_json if out.suffix == ".json" else _is_csv)
    model, card = checkpoint.load(path)
    channels = model.spec.channels
    dataset = read_unlabelled(source, model.classes, channels, skip_unreadable=skip_unreadable)
    runtime, loader = _ready(model, card, dataset, DataConfig())
    logits = predict_logits(model.to(runtime.device), loader, np.arange(len(dataset)), runtime)
    multi_label = card.get("task") == MULTI_LABEL
    probability = logits.double().sigmoid() if multi_label else torch.softmax(logits, 1)
    best = logits.topk(min(top, len(model.classes)), dim=1)  # of probabilities, many may round to 1
    records: list[dict[str, Any]] = [
        {"id": str(i), "top": [[model.classes[k], round(p, 6)] for k, p in zip(ks, ps, strict=True)]}
        for i, ks, ps in zip(
            dataset.ids, best.indices.tolist(), probability.gather(1, best.indices).tolist(), strict=True
        )
    ]
    if multi_label:
        for record, decided in zip(records, probability >= DECIDED, strict=True):
            record["positive"] = [model.classes[k] for k in decided.nonzero()[:, 0].tolist()]
    atomic_write(out, _as_json(records) if out.suffix == ".json" else _as_csv(records))
    return len(records), list(dataset.unreadable)


def _check_task(card: dict[str, Any], dataset: Dataset, path: Path) -> None:
    """Refuse data of the other kind."""
    task = card.get("task")
    if dataset.table is None:
        if task == MULTI_LABEL:
            raise ModelError(f"checkpoint {path} is multi-label, {dataset.name} has one class per sample")
    elif task not in (None, MULTI_LABEL):
        raise ModelError(f"checkpoint {path} is {task}, {dataset.name} is multi-label")


def _multi_label(
    dataset: Dataset, table: LabelTable, split: SplitName, logits_of: Callable[[NDArray[np.int64]], torch.Tensor]
) -> dict[str, Any]:
    """Scores at 0.5 and at thresholds that were found on other samples than they are scored on."""
    rows, select = dataset.rows(split), dataset.rows("select")
    labels, logits = table.take(rows), logits_of(rows)
    found = multilabel_scores(logits, labels, thresholds=DECIDED)
    if split == "select" or not len(select):
        return found | {"tuned": None}
    rule = ThresholdRule("max-f1")
    best = threshold_for(probabilities(logits_of(select)), hard_labels(table.take(select)), rule).threshold
    own = ~np.isnan(best)
    tuned = decision_scores(logits, hard_labels(labels), np.where(own, best, DECIDED).clip(0, 1))
    for c, entry in enumerate(found["categories"]):
        values = {"threshold": tuned.threshold, "precision": tuned.precision, "recall": tuned.recall, "f1": tuned.f1}
        entry["tuned"] = {name: float(value[c]) for name, value in values.items()}
    return found | {"tuned": {"rule": str(rule), "split": "select", "categories": int(own.sum()), **tuned.overall}}


def _by_study(logits: torch.Tensor, table: LabelTable, study: NDArray[np.str_]) -> dict[str, Any]:
    names, highest = study_scores(logits.numpy(), study)
    labels = LabelTable.from_wire(study_labels(table.given(), study)[1], table.categories)
    found = multilabel_scores(torch.from_numpy(highest), labels, thresholds=DECIDED)
    auc = {entry["name"]: entry["auc"] for entry in found["categories"]}
    five = [auc[name] for name in COMPETITION if name in auc and not np.isnan(auc[name])]
    mean = float(np.mean(five)) if len(five) == len(COMPETITION) else float("nan")
    kept = {key: found[key] for key in ("map", "mauc", "scored", "categories")}
    return {"number": len(names), "competition_mauc": mean, **kept}


def _ready(model: Classifier, card: dict[str, Any], dataset: Dataset, data: DataConfig) -> tuple[Runtime, Any]:
    check_input("the checkpoint", model.spec, _shape_of(dataset))
    runtime = start_runtime(Recipe())
    views = ViewConfig(eval_crop=card.get("eval_crop", 1.0), interpolation=model.spec.interpolation)
    return runtime, make_loader(dataset, views, runtime.device, data.workers)


def _shape_of(dataset: Dataset) -> InputSpec:
    """Kind, length and channels of the data, by its first sample; not its normalisation."""
    if isinstance(dataset.source, Features):
        return InputSpec("features", dataset.source.values.shape[1], 1, (), ())
    return InputSpec("image", 0, dataset.source.read(0).shape[2], (), ())


def _in_order_of(model: Classifier, classes: tuple[str, ...], name: str) -> Classifier:
    """The classifier with its outputs in the order of the data's classes."""
    order = class_order(model, classes, f"checkpoint {name}")
    if order is None:
        return model
    return _Reordered(model, classes, order)


class _Reordered(Classifier):
    """A classifier with its outputs in another order."""

    order: torch.Tensor

    def __init__(self, model: Classifier, classes: tuple[str, ...], order: torch.Tensor) -> None:
        super().__init__(model.net, model.spec, classes, model.name, model.args, model.boost)
        self.register_buffer("order", order)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, self.order]


def _is_json(text: str) -> bool:
    found = json.loads(text)
    return isinstance(found, list) and all(isinstance(one, dict) and {"id", "top"} <= one.keys() for one in found)


def _is_csv(text: str) -> bool:
    return text.startswith(("id,class_1,", "id,positive,class_1,"))


def _as_json(records: list[dict[str, Any]]) -> bytes:
    return (json.dumps(finite(records), indent=1, ensure_ascii=False) + "\n").encode()


def _as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    count = len(records[0]["top"]) if records else 0
    decided = ["positive"] if records and "positive" in records[0] else []
    writer.writerow(["id", *decided, *(f"{what}_{i + 1}" for i in range(count) for what in ("class", "probability"))])
    for record in records:
        named = ["|".join(record[key]) for key in decided]
        writer.writerow([record["id"], *named, *(value for pair in record["top"] for value in pair)])
    return text.getvalue().encode()
