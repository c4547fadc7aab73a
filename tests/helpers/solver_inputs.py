"""Problems for the solvers: a small one, its variants, and the same loop written out for one category at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from labelwise.cft.solvers.inputs import SolverInput, Split

SCORES: dict[str, Callable[..., float]] = {"ap": average_precision_score, "auc": roc_auc_score}


def make_inputs(
    seed: int = 0,
    *,
    categories: int = 4,
    dim: int = 6,
    rows: int = 60,
    known: float = 0.7,
    own: bool = False,
    gap: bool = False,
) -> SolverInput:
    """Partly known labels and a head that is a poor guess at the truth.

    ``own``: features (N, C, D); ``gap``: category 1 knows no positive in ``fit``.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(categories, dim))

    def split() -> Split:
        z = rng.normal(size=(rows, categories, dim) if own else (rows, dim)).astype(np.float32)
        logit = np.einsum("ncd,cd->nc", z, truth) if own else z @ truth.T
        labels = (1.5 * logit + rng.logistic(size=logit.shape) > 1).astype(np.float32)
        labels[rng.random(labels.shape) > known] = np.nan
        labels[0], labels[1] = 1, 0  # every category knows both
        return Split(z, torch.from_numpy(labels))

    fit, select = split(), split()
    if gap:
        fit.labels[fit.labels[:, 1] == 1, 1] = torch.nan
    weight = (truth + 1.2 * rng.normal(size=truth.shape)).astype(np.float32)
    return SolverInput(fit, select, torch.from_numpy(weight), torch.from_numpy(truth[:, 0].astype(np.float32)), seed)


def with_fit(inputs: SolverInput, **changes: Any) -> SolverInput:
    """The inputs with fields of its ``fit`` split replaced."""
    return dataclasses.replace(inputs, fit=dataclasses.replace(inputs.fit, **changes))


def known_rows(split: Split, category: int) -> tuple[Tensor, Tensor]:
    """Features (n, D) and labels (n,) of one category's known rows."""
    rows = ~torch.isnan(split.labels[:, category])
    x = torch.as_tensor(np.asarray(split.features))
    return (x[:, category] if x.ndim == 3 else x)[rows], split.labels[rows, category]


def score(objective: str, x: Tensor, y: Tensor, head: NDArray[Any]) -> float:
    """scikit-learn's objective of a head (D + 1,), the bias last."""
    return SCORES[objective](y.numpy(), x.double().numpy() @ head[:-1].astype(np.float64) + float(head[-1]))


def plain_loop(
    inputs: SolverInput, category: int, objective: str, heads: Iterator[NDArray[Any]], steps: int, patience: int
) -> tuple[NDArray[Any], int, int, float]:
    """The paper's loop for one category: best head, its step, steps taken, its score on ``select``."""
    x, y = known_rows(inputs.select, category)
    best = np.append(inputs.weight[category].numpy(), inputs.bias[category].item())
    best_score, best_step = score(objective, x, y, best), -1
    for step in range(steps):
        head = next(heads)
        value = score(objective, x, y, head)
        if value > best_score:
            best, best_score, best_step = head, value, step
        if step - best_step >= patience:
            break
    return best, best_step, step + 1, best_score
