"""What evaluation and prediction share: data, as a finished checkpoint wants to see them.

A checkpoint is multi-label when its card says so (``"task": "multi-label"``): its outputs are then separate questions,
each with a sigmoid. A card that says nothing is single-label, or whatever the data are that it is evaluated on. The
card of a fine-tuned head may hold a decision threshold of each category: ``"thresholds": {category: logit}``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import DataConfig, Recipe, ViewConfig
from labelwise.data.dataset import Dataset, Features
from labelwise.data.loaders import make_loader
from labelwise.errors import ModelError
from labelwise.models.classifier import Classifier, InputSpec, check_input
from labelwise.training.runtime import Runtime, start_runtime

SINGLE_LABEL, MULTI_LABEL = "single-label", "multi-label"


def make_ready(model: Classifier, card: dict[str, Any], dataset: Dataset, data: DataConfig) -> tuple[Runtime, Any]:
    """The runtime, and a loader of the evaluation views that the checkpoint was scored on.

    Raises
    ------
    ModelError
        If the checkpoint wants another kind of input than the data are.
    """
    check_input(f"{dataset.name}: the checkpoint", model.spec, shape_of(dataset))
    runtime = start_runtime(Recipe())
    views = ViewConfig(eval_crop=card.get("eval_crop", 1.0), interpolation=model.spec.interpolation)
    return runtime, make_loader(dataset, views, runtime.device, data.decoders)


def decision_thresholds(card: dict[str, Any], categories: Sequence[str], path: Path) -> NDArray[np.float64]:
    """The logits (C,) at or above which the categories of the checkpoint at ``path`` count as positive.

    A category without a threshold on the card has logit 0, a probability of 0.5.

    Raises
    ------
    ModelError
        If a threshold is not a finite number, or is of another category.
    """
    found = card.get("thresholds", {})
    if not isinstance(found, dict):
        raise ModelError(f"{path}: thresholds of the card are not a table of categories and logits")
    for name, value in found.items():
        if name not in categories or type(value) not in (int, float) or not math.isfinite(value):
            raise ModelError(f"{path}: the card's threshold of category {name!r}, {value!r}, cannot be used")
    return np.array([found.get(name, 0.0) for name in categories], dtype=np.float64)


def shape_of(dataset: Dataset) -> InputSpec:
    """Kind, length and channels of the data; not their normalisation."""
    if isinstance(dataset.source, Features):
        return InputSpec("features", dataset.source.values.shape[1], 1, (), ())
    return InputSpec("image", 0, dataset.source.channels, (), (), value_range=dataset.value_range)
