"""BoostLU as a property of a network: logits from its last feature map, where positive scores count more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

from labelwise.losses.partial import boosted_logits


@dataclass(frozen=True)
class Boost:
    """Takes the place of a network's forward pass: positive class-activation scores count ``alpha`` times.

    Kim et al. 2023 (arXiv 2304.01804). The network stays as it is, weights and names; only its pooling and its linear
    layer are passed by, and dropout between the two with them.

    Parameters
    ----------
    alpha : see :func:`labelwise.losses.partial.boost_positive`
    head : name of the linear layer in the network
    training : also boost while training, and not in evaluation mode alone
    """

    alpha: float
    head: str
    training: bool = True

    def __call__(self, net: nn.Module, x: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, C, S, S)."""
        head: Any = net.get_submodule(self.head)
        return boosted_logits(feature_map(net, x), head.weight, head.bias, self.alpha)


def feature_map(net: nn.Module, x: Tensor) -> Tensor:
    """What a network's global pooling sees of images (B, C, S, S): (B, D, H, W) where the network has such a map.

    That is ``forward_features`` (timm), the module ``features`` (torchvision, ours), or all layers in front of the
    first adaptive pooling, one after the other (torchvision's ResNet). No name says whether the head's input really is
    its mean: compare the two, as :func:`labelwise.models.zoo.build` does.
    """
    forward = getattr(net, "forward_features", None) or getattr(net, "features", None)
    if callable(forward):
        found: Tensor = forward(x)
        return found
    for layer in takewhile(lambda layer: not isinstance(layer, nn.AdaptiveAvgPool2d), _layers(net)):
        x = layer(x)
    return x


def _layers(net: nn.Module) -> list[nn.Module]:
    """The parts of a network; where it is one part in a shell, that one's."""
    parts = list(net.children())
    return _layers(parts[0]) if len(parts) == 1 else parts
