"""Which class is taken for which on test, by the first and by the last generation of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.report.formats import percent, points
from labelwise.report.table import Column, Row, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREDICTIONS = "predictions.npz"
MOST_CLASSES = 16
"""Of a matrix that is shown whole, two side by side."""

MOST_CHANGES = 12


@dataclass(frozen=True)
class Confusion:
    """Shares (K, K) of the answers by class, row by row, of the networks ``first`` and ``last``; the commonest wrong
    ones as a table. ``shown`` is false of matrices that are too large for a page."""

    names: Sequence[str]
    first: str
    last: str
    before: Sequence[Sequence[float]]
    after: Sequence[Sequence[float]]
    changes: Table
    shown: bool


def confusion_of(names: Sequence[str], folders: Mapping[str, Sequence[Path]]) -> Confusion | None:
    """Return the confusion of two networks, named with a folder per seed, the earlier one first.

    None where a folder lacks ``predictions.npz``, or it lacks the labels, as that of an older run does.
    """
    matrices = []
    for own in folders.values():
        counted = [_counts(folder, len(names)) for folder in own]
        found = [counts for counts in counted if counts is not None]
        if not found or len(found) < len(own):
            return None
        total = sum(found[1:], found[0])
        matrices.append(total / total.sum(1, keepdims=True).clip(min=1))
    before, after = matrices
    wrong = [(k, j) for k in range(len(names)) for j in range(len(names)) if k != j]
    wrong.sort(key=lambda pair: -max(before[pair], after[pair]))
    columns = [Column("class", right=False), Column("taken for", right=False)]
    columns += [*(Column(name, percent) for name in folders), Column("change", points)]
    rows = [
        Row([names[k], names[j], float(before[k, j]), float(after[k, j]), float(after[k, j] - before[k, j])])
        for k, j in wrong[:MOST_CHANGES]
        if max(before[k, j], after[k, j]) > 0
    ]
    shown = len(names) <= MOST_CLASSES
    table = Table(columns, rows, "The commonest confusions")
    first, last = folders
    return Confusion(names, first, last, before.tolist(), after.tolist(), table, shown)


def _counts(folder: Path, classes: int) -> NDArray[np.float64] | None:
    """How often (K, K) each class got each answer; None where that is not known."""
    import numpy as np

    try:
        with np.load(folder / PREDICTIONS, allow_pickle=False) as found:
            label, answer = found["label"].astype(int), found["prediction"].astype(int)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    counts = np.zeros((classes, classes))
    fits = (label >= 0) & (label < classes) & (answer >= 0) & (answer < classes)
    np.add.at(counts, (label[fits], answer[fits]), 1.0)
    return counts
