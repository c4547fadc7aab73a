"""Networks by name: our small ones, timm's, torchvision's, the user's own."""

from __future__ import annotations

import difflib
import importlib.machinery
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.data.config import resolve_model_data_config
from timm.models import load_model_config_from_hf
from torch import Tensor, nn

from labelwise.config import CLOSED_FORM, ModelConfig, is_import_path
from labelwise.errors import ModelError
from labelwise.models import of_open_clip, of_transformers, paper
from labelwise.models.boost import Boost, feature_map
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, InputSpec
from labelwise.models.closed_form import KernelRidge, LinearClassifier, NearestNeighbours
from labelwise.models.head import evaluating, probe, split_head
from labelwise.models.small import MLP, SmallResNet, small_narrow, small_wide
from labelwise.models.stem import small_stem
from labelwise.models.xnor import XnorResNet

OWN: dict[str, Callable[..., nn.Module]] = {
    "small-narrow": small_narrow,
    "small-wide": small_wide,
    "small-resnet": SmallResNet,
    "mlp": MLP,
    "kernel_ridge": KernelRidge,
    "lda": LinearClassifier,
    "logistic": LinearClassifier,
    "knn": NearestNeighbours,
    "paper-alexnet": paper.alexnet,
    "paper-vgg16": paper.vgg16,
    "paper-vgg19": paper.vgg19,
    "paper-mobilenet": paper.mobilenet,
    "paper-darknet19": paper.darknet19,
    "paper-xnor-resnet50": XnorResNet,
}
"""Networks of our own, by name."""

OF_EMBEDDINGS = ("mlp", *CLOSED_FORM)


def build(config: ModelConfig, classes: tuple[str, ...], input_spec: InputSpec) -> Classifier:
    """A network with random or pretrained weights (``init`` as a path is applied by :mod:`checkpoint`).

    Parameters
    ----------
    config : name, constructor arguments and first weights
    classes : names, in the order of the outputs
    input_spec : the size and normalisation of the data, for a network that does not bring its own; ``size`` is the
        input size of the student

    Raises
    ------
    ModelError
        If the name is unknown, an argument is refused, pretrained weights cannot be had, or the network has nothing to
        boost (``boost`` above 1) or no form for small images (``small_images``).
    """
    refuse_unknown(config.name)
    pretrained = config.init == "pretrained"
    features = input_spec.kind == "features"
    if config.name not in OF_EMBEDDINGS and features and not is_import_path(config.name):
        raise ModelError(f"model.name: {config.name!r} takes images, the data are embeddings; use mlp")
    if config.name in OF_EMBEDDINGS and not features:
        raise ModelError(
            f"model.name: {config.name} takes embeddings, the data are images; use small-narrow or a timm name"
        )
    if config.small_images and pretrained:
        raise ModelError(f"model.init: pretrained weights of {config.name} are not of its form for small_images")
    if config.name in OWN:
        if pretrained:
            raise ModelError(f"model.init: there are no pretrained weights of {config.name}; use random or a path")
        net, spec = _construct(OWN[config.name], config, len(classes), input_spec), input_spec
    elif config.name.startswith("torchvision/"):
        net, spec = _torchvision(config, len(classes), input_spec, pretrained)
    elif config.name.startswith(of_transformers.PREFIX):
        if pretrained:
            raise ModelError(f"model.init: pretrained weights of {config.name} are in folders; name one as model.init")
        net, spec = of_transformers.build(config, len(classes), input_spec.channels), input_spec
    elif config.name.startswith(of_open_clip.PREFIX):
        if pretrained:
            raise ModelError(f"model.init: name a checkpoint of {config.name}; chain.unknown.zero_shot makes one")
        net, spec = of_open_clip.build(config.name, config.args, len(classes))
    elif is_import_path(config.name):
        net, spec = _of_the_user(config, len(classes), input_spec, pretrained), input_spec
    else:
        net, spec = _timm(config, len(classes), input_spec, pretrained)
    spec = replace(spec, value_range=input_spec.value_range)
    if config.small_images:
        if config.name not in OWN and not is_import_path(config.name):  # these have been told
            small_stem(net, config.name)
        net.small_images = True  # type: ignore[assignment]  # Classifier.network asks for it
    return Classifier(net, spec, classes, config.name, config.args, _boost(net, spec, config))


