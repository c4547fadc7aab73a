"""What the solvers have in common: samples go in, a path of candidates comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 4096
"""Samples whose kernel with the centres is in memory at a time."""

FAR = 10.0
"""Distance from the middle beyond which a row is taken for a broken one, in median distances; of embeddings of CIFAR-10
and UC Merced the farthest is at 1.8."""

WIDE = 1000.0
"""How much wider than others a column is that is told; UC Merced's widest is 16 times as wide as the median one."""

LOOKED_AT = 5000
"""Rows, about, that medians are taken of."""


@dataclass(frozen=True)
class Samples:
    """Embeddings ``x`` (N, D) float64, and labels ``y`` (N, K) float64 whose rows sum to one."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Candidate:
    """A solution: a float64 network, and its scores (n, K) for the samples that were asked about."""

    words: str
    net: Callable[[], nn.Module]
    scores: Tensor


Solver = Callable[[Samples, Tensor | None, dict[str, Any], int], Iterator[Candidate]]
"""Of samples, embeddings (n, D) to be asked about, arguments of the network and a seed. Without embeddings to be asked
about, the samples themselves are, each left out of its own answer."""


def location(x: Tensor) -> tuple[Tensor, float]:
    """Mean (D,) and the standard deviation over all features, 1 where nothing differs."""
    centre = x.mean(0)
    largest = float((x - centre).abs().max())
    if largest == 0:
        return centre, 1.0
    return centre, largest * float(((x - centre) / largest).square().mean().sqrt())


class Tamer:
    """Pulls rows that lie much farther from the middle than others to where the others are.

    Means and variances have no bound: one broken row of an embedding file would decide on all of a fit. Rows that are
    not that far stay exactly as they are.

    Parameters
    ----------
    x : (N, D) the rows that say where the middle is and how far others are, at the median

    Attributes
    ----------
    count : rows that were pulled so far
    columns : that vary so much more than others that distances are theirs alone; they stay as they are
    """

    def __init__(self, x: Tensor) -> None:
        some = x[:: max(1, len(x) // LOOKED_AT)]
        self._centre = some.median(0).values
        self._usual = float((some - self._centre).norm(dim=1).median())
        spread = (some - self._centre).abs().median(0).values
        varies = spread[spread > 0]
        self.columns = int((spread > WIDE * varies.median()).sum()) if len(varies) else 0
        self.count = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The rows (n, D), those far away pulled."""
        distance = torch.cat([(part - self._centre).norm(dim=1) for part in x.split(BLOCK)])
        far = torch.nonzero(distance > FAR * self._usual)[:, 0] if self._usual > 0 else distance[:0].long()
        if not len(far):
            return x
        self.count += len(far)
        pulled = x.clone()
        pulled[far] = self._centre + (x[far] - self._centre) / distance[far, None] * self._usual
        return pulled


@torch.no_grad()
def set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


@torch.no_grad()
def set_samples(held: Tensor, samples: Tensor, scale: Tensor, value: float) -> None:
    held.copy_(samples)
    scale.fill_(value)
