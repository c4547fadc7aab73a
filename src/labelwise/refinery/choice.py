"""What is preferred among trained networks, and the product of a run: the best of all, controls included.

Choices rest on the given labels of samples that a network has not seen: those of ``select`` and, with
``chain.choose: folds``, every fit sample, answered by the network of its fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.config import Recipe
from labelwise.data.dataset import Dataset
from labelwise.metrics.choosing import Choice, choose, known_likelihood, label_likelihood
from labelwise.metrics.multilabel import hard_labels
from labelwise.refinery.context import PREDICTIONS
from labelwise.refinery.generations import fold_name
from labelwise.results import Row

Answers = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class Judgement:
    """How networks are judged in one run: the data, the run folder, and the number of folds that choices rest on."""

    dataset: Dataset
    run: Path
    folds: int = 1
    _known: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(
        default_factory=dict, init=False, compare=False
    )

    def choose(self, candidates: Sequence[Sequence[Row]]) -> Choice | None:
        """The first candidate in the stated order, unless a later one is clearly better; None where nothing judges.

        Parameters
        ----------
        candidates : of each the rows of one network, by seed
        """
        found = [self._mean(rows) for rows in candidates]
        return choose(found, self._groups(candidates[0][0])) if found and len(found[0]) else None

    def most_likely(self, candidates: Sequence[Sequence[Row]]) -> int | None:
        """The candidate under which the given labels are likeliest; None where nothing judges.

        For candidates of which none is to be preferred beforehand, such as lengths of a schedule.
        """
        found = [self._mean(rows) for rows in candidates]
        return int(np.argmax([values.mean() for values in found])) if found and len(found[0]) else None

    def _mean(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        return np.mean([self._likelihood(row)[1] for row in rows], axis=0)

    def _groups(self, row: Row) -> NDArray[np.str_]:
        return self.dataset.groups[self._likelihood(row)[0]]

    def _likelihood(self, row: Row) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Samples that ``row`` is judged by, and the log-likelihood of their given labels; each row is read once."""
        if row.path not in self._known:
            self._known[row.path] = self._read(row)
        return self._known[row.path]

    def answers(self, row: Row) -> Answers:
        """The samples that ``row`` is judged by, and the logits (n, K) of its answers to them; empty without any."""
        parts = [part for folder in self._folders(row) if (part := _judged(folder)) is not None]
        if not parts:
            return np.empty(0, np.int64), np.empty((0, self.dataset.num_classes))
        rows, logits = (np.concatenate(values) for values in zip(*parts, strict=True))
        order = np.argsort(rows, kind="stable")  # the folds of another seed come in another order
        return rows[order], logits[order].astype(np.float64)

    def _read(self, row: Row) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rows, logits = self.answers(row)
        if not len(rows):
            return rows, np.empty(0)
        if self.dataset.table is None:
            return rows, label_likelihood(logits, self.dataset.label[rows])
        return rows, known_likelihood(logits, hard_labels(self.dataset.table.take(rows)))

    def _folders(self, row: Row) -> Iterator[Path]:
        folder = self.run / row.path
        yield folder
        if self.folds > 1:
            yield from (folder.with_name(fold_name(folder.name, fold)) for fold in range(self.folds))


def judging_folds(recipe: Recipe) -> int:
    """Number of fold networks of everything that is chosen from; 1 where choices rest on ``select`` alone."""
    return recipe.chain.folds if recipe.chain.choose == "folds" else 1


def _judged(folder: Path) -> tuple[NDArray[Any], NDArray[Any]] | None:
    with np.load(folder / PREDICTIONS) as stored:
        return (stored["judges"], stored["judged"]) if "judges" in stored else None
