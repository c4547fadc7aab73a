"""Why a category got the head it has, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from labelwise.cft.adoption import Adopted
from labelwise.cft.solvers.inputs import SolverInput
from labelwise.cft.solvers.iterate import IterativeResult
from labelwise.cft.solvers.logistic import GridResult

Evidence = tuple[tuple[str, float, float], ...]
"""Candidates of one category: name, objective on ``select``, share in the adopted head."""

Status = Literal["improved", "unchanged", "not_fitted"]

LISTED = 5
"""Candidates listed per category."""

FEW_POSITIVES = 20
"""Known positives in ``select`` below which a category's evidence is mostly that of all categories together."""

SATURATED = 0.97
"""Objective of the old head on its known training labels above which a genetic search has nothing left to climb."""


@dataclass(frozen=True)
class CategoryReport:
    """What happened to one category.

    Attributes
    ----------
    name : the category
    status : ``improved`` (a new head was adopted), ``unchanged`` (the old one is as good), ``not_fitted``
    reason, method : in words
    before, after : objective on ``select``, NaN where it is undefined
    positives, negatives : known labels in ``fit``
    select_positives, select_negatives : known labels in ``select``, which stand behind the decision
    evidence : the candidates with the largest shares: name, objective on ``select``, share
    """

    name: str
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


@dataclass(frozen=True)
class NewHeads:
    """New heads of all categories, before it is decided which of them stay.

    Attributes
    ----------
    weight, bias : (C, D) and (C,)
    method, evidence : C entries each, in words
    expected_gain, trust : of method ``auto``, see `labelwise.cft.solvers.logistic.GridResult`
    fit_before : (C,) of a genetic search, see `labelwise.cft.solvers.iterate.IterativeResult`
    """

    weight: Tensor
    bias: Tensor
    method: list[str]
    evidence: list[Evidence]
    expected_gain: float | None = None
    fit_before: Tensor | None = None
    trust: float | None = None

    @property
    def decided(self) -> bool | None:
        """Whether all new heads stay; None where each category is compared on ``select``."""
        return None if self.trust is None else self.trust > 0


def heads_of_grid(found: GridResult) -> NewHeads:
    """In words: how many candidates a category's head is the mean of, and the largest of them."""
    methods: list[str] = []
    evidence: list[Evidence] = []
    share = found.adoption.share
    top = share.topk(min(LISTED, share.shape[1]), dim=1)
    counts = (share > 0).sum(1).tolist()
    scores = found.score.gather(1, top.indices).tolist()
    for c, (indices, shares) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True)):
        methods.append(f"logistic: mean of {counts[c]}" if counts[c] > 1 else f"logistic: {found.names[indices[0]]}")
        listed = zip(indices, scores[c], shares, strict=True)
        evidence.append(tuple((found.names[i], value, part) for i, value, part in listed if part > 0))
    return NewHeads(found.weight, found.bias, methods, evidence, found.expected_gain, trust=found.trust)


def heads_of_steps(method: str, result: IterativeResult) -> NewHeads:
    """In words: at which step of how many a category's head was found, and the old head beside it."""
    best, steps = result.best_step.tolist(), result.steps.tolist()
    before, after = result.score_before.tolist(), result.score_after.tolist()
    methods = [f"{method}: step {b + 1} of {s}" for b, s in zip(best, steps, strict=True)]
    evidence: list[Evidence] = [
        (("old head", before[c], 0.0), (methods[c], after[c], 1.0)) for c in range(len(methods))
    ]
    return NewHeads(result.weight, result.bias, methods, evidence, fit_before=result.fit_before)


def category_reports(
    names: Sequence[str], inputs: SolverInput, heads: NewHeads, adopted: Adopted, *, pooled: bool
) -> list[CategoryReport]:
    """What happened to every category.

    Parameters
    ----------
    names : of the C categories
    pooled : categories with few positives were judged by all categories together
    """
    fit, select = inputs.fit, inputs.select
    counts = [side.tolist() for side in (fit.positives, fit.negatives, select.positives, select.negatives)]
    was, now = adopted.before.tolist(), adopted.after.tolist()
    fittable, taken = inputs.fittable.tolist(), adopted.new.tolist()
    reports = []
    for c, known in enumerate(zip(*counts, strict=True)):
        status: Status
        if not fittable[c]:
            status, reason, method = "not_fitted", inputs.why_not(c), "old head"
        elif not taken[c]:
            reason = (
                "no candidate is better on select" if heads.decided is None else "a gain on other labels is unlikely"
            )
            status, method = "unchanged", "old head"
        else:
            reason = "better on select" if now[c] > was[c] else "better by all categories together, not on select"
            status, method = "improved", heads.method[c]
            if known[2] < FEW_POSITIVES:
                reason += f"; only {known[2]} positives there"
                reason += ", so mostly judged by all categories together" if pooled else ", so perhaps by luck"
        evidence = heads.evidence[c] if fittable[c] else ()
        numbers = (was[c], now[c], known[0], known[1], known[2], known[3])
        reports.append(CategoryReport(names[c], status, reason, method, *numbers, evidence))
    return reports


def warnings_of(inputs: SolverInput, heads: NewHeads, *, paper: bool) -> list[str]:
    """What a user should know before trusting the result, one line each.

    Parameters
    ----------
    paper : the genetic search is the published one
    """
    found = []
    name = inputs.objective.upper()
    fittable = int(inputs.fittable.sum())
    thin = int((inputs.select.positives[inputs.fittable] < FEW_POSITIVES).sum())
    if thin:
        found.append(
            f"{thin} of {fittable} categories have fewer than {FEW_POSITIVES} known positives in select:"
            " their gains there say little"
        )
    if heads.decided is False and heads.expected_gain is not None:
        found.append(
            "all old heads stay: on parts of select that did not choose them, new heads gained"
            f" {100 * heads.expected_gain:+.2f} points of {name}, and their likelihood is lower"
        )
    if heads.fit_before is not None and (mean := float(heads.fit_before.nanmean())) > SATURATED:  # never of NaN
        climb = "measures its fitness under noise to have something to climb"
        if paper:
            climb = "has nothing to climb, so what it returns was picked by select"
        found.append(
            f"the old head already ranks the known fit labels almost perfectly (mean {name} {mean:.3f}); the genetic"
            f" search {climb}; method auto is better and faster"
        )
    return found
