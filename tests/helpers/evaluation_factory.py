"""Scores of `labelwise evaluate` for made-up logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from labelwise.labels.table import LabelTable
from labelwise.metrics.classification import scores
from labelwise.metrics.multilabel import multilabel_scores
from labelwise.results import MultiLabelEvaluation, SingleLabelEvaluation


def single_label_scores(classes: list[str], samples: int = 200, *, model: str = "run/best") -> SingleLabelEvaluation:
    """The last class has no image."""
    rng = np.random.default_rng(0)
    given = rng.integers(0, len(classes) - 1, samples)
    logits = torch.tensor(rng.normal(size=(samples, len(classes))) + 2 * np.eye(len(classes))[given])
    found: dict[str, Any] = scores(logits, torch.from_numpy(given), classes)
    about = {"kind": "evaluate", "model": model, "data": "digits", "split": "test", "task": "single-label"}
    return SingleLabelEvaluation.model_validate(about | found)


def multi_label_scores(categories: list[str], samples: int = 200, *, model: str = "run/best") -> MultiLabelEvaluation:
    """A third of the labels is unknown; the last category has no known label. ``tuned`` is at a threshold of 0.3."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, np.nan], (samples, len(categories)), p=[0.4, 0.27, 0.33])
    labels[:, -1] = np.nan
    logits = torch.tensor(rng.normal(size=labels.shape) + 2 * np.nan_to_num(labels) - 1)
    table = LabelTable.from_wire(labels, tuple(categories))
    found, tuned = (multilabel_scores(logits, table, thresholds=np.full(len(categories), at)) for at in (0.5, 0.3))
    for entry, other in zip(found["categories"], tuned["categories"], strict=True):
        entry["tuned"] = {key: other[key] for key in ("threshold", "precision", "recall", "f1")}
    found["tuned"] = {"rule": "max-f1", "split": "select", "categories": len(categories) - 1, **tuned["decisions"]}
    found["studies"] = {"number": 50, "competition_mauc": 0.8}
    found["studies"] |= {key: found[key] for key in ("map", "mauc", "scored", "categories")}
    about = {"kind": "evaluate", "model": model, "data": "pets", "split": "test", "task": "multi-label"}
    return MultiLabelEvaluation.model_validate(about | found)
