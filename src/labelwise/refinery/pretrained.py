"""Refineries from outside the run: a labelwise checkpoint, or pretrained weights of timm or torchvision."""

from __future__ import annotations

from pathlib import Path

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from labelwise.refinery.context import Refinery, load_refinery
from labelwise.runs import read_json

PRETRAINED_SIZE = 224


def open_refinery(source: str, run: Path, classes: tuple[str, ...]) -> Refinery:
    """A checkpoint folder, or ``timm:NAME`` / ``torchvision:NAME`` whose outputs are the classes of the data in order.

    Pretrained weights are stored once under ``run/refineries`` so that every step of the run sees the same.

    Raises
    ------
    ModelError
        If it is missing, cannot be fetched, or has other classes.
    """
    library, _, name = source.partition(":")
    if library not in ("timm", "torchvision"):
        path = Path(source)
        path = path if path.is_dir() else path.parent
        if not (path / checkpoint.CARD).exists():
            raise ModelError(f"chain.refinery: {source}: no checkpoint there ({checkpoint.CARD} is missing)")
        known = tuple(read_json(path / checkpoint.CARD).get("classes", ()))
        if set(known) != set(classes):
            lacking = sorted(set(classes) - set(known)) or sorted(set(known) - set(classes))
            raise ModelError(
                f"chain.refinery: {source} has other classes than the data "
                f"({len(known)} against {len(classes)}; for example {lacking[0]!r})"
            )
        return load_refinery(path.name, path)
    folder = run / "refineries" / name.replace("/", "_")
    if not (folder / checkpoint.CARD).exists():
        habits = InputSpec("image", PRETRAINED_SIZE, 3, IMAGENET_MEAN, IMAGENET_STD)
        network = name if library == "timm" else f"torchvision/{name}"
        if (own := zoo.pretrained_classes(network)) != len(classes):
            raise ModelError(f"chain.refinery: {source} has other classes than the data ({own} against {len(classes)})")
        model = zoo.build(ModelConfig(name=network, init="pretrained"), classes, habits)
        checkpoint.save(folder, model, {"labels": "pretrained", "source": source})
    return load_refinery(source, folder)
