"""The files that the workers of category-wise fine-tuning read and write; it knows nothing of `labelwise`.

IN holds features_fit (N, D), labels_fit (N, C) with NaN for unknown, features_select (M, D), labels_select (M, C; NaN
allowed), head_weight (C, D) and head_bias (C,). OUT receives:

- weight (C, D), bias (C,): the head with the asked categories replaced, float32
- categories (K,), and per category of it: select_before, select_after (AP by scikit-learn on raw float64 logits over
  the known labels of select, NaN where undefined), seconds, and what the worker adds
- settings: one JSON string with the method, its settings and the versions
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

KEYS = ("features_fit", "labels_fit", "features_select", "labels_select", "head_weight", "head_bias")


def read_problem(path: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of KEYS, in that order."""
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in KEYS if key not in file]
        if missing:
            raise SystemExit(f"{path}: has no {', '.join(missing)}")
        problem = {key: np.ascontiguousarray(file[key], dtype=np.float32) for key in KEYS}
    categories, width = problem["head_weight"].shape
    rows, chosen = len(problem["features_fit"]), len(problem["features_select"])
    expected = ((rows, width), (rows, categories), (chosen, width), (chosen, categories), (categories, width))
    for key, shape in zip(KEYS, (*expected, (categories,)), strict=True):
        if problem[key].shape != shape:
            raise SystemExit(f"{path}: {key} is {problem[key].shape}, the head and the rows make it {shape}")
    return problem


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """One category's head: weight (D,), bias ()."""
    head = nn.Linear(len(weight), 1)
    with torch.no_grad():
        head.weight.copy_(weight[None])
        head.bias.copy_(bias[None])
    return head


def select_ap(features: NDArray[np.float32], label: NDArray[np.float32], head: nn.Linear) -> float:
    """AP of a head on the known labels, NaN without both a positive and a negative one."""
    known = ~np.isnan(label)
    if len(np.unique(label[known])) < 2:
        return float("nan")
    weight = head.weight.detach().numpy()[0].astype(np.float64)
    logits = features[known].astype(np.float64) @ weight + head.bias.item()
    return float(average_precision_score(label[known], logits))


def write_heads(
    path: Path,
    heads: tuple[Tensor, Tensor],
    categories: list[int],
    columns: dict[str, list[float]],
    settings: dict[str, Any],
    packages: tuple[str, ...],
) -> None:
    versions = {name: version(name) for name in (*packages, "torch", "numpy", "scikit-learn")}
    np.savez(
        path,
        weight=heads[0].numpy(),
        bias=heads[1].numpy(),
        categories=np.array(categories),
        settings=json.dumps(settings | versions | {"python": platform.python_version()}),
        **{name: np.array(values) for name, values in columns.items()},
    )
