"""Who says what a view shows: the labeller protocol, and the labellers that need no network."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from labelwise.data.loaders import Batch
from labelwise.losses import tempered


class Labeller(Protocol):
    """Gives every view of a batch its target.

    A labeller may look at the pixels (a refinery), at the given labels, at rows and view numbers (stored labels), or
    at the crop boxes. It never trains. Some take the answer of another one and change it.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes that it needs rendered besides the student's."""
        ...

    def __call__(self, batch: Batch, /) -> Tensor:
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


class StoredLabels:
    """Labels that were made beforehand: one for all views of an image, or of all images of a given class.

    Parameters
    ----------
    table : (N, K) float32 by row of the data set, or (K, K) by given class; rows sum to one
    by : what the rows of ``table`` are
    words : what the labels are called in tables
    """

    sizes: tuple[int, ...] = ()

    def __init__(self, table: Tensor, by: Literal["row", "class"], words: str) -> None:
        self._table, self._by, self._words = table, by, words

    def __call__(self, batch: Batch) -> Tensor:
        table = self._table.to(batch.given.device)
        index = batch.given if self._by == "class" else torch.from_numpy(batch.rows).to(table.device)
        return batch.mixed(table.index_select(0, index))

    def describe(self) -> str:
        return self._words


class Tempered:
    """Another labeller's answer q as q^(1/T), made to sum to one; T above 1 makes it softer."""

    def __init__(self, labeller: Labeller, temperature: float) -> None:
        self._labeller, self._temperature = labeller, temperature
        self.sizes = labeller.sizes

    def __call__(self, batch: Batch) -> Tensor:
        return tempered(self._labeller(batch), self._temperature)

    def describe(self) -> str:
        return f"{self._labeller.describe()} at temperature {self._temperature:g}"


def hardened(answer: Tensor) -> Tensor:
    """One-hot (B, K) at the likeliest class of an answer (B, K); the first of equals."""
    return torch.nn.functional.one_hot(answer.argmax(1), answer.shape[1]).float()
