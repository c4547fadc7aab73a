"""Three classifiers of embeddings, each of which answers every sample without its label.

A linear one, a smooth one and a local one err in different places, so their mean errs less. A network of one hidden
layer beside them costs ten times as much and finds nothing more (docs/results/audit.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from labelwise.audit.answers import Answer, Answers, Array, kept, log_probability
from labelwise.audit.kernel import UnseenKernelRidge
from labelwise.audit.neighbours import nearest, weights
from labelwise.audit.wrong_labels import GivenLabels, fit_noise_model
from labelwise.config import AuditConfig
from labelwise.data.counter_rng import generator
from labelwise.progress import Progress
from labelwise.training.closed_form.candidates import BLOCK, Tamer, location

STRENGTHS = (0.01, 0.1, 1.0)
"""logistic: C, the weight of the data against half the squared norm of the weights."""

NEIGHBOURS, SHARPNESS, DOUBT = 50, 10.0, 1.0
"""Nearest neighbours: how many answer, how fast their weight exp(s (cosine - cosine of the nearest)) falls, and the
weight of the class frequencies beside them."""

FITTED = 100_000
"""Samples that logistic regression is fitted to, at most: it has few numbers to find."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings ``x`` (n, D) of one scale, given labels (n,) of ``classes`` kinds, folds (n,) and groups (n,)."""

    x: Array
    given: GivenLabels
    classes: int
    fold: NDArray[np.int64]
    groups: NDArray[np.str_]

    @property
    def label(self) -> NDArray[np.int64]:
        return self.given.label

    def targets(self) -> Array:
        """(n, K) one-hot given labels."""
        return np.eye(self.classes, dtype=np.float32)[self.label]

    def parts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Of every fold the rows outside and inside."""
        for number in range(int(self.fold.max()) + 1):
            yield np.flatnonzero(self.fold != number), np.flatnonzero(self.fold == number)


def standardised(values: Array) -> Array:
    """Embeddings less their mean, in units of the spread of all features; columns far wider than others and rows far
    beyond others are brought to them."""
    sample = torch.from_numpy(values[generator("location").permutation(len(values))[:FITTED]]).double()
    tamer = Tamer(sample)
    centre, spread = location(tamer(sample))
    found, tamer.count = np.empty(values.shape, dtype=np.float32), 0
    for rows in np.array_split(np.arange(len(values)), -(-len(values) // BLOCK)):
        found[rows] = tamer(torch.from_numpy(values[rows]).double()).float().numpy()
    tamer.tell("audit")
    found -= centre.float().numpy()
    found /= np.float32(spread)
    return found


def logistic(data: Embedded, seed: int, advance: Callable[[], None]) -> Array:
    """Multinomial logistic regression; its strength is the one of the likeliest labels of the first fold."""
    found = np.empty((len(data.x), data.classes), dtype=np.float32)
    strength: float | None = None
    for seen, unseen in data.parts():
        seen = np.sort(generator(seed, "fitted").permutation(seen)[:FITTED])
        tried = {}
        for c in STRENGTHS if strength is None else (strength,):
            model = LogisticRegression(C=c, max_iter=300).fit(data.x[seen], data.label[seen])
            p = np.zeros((len(unseen), data.classes))
            p[:, model.classes_] = model.predict_proba(data.x[unseen])
            tried[c] = log_probability(p)
        rows = np.arange(len(unseen))
        strength = max(tried, key=lambda c: float(tried[c][rows, data.label[unseen]].sum()))
        found[unseen] = tried[strength]
        advance()
    return found


def nearest_neighbours(data: Embedded, seed: int) -> Array:
    """The labels of the most similar samples by the cosine, the nearer ones counting more."""
    label, found = torch.from_numpy(data.label), np.empty((len(data.x), data.classes), dtype=np.float32)
    common = torch.bincount(label, minlength=data.classes).float() * (DOUBT / len(label))
    for near in nearest(data.x, data.groups, NEIGHBOURS, seed, width=data.classes):
        p = common.repeat(len(near.rows), 1).scatter_add_(1, label[near.index], weights(near.cosine, SHARPNESS)).numpy()
        found[near.rows] = log_probability(p / p.sum(1, keepdims=True))
    return found


def answer_embeddings(data: Embedded, config: AuditConfig, folder: Path, quiet: bool) -> list[Answer]:
    """The three answers; each is kept in ``folder``.

    Kernel ridge regression answers twice, the second time on what all of them say of the right class: one round of
    refinement.
    """
    ridge = UnseenKernelRidge(data.x, data.groups, config.seed)
    with Progress("audit", "answers", quiet) as progress:
        progress.start(3 + config.folds)

        def advance() -> None:
            progress.advance()
            progress.show()

        first = kept(folder, "kernel_ridge", lambda: ridge.log_probability(data.targets(), data.label))
        advance()
        near = kept(folder, "nearest_neighbours", lambda: nearest_neighbours(data, config.seed))
        advance()
        linear = kept(folder, "logistic", lambda: logistic(data, config.seed, advance))
        parts = [Answer("nearest neighbours", "nearest neighbours", near), Answer("logistic", "logistic", linear)]
        mean = Answers((Answer("kernel ridge", "kernel ridge", first), *parts)).mean()
        right = fit_noise_model(mean, data.given, config.seed).right_class(mean, data.given)
        refined = kept(folder, "kernel_ridge_refined", lambda: ridge.log_probability(right, data.label))
        advance()
    return [Answer("kernel ridge", "kernel ridge", refined), *parts]
