"""A finished checkpoint at work: evaluate it on data, name the classes of new images."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.config import DataConfig, Recipe, ViewConfig
from labelwise.data.dataset import SPLITS, Dataset
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset
from labelwise.data.readers.unlabelled import read_unlabelled
from labelwise.errors import ConfigError, DataError, ModelError
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier
from labelwise.refine.labellers import class_order
from labelwise.runs import atomic_write, finite
from labelwise.train.evaluate import evaluate_rows, predict_logits
from labelwise.train.runtime import Runtime, start_runtime


def evaluate_checkpoint(path: Path, recipe: Recipe, split: str) -> dict[str, Any]:
    """Scores of the checkpoint at ``path`` on one split of ``recipe.data``.

    Raises
    ------
    LabelwiseError
        If the split is empty or the checkpoint knows other classes or inputs than the data.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: use one of {', '.join(SPLITS)}")
    model, card = checkpoint.load(path)
    dataset = load_dataset(recipe.data)
    rows = dataset.rows(split)
    if not len(rows):
        raise DataError(f"{dataset.name}: the {split} split is empty")
    model = _in_order_of(model, dataset.classes, str(path))
    runtime, loader = _ready(model, card, dataset, recipe.data)
    found = evaluate_rows(model.to(runtime.device), dataset, loader, rows, runtime, classes=True)
    return {"schema": 1, "kind": "evaluate", "model": str(path), "data": dataset.name, "split": split, **found}


def predict_folder(path: Path, source: Path, out: Path, top: int, *, skip_unreadable: bool) -> tuple[int, list[str]]:
    """Write the ``top`` classes of every image under ``source`` to a CSV or JSON file.

    Returns
    -------
    number of images, and the unreadable ones that were skipped
    """
    if out.suffix not in (".csv", ".json"):
        raise ConfigError(f"--out {out}: the ending says the format, .csv or .json")
    model, card = checkpoint.load(path)
    channels = model.spec.channels
    dataset = read_unlabelled(source, model.classes, channels, skip_unreadable=skip_unreadable)
    runtime, loader = _ready(model, card, dataset, DataConfig())
    logits = predict_logits(model.to(runtime.device), loader, np.arange(len(dataset)), runtime)
    probability = torch.softmax(logits, 1)
    best = probability.topk(min(top, len(model.classes)), dim=1)
    records = [
        {"id": str(i), "top": [[model.classes[k], round(p, 6)] for k, p in zip(ks, ps, strict=True)]}
        for i, ks, ps in zip(dataset.ids, best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    atomic_write(out, _as_json(records) if out.suffix == ".json" else _as_csv(records))
    return len(records), list(dataset.unreadable)


def _ready(model: Classifier, card: dict[str, Any], dataset: Dataset, data: DataConfig) -> tuple[Runtime, Any]:
    if dataset.is_features != (model.spec.kind == "features"):
        raise ModelError(f"the checkpoint takes {model.spec.kind}, {dataset.name} holds something else")
    runtime = start_runtime(Recipe())
    views = ViewConfig(eval_crop=card.get("eval_crop", 1.0), interpolation=model.spec.interpolation)
    return runtime, make_loader(dataset, views, runtime.device, data.workers)


def _in_order_of(model: Classifier, classes: tuple[str, ...], name: str) -> Classifier:
    """The classifier with its outputs in the order of the data's classes."""
    order = class_order(model, classes, f"checkpoint {name}")
    if order is None:
        return model
    net = torch.nn.Sequential(model.net, _Reorder(order))
    return Classifier(net, model.spec, classes, model.name, model.args)


class _Reorder(torch.nn.Module):
    order: torch.Tensor

    def __init__(self, order: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, self.order]


def _as_json(records: list[dict[str, Any]]) -> bytes:
    return (json.dumps(finite(records), indent=1, ensure_ascii=False) + "\n").encode()


def _as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    count = len(records[0]["top"]) if records else 0
    writer.writerow(["id", *(f"{what}_{i + 1}" for i in range(count) for what in ("class", "probability"))])
    for record in records:
        writer.writerow([record["id"], *(value for pair in record["top"] for value in pair)])
    return text.getvalue().encode()
