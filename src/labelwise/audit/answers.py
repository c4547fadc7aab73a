"""What networks and classifiers say of samples whose labels they have not learnt, side by side, and kept on disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from labelwise.runs import atomic_write

FOLDER = "answers"

FLOOR = np.float32(np.log(1e-7))
"""No class is less likely than this: one classifier that is too sure must not decide alone."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What one network or classifier says of n samples: ``values`` (n, K) float32, log-probabilities of classes, or
    logits of categories; of one ``view``, if it was asked about several. Answers of one ``kind``, such as several
    networks and views, count once together."""

    name: str
    kind: str
    values: Array
    view: int | None = None


@dataclass(frozen=True)
class Answers:
    """All answers to n samples, each by a model without the sample's label."""

    parts: tuple[Answer, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.parts)

    def mean(self) -> Array:
        """The mean (n, K) over kinds, of each the mean over its answers."""
        kinds = dict.fromkeys(one.kind for one in self.parts)
        return _mean([_mean([one.values for one in self.parts if one.kind == kind]) for kind in kinds])

    def by_view(self) -> Array | None:
        """Probabilities (V, n, K) of each view, by the mean of all that saw it; None where there are not two views."""
        views = sorted({one.view for one in self.parts if one.view is not None})
        if len(views) < 2:
            return None
        means = [_mean([one.values for one in self.parts if one.view == view]) for view in views]
        p = np.exp(np.stack(means))
        normed: Array = p / p.sum(2, keepdims=True)
        return normed

    def agreement(self, suggested: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) share of the answers for which the class ``suggested`` (n,) is the likeliest."""
        return np.mean([one.values.argmax(1) == suggested for one in self.parts], axis=0)

    def agreement_of_cells(self, positive: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, C) share of the answers that say of each cell what ``positive`` (n, C) says."""
        return np.mean([(one.values > 0) == positive for one in self.parts], axis=0)


def _mean(values: Sequence[Array]) -> Array:
    total: Array = np.mean(np.stack(values), axis=0, dtype=np.float32)
    return total


def log_probability(p: NDArray[np.floating]) -> Array:
    """Logarithms of probabilities (n, K), none below the floor."""
    return np.maximum(np.log(np.maximum(p, 1e-30)), FLOOR).astype(np.float32)


def kept(folder: Path, name: str, make: Callable[[], Array]) -> Array:
    """What ``make`` gives, from the file of an earlier run where there is one: an audit that was stopped goes on."""
    file = folder / FOLDER / f"{name}.npz"
    with suppress(OSError, EOFError, ValueError, KeyError, BadZipFile):  # not there, or damaged: made again
        with np.load(file) as stored:
            found: Array = stored["answers"]
        return found
    value = make()
    buffer = io.BytesIO()
    np.savez(buffer, answers=value)
    atomic_write(file, buffer.getvalue())
    return value