@torch.no_grad()
def _boost(net: nn.Module, spec: InputSpec, config: ModelConfig) -> Boost | None:
    """The boost that ``config`` asks for, where the input of the network's head is the mean of its last feature map."""
    if config.boost == 1:
        return None
    where = f"model.boost: {config.name}"
    if spec.kind == "features":
        raise ModelError(f"{where} takes embeddings, which have no positions to boost; leave it out")
    split = split_head(net, spec, where)
    x = probe(net, spec)
    with evaluating(net):
        pooled = split.features(x)
        try:
            seen = feature_map(net, x)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
            seen = pooled  # it has none
    if seen.ndim != 4 or not _close(seen.mean((2, 3)), pooled):
        raise ModelError(
            f"{where}: the input of its last layer is not the mean of a feature map, so there is nothing to boost; use"
            " small-narrow, small-wide, or a ResNet or EfficientNet"
        )
    if seen.shape[2:].numel() == 1:
        raise ModelError(f"{where}: its last feature map of {x.shape[-1]} px has one position; set a larger views.size")
    return Boost(config.boost, split.paths[0], config.boost_training)


def _close(found: Tensor, expected: Tensor) -> bool:
    """Equal but for the order in which a mean was summed."""
    return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


def _construct(function: Callable[..., nn.Module], config: ModelConfig, classes: int, data: InputSpec) -> nn.Module:
    """Call ``function(num_classes, in_channels_or_features, <args>)``."""
    inputs = data.size if data.kind == "features" else data.channels
    args = config.args
    if config.small_images:
        if "small_images" not in inspect.signature(function).parameters:
            raise ModelError(f"model.small_images: {config.name} has one form for all sizes of images; leave it out")
        args = args | {"small_images": True}
    if function is paper.alexnet and not args.get("small_images") and data.size not in (0, paper.ALEXNET_SIZE):
        raise ModelError(
            f"model.name: {config.name} takes images of {paper.ALEXNET_SIZE} px, not {data.size}: set views.size, or"
            " model.small_images for 32 to 64 px"
        )
    try:
        inspect.signature(function).bind(classes, inputs, **args)
    except TypeError as error:
        raise ModelError(f"model.args of {config.name}: {error} (called with num_classes, in_channels)") from None
    try:
        net = function(classes, inputs, **args)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.args of {config.name}: {error}") from error
    if not isinstance(net, nn.Module):
        raise ModelError(f"model.name: {config.name} returns {type(net).__name__}, expected a torch.nn.Module")
    return net


def _of_the_user(config: ModelConfig, classes: int, data: InputSpec, pretrained: bool) -> nn.Module:
    """A function ``(num_classes, in_channels, ...)``, or one as torch.hub has them: ``(pretrained, ..., num_classes)``.

    Published weights of the latter keep their own head until it is replaced.
    """
    module, _, attribute = config.name.partition(":")
    function = _import(module, attribute)
    flag = next(iter(inspect.signature(function).parameters), "")
    if flag not in ("pretrained", "weights"):
        if pretrained:
            raise ModelError(f"model.init: there are no pretrained weights of {config.name}; use random or a path")
        return _construct(function, config, classes, data)
    published = True if flag == "pretrained" else "DEFAULT"
    asked: dict[str, Any] = {flag: published} if pretrained else {"num_classes": classes}
    try:
        net = function(**asked, **config.args)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.args of {config.name}: {error} (called with num_classes)") from None
    except OSError as error:
        raise ModelError(_no_weights(config.name, "where its code fetches them", error)) from None
    if pretrained:
        _replace_last_layer(net, classes)
    return net


def _import(module: str, attribute: str) -> Callable[..., nn.Module]:
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        here = importlib.machinery.PathFinder.find_spec(module.partition(".")[0], [str(Path.cwd())])
        hint = "; modules of the working folder need --trust-code" if here and str(Path.cwd()) not in sys.path else ""
        raise ModelError(f"model.name: {module}:{attribute} cannot be imported ({error}){hint}") from None
    if not callable(function):
        raise ModelError(f"model.name: {module}:{attribute} is not a function or class")
    return function  # type: ignore[no-any-return]


