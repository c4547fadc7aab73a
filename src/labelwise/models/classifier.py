"""A network together with what it expects of its input and what its outputs mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from labelwise.errors import ModelError
from labelwise.models.boost import Boost

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to see.

    ``size`` is the side of a square image, or the length of a feature vector; ``mean`` and ``std`` are per channel
    for images (of values in [0, 1]), per feature and one number for embeddings. ``size`` 0 takes any image size.
    ``value_range`` is what black and white were in images of more than 8 bits; None for all that their files can hold.
    """

    kind: Literal["image", "features"]
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    value_range: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's JSON."""
        card = asdict(self)
        return card if self.value_range is not None else {k: v for k, v in card.items() if k != "value_range"}

    @staticmethod
    def from_json(values: dict[str, Any]) -> InputSpec:
        """The inverse of :meth:`to_json`."""
        tuples = {key: tuple(values[key]) for key in ("mean", "std", "value_range") if values.get(key) is not None}
        return InputSpec(**{**values, **tuples})


def check_input(name: str, network: InputSpec, data: InputSpec) -> None:
    """Refuse data that a finished network cannot see; grey images may be seen by one of three channels.

    Raises
    ------
    ModelError
        If they are of another kind, length, number of channels or range of values.
    """
    if network.kind != data.kind:
        raise ModelError(f"{name} takes {network.kind}, the data are of kind {data.kind}")
    if network.kind == "features" and network.size != data.size:
        raise ModelError(f"{name} takes {network.size} features, the data have {data.size}")
    if network.kind == "image" and network.channels not in (data.channels, 3):
        raise ModelError(f"{name} takes {network.channels} channel, the data have {data.channels}")
    if network.value_range not in (None, data.value_range):
        low, high = network.value_range
        raise ModelError(f"{name} takes images of values from {low:g} to {high:g}; set data.value_range=[{low},{high}]")


def logits_of(output: Any) -> Tensor:
    """The logits in what a network returns: a tensor, or an object with ``logits`` (transformers).

    Raises
    ------
    ModelError
        If it is neither.
    """
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        raise ModelError(f"the network returns {type(output).__name__}, expected a tensor or an object with .logits")
    return found


class Classifier(nn.Module):
    """``net`` behind its normalisation: takes views in [0, 1] (or raw embeddings), gives logits (B, K).

    Grey views are repeated for a network of three channels, so a refinery may see colours where the student does not
    and the reverse is refused at construction of the chain. With a ``boost`` the logits are its own, not ``net``'s.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        spec: InputSpec,
        classes: tuple[str, ...],
        name: str,
        args: dict[str, Any],
        boost: Boost | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.spec = spec
        self.classes = classes
        self.name = name
        self.args = args
        self.boost = boost
        shape = (1, -1, 1, 1) if spec.kind == "image" else (1, -1)
        self._channels_last = False
        self._frozen: tuple[str, ...] = ()
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of views (B, C, S, S) in [0, 1] or embeddings (B, D)."""
        if self.spec.kind == "image" and x.shape[1] == 1 and self.spec.channels == 3:
            x = x.expand(-1, 3, -1, -1)
        x = (x - self.mean) / self.std
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.boost is None or (self.training and not self.boost.training):
            found = logits_of(self.net(x))
            if found.ndim != 2:
                raise ModelError(
                    f"{self.name}: gives logits of shape {tuple(found.shape)}, expected (samples, classes)"
                )
            return found
        return self.boost(self.net, x)

    @property
    def network(self) -> dict[str, Any]:
        """What a recipe's ``model`` says of this network, but for its first weights: enough to build it again."""
        plain: dict[str, Any] = {"name": self.name, "args": self.args}
        if getattr(self.net, "small_images", False):
            plain["small_images"] = True
        if self.boost is None:
            return plain
        return plain | {"boost": self.boost.alpha, "boost_training": self.boost.training}

    def use_channels_last(self) -> None:
        """Keep weights and inputs in the memory format that convolutions run fastest in."""
        if self.spec.kind == "image":
            self._channels_last = True
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train_only(self, names: tuple[str, ...]) -> None:
        """Train the parameters whose names in ``net`` begin with one of ``names``; the others, and the statistics of
        norms among them, stay as they are, in training mode too.

        Raises
        ------
        ModelError
            If a name is that of no parameter.
        """
        found = {
            name: tuple(n for n in names if f"{name}.".startswith(f"{n}.")) for name, _ in self.net.named_parameters()
        }
        idle = set(names).difference(*found.values())
        if idle:
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name in found))
            raise ModelError(f"train.only: {self.name} has no layer {sorted(idle)[0]!r}; it has {known}")
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(bool(found[name]))
        own = {name: list(module.parameters(recurse=False)) for name, module in self.net.named_modules()}
        self._frozen = tuple(
            name for name, values in own.items() if values and not any(v.requires_grad for v in values)
        )
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for the modules that :meth:`train_only` has frozen."""
        super().train(mode)
        for name in self._frozen:
            self.net.get_submodule(name).training = False
        return self


def as_classifier(
    net: nn.Module,
    classes: tuple[str, ...],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
) -> Classifier:
    """Any network that gives logits (B, K) of images, behind its normalisation; a :class:`Classifier` stays as it is.

    Parameters
    ----------
    classes : names of the K classes, in the order of the outputs
    mean, std : per channel, what the network wants pixels in [0, 1] normalised with; default: what the
        ``pretrained_cfg`` or ``default_cfg`` of a timm model says
    size : side in px of the images that it takes; default: any

    Raises
    ------
    ModelError
        If the normalisation is neither given nor said by the network, or no normalisation at all.
    """
    if isinstance(net, Classifier):
        return net
    name = type(net).__name__
    timm_says = getattr(net, "pretrained_cfg", None) or getattr(net, "default_cfg", None) or {}
    mean, std = mean or timm_says.get("mean"), std or timm_says.get("std")
    if mean is None or std is None:
        raise ModelError(f"{name} does not say how its input is normalised; give mean and std per channel")
    if len(mean) != len(std) or min(std) <= 0:
        raise ModelError(f"{name}: mean and std need a number for each channel, std above 0; got {mean} and {std}")
    own = InputSpec("image", size or 0, len(mean), tuple(mean), tuple(std))
    classifier = Classifier(net, own, classes, name, {})
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    return classifier.to(device)


def class_order(model: Classifier, classes: tuple[str, ...], name: str) -> Tensor | None:
    """Columns of the refinery in the order of ``classes``; None where they already agree."""
    if model.classes == classes:
        return None
    missing, extra = sorted(set(classes) - set(model.classes)), sorted(set(model.classes) - set(classes))
    if missing or extra or len(model.classes) != len(classes):
        example = f"it lacks {missing[0]!r}" if missing else f"it has {extra[0]!r}" if extra else "names repeat"
        raise ModelError(
            f"refinery {name} has other classes than the data ({len(model.classes)} against {len(classes)}; {example})"
        )
    position = {label: i for i, label in enumerate(model.classes)}
    return torch.tensor([position[label] for label in classes])
