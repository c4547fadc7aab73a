"""The scores of a finished checkpoint on data: ``labelwise.evaluate`` and the command ``evaluate``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from labelwise.config import Recipe, SplitName, check_choice, data_recipe
from labelwise.data.dataset import Dataset
from labelwise.data.notes import tell
from labelwise.data.readers import load_dataset, studies_of
from labelwise.data.readers.chexpert import COMPETITION
from labelwise.data.value_range import as_trained
from labelwise.errors import DataError, ModelError
from labelwise.inference.curves import category_curves, check_categories
from labelwise.inference.loader import MULTI_LABEL, SINGLE_LABEL, decision_thresholds, make_ready
from labelwise.labels.table import LabelTable
from labelwise.metrics.classification import scores as scores_of
from labelwise.metrics.multilabel import decision_scores, hard_labels, multilabel_scores, probabilities
from labelwise.metrics.operating import ThresholdRule, threshold_for
from labelwise.metrics.study import study_labels, study_scores
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier, class_order
from labelwise.results.evaluate import EvaluateResults, MultiLabelEvaluation, SingleLabelEvaluation
from labelwise.training.runtime import predict_logits

Scored = SplitName | Literal["all"]

_RESULTS: TypeAdapter[SingleLabelEvaluation | MultiLabelEvaluation] = TypeAdapter(EvaluateResults)


def evaluate(
    model: str | Path,
    data: str | Path | Recipe,
    *,
    split: Scored = "test",
    curves: Sequence[str] | None = None,
    trust_code: bool = False,
) -> SingleLabelEvaluation | MultiLabelEvaluation:
    """Score a checkpoint on one split of a data set, or on all of it.

    The data may have fewer classes than the checkpoint.

    Multi-label data are scored by :func:`labelwise.metrics.multilabel.multilabel_scores` at the thresholds that the
    checkpoint has of its own, ``own_thresholds`` of them, and at 0.5 elsewhere. Under ``tuned`` they are scored at
    thresholds that give every category its best F1 on ``select``; None if ``select`` is empty, or is the split to
    score. CheXpert has ``studies`` too: the highest logit of a study's views against its labels, and the mean
    AUC of the five categories of its competition.

    Parameters
    ----------
    model : checkpoint folder, such as RUN/seed-0/generation-2
    data : a data source such as ``digits`` or a path; a recipe file (.yaml), or a recipe, whose data section is used
    split : ``fit``, ``select`` or ``test``; or ``all``: every labelled sample, such as those of a test set of one's own
    curves : multi-label data: categories whose precision, recall and false positive rate are kept at many thresholds;
        an empty sequence means those with the lowest AP, None means none
    trust_code : whether code that the checkpoint names as its network may be run

    Returns
    -------
    fractions in [0, 1]; a score that is not defined is None

    Raises
    ------
    LabelwiseError
        If the split is empty, or the checkpoint knows other classes or inputs than the data, or is of the other kind.
    """
    recipe = data if isinstance(data, Recipe) else data_recipe(data)
    path = Path(model)
    if split != "all":
        check_choice("split", split, SplitName)
    network, card = checkpoint.load(path, trust_code)
    asked = as_trained(recipe.data, network.spec.value_range).model_copy(update={"unlabelled": None})
    dataset = load_dataset(asked, partial=split == "all")
    dataset = _with_classes_of(network, dataset)
    rows = _scored_rows(dataset, split)
    _check_task(card, dataset, path)
    if curves and dataset.table is None:
        raise DataError(f"--curves {curves[0]}: {dataset.name} has one class per sample; curves are of categories")
    check_categories(curves or (), dataset.classes, dataset.name)
    network = _in_order_of(network, dataset.classes, str(path))
    if split != "all" and len(rows) < len(dataset):
        n = f"{len(rows):,} of {len(dataset):,}"
        tell(f"{dataset.name}: scored are {n} samples, those of {split}; --split all scores every one")
    runtime, loader = make_ready(network, card, dataset, recipe.data)
    network = network.to(runtime.device)
    found = {"kind": "evaluate", "model": str(path), "data": dataset.name, "split": split}
    if dataset.table is None:
        logits = predict_logits(network, loader, rows, runtime)
        scores = scores_of(logits, torch.from_numpy(dataset.label[rows]), dataset.classes)
        return _RESULTS.validate_python(found | {"task": SINGLE_LABEL} | scores)
    decided = probabilities(decision_thresholds(card, dataset.classes, path))

    def logits_of(chosen: NDArray[np.int64]) -> torch.Tensor:
        return predict_logits(network, loader, chosen, runtime)

    scores = _multi_label(dataset, dataset.table, split, rows, decided, logits_of, curves)
    scores["own_thresholds"] = len(card.get("thresholds", {}))
    studies = studies_of(recipe.data, dataset.ids[rows])
    if studies is not None:
        logits = predict_logits(network, loader, rows, runtime)
        scores["studies"] = _by_study(logits, dataset.table.take(rows), studies, decided)
    return _RESULTS.validate_python(found | {"task": MULTI_LABEL} | scores)


def _scored_rows(dataset: Dataset, split: Scored) -> NDArray[np.int64]:
    if split == "all":
        rows = np.arange(len(dataset)) if dataset.table is not None else np.flatnonzero(dataset.label >= 0)
        if not len(rows):
            raise DataError(f"{dataset.name}: no sample has a label")
        return rows.astype(np.int64)
    rows = dataset.rows(split)
    if not len(rows):
        raise DataError(f"{dataset.name}: the {split} split is empty")
    return rows


def _with_classes_of(network: Classifier, dataset: Dataset) -> Dataset:
    """Data of one class a sample that lack some classes of the network, over all its classes."""
    if dataset.table is not None or not set(dataset.classes) < set(network.classes):
        return dataset
    place = np.array([*(network.classes.index(name) for name in dataset.classes), -1])  # -1 (no label) takes the last
    return dataclasses.replace(
        dataset, classes=network.classes, label=place[dataset.label], true_label=None, votes=None
    )


def _check_task(card: dict[str, Any], dataset: Dataset, path: Path) -> None:
    """Refuse data of the other kind."""
    task = card.get("task")
    if dataset.table is None:
        if task == MULTI_LABEL:
            raise ModelError(f"checkpoint {path} is multi-label, {dataset.name} has one class per sample")
    elif task not in (None, MULTI_LABEL):
        raise ModelError(f"checkpoint {path} is {task}, {dataset.name} is multi-label")


def _multi_label(
    dataset: Dataset,
    table: LabelTable,
    split: Scored,
    rows: NDArray[np.int64],
    decided: NDArray[np.float64],
    logits_of: Callable[[NDArray[np.int64]], torch.Tensor],
    curves: Sequence[str] | None,
) -> dict[str, Any]:
    """Scores at the probabilities ``decided`` (C,) and at thresholds found on other samples than they are scored on."""
    select = dataset.rows("select")
    labels, logits = table.take(rows), logits_of(rows)
    found = multilabel_scores(logits, labels, thresholds=decided)
    if curves is not None:
        found["curves"] = category_curves(logits.numpy(), hard_labels(labels), found["categories"], curves)
    if split in ("select", "all") or not len(select):
        return found | {"tuned": None}
    rule = ThresholdRule("max-f1")
    best = threshold_for(probabilities(logits_of(select)), hard_labels(table.take(select)), rule).threshold
    own = ~np.isnan(best)
    tuned = decision_scores(logits, hard_labels(labels), np.where(own, best, decided).clip(0, 1))
    for c, entry in enumerate(found["categories"]):
        values = {"threshold": tuned.threshold, "precision": tuned.precision, "recall": tuned.recall, "f1": tuned.f1}
        entry["tuned"] = {name: float(value[c]) for name, value in values.items()}
    return found | {"tuned": {"rule": str(rule), "split": "select", "categories": int(own.sum()), **tuned.overall}}


def _by_study(
    logits: torch.Tensor, table: LabelTable, study: NDArray[np.str_], decided: NDArray[np.float64]
) -> dict[str, Any]:
    names, highest = study_scores(logits.numpy(), study)
    labels = LabelTable.from_wire(study_labels(table.given(), study)[1], table.categories)
    found = multilabel_scores(torch.from_numpy(highest), labels, thresholds=decided)
    auc = {entry["name"]: entry["auc"] for entry in found["categories"]}
    five = [auc[name] for name in COMPETITION if name in auc and not np.isnan(auc[name])]
    mean = float(np.mean(five)) if len(five) == len(COMPETITION) else float("nan")
    kept = {key: found[key] for key in ("map", "mauc", "scored", "categories")}
    return {"number": len(names), "competition_mauc": mean, **kept}


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