def _timm(config: ModelConfig, classes: int, data: InputSpec, pretrained: bool) -> tuple[nn.Module, InputSpec]:
    name = config.name
    try:
        net = timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=data.channels, **config.args)
    except TypeError as error:
        raise ModelError(f"model.args of {name}: {error}") from None
    except Exception as error:  # the hub client raises a dozen unrelated types
        if not pretrained:
            raise ModelError(f"{name}: {' '.join(str(error).split())[:200]}") from None
        raise ModelError(_no_weights(name, "the Hugging Face hub", error)) from None
    published = resolve_model_data_config(net)
    # A network with fixed input size (most transformers) says so; others follow the data.
    fixed = bool(published.get("fixed_input_size") or getattr(net, "patch_embed", None) is not None)
    size = published["input_size"][1] if fixed else data.size
    if fixed and (built := getattr(getattr(net, "patch_embed", None), "img_size", None)) is not None:
        size = int(built[0])  # model.args may have asked for another one
    if not pretrained:
        return net, InputSpec("image", size, data.channels, data.mean, data.std, data.interpolation)
    mean, std = (tuple(published[k])[: data.channels] for k in ("mean", "std"))
    return net, InputSpec("image", size, data.channels, mean, std, data.interpolation)


def _torchvision(config: ModelConfig, classes: int, data: InputSpec, pretrained: bool) -> tuple[nn.Module, InputSpec]:
    name = config.name.removeprefix("torchvision/")
    if data.channels != 3:
        raise ModelError(f"{config.name} takes RGB images; set data.channels=3")
    try:
        if not pretrained:
            net = torchvision.models.get_model(name, weights=None, num_classes=classes, **config.args)
            return net, data
        net = torchvision.models.get_model(name, weights="DEFAULT", **config.args)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.args of {config.name}: {error}") from None
    except OSError as error:
        raise ModelError(_no_weights(config.name, "download.pytorch.org", error)) from None
    _replace_last_layer(net, classes)
    return net, InputSpec("image", data.size, 3, IMAGENET_MEAN, IMAGENET_STD, data.interpolation)


def pretrained_classes(name: str) -> int:
    """How many classes the published weights of a timm name or ``torchvision/NAME`` tell apart; 0 if none.

    Raises
    ------
    ModelError
        If there is no such network, or no such weights, or the hub that describes them cannot be reached.
    """
    refuse_unknown(name)
    if name.startswith("torchvision/"):
        weights = torchvision.models.get_model_weights(name.removeprefix("torchvision/"))
        return len(weights["DEFAULT"].meta.get("categories", ()))
    if name.startswith("hf-hub:"):
        try:
            return int(load_model_config_from_hf(name.removeprefix("hf-hub:"))[0].get("num_classes", 0))
        except Exception as error:  # the hub client raises a dozen unrelated types
            raise ModelError(_no_weights(name, "the Hugging Face hub", error)) from None
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.has_weights:
        raise ModelError(f"model.name: there are no pretrained weights of {name}")
    return int(published.num_classes)


def refuse_unknown(name: str) -> None:
    """Nothing is built, so that a chain can ask for all its networks before the first is trained.

    Raises
    ------
    ModelError
        If no network is called ``name``, with those that are called alike.
    """
    if name in OWN:
        return
    if name.startswith("torchvision/"):
        known = torchvision.models.list_models()
        if (short := name.removeprefix("torchvision/")) not in known:
            raise ModelError(f"model.name: torchvision has no model {short!r}{_alike(short, known)}")
    elif name.startswith((of_transformers.PREFIX, of_open_clip.PREFIX)):
        return  # only the library knows, and it takes seconds to import
    elif is_import_path(name):
        module, _, attribute = name.partition(":")
        _import(module, attribute)
    elif not name.startswith("hf-hub:") and not timm.is_model(name.split(".")[0]):
        close = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        hint = f"; did you mean {', '.join(close)}?" if close else _alike(name, [*OWN, *timm.list_models()])
        raise ModelError(f"model.name: no network called {name!r}{hint}")


def _alike(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 3)
    return f"; did you mean {', '.join(close)}?" if close else ""


def _replace_last_layer(net: nn.Module, classes: int) -> None:
    """Give a pretrained torchvision network an output per class of the data (SqueezeNet ends in a convolution)."""
    name, last = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    new: nn.Module
    if isinstance(last, nn.Conv2d):
        outputs, new = last.out_channels, nn.Conv2d(last.in_channels, classes, 1)
    else:
        outputs, new = last.out_features, nn.Linear(last.in_features, classes, bias=last.bias is not None)
    if outputs == classes:
        return
    parent = net.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], new)


def _no_weights(name: str, host: str, error: Exception) -> str:
    reason = type(error).__name__
    return (
        f"pretrained weights of {name} could not be fetched from {host} ({reason}): connect, or name a file of weights "
        "with model.init=PATH (of `labelwise features` and `export`: --weights FILE)"
    )


def parameter_count(net: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in net.parameters())
