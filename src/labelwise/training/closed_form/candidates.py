"""What the solvers have in common: samples go in, a path of candidates comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 4096
"""Samples whose kernel with the centres is in memory at a time."""


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


@torch.no_grad()
def set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


@torch.no_grad()
def set_samples(held: Tensor, samples: Tensor, scale: Tensor, value: float) -> None:
    held.copy_(samples)
    scale.fill_(value)
