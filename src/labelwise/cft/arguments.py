"""What callers hand over, checked and in the form that solvers take: device, seed, head and the rows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from labelwise.cft.solvers.inputs import Split, as_array, check_features, check_labels
from labelwise.errors import ConfigError, InputError

RandomState = int | np.random.RandomState | np.random.Generator | None


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes an accelerator if there is one. Raises ConfigError for an unknown name."""
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {name!r}: {' '.join(str(error).split())[:120]}") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_of(state: RandomState) -> int:
    """A seed as scikit-learn reads ``random_state``; an integer is the seed itself."""
    if isinstance(state, int | np.integer) and 0 <= state < 2**32:
        return int(state)
    if isinstance(state, np.random.Generator):
        return int(state.integers(2**31))
    try:
        return int(check_random_state(state).randint(2**31 - 1))
    except ValueError:
        raise ConfigError(
            f"random_state {state!r}: expected None, an integer from 0 to 2^32 - 1, a RandomState or a Generator"
        ) from None


def head_of(weight: Any, bias: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) of a trained head on the device; InputError where they do not fit."""
    if weight is None or bias is None:
        raise InputError("head: give both head_weight and head_bias, or none of them")
    found = torch.as_tensor(as_array(weight), device=device), torch.as_tensor(as_array(bias), device=device)
    if found[0].ndim != 2 or found[1].shape != found[0].shape[:1]:
        shapes = f"{tuple(found[0].shape)} and {tuple(found[1].shape)}"
        raise InputError(f"head: expected weight (C, D) and bias (C,), found {shapes}")
    if not all(bool(torch.isfinite(values).all()) for values in found):
        raise InputError("head: not finite (NaN or infinite)")
    return found


def names_of(categories: Sequence[str] | None, labels: Any, count: int) -> list[str]:
    """Names of ``count`` categories: those given, or the columns of a data frame of labels, or numbers.

    Raises
    ------
    InputError
        For another number of names.
    """
    names = list(getattr(labels, "columns", range(count)) if categories is None else categories)
    if len(names) != count:
        raise InputError(f"categories: {len(names)} names, the labels have {count} columns")
    return [str(name) for name in names]


def split_of(features: Any, labels: Any, weight: Any, name: str, shape: tuple[int, int] | None, *, hard: bool) -> Split:
    """Checked rows of one split; ``shape`` is the expected number of categories and of features, None for any."""
    if labels is None:
        raise InputError(f"{name}: requires y to be passed, but the target y is None")
    values = check_features(features, f"{name} features", None if shape is None else shape[1])
    known = check_labels(labels, values.shape[0], f"{name} labels", hard=hard)
    categories = known.shape[1]
    if values.ndim == 3 and values.shape[1] != categories:
        raise InputError(f"{name} features: features of {values.shape[1]} categories, labels of {categories}")
    if shape is not None and categories != shape[0]:
        raise InputError(f"{name} labels: {categories} categories, expected {shape[0]}")
    if weight is None:
        return Split(values, known)
    weights = torch.from_numpy(as_array(weight))
    if weights.shape != known.shape or not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise InputError(f"label_weight: expected finite numbers of at least 0, of shape {tuple(known.shape)}")
    if not bool((weights > 0).all()):  # a label that counts nothing is not known
        known = torch.where(weights > 0, known, torch.nan)
    return Split(values, known, weights)
