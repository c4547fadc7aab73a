"""The loop that backprop and the genetic algorithms share (arXiv 2401.16991): step, judge on ``select``, keep the best.

Every category keeps a candidate that is strictly better on ``select`` than the trained head and all candidates before
it. It stops when ``patience`` steps brought nothing better. Candidates are judged a window of steps at a time:
one product and one ranking call for all of them. The result is that of judging after every step. What an optimiser
computed past a category's stop is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from labelwise.cft.solvers.coordinates import linear_logits
from labelwise.cft.solvers.inputs import Block, SolverInput, blocks
from labelwise.errors import ConfigError, DataError
from labelwise.metrics.ranking import ranking

WINDOW = 16
"""Most steps judged at once."""

NARROW = 0.75
"""Share of the categories still running at which the stopped ones are taken out of the batch."""


@dataclass(frozen=True)
class IterativeResult:
    """The head of every category after an iterative solver.

    Attributes
    ----------
    weight, bias : (C, D), (C,) float32
    best_step : (C,) int64, the step whose candidate was kept; -1: the old head stayed
    steps : (C,) int64, steps taken until the stop; 0 for categories that cannot be fitted
    score_before, score_after : (C,) float64, objective on ``select``; NaN for categories that cannot be fitted
    fit_before : (C,) float64, objective of the old head on the known ``fit`` labels where that is what an optimiser
        climbs, else NaN. Close to 1 there is nothing to climb, and ``select`` picks a point of a random walk
    """

    weight: Tensor
    bias: Tensor
    best_step: Tensor
    steps: Tensor
    score_before: Tensor
    score_after: Tensor
    fit_before: Tensor


class Optimiser(Protocol):
    """An optimiser at work on some categories, all at once."""

    categories: Tensor
    """(c,) int64"""

    def advance(self, count: int) -> Tensor:
        """The candidates (c, count, G) of the next ``count`` steps; the first genes are the weights."""

    def narrow(self, keep: Tensor) -> None:
        """Go on with the categories in places ``keep`` (k,) of ``categories`` alone."""


def keep_best(
    inputs: SolverInput,
    optimisers: Iterable[Optimiser],
    origin: Tensor,
    select_x: Tensor,
    to_heads: Callable[[Tensor], tuple[Tensor, Tensor]],
    *,
    fit_before: Tensor | None = None,
    steps: int,
    patience: int,
) -> IterativeResult:
    """Let every optimiser run, judge its candidates on ``select``, and keep each category's best.

    Parameters
    ----------
    optimisers : together they cover the categories that can be fitted, each once
    origin : (C, G) genes of the trained head
    select_x : (M, R) or (M, C, R), what the weights among the genes multiply. A candidate's logit is the old head's
        plus ``x . (weights - origin's weights)``, so the old head's own score is met to the bit and rounding never
        passes for a gain
    to_heads : weight (C, D) and bias (C,) of genes (C, G)
    fit_before : see `IterativeResult`; the optimisers may fill it while they run
    steps, patience : steps of an optimiser at most, and steps without a gain after which a category stops

    Raises
    ------
    ConfigError
        For fewer than one step or patience.
    """
    if steps < 1 or patience < 1:
        raise ConfigError(f"steps {steps}, patience {patience}: expected at least 1 of both")
    old = linear_logits(inputs.select.features, inputs.weight, inputs.bias)
    categories = len(inputs.bias)
    genes = origin.clone()
    best_step = torch.full((categories,), -1, device=inputs.device)
    taken = torch.zeros_like(best_step)
    before = torch.full((categories,), torch.nan, dtype=torch.float64, device=inputs.device)
    best = before.clone()
    done, total = 0, int(inputs.fittable.sum())
    for optimiser in optimisers:
        every = optimiser.categories
        nothing = torch.zeros(len(every), 1, select_x.shape[-1], device=inputs.device)
        before[every] = best[every] = _score(inputs, select_x, old, every, nothing)[:, 0]
        running = torch.ones_like(every, dtype=torch.bool)
        first = 0
        while first < steps and (left := int(running.sum())):
            if left <= NARROW * len(running):
                optimiser.narrow(running.nonzero()[:, 0])
                running = running[running]
            own = optimiser.categories
            window = max(
                1, min(WINDOW, steps - first, inputs.budget // (len(own) * (3 * genes.shape[1] + 2 * len(old))))
            )
            candidates = optimiser.advance(window)
            change = (candidates - origin[own, None])[..., : select_x.shape[-1]]
            score = _score(inputs, select_x, old, own, change)
            state = early_stopping(score, best[own], best_step[own], first, patience)
            better = running & (state.step >= first)
            genes[own[better]] = candidates[better, state.step[better] - first]
            best[own] = torch.where(running, state.score, best[own])
            best_step[own] = torch.where(running, state.step, best_step[own])
            taken[own] = torch.where(running, state.taken, taken[own])
            running = running & ~state.stopped
            first += window
        done += len(every)
        inputs.progress(done, total)
    weight, bias = to_heads(genes)
    if fit_before is None:
        fit_before = torch.full_like(before, torch.nan)
    return IterativeResult(weight.contiguous(), bias.contiguous(), best_step, taken, before, best, fit_before)


def weight_and_bias(genes: Tensor) -> tuple[Tensor, Tensor]:
    """Genes (C, D + 1) that are heads, the bias last."""
    return genes[:, :-1], genes[:, -1]


class StoppingState(NamedTuple):
    """After a window of steps: the best score and its step, how many steps were taken, and whether that was the end."""

    score: Tensor
    step: Tensor
    taken: Tensor
    stopped: Tensor


def early_stopping(score: Tensor, best: Tensor, best_step: Tensor, first: int, patience: int) -> StoppingState:
    """What judging after every single step would have decided (all (c,)).

    Parameters
    ----------
    score : (c, K) of the candidates of steps first, ..., first + K - 1
    best, best_step : (c,) so far; -1 while the old head is the best
    """
    step = torch.arange(first, first + score.shape[1], device=score.device).expand(score.shape)
    record = torch.cat([best[:, None], score], dim=1).cummax(1).values
    improved = record[:, 1:] > record[:, :-1]
    last = torch.cat([best_step[:, None], torch.where(improved, step, -1)], dim=1).cummax(1).values[:, 1:]
    over = step - last >= patience
    stopped = over.any(1)
    end = torch.where(stopped, over.to(torch.int8).argmax(1), score.shape[1] - 1)[:, None]
    return StoppingState(record[:, 1:].gather(1, end)[:, 0], last.gather(1, end)[:, 0], first + end[:, 0] + 1, stopped)


def _score(inputs: SolverInput, x: Tensor, old: Tensor, categories: Tensor, change: Tensor) -> Tensor:
    """Objective (c, K) on ``select`` of heads that differ from the old ones by ``change`` (c, K, R)."""
    place = torch.empty(len(inputs.bias), dtype=torch.int64, device=inputs.device)
    place[categories] = torch.arange(len(categories), device=inputs.device)
    score = torch.empty(change.shape[:2], dtype=torch.float64, device=inputs.device)
    for part in blocks(x, inputs.select.labels, None, categories, change.shape[1], inputs.budget):
        own = place[part.categories]
        logits = part.product(change[own].transpose(1, 2)) + part.take(old)[..., None]
        found = ranking(logits.transpose(1, 2), part.label[:, None], known=part.weight[:, None] > 0)
        score[own] = found.of(inputs.objective)
    return score


def subset(block: Block, keep: Tensor) -> Block:
    """A block with the categories in places ``keep`` (k,) alone."""
    x = block.x[keep] if block.x.ndim == 3 else block.x
    rows = None if block.rows is None else block.rows[keep]
    return Block(block.categories[keep], x, block.label[keep], block.weight[keep], rows)


def refuse_soft_labels(inputs: SolverInput) -> None:
    """Raise DataError with the first soft label of ``fit``: a rank objective needs labels that are 1 or 0."""
    labels = inputs.fit.labels
    soft = ((labels > 0) & (labels < 1)).nonzero()
    if len(soft):
        row, category = soft[0].tolist()
        raise DataError(
            f"fit labels: row {row}, category {category}: soft label {labels[row, category]:g}; the genetic algorithms"
            " rank 1 against 0: round it, or use --method logistic or backprop"
        )
