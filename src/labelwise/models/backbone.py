"""Open a trained network: a checkpoint, or a network by name with its weights and its own way to prepare images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from timm.data.config import resolve_model_data_config

from labelwise.config import ModelConfig, is_import_path
from labelwise.errors import ConfigError, ModelError
from labelwise.models import of_open_clip, of_transformers
from labelwise.models.by_order import rename_by_order
from labelwise.models.checkpoint import head_keys, load, load_weights, read_weights
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, InputSpec
from labelwise.models.foreign import Trust
from labelwise.models.head import split_head
from labelwise.models.hub import repository
from labelwise.models.own_keys import own_keys
from labelwise.models.zoo import OWN, build

OUTPUTS = 1000
"""Number of outputs of a network by name; a file of weights may have another number."""

SIZE = 224
"""Side of the input in pixels where the network has no size of its own."""


@dataclass(frozen=True)
class ModelSource:
    """Which trained network to open.

    Attributes
    ----------
    model : a checkpoint folder, one of its files, or a network's name as in a recipe
    weights : file of a network by name: safetensors, or a state dict of ``torch.save``
    pretrained : take the weights that its library publishes
    weights_by_order : match the tensors of ``weights`` by their order, see
        :func:`labelwise.models.by_order.rename_by_order`
    trust : what may be built that the card of a checkpoint describes, see
        :func:`labelwise.models.foreign.refuse_foreign`
    """

    model: str
    weights: Path | None = None
    pretrained: bool = False
    weights_by_order: bool = False
    trust: Trust = False


@dataclass(frozen=True)
class Backbone:
    """A trained network and how its images are prepared.

    Attributes
    ----------
    eval_crop : share of an image's shorter side that the centre view takes
    head : what is known of the outputs: ``named`` by the classes of ``classifier``, ``unnamed`` (its classes are
        numbers), or ``none`` (the head is random, or the library's own)
    """

    classifier: Classifier
    eval_crop: float
    head: Literal["named", "unnamed", "none"]


def is_timm(name: str) -> bool:
    """Whether a network's name is one of timm's (or of its hub's)."""
    others = ("torchvision/", of_open_clip.PREFIX, of_transformers.PREFIX)
    return name not in OWN and not name.startswith(others) and not is_import_path(name)


def open_model(source: ModelSource, args: dict[str, Any], spec: InputSpec) -> Backbone:
    """A labelwise checkpoint, or a network by name with weights of a file or its library's weights.

    Size, normalisation, interpolation and crop of a network by name are those that timm knows it by. Other networks
    see images of 224 px, normalised as ImageNet is.

    Parameters
    ----------
    args : of the constructor of a network by name, as in a recipe's ``model``
    spec : how the data look; a ``size`` above 0 replaces the network's own

    Raises
    ------
    ConfigError
        If a checkpoint is given weights, or a name none.
    ModelError
        As :func:`labelwise.models.checkpoint.load`; for a network that is unknown, weights that are another network's
        or cannot be fetched, and a head that is not one linear layer.
    """
    model = source.model
    if source.weights_by_order and source.weights is None:
        raise ConfigError("--weights-by-order: it is about the file of --weights, which is missing")
    by_name = source.weights is not None or source.pretrained
    if Path(model).exists() or (repository(model) and not by_name):
        if by_name:
            raise ConfigError(f"{model} is a checkpoint and has its own weights; leave --weights and --pretrained out")
        classifier, card = load(Path(model), source.trust)
        return Backbone(classifier, card.get("eval_crop", 1.0), "named")
    if (source.weights is None) != source.pretrained:
        raise ConfigError(f"{model}: no such checkpoint; a network's name needs either --weights FILE or --pretrained")
    image = spec.kind == "image"
    asked = replace(spec, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD, size=0) if image else spec
    if source.weights is None:
        found, has_head = _build(model, args, "pretrained", OUTPUTS, asked), False
    else:
        found, has_head = _with_weights(source, source.weights, args, asked, spec)
    crop = _habits(found)["crop_pct"] if image and is_timm(model) else 1.0
    return Backbone(_sized(found, spec), crop, "unnamed" if has_head else "none")


def _with_weights(
    source: ModelSource, file: Path, args: dict[str, Any], asked: InputSpec, spec: InputSpec
) -> tuple[Classifier, bool]:
    """A network with the weights of ``file``, of as many outputs and channels as these have; and whether of any head.

    A head that the file lacks stays random.
    """
    state, name = read_weights(file), source.model
    found = _build(name, args, "random", OUTPUTS, asked)
    head = head_keys(split_head(found.net, _sized(found, spec).spec, name).paths[0])
    stem = _stem(found) if asked.kind == "image" else ""
    if source.weights_by_order:
        state = rename_by_order(found.net.state_dict(), state, str(file), head, stem)
    else:
        state = own_keys(found.net, state, str(file), head)
    has_head = head[0] in state
    outputs = len(state[head[0]]) if has_head else OUTPUTS
    channels = state[stem].shape[1] if stem in state and state[stem].ndim == 4 else asked.channels
    if (outputs, channels) != (OUTPUTS, asked.channels):
        mean, std = (values if channels == 3 else (sum(values) / 3,) for values in (IMAGENET_MEAN, IMAGENET_STD))
        asked = replace(asked, channels=channels, mean=mean, std=std)
        found = _build(name, args, "random", outputs, asked)
    load_weights(found.net, state, str(file), head)
    return found, has_head


def _build(name: str, args: dict[str, Any], init: str, outputs: int, spec: InputSpec) -> Classifier:
    return build(ModelConfig(name=name, init=init, args=args), tuple(map(str, range(outputs))), spec)


def _habits(model: Classifier) -> dict[str, Any]:
    """How timm prepares images for a network: size, crop, interpolation, normalisation."""
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


def _stem(model: Classifier) -> str:
    """Key of the kernels of the first convolution, whose second axis is the channels of an image; "" for none."""
    return next((key for key, value in model.net.state_dict().items() if value.ndim == 4 and value.shape[1] == 3), "")
