"""Views that were made and labelled before, and are shown again: the same crops, with the labels they were given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.views import Boxes


@dataclass(frozen=True)
class Replay:
    """What a store says of B views.

    ``numbers`` (B,) are their view numbers. ``boxes`` are their crops; None where they are drawn again. Their labels
    are ``values`` (B, k) float32 of the classes ``ids`` (B, k) int64, of all classes in order where ``ids`` is None:
    log-probabilities, -inf where a view has fewer classes, or log-odds of multi-label data.
    """

    numbers: NDArray[np.int64]
    boxes: Boxes | None
    ids: NDArray[np.int64] | None
    values: NDArray[np.float32]


class StoredViews(Protocol):
    """Views of the samples of a data set that can be shown again."""

    @property
    def seed(self) -> int:
        """What drew the views."""
        ...

    def replay(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> Replay:
        """The views that training looks at as number ``numbers`` (B,) of ``rows`` (B,) of the data set."""
        ...


@dataclass(frozen=True)
class ViewLabels:
    """``ids`` and ``values`` of :class:`Replay` on the device."""

    ids: Tensor | None
    values: Tensor

    def __getitem__(self, part: slice) -> ViewLabels:
        return ViewLabels(None if self.ids is None else self.ids[part], self.values[part])
