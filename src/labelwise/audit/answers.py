"""What networks and classifiers say of samples whose labels they have not learnt, side by side, and kept on disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelwise.runs import atomic_write

FOLDER = "answers"

FLOOR = np.float32(np.log(1e-7))
"""No class is less likely than this: one classifier that is too sure must not decide alone."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """Log-probabilities (A, n, K) float32 of A answers to n samples, each by a model without the sample's label.

    ``kinds`` (A,) says which answers are of one kind, such as several networks and views: a kind counts once.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    log_p: Array

    def mean(self, without: Sequence[str] = ()) -> Array:
        """The mean log-probability (n, K) over kinds, of each the mean over its answers."""
        kinds = [kind for kind in dict.fromkeys(self.kinds) if kind not in without]
        own = [self.log_p[[kind == one for one in self.kinds]].mean(0) for kind in kinds]
        total: Array = np.mean(own, axis=0, dtype=np.float32)
        return total

    def agreement(self, suggested: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) share of the answers for which the class ``suggested`` (n,) is the likeliest."""
        share = np.zeros(len(suggested))
        for log_p in self.log_p:
            share += log_p.argmax(1) == suggested
        return share / len(self.log_p)


def join_answers(parts: Sequence[tuple[str, str, Array]]) -> Answers:
    """Answers of (name, kind, log-probabilities) each."""
    names, kinds, values = zip(*parts, strict=True)
    return Answers(tuple(names), tuple(kinds), np.stack(values))


def log_probability(p: NDArray[np.floating]) -> Array:
    """Logarithms of probabilities (n, K), none below the floor."""
    return np.maximum(np.log(np.maximum(p, 1e-30)), FLOOR).astype(np.float32)


def kept(folder: Path, name: str, make: Callable[[], Array]) -> Array:
    """What ``make`` gives, from the file of an earlier run where there is one: an audit that was stopped goes on."""
    file = folder / FOLDER / f"{name}.npz"
    if file.exists():
        with np.load(file) as stored:
            found: Array = stored["answers"]
        return found
    value = make()
    buffer = io.BytesIO()
    np.savez(buffer, answers=value)
    atomic_write(file, buffer.getvalue())
    return value
