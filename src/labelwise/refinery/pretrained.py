"""Refineries from outside the run: a labelwise checkpoint, or pretrained weights of timm or torchvision."""

from __future__ import annotations

from pathlib import Path

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, InputSpec, check_input
from labelwise.models.foreign import Trust
from labelwise.models.hub import repository
from labelwise.models.packed import is_packed
from labelwise.refinery.context import load_refinery
from labelwise.refinery.generations import Refinery

PUBLISHED_INPUT = InputSpec("image", 224, 3, IMAGENET_MEAN, IMAGENET_STD)
"""What published weights take, where they do not say it themselves."""


def check_refinery(source: str, classes: tuple[str, ...], data: InputSpec, trust: Trust = False) -> None:
    """Refuse a refinery that cannot label the data; weights that must be fetched are not fetched yet.

    Parameters
    ----------
    source : a checkpoint or model folder, ``hf-hub:USER/NAME``, or ``timm:NAME`` / ``torchvision:NAME`` whose outputs
        are the classes in order
    classes : of the data
    data : what the data look like
    trust : what may be built that the card of a checkpoint describes

    Raises
    ------
    ModelError
        If it is missing or damaged, or has other classes or takes other inputs than the data.
    """
    where = f"chain.refinery: {source}"
    network = published_network(source)
    if network is not None:
        check_input(where, PUBLISHED_INPUT, data)
        if (own := zoo.pretrained_classes(network)) != len(classes):
            raise ModelError(f"{where} has other classes than the data ({own} against {len(classes)})")
        return
    model, _ = checkpoint.load(_folder(source), trust)
    if set(model.classes) != set(classes):
        lacking = sorted(set(classes) - set(model.classes)) or sorted(set(model.classes) - set(classes))
        raise ModelError(
            f"{where} has other classes than the data "
            f"({len(model.classes)} against {len(classes)}; for example {lacking[0]!r})"
        )
    check_input(where, model.spec, data)


def open_refinery(source: str, run: Path, classes: tuple[str, ...]) -> Refinery:
    """The refinery of ``source``, see :func:`check_refinery`.

    Published weights are stored once under ``run/refineries``, so that every network of the run sees the same.

    Raises
    ------
    ModelError
        If the weights cannot be fetched.
    """
    network = published_network(source)
    if network is None:
        given = _folder(source)
        name = Path(source).name if repository(source) else given.name  # a cache has its own names of folders
        if (given / checkpoint.CARD).exists():
            return load_refinery(name, given)
        folder = run / "refineries" / name
        if not (folder / checkpoint.CARD).exists():
            model, card = checkpoint.load(given)
            checkpoint.save(folder, model, card | {"source": source})
        return load_refinery(source, folder)
    folder = run / "refineries" / network.removeprefix("torchvision/").replace("/", "_")
    if not (folder / checkpoint.CARD).exists():
        model = zoo.build(ModelConfig(name=network, init="pretrained"), classes, PUBLISHED_INPUT)
        checkpoint.save(folder, model, {"labels": "pretrained", "source": source})
    return load_refinery(source, folder)


def published_network(source: str) -> str | None:
    """The network's name in :mod:`labelwise.models.zoo`; None if ``source`` is a checkpoint."""
    library, _, name = source.partition(":")
    if library not in ("timm", "torchvision"):
        return None
    return name if library == "timm" else f"torchvision/{name}"


def _folder(source: str) -> Path:
    path = checkpoint.folder_of(source)
    if not (path / checkpoint.CARD).exists() and not is_packed(path):
        raise ModelError(f"chain.refinery: {source}: no checkpoint there ({checkpoint.CARD} is missing)")
    return path
