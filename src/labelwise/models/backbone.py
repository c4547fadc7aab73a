"""A trained network that did not come from labelwise, opened by its name and weights, as it was meant to be used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from timm.data.config import resolve_model_data_config
from torch import Tensor

from labelwise.config import ModelConfig
from labelwise.errors import ConfigError, ModelError
from labelwise.models.checkpoint import load, load_weights, read_weights
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, InputSpec
from labelwise.models.head import split_head
from labelwise.models.zoo import OWN, build

OUTPUTS = 1000
"""Outputs of a network whose file of weights does not say otherwise."""

SIZE = 224
"""Input side where the network has no size of its own."""


@dataclass(frozen=True)
class Backbone:
    """A trained network and how it is looked through.

    ``eval_crop`` is the share of an image's shorter side that the centre view takes. ``head`` says what is known of
    the outputs: ``named`` by the classes of ``classifier``, ``unnamed`` (its classes are numbers), or ``none`` (the
    head is random, or the library's own).
    """

    classifier: Classifier
    eval_crop: float
    head: Literal["named", "unnamed", "none"]


def is_timm(name: str) -> bool:
    """Whether a network's name is one of timm's (or of its hub's)."""
    return name not in OWN and not name.startswith("torchvision/") and (":" not in name or name.startswith("hf-hub:"))


def open_model(model: str, args: dict[str, Any], weights: Path | None, pretrained: bool, spec: InputSpec) -> Backbone:
    """A labelwise checkpoint, or a network by name with ``weights`` or (``pretrained``) its library's weights.

    Parameters
    ----------
    model : a checkpoint folder, one of its files, or a network's name as in a recipe
    args, weights, spec : for a network by name, see :func:`open_backbone`

    Raises
    ------
    ConfigError
        If a checkpoint is given weights, or a name none.
    ModelError
        As :func:`open_backbone` and :func:`labelwise.models.checkpoint.load`.
    """
    if Path(model).exists():
        if weights is not None or pretrained:
            raise ConfigError(f"{model} is a checkpoint and has its own weights; leave --weights and --pretrained out")
        classifier, card = load(Path(model))
        return Backbone(classifier, card.get("eval_crop", 1.0), "named")
    if (weights is None) != pretrained:
        raise ConfigError(f"{model}: no such checkpoint; a network's name needs either --weights FILE or --pretrained")
    return open_backbone(model, args, weights, spec)


def open_backbone(name: str, args: dict[str, Any], weights: Path | None, spec: InputSpec) -> Backbone:
    """A network with the weights of a file, or pretrained ones of its library where ``weights`` is None.

    Size, normalisation, interpolation and crop are those that timm knows the network by; other networks see images of
    224 px, normalised as ImageNet is.

    Parameters
    ----------
    name, args : as in a recipe's ``model``
    weights : safetensors, or a state dict of ``torch.save``; a missing head is left random
    spec : how the data look; a ``size`` above 0 replaces the network's own

    Raises
    ------
    ModelError
        If the network is unknown, the weights are another network's or cannot be fetched, or its head is not one
        linear layer.
    """
    image = spec.kind == "image"
    asked = replace(spec, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD, size=0) if image else spec
    if weights is None:
        found = _build(name, args, "pretrained", OUTPUTS, asked)
        has_head = False
    else:
        state = read_weights(weights)
        found = _build(name, args, "random", OUTPUTS, asked)
        head = split_head(found.net, _sized(found, spec).spec, name).paths[0]
        outputs = len(state[f"{head}.weight"]) if f"{head}.weight" in state else OUTPUTS
        channels = _channels(found, state) if image else asked.channels
        if (outputs, channels) != (OUTPUTS, asked.channels):
            mean, std = (values if channels == 3 else (sum(values) / 3,) for values in (IMAGENET_MEAN, IMAGENET_STD))
            asked = replace(asked, channels=channels, mean=mean, std=std)
            found = _build(name, args, "random", outputs, asked)
        own = found.net.state_dict()
        missing_head = {key: own[key] for key in (f"{head}.weight", f"{head}.bias") if key in own}
        has_head = f"{head}.weight" in state
        load_weights(found.net, state if has_head else {**state, **missing_head}, str(weights))
    crop = _habits(found)["crop_pct"] if image and is_timm(name) else 1.0
    return Backbone(_sized(found, spec), crop, "unnamed" if has_head else "none")


def _build(name: str, args: dict[str, Any], init: str, outputs: int, spec: InputSpec) -> Classifier:
    return build(ModelConfig(name=name, init=init, args=args), tuple(map(str, range(outputs))), spec)


def _habits(model: Classifier) -> dict[str, Any]:
    """How timm wants a network to be looked through."""
    return dict(resolve_model_data_config(model.net))


def _sized(model: Classifier, data: InputSpec) -> Classifier:
    """The classifier with the size and normalisation of its own library, or the size that is asked for.

    ``model.spec.size`` is 0 for a network that takes any size.
    """
    spec = model.spec
    if spec.kind == "features":
        return model
    if spec.size and data.size not in (0, spec.size):
        raise ModelError(f"{model.name} takes images of {spec.size} px only; leave views.size out")
    if not is_timm(model.name):
        spec = replace(spec, size=data.size or SIZE)
    else:
        habits = _habits(model)
        smooth = habits["interpolation"] if habits["interpolation"] in ("bilinear", "bicubic") else "bicubic"
        mean, std = (tuple(habits[key]) for key in ("mean", "std"))
        if len(mean) != spec.channels:
            mean, std = spec.mean, spec.std
        size = spec.size or data.size or habits["input_size"][1]
        spec = replace(spec, size=size, mean=mean, std=std, interpolation=smooth)
    return Classifier(model.net, spec, model.classes, model.name, model.args)


def _channels(model: Classifier, state: dict[str, Tensor]) -> int:
    """Image channels that a file of weights was trained with: of the first convolution's kernels."""
    stem = next((key for key, value in model.net.state_dict().items() if value.ndim == 4 and value.shape[1] == 3), "")
    return state[stem].shape[1] if stem in state and state[stem].ndim == 4 else model.spec.channels
