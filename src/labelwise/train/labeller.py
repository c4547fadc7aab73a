"""Who says what a view shows: the labeller protocol, and the labellers that need no network."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from labelwise.data.loaders import Batch


class Labeller(Protocol):
    """Gives every view of a batch its target.

    A labeller may look at the pixels (a refinery), at the given labels, at rows and view numbers (stored labels), or
    at the crop boxes. It never trains.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes that it needs rendered besides the student's."""
        ...

    def __call__(self, batch: Batch) -> Tensor:
        """(B, K) float32, rows sum to one, without graph."""
        ...

    def describe(self) -> str:
        """For tables and lineage."""
        ...


class GivenLabels:
    """The given label of the image for every view of it, optionally smoothed.

    Parameters
    ----------
    num_classes : K
    smoothing : the share of the mass that is spread evenly over all classes (Szegedy et al. 2016); 0 is one-hot
    """

    sizes: tuple[int, ...] = ()

    def __init__(self, num_classes: int, smoothing: float = 0.0) -> None:
        self._num_classes, self._smoothing = num_classes, smoothing

    def __call__(self, batch: Batch) -> Tensor:
        target = torch.nn.functional.one_hot(batch.given, self._num_classes).float()
        target = target * (1 - self._smoothing) + self._smoothing / self._num_classes
        return batch.mixed(target)

    def describe(self) -> str:
        return "given" if self._smoothing == 0 else f"given, smoothed {self._smoothing:g}"
