"""What evaluation and prediction share: data, as a finished checkpoint wants to see them.

A checkpoint is multi-label when its card says so (``"task": "multi-label"``): its outputs are then separate questions,
each with a sigmoid. A card that says nothing is single-label, or whatever the data are that it is evaluated on.
"""

from __future__ import annotations

from typing import Any

from labelwise.config import DataConfig, Recipe, ViewConfig
from labelwise.data.dataset import Dataset, Features
from labelwise.data.loaders import make_loader
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
    check_input("the checkpoint", model.spec, _shape_of(dataset))
    runtime = start_runtime(Recipe())
    views = ViewConfig(eval_crop=card.get("eval_crop", 1.0), interpolation=model.spec.interpolation)
    return runtime, make_loader(dataset, views, runtime.device, data.workers)


def _shape_of(dataset: Dataset) -> InputSpec:
    """Kind, length and channels of the data, by its first sample; not its normalisation."""
    if isinstance(dataset.source, Features):
        return InputSpec("features", dataset.source.values.shape[1], 1, (), ())
    return InputSpec("image", 0, dataset.source.read(0).shape[2], (), ())
