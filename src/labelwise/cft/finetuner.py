"""Category-wise fine-tuning as an estimator: re-fit every category's logistic regression on what is really known.

Start at :meth:`CategoryWiseFineTuner.fit`. It checks its input, hands a
:class:`~labelwise.cft.solvers.inputs.Problem` to one solver for all categories at once, decides per category on
``select`` whether the new head stays, and gives it back a scale and a bias that make its probabilities mean something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from labelwise.cft.calibrate import known_entries, scale_and_bias
from labelwise.cft.candidate_heads import Objective
from labelwise.cft.evidence import CategoryReport, Evidence, Status, candidates_in_words, steps_in_words
from labelwise.cft.solvers import backprop, genetic, genetic_paper
from labelwise.cft.solvers.coordinates import Features
from labelwise.cft.solvers.greedy import fit_greedy
from labelwise.cft.solvers.grid import FAST, THOROUGH, search
from labelwise.cft.solvers.inputs import Problem, Split, as_array, check_features, check_labels, hold_out, linear_logits
from labelwise.cft.solvers.iterate import Optimised
from labelwise.errors import ConfigError, DataError
from labelwise.metrics.ranking import ranking

Method = Literal["auto", "logistic", "backprop", "genetic"]
Preset = Literal["fast", "paper-2024"]
Select = tuple[Any, Any] | None

OBJECTIVES, METHODS, PRESETS = ("ap", "auc"), ("auto", "logistic", "backprop", "genetic"), ("fast", "paper-2024")

SATURATED = 0.97
"""Fitness of the old head on its known training labels above which a genetic search has nothing left to climb."""

FEW_POSITIVES = 20
"""Known positives in ``select`` below which a category's evidence is mostly that of all categories together."""


@dataclass(frozen=True)
class _Solved:
    """New heads of all categories, before anything is decided."""

    weight: Tensor
    bias: Tensor
    method: list[str]
    evidence: list[Evidence]
    expected_gain: float | None = None
    """Cross-fitted, of method ``auto``; see `labelwise.cft.solvers.grid.Found`."""
    fit_before: Tensor | None = None
    """(C,) what a genetic search starts from: the old head's objective on the known fit labels; see `Optimised`."""


