"""The estimator: scikit-learn's conventions, what it must not do to a head, and what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial as bind
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from labelwise.cft.evidence import FEW_POSITIVES
from labelwise.cft.finetuner import CategoryWiseFineTuner
from labelwise.cft.solvers import backprop, genetic, genetic_paper, greedy
from labelwise.metrics.ranking import ranking

Toy = Callable[..., Any]
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "auto"},
    {"method": "auto", "preset": "fast"},
    {"method": "logistic"},
    {"method": "backprop"},
    {"method": "backprop", "loss": "asl"},
    {"method": "backprop", "preset": "paper-2024"},
    {"method": "genetic"},
    {"method": "genetic", "preset": "paper-2024"},
    {"method": "auto", "preset": "paper-2024"},
)
every_method = pytest.mark.parametrize("options", METHODS, ids=lambda options: " ".join(options.values()))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The iterative solvers, whose own tests are elsewhere, stop early."""
    for module in (backprop, greedy):
        monkeypatch.setattr(module, "fit_backprop", bind(backprop.fit_backprop, steps=40, learning_rate=1e-2))
    for module in (genetic_paper, greedy):
        monkeypatch.setattr(module, "fit_genetic_paper", bind(genetic_paper.fit_genetic_paper, steps=20))
    monkeypatch.setattr(genetic, "fit_genetic", bind(genetic.fit_genetic, steps=20))


def scores(logits: Any, labels: Any, metric: str = "ap") -> Any:
    return ranking(np.ascontiguousarray(logits.T), np.ascontiguousarray(labels.T)).of(metric).numpy()


def old_logits(toy: Any, features: Any) -> Any:
    return features @ toy.weight.T + toy.bias


# conventions


def test_the_constructor_only_stores_and_clones() -> None:
    values = {"objective": "auc", "method": "nonsense", "memory_gb": -1, "random_state": 5, "preset": object()}
    tuner = CategoryWiseFineTuner(**values)  # type: ignore[arg-type]
    params = tuner.get_params()
    assert {key: params[key] for key in values} == values
    assert set(params) == {*values, "loss", "calibrate", "device", "base", "threshold"}
    assert tuner.set_params(objective="ap").objective == "ap"
    assert clone(CategoryWiseFineTuner("auc", "logistic")).get_params()["method"] == "logistic"


