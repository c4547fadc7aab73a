"""The networks that label: checkpoints, or published weights of timm and torchvision, in the order of the data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from labelwise.config import ModelConfig, Recipe
from labelwise.data.dataset import Dataset
from labelwise.errors import ModelError
from labelwise.inference.loader import MULTI_LABEL, SINGLE_LABEL, shape_of
from labelwise.models import checkpoint, zoo
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier, check_input
from labelwise.models.foreign import Trust
from labelwise.refinery.labellers import FrozenNetwork, RefineryLabels
from labelwise.refinery.pretrained import PUBLISHED_INPUT, published_network
from labelwise.store.header import Refined
from labelwise.training.runtime import autocast_on


def open_refineries(
    sources: Sequence[str], dataset: Dataset, recipe: Recipe, device: torch.device, trust: Trust
) -> tuple[RefineryLabels, tuple[Refined, ...]]:
    """The mean of several networks as one labeller, and what a store says of them.

    Parameters
    ----------
    sources : checkpoint folders, ``timm:NAME`` or ``torchvision:NAME``; the outputs of the latter two are the classes
        of the data in order
    recipe : ``train.precision`` is that of the answers
    trust : what may be built that the card of a checkpoint describes

    Raises
    ------
    ModelError
        If a network is missing or damaged, or has other classes, another task or takes other inputs than the data.
    """
    opened = [_open(source, dataset, trust) for source in sources]
    autocast = partial(autocast_on, device, recipe.train.precision)
    for model in opened:
        if recipe.train.channels_last:
            model.use_channels_last()
    about = tuple(
        Refined(name=model.name, weights_hash=weights_hash(model.net), input=model.spec.to_json()) for model in opened
    )
    frozen = [FrozenNetwork(model.to(device), autocast=autocast) for model in opened]
    return RefineryLabels(frozen, dataset.classes, multi_label=dataset.table is not None), about


def _open(source: str, dataset: Dataset, trust: Trust) -> Classifier:
    classes = dataset.classes
    name = published_network(source)
    if name is not None:
        if (own := zoo.pretrained_classes(name)) != len(classes):
            raise ModelError(f"{source}: has {own} classes, {dataset.name} has {len(classes)}")
        check_input(source, PUBLISHED_INPUT, shape_of(dataset))
        return zoo.build(ModelConfig(name=name, init="pretrained"), classes, PUBLISHED_INPUT)
    if not Path(source).exists():
        raise ModelError(f"{source}: no such checkpoint; published weights are named timm:NAME or torchvision:NAME")
    model, card = checkpoint.load(Path(source), trust)
    task = SINGLE_LABEL if dataset.table is None else MULTI_LABEL
    if card.get("task", task) != task:
        raise ModelError(f"{source}: is {card['task']}, {dataset.name} is {task}")
    check_input(source, model.spec, shape_of(dataset))
    return model