class CategoryWiseFineTuner(BaseEstimator):  # type: ignore[misc]
    """Re-fit each row of a trained multi-label head on the known labels of its category.

    Chong et al., "Category-wise fine-tuning" (arXiv 2401.16991), with better solvers; see docs/how-it-works.md.

    Parameters
    ----------
    objective : ``ap`` or ``auc``, judged on ``select``
    method : ``logistic``: the convex problem for a grid of priors, best candidate on ``select``. ``auto``: the same
        candidates, averaged by a rule that resists the winner's curse. ``backprop``, ``genetic``: the paper's solvers
    preset : ``fast``: a small grid (auto, logistic). ``paper-2024``: the published settings (backprop: ASL; genetic;
        auto: the best of both per category)
    loss : of backprop, ``bce`` or ``asl``
    calibrate : re-fit scale and bias of adopted heads on the known labels of ``select``
    device : ``cpu``, ``cuda``, ...; ``auto`` takes an accelerator if there is one
    memory_gb : bound of the working arrays (the coordinates of the features, N x 512 float32, come on top)
    random_state : the same seed gives the same result on the same machine

    Attributes
    ----------
    weight_, bias_ : (C, D) and (C,) float32, the new head
    report_ : list of :class:`CategoryReport`
    expected_gain_ : of ``auto``, the mean gain on halves of ``select`` that chose nothing; where it is not above 0, all
        old heads stay. None where it was not asked for or cannot be told
    warnings_ : list of str
    n_features_in_ : D

    Examples
    --------
    >>> tuner = CategoryWiseFineTuner(objective="ap").fit(
    ...     Z, Y, head_weight=W, head_bias=b, select=(Z_select, Y_select))    # doctest: +SKIP
    >>> probability = tuner.predict_proba(Z_test)                              # doctest: +SKIP
    """

    def __init__(
        self,
        objective: Objective = "ap",
        method: Method = "auto",
        *,
        preset: Preset | None = None,
        loss: Literal["bce", "asl"] = "bce",
        calibrate: bool = True,
        device: str = "auto",
        memory_gb: float = 1.0,
        random_state: int = 0,
    ) -> None:
        self.objective = objective
        self.method = method
        self.preset = preset
        self.loss = loss
        self.calibrate = calibrate
        self.device = device
        self.memory_gb = memory_gb
        self.random_state = random_state

    def fit(
        self,
        features: ArrayLike | Features,
        labels: ArrayLike,
        *,
        head_weight: ArrayLike,
        head_bias: ArrayLike,
        select: Select = None,
        label_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        step: Callable[[int, int], None] = lambda done, total: None,
    ) -> Self:
        """Find the new head.

        Parameters
        ----------
        features : (N, D), or (N, C, D) where each category has features of its own
        labels : (N, C): 1, 0, NaN (unknown), -1 (uncertain, treated as unknown). Soft labels are possible for
            ``auto``, ``logistic`` and ``backprop``
        head_weight, head_bias : (C, D) and (C,), the trained head
        select : features and labels of other samples, on which heads are chosen; None holds out a quarter of the rows
        label_weight : (N, C), how much each label counts
        groups : (N,), only used to hold out: rows of a group (a patient) stay together
        step : told (categories done, categories) now and then

        Raises
        ------
        DataError, ConfigError
            For input that cannot be used, in one line.
        """
        self._check_options()
        problem = self._problem(features, labels, head_weight, head_bias, select, label_weight, groups)
        solved = self._solve(problem, step)
        self._adopt(problem, solved)
        self.n_features_in_ = problem.weight.shape[1]
        return self

    def decision_function(self, features: ArrayLike | Features) -> NDArray[np.float32]:
        """Logits (N, C)."""
        check_is_fitted(self, "weight_")
        values = check_features(features, "features", self.n_features_in_, len(self.bias_))
        weight, bias = torch.from_numpy(self.weight_), torch.from_numpy(self.bias_)
        return linear_logits(values, weight, bias).numpy()

    def predict_proba(self, features: ArrayLike | Features) -> NDArray[np.float32]:
        """Probabilities (N, C)."""
        return torch.sigmoid(torch.from_numpy(self.decision_function(features))).numpy()

    def _check_options(self) -> None:
        for name, value, allowed in (
            ("objective", self.objective, OBJECTIVES),
            ("method", self.method, METHODS),
            ("preset", self.preset, (None, *PRESETS)),
            ("loss", self.loss, ("bce", "asl")),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} {value!r}: use {', '.join(str(a) for a in allowed if a)}")
        fits = {"fast": ("auto", "logistic"), "paper-2024": ("auto", "backprop", "genetic")}
        if self.preset is not None and self.method not in fits[self.preset]:
            raise ConfigError(f"preset {self.preset} belongs to method {' or '.join(fits[self.preset])}")

    def _problem(
        self,
        features: Any,
        labels: Any,
        head_weight: Any,
        head_bias: Any,
        select: Select,
        label_weight: Any,
        groups: Any,
    ) -> Problem:
        device = choose_device(self.device)
        weight = torch.as_tensor(as_array(head_weight), device=device)
        bias = torch.as_tensor(as_array(head_bias), device=device)
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            raise DataError(f"head: weight must be (C, D) and bias (C,), found {shapes}")
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise DataError("head: not finite (NaN or infinite)")
        hard = self.method == "genetic" or self.preset == "paper-2024"
        fit_split = _split(features, labels, label_weight, "fit", weight, hard=hard)
        if select is None:
            fit_split, select_split = hold_out(fit_split, groups, self.random_state)
            check_labels(select_split.labels, len(select_split), "labels held out to select", hard=True)
        else:
            select_split = _split(*select, None, "select", weight, hard=True)
        return Problem(fit_split, select_split, weight, bias, self.random_state)

    def _solve(self, problem: Problem, step: Callable[[int, int], None]) -> _Solved:
        budget = int(self.memory_gb * 2**30 / 4)
        if self.method == "auto" and self.preset == "paper-2024":
            return _Solved(*fit_greedy(problem, self.objective, budget=budget, step=step))
        if self.method in ("auto", "logistic"):
            candidates = FAST if self.preset == "fast" else THOROUGH
            rule: Literal["mean", "best"] = "mean" if self.method == "auto" else "best"
            found = search(problem, candidates, self.objective, rule, budget=budget, step=step)
            return _Solved(
                found.weight,
                found.bias,
                *candidates_in_words(found.names, found.score, found.adoption.share),
                found.expected_gain,
            )
        result = self._optimise(problem, budget, step)
        return _Solved(result.weight, result.bias, *steps_in_words(self.method, result), fit_before=result.fit_before)

    def _optimise(self, problem: Problem, budget: int, step: Callable[[int, int], None]) -> Optimised:
        paper = self.preset == "paper-2024"
        if self.method == "backprop":
            loss = "asl" if paper else self.loss
            return backprop.fit_backprop(problem, self.objective, loss=loss, budget=budget, step=step)
        if paper:
            return genetic_paper.fit_genetic_paper(problem, self.objective, budget=budget, step=step)
        return genetic.fit_genetic(problem, self.objective, budget=budget, step=step)

    def _adopt(self, problem: Problem, solved: _Solved) -> None:
        """Keep a new head only where it is better on ``select``; calibrate what was adopted."""
        weight, bias = problem.weight.clone(), problem.bias.clone()
        before, after = (torch.full_like(bias, torch.nan, dtype=torch.float64) for _ in range(2))
        fittable = problem.fittable()
        per_chunk = max(1, int(self.memory_gb * 2**30 / (128 * len(problem.select))))
        for c in torch.arange(len(bias), device=bias.device).split(per_chunk):
            labels = problem.select.labels[:, c]
            old = linear_logits(problem.select.features, problem.weight[c], problem.bias[c], c)
            new = linear_logits(problem.select.features, solved.weight[c], solved.bias[c], c)
            before[c], after[c] = (_objective(logits, labels, self.objective) for logits in (old, new))
            adopted = (fittable[c] & (after[c] > before[c]))[:, None]
            scale, fitted = torch.ones_like(bias[c]), solved.bias[c]
            if self.calibrate:
                plain = (new - solved.bias[c]).T  # the bias enters as the centre of its prior
                found = scale_and_bias(*known_entries(plain, labels.T), solved.bias[c])
                scale, fitted = (values.float() for values in found)
            weight[c] = torch.where(adopted, solved.weight[c] * scale[:, None], problem.weight[c])
            bias[c] = torch.where(adopted[:, 0], fitted, problem.bias[c])
        adopted = fittable & (after > before)
        self.weight_, self.bias_ = weight.cpu().numpy(), bias.cpu().numpy()
        self.expected_gain_ = solved.expected_gain
        self.report_ = self._report(problem, solved, before, torch.where(adopted, after, before), adopted)
        self.warnings_ = self._warnings(problem, solved)

    def _report(
        self, problem: Problem, solved: _Solved, before: Tensor, after: Tensor, adopted: Tensor
    ) -> list[CategoryReport]:
        fittable = problem.fittable().tolist()
        counts = (
            problem.fit.positives,
            problem.fit.negatives,
            problem.select.positives,
            problem.select.negatives,
        )
        columns = [values.tolist() for values in counts]
        was, now, taken = before.tolist(), after.tolist(), adopted.tolist()
        pooled = self.method == "auto" and self.preset != "paper-2024"
        refused = solved.expected_gain is not None and solved.expected_gain <= 0
        reports = []
        for c in range(len(fittable)):
            status: Status
            if not fittable[c]:
                status, reason, method = "not_fitted", problem.why_not(c), "old head"
            elif not taken[c]:
                reason = "the gain does not hold on other labels" if refused else "no candidate is better on select"
                status, method = "unchanged", "old head"
            else:
                status, reason, method = "improved", "better on select", solved.method[c]
                if columns[2][c] < FEW_POSITIVES:
                    reason += f"; only {columns[2][c]} positives there"
                    reason += ", so mostly judged by all categories together" if pooled else ", so perhaps by luck"
            evidence = solved.evidence[c] if fittable[c] else ()
            known = [column[c] for column in columns]
            reports.append(
                CategoryReport(status, reason, method, was[c], now[c], known[0], known[1], known[2], known[3], evidence)
            )
        return reports

    def _warnings(self, problem: Problem, solved: _Solved) -> list[str]:
        found = []
        few = [int(p) for p, r in zip(problem.select.positives, self.report_, strict=True) if r.status != "not_fitted"]
        thin = sum(p < FEW_POSITIVES for p in few)
        if thin:
            found.append(
                f"{thin} of {len(few)} categories have fewer than {FEW_POSITIVES} known positives in select:"
                " their gains there say little"
            )
        if solved.expected_gain is not None and solved.expected_gain <= 0:
            found.append(
                "all old heads stay: heads chosen on one half of select gained"
                f" {100 * solved.expected_gain:+.2f} points of {self.objective.upper()} on the other"
            )
        if solved.fit_before is not None and (mean := float(solved.fit_before.nanmean())) > SATURATED:  # never of NaN
            climb = "measures its fitness under noise to have something to climb"
            if self.preset == "paper-2024":
                climb = "has nothing to climb, so what it returns was picked by select"
            found.append(
                f"the old head already ranks the known fit labels almost perfectly (mean {self.objective.upper()}"
                f" {mean:.3f}); the genetic search {climb}; method auto is better and faster"
            )
        return found


