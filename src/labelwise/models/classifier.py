"""A network together with what it expects of its input and what its outputs mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to see.

    ``size`` is the side of a square image, or the length of a feature vector; ``mean`` and ``std`` are per channel
    for images (of values in [0, 1]), per feature and one number for embeddings. ``size`` 0 takes any image size.
    """

    kind: Literal["image", "features"]
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's JSON."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> InputSpec:
        """The inverse of :meth:`to_json`."""
        return InputSpec(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


class Classifier(nn.Module):
    """``net`` behind its normalisation: takes views in [0, 1] (or raw embeddings), gives logits (B, K).

    Grey views are repeated for a network of three channels, so a refinery may see colours where the student does not
    and the reverse is refused at construction of the chain.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, spec: InputSpec, classes: tuple[str, ...], name: str, args: dict[str, Any]
    ) -> None:
        super().__init__()
        self.net = net
        self.spec = spec
        self.classes = classes
        self.name = name
        self.args = args
        shape = (1, -1, 1, 1) if spec.kind == "image" else (1, -1)
        self._channels_last = False
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of views (B, C, S, S) in [0, 1] or embeddings (B, D)."""
        if self.spec.kind == "image" and x.shape[1] == 1 and self.spec.channels == 3:
            x = x.expand(-1, 3, -1, -1)
        x = (x - self.mean) / self.std
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.net(x)

    def use_channels_last(self) -> None:
        """Keep weights and inputs in the memory format that convolutions run fastest in."""
        if self.spec.kind == "image":
            self._channels_last = True
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
