"""A small partly labelled inputs that most tests of category-wise fine-tuning share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from labelwise.cft.finetuner import CategoryWiseFineTuner

Floats = NDArray[np.float32]
Sides = tuple[Floats, Floats]


@dataclass(frozen=True)
class Partial:
    """Features and labels of three splits; those of ``fit`` and ``select`` are partly known, those of ``test`` wholly.

    ``weight`` and ``bias`` are a head that was trained on unknown labels as negatives, with too little decay.
    """

    fit: Sides
    select: Sides
    test: Sides
    weight: Floats
    bias: Floats

    def fitted(self, options: dict[str, Any] | None = None, **changes: Any) -> CategoryWiseFineTuner:
        """The estimator, fitted on this; arguments of its ``fit`` may be replaced."""
        from labelwise.cft.finetuner import CategoryWiseFineTuner

        arguments = {
            **{"features": self.fit[0], "labels": self.fit[1], "select": self.select},
            **{"head_weight": self.weight, "head_bias": self.bias},
            **changes,
        }
        features, labels = arguments.pop("features"), arguments.pop("labels")
        return CategoryWiseFineTuner(**{"device": "cpu", **(options or {})}).fit(features, labels, **arguments)


def make_partial(
    seed: int = 0,
    *,
    categories: int = 4,
    dim: int = 24,
    rows: tuple[int, int, int] = (300, 200, 600),
    known: float = 0.3,
) -> Partial:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(dim, categories)) / np.sqrt(dim)
    spread = 0.93 ** np.arange(dim)

    def split(n: int, share: float) -> Sides:
        z = rng.normal(size=(n, dim)) * spread + 0.5
        logit = 4 * (z - 0.5) @ truth + rng.logistic(size=(n, categories)) - 1.5
        labels = np.where(rng.random(logit.shape) < share, logit > 0, np.nan)
        return z.astype(np.float32), labels.astype(np.float32)

    fit, select, test = split(rows[0], known), split(rows[1], 0.7), split(rows[2], 1.0)
    heads = [LogisticRegression(C=100, max_iter=500).fit(fit[0], np.nan_to_num(y)) for y in fit[1].T]
    weight = np.concatenate([head.coef_ for head in heads]).astype(np.float32)
    bias = np.concatenate([head.intercept_ for head in heads]).astype(np.float32)
    return Partial(fit, select, test, weight, bias)


@pytest.fixture(scope="session")
def partial() -> Callable[..., Partial]:
    """Makes a `Partial`: ``partial(seed, categories=..., dim=..., rows=..., known=...)``."""
    made: dict[str, Partial] = {}

    def get(seed: int = 0, **options: object) -> Partial:
        key = f"{seed} {sorted(options.items())}"
        if key not in made:
            made[key] = make_partial(seed, **options)  # type: ignore[arg-type]
        return made[key]

    return get
