"""Networks for embeddings whose weights are solved for and not trained: see :mod:`labelwise.training.closed_form`.

Each is some features of the embedding and one linear layer behind them, as any other network is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FARTHEST = 1e15
"""Coordinates beyond it are as good as infinite: their squares would not fit float32."""


class LinearClassifier(nn.Module):
    """Logits that are linear in the embedding: linear discriminant analysis and logistic regression.

    Parameters
    ----------
    num_classes, in_features : outputs and inputs
    """

    def __init__(self, num_classes: int, in_features: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(in_features, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """What reaches the linear layer."""
        return x

    def divide_inputs(self, divisor: Tensor) -> None:
        """Divide the columns of all embeddings by ``divisor`` (D,) from now on."""
        self.classifier.weight.div_(divisor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to logits (B, K), without mixed precision: distances and weights are differences of large numbers."""
        with torch.autocast(x.device.type, enabled=False):
            return self.classifier(self.features(x.to(self.classifier.weight.dtype)))


class ScaledClassifier(LinearClassifier):
    """With a factor ``scale`` (D,) for each column of the embeddings."""

    scale: Tensor

    def __init__(self, num_classes: int, in_features: int, width: int) -> None:
        super().__init__(num_classes, width)
        self.register_buffer("scale", torch.ones(in_features))

    def divide_inputs(self, divisor: Tensor) -> None:
        self.scale.div_(divisor)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        found = state.get(prefix + "scale")
        if found is not None and found.ndim == 0:  # of earlier versions: one for all columns
            state[prefix + "scale"] = found.expand(len(self.scale))
        super()._load_from_state_dict(state, prefix, *rest)


class KernelRidge(ScaledClassifier):
    """Nyström features exp(-\\|scale x - c\\|^2), one for each of the centres c, and a linear layer.

    Parameters
    ----------
    num_classes, in_features : outputs and inputs
    centres : number of samples that become centres, at most
    bandwidth : of the kernel, in units of the root mean square distance of two samples; 0: it is chosen in the fit
    """

    def __init__(self, num_classes: int, in_features: int, centres: int = 3000, bandwidth: float = 0.0) -> None:
        _check_positive("centres", centres)
        if not 0 <= bandwidth < float("inf"):
            raise ValueError(f"bandwidth is at least 0, not {bandwidth}")
        super().__init__(num_classes, in_features, centres)
        self.bandwidth = bandwidth
        self.centres = nn.Parameter(torch.zeros(centres, in_features))

    def features(self, x: Tensor) -> Tensor:
        """(B, D) to (B, centres) in [0, 1]."""
        return torch.exp(-squared_distances(x * self.scale, self.centres))


class NearestNeighbours(ScaledClassifier):
    """The mean label of the nearest samples: a weight for each sample, and a linear layer of their labels.

    Of k neighbours the nearest has the weight k, the next k - 1, and so on (triangular weights, Stone 1977), so that
    two classes seldom get the same score.

    Parameters
    ----------
    num_classes, in_features : outputs and inputs
    samples : number of samples that are kept, at most
    neighbours : number of samples that answer; 0: it is chosen in the fit
    """

    def __init__(self, num_classes: int, in_features: int, samples: int = 20_000, neighbours: int = 0) -> None:
        _check_positive("samples", samples)
        if neighbours < 0:
            raise ValueError(f"neighbours is at least 0, not {neighbours}")
        super().__init__(num_classes, in_features, samples)
        self.neighbours = min(neighbours or 1, samples)
        self.samples = nn.Parameter(torch.zeros(samples, in_features))

    def features(self, x: Tensor) -> Tensor:
        """(B, D) to (B, samples): weights that sum to one at the nearest ones, 0 elsewhere."""
        distance = squared_distances(x * self.scale, self.samples)
        nearest = distance.topk(self.neighbours, largest=False).indices
        weight = torch.arange(self.neighbours, 0, -1, dtype=distance.dtype, device=distance.device)
        return torch.zeros_like(distance).scatter_(1, nearest, (weight / weight.sum()).expand_as(nearest))


def squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances (B, M), at least 0, of x (B, D) and centres (M, D)."""
    x = x.clamp(-FARTHEST, FARTHEST)
    norms = x.square().sum(1, keepdim=True) + centres.square().sum(1)
    return torch.addmm(norms, x, centres.T, alpha=-2).clamp(min=0)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {value}")