def choose_device(name: str) -> torch.device:
    """``auto`` takes an accelerator if there is one; otherwise what torch understands, or ConfigError."""
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {name!r}: {' '.join(str(error).split())[:120]}") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _split(features: Any, labels: Any, weight: Any, name: str, head: Tensor, *, hard: bool) -> Split:
    values = check_features(features, f"{name} features", head.shape[1], head.shape[0])
    array = check_labels(labels, values.shape[0], f"{name} labels", hard=hard)
    if array.shape[1] != head.shape[0]:
        raise DataError(f"{name} labels: {array.shape[1]} categories, the head has {head.shape[0]}")
    if weight is None:
        return Split(values, torch.from_numpy(array).to(head.device))
    weights = as_array(weight)
    if weights.shape != array.shape or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"label_weight: must be finite, not negative, of shape {array.shape} as the labels")
    if not (weights > 0).all():  # a label that counts nothing is not known
        array = np.where(weights > 0, array, np.float32(np.nan))
    return Split(values, torch.from_numpy(array).to(head.device), torch.from_numpy(weights).to(head.device))


def _objective(logits: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    """(C,) float64 of logits and labels (N, C); soft labels, which only fit may have, are rounded."""
    hard = torch.where(torch.isnan(labels), labels, (labels >= 0.5).float())
    return ranking(logits.T.contiguous(), hard.T.contiguous()).of(objective)