def test_fit_returns_self_and_results_have_their_shapes(partial: Toy) -> None:
    toy = partial(0)
    tuner = CategoryWiseFineTuner(device="cpu")
    told: list[tuple[int, int]] = []
    arguments = {"head_weight": toy.weight, "head_bias": toy.bias, "select": toy.select}
    assert tuner.fit(*toy.fit, **arguments, progress=lambda done, total: told.append((done, total))) is tuner
    assert tuner.weight_.shape == (4, 24) and tuner.bias_.shape == (4,) and tuner.n_features_in_ == 24
    assert tuner.weight_.dtype == tuner.bias_.dtype == np.float32
    assert len(tuner.report_) == 4 and told[-1] == (4, 4)
    logits = tuner.decision_function(toy.test[0])
    np.testing.assert_allclose(logits, toy.test[0] @ tuner.weight_.T + tuner.bias_, atol=1e-4)
    np.testing.assert_allclose(tuner.predict_proba(toy.test[0]), 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_nothing_is_predicted_before_fit() -> None:
    for call in (CategoryWiseFineTuner().decision_function, CategoryWiseFineTuner().predict_proba):
        with pytest.raises(NotFittedError):
            call(np.zeros((2, 3), np.float32))


@every_method
def test_the_same_seed_gives_the_same_head(options: dict[str, Any], partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    first, second = toy.fitted(options), toy.fitted(options)
    assert np.array_equal(first.weight_, second.weight_) and np.array_equal(first.bias_, second.bias_)
    assert first.report_ == second.report_


def test_the_order_of_rows_hardly_matters(partial: Toy) -> None:
    toy = partial(0)
    order = np.random.default_rng(0).permutation(len(toy.fit[0]))
    first = toy.fitted()
    second = toy.fitted(features=toy.fit[0][order], labels=toy.fit[1][order])
    one, two = (tuner.decision_function(toy.test[0]) for tuner in (first, second))
    for c in range(4):
        assert np.corrcoef(one[:, c], two[:, c])[0, 1] > 0.999


def test_the_order_of_categories_hardly_matters(partial: Toy) -> None:
    toy, order = partial(0), np.array([2, 0, 3, 1])
    second = toy.fitted(
        labels=toy.fit[1][:, order],
        select=(toy.select[0], toy.select[1][:, order]),
        head_weight=toy.weight[order],
        head_bias=toy.bias[order],
    )
    one, two = toy.fitted().decision_function(toy.test[0])[:, order], second.decision_function(toy.test[0])
    for c in range(4):
        assert np.corrcoef(one[:, c], two[:, c])[0, 1] > 0.995


# what it does to a head


@every_method
@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_select_never_gets_worse(objective: str, options: dict[str, Any], partial: Toy) -> None:
    toy = partial(2, known=0.15)
    tuner = toy.fitted({"objective": objective, **options})
    before = scores(old_logits(toy, toy.select[0]), toy.select[1], objective)
    after = scores(tuner.decision_function(toy.select[0]), toy.select[1], objective)
    reports = tuner.report_
    np.testing.assert_allclose([r.before for r in reports], before, atol=1e-6)
    np.testing.assert_allclose([r.after for r in reports], after, atol=1e-6)
    if options["method"] == "auto":  # it is judged by all categories together
        assert np.nanmean([r.after for r in reports]) >= np.nanmean([r.before for r in reports])
    else:
        assert all(r.after > r.before for r in reports if r.status == "improved")
    for c, report in enumerate(reports):
        kept = np.array_equal(tuner.weight_[c], toy.weight[c]) and tuner.bias_[c] == toy.bias[c]
        assert kept == (report.status == "unchanged") and report.status != "not_fitted"
        if kept:
            assert report.after == report.before


@pytest.mark.parametrize("objective", ["ap", "auc"])
@pytest.mark.parametrize("options", METHODS[:3], ids=lambda options: " ".join(options.values()))
def test_it_helps_a_head_that_took_unknown_for_negative(objective: str, options: dict[str, Any], partial: Toy) -> None:
    gains = []
    for seed in (0, 1, 3):
        toy = partial(seed)
        tuner = toy.fitted({"objective": objective, **options})
        before, after = (
            scores(logits, toy.test[1], objective)
            for logits in (old_logits(toy, toy.test[0]), tuner.decision_function(toy.test[0]))
        )
        gains.append((after - before).mean())
    assert min(gains) > 0.015 and np.mean(gains) > 0.03


def test_probabilities_mean_something_afterwards(partial: Toy) -> None:
    toy = partial(0)
    labels = toy.test[1]

    def log_loss(logits: Any) -> float:
        return float((np.logaddexp(0, logits) - labels * logits).mean())

    tuner, raw = toy.fitted(), toy.fitted({"calibrate": False})
    before = log_loss(old_logits(toy, toy.test[0]))
    assert log_loss(tuner.decision_function(toy.test[0])) < before - 0.05
    np.testing.assert_allclose(tuner.predict_proba(toy.test[0]).mean(0), labels.mean(0), atol=0.08)
    factor = tuner.weight_ / raw.weight_
    np.testing.assert_allclose(factor, factor[:, :1].repeat(24, 1), rtol=1e-3)  # a scale, so ranks stay
    assert (factor > 0).all()


def test_categories_that_cannot_be_fitted_keep_their_row(partial: Toy) -> None:
    toy = partial(0, categories=8)
    y, chosen = toy.fit[1].copy(), toy.select[1].copy()
    y[:, 0] = np.nan  # all unknown
    y[:, 1] = np.where(y[:, 1] == 1, np.nan, y[:, 1])  # no positive
    y[:, 2] = np.where(y[:, 2] == 0, -1, y[:, 2])  # no negative, but uncertain ones
    chosen[:, 3] = np.nan
    chosen[:, 4] = np.where(chosen[:, 4] == 1, -1, chosen[:, 4])
    chosen[:, 5] = np.where(chosen[:, 5] == 0, np.nan, chosen[:, 5])
    for options in (METHODS[0], METHODS[2], METHODS[3], METHODS[7]):
        tuner = toy.fitted(options, labels=y, select=(toy.select[0], chosen))
        reasons = [report.reason for report in tuner.report_]
        assert [r.status == "not_fitted" for r in tuner.report_] == [True] * 6 + [False] * 2
        assert reasons[:6] == [
            "no known positive label in fit, no known negative label in fit",
            "no known positive label in fit",
            "no known negative label in fit",
            "no known positive label in select, no known negative label in select",
            "no known positive label in select",
            "no known negative label in select",
        ]
        assert np.array_equal(tuner.weight_[:6], toy.weight[:6]) and np.array_equal(tuner.bias_[:6], toy.bias[:6])
        assert all(report.method == "old head" and not report.evidence for report in tuner.report_[:6])
        for c, report in enumerate(tuner.report_):
            counts = [int((side[:, c] == kind).sum()) for side in (y, chosen) for kind in (1, 0)]
            found = [report.positives, report.negatives, report.select_positives, report.select_negatives]
            assert found == counts


@every_method
def test_nothing_can_be_fitted(options: dict[str, Any], partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    tuner = toy.fitted(options, labels=np.full_like(toy.fit[1], np.nan))
    assert [report.status for report in tuner.report_] == ["not_fitted"] * 2
    assert np.array_equal(tuner.weight_, toy.weight) and np.array_equal(tuner.bias_, toy.bias)


def test_evidence_adds_up(partial: Toy) -> None:
    report = partial(0).fitted().report_[0]
    shares = [share for _, _, share in report.evidence]
    assert 0 < sum(shares) <= 1.0001 and shares == sorted(shares, reverse=True) and 1 <= len(shares) <= 5
    assert report.method.startswith("logistic")


def test_few_positives_are_told(partial: Toy) -> None:
    toy = partial(0)
    chosen = toy.select[1].copy()
    positive = np.flatnonzero(chosen[:, 0] == 1)
    chosen[positive[5:], 0] = np.nan
    tuner = toy.fitted(select=(toy.select[0], chosen))
    assert f"1 of 4 categories have fewer than {FEW_POSITIVES} known positives in select" in tuner.warnings_[0]
    assert toy.fitted().warnings_ == []


def test_reasons_say_how_a_category_was_judged(partial: Toy) -> None:
    toy = partial(1, rows=(300, 40, 600))
    for options, words in (({}, "mostly judged by all categories"), ({"method": "logistic"}, "perhaps by luck")):
        reasons = [r.reason for r in toy.fitted(options).report_ if r.status == "improved"]
        assert reasons and all(words in reason for reason in reasons)


def test_a_genetic_search_with_nothing_to_climb_warns(partial: Toy) -> None:
    saturated = partial(0, rows=(30, 200, 600), known=0.6)
    assert any("to climb" in line for line in saturated.fitted({"method": "genetic"}).warnings_)
    assert not any("to climb" in line for line in saturated.fitted().warnings_)
    easy = partial(0, dim=6)
    assert not any("to climb" in line for line in easy.fitted({"method": "genetic"}).warnings_)


@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_the_warning_says_how_well_the_old_head_ranks(objective: str, partial: Toy) -> None:
    toy = partial(0, rows=(60, 200, 600), known=0.7)
    mean = scores(old_logits(toy, toy.fit[0]), toy.fit[1], objective).mean()
    for preset, words in ((None, "measures its fitness under noise"), ("paper-2024", "has nothing to climb")):
        options = {"method": "genetic", "objective": objective, "preset": preset}
        [line] = [line for line in toy.fitted(options).warnings_ if "to climb" in line]
        assert f"(mean {objective.upper()} {mean:.3f}); the genetic search {words}" in line


def test_little_memory_gives_nearly_the_same(partial: Toy) -> None:
    toy = partial(0)
    own = [np.ascontiguousarray(np.repeat(side[0][:, None], 4, axis=1)) for side in (toy.fit, toy.select)]
    for changes in ({}, {"features": own[0], "select": (own[1], toy.select[1])}):
        large, small = (toy.fitted({"memory_gb": size}, **changes) for size in (1.0, 1e-6))
        one, two = (tuner.decision_function(toy.test[0]) for tuner in (large, small))
        for c in range(4):
            assert np.corrcoef(one[:, c], two[:, c])[0, 1] > 0.999


# labels and weights


def test_uncertain_labels_and_labels_of_weight_zero_are_unknown(partial: Toy) -> None:
    toy = partial(0)
    y = toy.fit[1].copy()
    away = np.random.default_rng(0).random(y.shape) < 0.3
    expected = toy.fitted(labels=np.where(away, np.nan, y))
    uncertain = toy.fitted(labels=np.where(away & np.isfinite(y), -1, y))
    weightless = toy.fitted(label_weight=np.where(away, 0.0, 1.0))
    for tuner in (uncertain, weightless):
        np.testing.assert_allclose(tuner.weight_, expected.weight_, rtol=1e-3, atol=1e-3)
        assert [r.positives for r in tuner.report_] == [r.positives for r in expected.report_]
    chosen = np.where(np.isnan(toy.select[1]), -1, toy.select[1])
    assert np.array_equal(toy.fitted(select=(toy.select[0], chosen)).weight_, toy.fitted().weight_)


def test_a_weight_of_two_is_a_row_that_is_there_twice(partial: Toy) -> None:
    toy = partial(0)
    twice = np.arange(len(toy.fit[0])) % 3 == 0
    weight = np.where(twice[:, None], 2.0, 1.0) * np.ones_like(toy.fit[1])
    weighted = toy.fitted({"method": "logistic"}, label_weight=weight)
    rows = np.r_[np.arange(len(twice)), np.flatnonzero(twice)]
    repeated = toy.fitted({"method": "logistic"}, features=toy.fit[0][rows], labels=toy.fit[1][rows])
    plain = toy.fitted({"method": "logistic"})
    one, two, three = (t.decision_function(toy.test[0]) for t in (weighted, repeated, plain))
    # coordinates shift a little with the repeated rows, so heads are alike rather than equal
    gap = [np.mean([1 - np.corrcoef(one[:, c], other[:, c])[0, 1] for c in range(4)]) for other in (two, three)]
    assert gap[0] < 0.01 and gap[0] < 0.5 * gap[1]


# features in other forms


def test_every_container_of_features(tmp_path: Path, partial: Toy) -> None:
    toy = partial(0)
    expected = toy.fitted()
    np.save(tmp_path / "z.npy", toy.fit[0])
    forms: dict[str, dict[str, Any]] = {
        "memory map": {"features": np.load(tmp_path / "z.npy", mmap_mode="r")},
        "float64": {"features": toy.fit[0].astype(np.float64), "head_weight": toy.weight.astype(np.float64)},
        "tensors": {"features": torch.from_numpy(toy.fit[0]), "labels": torch.from_numpy(toy.fit[1])},
        "parameters": {
            "features": torch.from_numpy(toy.fit[0]).requires_grad_(),
            "head_weight": torch.nn.Parameter(torch.from_numpy(toy.weight)),
            "head_bias": torch.nn.Parameter(torch.from_numpy(toy.bias)),
            "label_weight": torch.ones(toy.fit[1].shape),
        },
        "lists": {"features": toy.fit[0].tolist(), "labels": toy.fit[1].tolist(), "head_bias": toy.bias.tolist()},
    }
    for name, changes in forms.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = toy.fitted(**changes)
        np.testing.assert_allclose(found.weight_, expected.weight_, rtol=1e-3, atol=1e-3, err_msg=name)
    at = torch.from_numpy(toy.test[0]).requires_grad_()
    np.testing.assert_array_equal(expected.decision_function(at), expected.decision_function(toy.test[0]))
    half = toy.fitted(features=toy.fit[0].astype(np.float16)).decision_function(toy.test[0].astype(np.float16))
    for c in range(4):
        assert np.corrcoef(half[:, c], expected.decision_function(toy.test[0])[:, c])[0, 1] > 0.999


@every_method
def test_features_of_each_category_are_fits_of_their_own(options: dict[str, Any], partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    fit, select, test = (np.stack([s[0], s[0][:, ::-1] * 2], axis=1) for s in (toy.fit, toy.select, toy.test))
    weight = np.stack([toy.weight[0], toy.weight[1, ::-1] / 2])
    own = toy.fitted(options, features=fit, select=(select, toy.select[1]), head_weight=weight)
    logits = own.decision_function(test)
    before = np.einsum("ncd,cd->nc", test, weight) + toy.bias
    np.testing.assert_allclose(before, old_logits(toy, toy.test[0]), atol=1e-3)
    gain = scores(logits, toy.test[1]) - scores(before, toy.test[1])
    shared = toy.fitted(options).decision_function(toy.test[0])
    np.testing.assert_allclose(gain, scores(shared, toy.test[1]) - scores(before, toy.test[1]), atol=0.06)
    if "logistic" in options.values() or "auto" in options.values():
        # where all categories have the same vectors, it is the shared inputs itself
        same = [np.ascontiguousarray(np.repeat(s[0][:, None], 2, axis=1)) for s in (toy.fit, toy.select)]
        repeated = toy.fitted(options, features=same[0], select=(same[1], toy.select[1]))
        for c in range(2):
            assert np.corrcoef(repeated.decision_function(toy.test[0])[:, c], shared[:, c])[0, 1] > 0.99


# a split to choose on


def test_without_select_whole_groups_are_held_out(partial: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = partial(0)
    groups = np.arange(len(toy.fit[0])) // 5
    z = toy.fit[0].copy()
    z[:, 0] = groups / 64  # so that the rows can be told by their features
    seen: list[Any] = []
    solve = CategoryWiseFineTuner._solve
    monkeypatch.setattr(CategoryWiseFineTuner, "_solve", lambda self, p: seen.append(p) or solve(self, p))
    for form in (z, torch.from_numpy(z)):
        toy.fitted(features=form, select=None, groups=[f"patient {g}" for g in groups])
        inputs = seen.pop()
        first, second = (64 * np.asarray(part.features[:])[:, 0] for part in (inputs.fit, inputs.select))
        assert not set(first) & set(second) and set(first) | set(second) == set(range(60))
        assert len(set(second)) == 15 and len(inputs.select) == 75
        labels = torch.cat([inputs.fit.labels, inputs.select.labels])[np.argsort(np.r_[first, second], kind="stable")]
        assert np.array_equal(labels.numpy(), toy.fit[1], equal_nan=True)
    toy.fitted(select=None)
    assert len(seen.pop().select) == 75
