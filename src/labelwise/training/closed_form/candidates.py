"""What the solvers have in common: samples go in, a path of candidates comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.data.notes import tell

BLOCK = 4096
"""Samples whose kernel with the centres is in memory at a time."""

FAR = 10.0
"""Distance from the middle beyond which a row is taken for a broken one, in median distances; of embeddings of CIFAR-10
and UC Merced the farthest is at 1.8."""

WIDE = 20.0
"""How much wider than the median one a column is that is scaled down to it. UC Merced's widest is 5 times as wide, the
first of its 512 principal components 10 times."""

WIDTH = 0.95
"""The width of a column is this quantile of the distances from its median: a twentieth of the rows may be anything."""

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
    """Scales columns down that are far wider than the others, and pulls rows that lie much farther from the middle than
    others to where the others are.

    Means, variances and distances have no bound: one column in other units or one broken row of an embedding file would
    decide on all of a fit. Columns and rows that are not that far off stay exactly as they are.

    Parameters
    ----------
    x : (N, D) the rows that say how wide columns are, where the middle is, and how far others are, at the median

    Attributes
    ----------
    divisor : (D,) of the columns, or None where all stay
    count : rows that were pulled so far
    """

    def __init__(self, x: Tensor) -> None:
        some = x[:: max(1, len(x) // LOOKED_AT)]
        self._centre = some.median(0).values
        width = (some - self._centre).abs().kthvalue(max(1, round(WIDTH * len(some))), dim=0).values
        ratio = width / width[width > 0].median() if bool((width > 0).any()) else width
        self.divisor = torch.where(ratio > WIDE, ratio, 1.0) if bool((ratio > WIDE).any()) else None
        if self.divisor is not None:
            some, self._centre = some / self.divisor, self._centre / self.divisor
        self._usual = float((some - self._centre).norm(dim=1).median())
        self.count = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The rows (n, D), wide columns scaled and those far away pulled."""
        if self.divisor is not None:
            x = x / self.divisor
        distance = torch.cat([(part - self._centre).norm(dim=1) for part in x.split(BLOCK)])
        far = torch.nonzero(distance > FAR * self._usual)[:, 0] if self._usual > 0 else distance[:0].long()
        if not len(far):
            return x
        self.count += len(far)
        pulled = x.clone()
        pulled[far] = self._centre + (x[far] - self._centre) / distance[far, None] * self._usual
        return pulled

    def tell(self, name: str) -> None:
        """Say what was done, if anything, in messages that begin with ``name``."""
        if self.divisor is not None:
            tell(
                f"{name}: {int((self.divisor != 1).sum())} columns of the embeddings vary more than {WIDE:g} times as"
                " much as the median one; they are scaled down to it"
            )
        if self.count:
            tell(
                f"{name}: {self.count} embeddings lie more than {FAR:g} times as far from the middle as others; they"
                " count as if they were as far as those (look for broken rows)"
            )


@torch.no_grad()
def set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


@torch.no_grad()
def set_samples(held: Tensor, samples: Tensor, scale: Tensor, value: float) -> None:
    held.copy_(samples)
    scale.fill_(value)
