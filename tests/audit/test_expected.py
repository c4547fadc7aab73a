"""Counts of wrong labels and how far they may be off, each written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelwise.audit import expected as module
from labelwise.audit.expected import (
    Doubt,
    class_health,
    depths,
    doubt_of,
    expected,
    noise_rate,
    refit_error,
    transition,
)
from labelwise.audit.wrong_labels import UNSHOWN, GivenLabels, fit_noise_model

N = 120


def scores() -> tuple[np.ndarray, Doubt]:
    score = np.random.default_rng(0).random(N) * 0.6
    return score, Doubt(score * 0.8, score * 1.1 + 0.02, 0.01)


def test_counts_are_sums_of_scores_and_their_intervals_of_every_doubt():
    score, doubt = scores()
    order = np.argsort(-score)
    found = expected(score, order, doubt)
    assert [one.depth for one in found] == [50, 100, N]
    for one in found:
        first = order[: one.depth]
        margin = 1.96 * np.sqrt((score[first] * (1 - score[first])).sum() + (0.01 * one.depth) ** 2)
        assert one.wrong == pytest.approx(score[first].sum())
        assert one.interval == pytest.approx((doubt.low[first].sum() - margin, doubt.high[first].sum() + margin))
    rate = noise_rate(score, doubt)
    assert rate.estimate == pytest.approx(score.mean())
    assert rate.interval == pytest.approx(tuple(end / N for end in found[-1].interval))


def test_counts_stay_between_none_and_all():
    score = np.full(N, 0.5)
    found = expected(score, np.arange(N), Doubt(score, score, 9.0))
    assert [one.interval for one in found] == [(0, 50), (0, 100), (0, N)]
    assert noise_rate(score, Doubt(score, score, 9.0)).interval == (0, 1)


@pytest.mark.parametrize(
    ("count", "places"),
    [(3, [3]), (50, [50]), (51, [50, 51]), (100, [50, 100]), (2001, [50, 100, 200, 500, 1000, 2000, 2001])],
)
def test_depths(count, places):
    assert depths(count) == places


def test_the_error_of_refits_is_that_of_a_mean_over_groups(monkeypatch):
    """The rate is the mean of a value for each group, of which as many are drawn as stand for REFITTED samples."""
    value = np.random.default_rng(1).normal(size=400)
    groups = np.repeat(np.arange(400), 3).astype(str)
    drawn = []

    def rate(rows):
        drawn.append(rows)
        _, times = np.unique(groups[rows].astype(int), return_counts=True)
        assert (times % 3 == 0).all()  # whole groups
        return float(value[groups[rows].astype(int)].mean())

    monkeypatch.setattr(module, "REFITS", 150)
    for limit, count in ((600, 200), (10_000, 400)):
        drawn.clear()
        monkeypatch.setattr(module, "REFITTED", limit)
        assert refit_error(groups, 0, rate) == pytest.approx(value.std() / 400**0.5, rel=0.2)
        assert {len(rows) for rows in drawn} == {3 * count}
    assert refit_error(groups, 0, rate) == refit_error(groups, 0, rate) != refit_error(groups, 1, rate)
    twice = iter([0.1, 0.3])
    monkeypatch.setattr(module, "REFITS", 2)
    assert refit_error(groups, 0, lambda rows: next(twice)) == pytest.approx(0.02**0.5)
    monkeypatch.setattr(module, "REFITTED", 1)
    drawn.clear()
    refit_error(groups, 0, rate)
    assert {len(rows) for rows in drawn} == {6}  # two groups at least


def test_doubts_are_the_scores_at_both_ends_of_what_no_answer_can_tell(monkeypatch):
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet([0.4] * 3, 300)).astype(np.float32)
    label = np.where(rng.random(300) < 0.8, log_p.argmax(1), rng.integers(0, 3, 300))
    given, groups = GivenLabels.plain(label), np.arange(300).astype(str)
    model = fit_noise_model(log_p, given)
    monkeypatch.setattr(module, "REFITS", 3)
    seen = []

    def fit(answers, labels, seed):
        seen.append((len(answers), seed))
        found = fit_noise_model(answers, labels, seed)
        return replace(found, bias=found.bias + 5 * len(seen))  # refits that differ are seen in the error

    monkeypatch.setattr(module, "fit_noise_model", fit)
    doubt = doubt_of(model, log_p, given, groups, 7)
    rows = np.arange(300)
    for side, follow, unshown in ((doubt.low, 0, 2 * UNSHOWN), (doubt.high, 1, 0)):
        right = model.right_class(log_p, given, follow, unshown)
        np.testing.assert_allclose(side, 1 - right[rows, label], rtol=1e-6)
    assert (doubt.high >= doubt.low - 1e-6).mean() > 0.9 and doubt.error > 0 and seen == [(300, 7)] * 3


def test_refits_are_scored_on_what_they_were_fitted_to(monkeypatch):
    """Of samples drawn again, answers and labels: a model that is certain of the given labels finds none wrong."""
    log_p = np.log(np.full((40, 2), 0.5, dtype=np.float32))
    given = GivenLabels.plain(np.arange(40) % 2)

    class Certain:
        def right_class(self, answers, part, follow, unshown):
            assert len(answers) == len(part.label)
            told.append((follow, unshown))
            return np.eye(2)[part.label]

    told: list[tuple[float, float]] = []
    monkeypatch.setattr(module, "fit_noise_model", lambda answers, labels, seed: Certain())
    doubt = doubt_of(Certain(), log_p, given, np.arange(40).astype(str), 0)
    assert doubt.error == 0 and (doubt.low == 0).all() and (doubt.high == 0).all()
    assert told[:2] == [(0, 2 * UNSHOWN), (1, 0)] and set(told[2:]) == {(0, 0)}


def test_transition_has_rows_by_right_class():
    right = np.array([[0.75, 0.25, 0], [0.5, 0.5, 0], [1, 0, 0]], dtype=np.float32)
    found = transition(right, np.array([0, 1, 1]))
    assert found[0] == pytest.approx((0.75 / 2.25, 1.5 / 2.25, 0))
    assert found[1] == pytest.approx((0.25 / 0.75, 0.5 / 0.75, 0)) and found[2] == (None, None, None)


def test_health_of_classes_is_of_their_given_labels():
    given, suggested = np.array([0, 0, 0, 1, 1, 0]), np.array([1, 2, 2, 1, 1, 0])
    score = np.array([0.9, 0.5, 0.6, 0.1, 0.0, 0.2])
    a, b, c = class_health(("a", "b", "c"), given, suggested, score)
    assert (a.name, a.given, a.confused_with) == ("a", 4, "c") and a.wrong == pytest.approx(2.2)
    assert (b.name, b.given, b.confused_with) == ("b", 2, None) and b.wrong == pytest.approx(0.1)
    assert (c.given, c.wrong, c.confused_with) == (0, 0, None)
