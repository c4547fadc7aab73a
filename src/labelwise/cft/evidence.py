"""Why a category got the head it has, for people to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from labelwise.cft.solvers.iterate import Optimised

Evidence = tuple[tuple[str, float, float], ...]
"""Candidates of one category: name, objective on ``select``, share in the adopted head."""

Status = Literal["improved", "unchanged", "not_fitted"]

LISTED = 5
"""Candidates listed per category."""


@dataclass(frozen=True)
class CategoryReport:
    """What happened to one category.

    Attributes
    ----------
    status : ``improved`` (a new head was adopted), ``unchanged`` (the old one is as good), ``not_fitted``
    reason, method : in words
    before, after : objective on ``select``, NaN where it is undefined
    positives, negatives : known labels in ``fit``
    select_positives, select_negatives : known labels in ``select``, which stand behind the decision
    evidence : the candidates with the largest shares: name, objective on ``select``, share
    """

    status: Status
    reason: str
    method: str
    before: float
    after: float
    positives: int
    negatives: int
    select_positives: int
    select_negatives: int
    evidence: Evidence = ()


def candidates_in_words(names: tuple[str, ...], score: Tensor, share: Tensor) -> tuple[list[str], list[Evidence]]:
    """In words: how many candidates a category's head is the mean of, and the largest of them."""
    methods: list[str] = []
    evidence: list[Evidence] = []
    top = share.topk(min(LISTED, share.shape[1]), dim=1)
    counts = (share > 0).sum(1).tolist()
    scores = score.gather(1, top.indices).tolist()
    for c, (indices, shares) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True)):
        methods.append(f"logistic: mean of {counts[c]}" if counts[c] > 1 else f"logistic: {names[indices[0]]}")
        listed = zip(indices, scores[c], shares, strict=True)
        evidence.append(tuple((names[i], value, part) for i, value, part in listed if part > 0))
    return methods, evidence


def steps_in_words(method: str, result: Optimised) -> tuple[list[str], list[Evidence]]:
    best, steps = result.best_step.tolist(), result.steps.tolist()
    before, after = result.score_before.tolist(), result.score_after.tolist()
    methods = [f"{method}: step {b + 1} of {s}" for b, s in zip(best, steps, strict=True)]
    evidence: list[Evidence] = [
        (("old head", before[c], 0.0), (methods[c], after[c], 1.0)) for c in range(len(methods))
    ]
    return methods, evidence
