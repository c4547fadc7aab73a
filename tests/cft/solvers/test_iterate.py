"""Judging a window of steps at once decides what judging step by step decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.solver_inputs import make_inputs, score
from labelwise.cft.solvers import iterate as optimised
from labelwise.cft.solvers.inputs import SolverInput
from labelwise.cft.solvers.iterate import early_stopping, keep_best, weight_and_bias
from labelwise.errors import ConfigError


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 6), st.integers(1, 8), st.data())
def test_windows_of_any_size_judge_like_a_plain_loop(scores, old, patience, data):
    best, best_step = old, -1
    for step, value in enumerate(scores):
        if value > best:
            best, best_step = value, step
        if step - best_step >= patience:
            break

    state = torch.tensor([float(old)]), torch.tensor([-1])
    first, stopped = 0, False
    while first < len(scores) and not stopped:
        window = data.draw(st.integers(1, len(scores) - first))
        part = torch.tensor([scores[first : first + window]], dtype=torch.float32)
        found = early_stopping(part, *state, first, patience)
        state, stopped = (found.score, found.step), bool(found.stopped)
        first += window
    assert (state[0].item(), state[1].item(), found.taken.item()) == (best, best_step, step + 1)


class Script:
    """Candidates from a table (C, T, G); remembers how far it was run and how it was narrowed."""

    def __init__(self, table: Tensor, categories: list[int]):
        self.categories = torch.tensor(categories)
        self.table, self.at, self.widths = table, 0, []

    def advance(self, count: int) -> Tensor:
        self.widths.append(len(self.categories))
        self.at += count
        return self.table[self.categories, self.at - count : self.at]

    def narrow(self, keep: Tensor) -> None:
        self.categories = self.categories[keep]


def walk(inputs: SolverInput, length: int, seed: int = 3) -> Tensor:
    """Heads (C, T, D + 1) that stray further and further from the old ones."""
    rng = np.random.default_rng(seed)
    origin = torch.cat([inputs.weight, inputs.bias[:, None]], 1)
    moves = rng.normal(size=(len(origin), length, origin.shape[1])) * 0.2
    return origin[:, None] + torch.from_numpy(moves.cumsum(1).astype(np.float32))


def run(inputs: SolverInput, scripts: list[Script], steps: int = 60, patience: int = 9, budget: int = 10**8):
    origin = torch.cat([inputs.weight, inputs.bias[:, None]], 1)
    told: list[tuple[int, int]] = []
    given = replace(inputs, budget=budget, progress=lambda done, total: told.append((done, total)))
    select_x = torch.as_tensor(inputs.select.features)
    kept = keep_best(given, scripts, origin, select_x, weight_and_bias, steps=steps, patience=patience)
    return kept, told


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("known", [0.2, 1.0])
def test_every_category_keeps_its_best_and_stops_for_itself(own, known, monkeypatch):
    monkeypatch.setattr(optimised, "WINDOW", 4)
    inputs = make_inputs(1, categories=5, own=own, known=known)
    table = walk(inputs, 60)
    script = Script(table, [2, 0, 4, 1, 3])
    kept, told = run(inputs, [script])
    x = torch.as_tensor(inputs.select.features)
    for c in range(5):
        rows = ~torch.isnan(inputs.select.labels[:, c])
        z, y = (x[:, c] if own else x)[rows], inputs.select.labels[rows, c]
        old = torch.cat([inputs.weight[c], inputs.bias[c, None]]).numpy()
        values = [score("ap", z, y, head.numpy()) for head in table[c]]
        best, at = score("ap", z, y, old), -1
        assert kept.score_before[c].item() == pytest.approx(best, abs=1e-9)
        for step in range(int(kept.steps[c])):
            if values[step] > best + 1e-12:
                best, at = values[step], step
        assert int(kept.best_step[c]) == at and kept.score_after[c].item() == pytest.approx(best, abs=1e-9)
        assert (
            torch.cat([kept.weight[c], kept.bias[c, None]]).tolist()
            == (table[c, at] if at >= 0 else torch.from_numpy(old)).tolist()
        )
        assert int(kept.steps[c]) == min(60, at + 9 + 1)
    assert len(set(kept.steps.tolist())) > 2, "the case shall stop categories at different times"
    assert script.widths[-1] < 5, "stopped categories are taken out of the batch"
    assert told == [(5, 5)]


def test_windows_narrowing_and_memory_change_nothing(monkeypatch):
    inputs = make_inputs(2, categories=6)
    table = walk(inputs, 60)
    kept, _ = run(inputs, [Script(table, list(range(6)))])
    together = Script(table, list(range(6)))
    monkeypatch.setattr(optimised, "NARROW", -1.0)
    others = [run(inputs, [together])[0]]
    assert set(together.widths) == {6}
    monkeypatch.setattr(optimised, "NARROW", 1.0)
    one_by_one, told = run(inputs, [Script(table, [c]) for c in (5, 3, 1, 0, 2, 4)])
    others += [one_by_one, run(inputs, [Script(table, list(range(6)))], budget=1)[0]]
    monkeypatch.setattr(optimised, "WINDOW", 1)
    others.append(run(inputs, [Script(table, list(range(6)))])[0])
    for other in others:
        for name in ("weight", "bias", "best_step", "steps"):
            assert torch.equal(getattr(kept, name), getattr(other, name)), name
        torch.testing.assert_close(kept.score_after, other.score_after, rtol=0, atol=1e-12)
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_candidate_as_good_as_the_old_head_is_not_better():
    inputs = make_inputs(3)
    origin = torch.cat([inputs.weight, inputs.bias[:, None]], 1)
    origin_again = origin[:, None].repeat(1, 30, 1)
    origin_again[:, :, -1] += 5.0  # no rank objective sees the bias
    kept, _ = run(inputs, [Script(origin_again, [0, 1, 2, 3])], patience=7)
    assert kept.best_step.tolist() == [-1] * 4 and kept.steps.tolist() == [7] * 4
    assert torch.equal(torch.cat([kept.weight, kept.bias[:, None]], 1), origin) and torch.equal(
        kept.score_before, kept.score_after
    )


@pytest.mark.parametrize(("steps", "patience"), [(0, 5), (5, 0)])
def test_a_loop_without_steps_is_refused(steps, patience):
    with pytest.raises(ConfigError, match="at least 1"):
        run(make_inputs(), [], steps=steps, patience=patience)
