"""What a run says about itself: its regime, means over seeds, and the one comparison that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.rows import make_row
from labelwise.config import Recipe
from labelwise.data.dataset import Dataset, Features
from labelwise.metrics.choosing import Choice
from labelwise.refinery.choice import Judgement
from labelwise.refinery.context import PREDICTIONS
from labelwise.refinery.generations import generation_of
from labelwise.refinery.regime import OVERFIT_GAP, UNDERFIT_GAP, judge, judge_stopped, regime_of
from labelwise.refinery.summary import results
from labelwise.results import RefineResults, Row, Splits, summarise
from labelwise.results.refine import Epoch, FitScores, Scores

N, JUDGES = 200, 100


@pytest.mark.parametrize(
    ("crop", "select", "state"),
    [
        (0.50, 0.60, "underfit"),
        (0.60, 0.55, "underfit"),
        (0.70, 0.55, "balanced"),
        (0.95, 0.55, "overfit"),
        (1.00, 1.00, "underfit"),
        (float("nan"), 0.5, "underfit"),
    ],
)
def test_regime(crop, select, state):
    found = judge(crop, select)
    assert found.state == state and "\n" not in found.advice
    assert f"{crop:.1%}" in found.advice and f"{select:.1%}" in found.advice
    if crop == crop:
        assert found.gap == pytest.approx(crop - select)


@pytest.mark.parametrize(("crop", "state"), [(0.5, "underfit"), (0.65, "balanced"), (0.9, "overfit")])
def test_regime_of_a_stopped_first_generation(crop, state):
    found = judge_stopped(crop, 0.5)
    assert found.state == state == judge(crop, 0.5).state
    assert "stopped early" in found.advice and f"{crop:.1%}" in found.advice and "\n" not in found.advice


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice(0, 100, 1, difference=0.05, error=0.01), "refining helps here"),
        (Choice(1, 100, 0, difference=0.05, error=0.01), "refining itself costs accuracy here"),
        (Choice(0, 100, 1, difference=-0.01, error=0.01), None),
    ],
)
def test_what_held_out_labels_say_of_generation_2_comes_first(choice, words):
    for judged in (judge, judge_stopped):
        advice = judged(0.5, 0.5, choice).advice
        assert advice == judged(0.5, 0.5).advice if words is None else words in advice and "+0.050 nats" in advice


def test_every_advice_says_what_to_change():
    assert "train longer" in judge(0.5, 0.5).advice and "views.scale" in judge(0.5, 0.5).advice
    assert "chain.refinery" in judge(0.7, 0.55).advice
    assert "early" in judge(0.9, 0.5).advice
    assert UNDERFIT_GAP < OVERFIT_GAP


def dataset(groups: np.ndarray | None = None) -> Dataset:
    n = N + JUDGES + 10
    ids = np.array([f"i{i}" for i in range(n)])
    split = np.array(["fit"] * 10 + ["select"] * JUDGES + ["test"] * N)
    return Dataset(
        "d", ("a", "b"), ids, ids if groups is None else groups, np.arange(n) % 2, split, Features(np.zeros((n, 2)))
    )


def row(run: Path, name: str, role: str, seed: int, select: float, test: float, model: str = "net") -> Row:
    path = f"seed-{seed}/{name}"
    (run / path).mkdir(parents=True)
    rng = np.random.default_rng([seed, len(name)])
    judges = np.arange(10, 10 + JUDGES)
    right = np.arange(JUDGES) < round(select * JUDGES)
    judged = np.eye(2)[np.where(right, judges % 2, 1 - judges % 2)]
    correct = rng.permutation(np.arange(N) < round(test * N))
    np.savez(run / path / PREDICTIONS, correct=correct, judges=judges, judged=judged)
    scores = {"select": Scores(top1=select, nll=1.0, ece=0.1), "test": Scores(top1=test, nll=float("nan"), ece=0.1)}
    return make_row(name, role=role, seed=seed, network={"name": model}, path=path, **scores)


def table(run: Path, entries: list[tuple[str, str, float, float]], seeds: int = 2) -> list[Row]:
    return [row(run, n, r, s, select + 0.01 * s, test) for s in range(seeds) for n, r, select, test in entries]


def told(rows: list[Row], run: Path, data: Dataset | None = None) -> RefineResults:
    return results("refine", rows, judge(0.9, 0.5), Judgement(data or dataset(), run))


def test_means_and_deviations_over_seeds(tmp_path):
    rows = table(tmp_path, [("generation-1", "generation", 0.5, 0.6), ("long", "control", 0.4, 0.5)], seeds=3)
    first, second = summarise(rows)
    assert (first.name, first.role, first.seeds, second.name) == ("generation-1", "generation", 3, "long")
    assert first.select_top1.mean == pytest.approx(0.51)
    assert first.select_top1.std == pytest.approx(np.std([0.5, 0.51, 0.52], ddof=1))
    assert first.test_nll is None  # NaN in every seed
    assert first.noise_auroc is None
    (one,) = summarise(rows[:1])
    assert one.select_top1.std is None


def test_the_best_generation_and_the_best_control_are_chosen_on_select(tmp_path):
    entries = [
        ("generation-1", "generation", 0.50, 0.90),  # best on test, not on select
        ("generation-2", "generation", 0.70, 0.80),
        ("generation-3", "generation", 0.60, 0.95),
        ("long", "control", 0.40, 0.99),
        ("early-stop", "control", 0.65, 0.50),
        ("given-3", "candidate", 0.99, 0.99),
    ]
    rows = table(tmp_path, entries)
    found = told(rows, tmp_path).comparison
    assert (found.chain, found.control, found.seeds) == ("generation-2", "early-stop", 2)
    assert found.difference == pytest.approx(0.30)
    low, high = found.interval
    assert 0 < low < 0.30 < high
    assert "generation-2 is better than the best control (early-stop)" in found.sentence
    assert "+30.00 points" in found.sentence and "2 seeds" in found.sentence


@pytest.mark.parametrize(("test", "verdict"), [(0.2, "worse than"), (0.7, "not distinguishable from")])
def test_verdicts(tmp_path, test, verdict):
    rows = table(tmp_path, [("generation-2", "generation", 0.9, test), ("long", "control", 0.5, 0.7)], seeds=1)
    found = told(rows, tmp_path).comparison
    assert verdict in found.sentence and "1 seed;" in found.sentence


def test_without_controls_against_the_first_generation(tmp_path):
    entries = [("generation-1", "generation", 0.5, 0.5), ("generation-2", "generation", 0.6, 0.8)]
    rows = table(tmp_path, entries)
    found = told(rows, tmp_path).comparison
    assert (found.chain, found.control) == ("generation-2", "generation-1")
    assert "the first generation" in found.sentence


def test_the_first_generation_is_not_compared_with_a_later_one_under_its_name(tmp_path):
    entries = [("generation-1", "generation", 0.6, 0.5), ("generation-2", "generation", 0.5, 0.8)]
    rows = table(tmp_path, entries)
    found = told(rows, tmp_path).comparison
    assert (found.chain, found.control) == ("generation-2", "generation-1")
    assert found.sentence.startswith("generation-2 is better than the first generation (generation-1) on test")


def test_groups_widen_the_interval(tmp_path):
    rows = table(tmp_path, [("generation-2", "generation", 0.9, 0.7), ("long", "control", 0.5, 0.5)], seeds=1)
    for name, correct in (("generation-2", np.arange(N) < 140), ("long", np.arange(N) < 100)):
        file = tmp_path / f"seed-0/{name}" / PREDICTIONS
        np.savez(file, **(dict(np.load(file)) | {"correct": correct}))
    alone = told(rows, tmp_path).comparison.interval
    blocks = np.array([f"g{i // 20}" for i in range(N + JUDGES + 10)])
    together = told(rows, tmp_path, dataset(blocks)).comparison.interval
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_the_regime_of_a_chain_asks_its_second_generation(tmp_path):
    one, two = (row(tmp_path, f"generation-{g}", "generation", 0, 0.4 + 0.2 * g, 0.5) for g in (1, 2))
    two = two.model_copy(update={"generation": 2})
    first, judgement = generation_of(Recipe(data={"source": "digits"}), 1), Judgement(dataset(), tmp_path)
    assert "refining helps here" in regime_of([one, two], first, judgement).advice
    other = two.model_copy(update={"network": {"name": "larger"}})  # a student of a larger network is not compared
    for chain in ([one], [one, other]):
        assert regime_of(chain, first, judgement).advice == judge(one.fit.top1, one.select.top1).advice


def test_accuracy_on_mixed_labels_is_no_sign_of_underfitting(tmp_path):
    last = Epoch(epoch=9, lr=0.1, train={"top1": 0.3}, select={"top1": 0.6}, seconds=1.0)
    one = row(tmp_path, "generation-1", "generation", 0, 0.6, 0.5)
    one = one.model_copy(update={"to_the_end": last, "fit": FitScores(top1=0.9)})
    first, judgement = generation_of(Recipe(data={"source": "digits"}), 1), Judgement(dataset(), tmp_path)
    assert regime_of([one], first, judgement).gap == pytest.approx(-0.3)
    mixed = replace(first, views=first.views.model_copy(update={"mixup": 1.0}))
    assert regime_of([one], mixed, judgement).gap == pytest.approx(0.3)


def test_nothing_to_compare(tmp_path):
    rows = table(tmp_path, [("generation-1", "generation", 0.5, 0.5)])
    found = told(rows, tmp_path)
    assert found.comparison is None and found.best.name == "generation-1" and found.best.against_control is None


def test_results_hold_the_contract(tmp_path):
    rows = table(tmp_path, [("generation-1", "generation", 0.5, 0.6), ("long", "control", 0.4, 0.5)])
    found = told(rows, tmp_path)
    assert found.kind == "refine" and found.task == "single-label"
    assert found.splits == Splits(fit=10, select=JUDGES, test=N)
    assert found.rows == tuple(rows) and found.regime.state == "overfit"
    best = found.best
    assert (best.name, best.role, best.against_control.name) == ("generation-1", "generation", "long")
    assert best.against_control.difference == found.comparison.difference == pytest.approx(0.1)
