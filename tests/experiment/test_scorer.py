"""What a column of an experiment is scored on: units, sets of categories, differences; and options that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset, Features
from labelwise.errors import ConfigError, DataError
from labelwise.experiment.config import ExperimentConfig, load_experiment
from labelwise.experiment.run import run_experiment
from labelwise.experiment.scorer import Scorer, mean_of
from labelwise.labels.table import LabelTable
from labelwise.results.experiment import Gain

NAN = float("nan")
NAMES = ("a", "b", "c", "d")


def data(labels: np.ndarray, groups: list[str] | None = None, fit: np.ndarray | None = None) -> Dataset:
    """A data set of test samples, and fit samples that are never looked at but for their counts."""
    known = np.zeros((1, labels.shape[1])) if fit is None else fit
    ids = np.array([f"s{i:03}" for i in range(len(labels) + len(known))])
    own = ids if groups is None else np.array([*groups, *ids[len(labels) :]])
    return Dataset(
        name="toy",
        classes=NAMES,
        ids=ids,
        groups=own,
        label=np.full(len(ids), -1),
        split=np.array(["test"] * len(labels) + ["fit"] * len(known)),
        source=Features(np.zeros((len(ids), 2), np.float32)),
        table=LabelTable.from_wire(np.concatenate([labels, known]), NAMES),
    )


def config(**options: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"rows": {"one": []}, **options})


def scorer(dataset: Dataset, source: str = "toy.npz", **score: Any) -> Scorer:
    return Scorer(dataset, DataConfig(source=source), config(score=score))


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    """Labels (60, 4) with unknown and uncertain ones, the last category all positive; scores."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, NAN, -1.0], (60, 4), p=[0.5, 0.3, 0.15, 0.05])
    labels[:, 3] = 1
    return labels, rng.standard_normal((60, 4)).astype(np.float32)


@pytest.mark.parametrize("metric", ["ap", "auc"])
def test_sets_of_categories_against_scikit_learn(problem: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    labels, scores = problem
    one = average_precision_score if metric == "ap" else roc_auc_score
    hard = [(labels[:, c] == 0) | (labels[:, c] == 1) for c in range(3)]
    expected = [one(labels[hard[c], c], scores[hard[c], c]) for c in range(3)]
    found = scorer(data(labels), metric=metric, per_category=True)
    assert (found.sets, found.metric) == (("all", *NAMES), {"ap": "map", "auc": "mauc"}[metric])
    score = found(scores)
    assert score.value[:4] == pytest.approx([np.mean(expected), *expected])
    assert np.isnan(score.value[4]) and np.isnan(score.drawn[4]).all()  # a category without a negative
    assert score.drawn[0] == pytest.approx(score.drawn[1:4].mean(axis=0))
    some = scorer(data(labels), metric=metric, categories=["c", "a"])
    assert some(scores).value == pytest.approx([np.mean([expected[2], expected[0]])])


def test_groups_are_cut_by_known_fit_labels(problem: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = problem
    fit = np.full((6, 4), NAN)
    for c, known in enumerate((5, 2, 6, 3)):
        fit[:known, c] = 1
    found = scorer(data(labels, fit=fit), groups=2, per_category=True)
    score = dict(zip(found.sets, found(scores).value, strict=True))
    assert found.groups == ("group-1", "group-2")  # b and d; a and c
    assert score["group-1"] == score["b"] and score["group-2"] == pytest.approx((score["a"] + score["c"]) / 2)
    part = scorer(data(labels, fit=fit), groups=4, categories=["a"])
    assert part.groups == ("group-3",)


def test_samples_of_a_unit_count_once(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """Every image three times, once with the highest score: scores and intervals are those of the images alone."""
    labels, scores = problem
    labels[:, :3][labels[:, :3] == -1] = NAN
    single = scorer(data(labels, [f"p{i:02}" for i in range(60)]))
    lower = scores - np.random.default_rng(1).random(scores.shape).astype(np.float32)
    repeated = scorer(data(np.tile(labels, (3, 1)), [f"p{i:02}" for i in range(60)] * 3), unit="group")
    expected, found = single(scores), repeated(np.concatenate([lower, scores, lower]))
    assert found.value == pytest.approx(expected.value) and found.drawn == pytest.approx(expected.drawn)
    gain, same = (
        of.gains([of(other)], [of(one)])[0]
        for of, one, other in (
            (single, scores, lower),
            (repeated, np.tile(scores, (3, 1)), np.tile(lower, (3, 1))),
        )
    )
    assert gain.gain == pytest.approx(same.gain) and gain.interval == pytest.approx(same.interval)
    by_sample = scorer(data(np.tile(labels, (3, 1)), [f"p{i:02}" for i in range(60)] * 3))
    assert by_sample(np.concatenate([lower, scores, lower])).value != pytest.approx(expected.value)


def test_differences_of_seeds_and_of_one_network(problem: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = problem
    labels[:, 0] = labels[:, 0] == 1
    better = scores + 2 * (labels == 1)
    own = scorer(data(labels))
    before, after = [own(scores), own(-scores)], [own(better), own(better - scores)]
    [found] = own.gains(before, after)
    expected = np.mean([after[i].value[0] - before[i].value[0] for i in range(2)])
    assert found.gain == pytest.approx(expected) and found.interval[0] < expected < found.interval[1]
    [one] = own.gains(before, after[:1])
    difference = after[0].drawn[0] - mean_of(before).drawn[0]
    assert sum(one.interval) / 2 == pytest.approx(one.gain)
    assert 1.96 < (one.interval[1] - one.gain) / np.std(difference) < 2.3
    assert own.gains(before, before)[0] == Gain(gain=0.0, interval=(0.0, 0.0))


def test_top1(problem: tuple[np.ndarray, np.ndarray]) -> None:
    dataset = Dataset(
        name="digits",
        classes=("0", "1"),
        ids=np.array(list("abcd")),
        groups=np.array(["g", "g", "h", "i"]),
        label=np.zeros(4, np.int64),
        split=np.array(["test"] * 4),
        source=Features(np.zeros((4, 2), np.float32)),
    )
    found = Scorer(dataset, DataConfig(), config())
    score = found(np.array([True, True, False, True]))
    assert found.metric == "top1" and score.value.tolist() == [0.75]
    # Draws of g, h and i: 2, 0 and 1 right of 2, 1 and 1.
    assert set(np.round(score.drawn[0], 6)) <= {0.0, 0.5, 1.0, 0.75, round(4 / 5, 6), 0.333333, 0.666667}
    for options in ({"score": {"groups": 2}}, {"heads": {"auto": {}}}, {"ensembles": [{"name": "x", "rows": ["one"]}]}):
        with pytest.raises(ConfigError, match="one class per sample"):
            Scorer(dataset, DataConfig(), config(**options))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({"unit": "group"}, "toy has no groups"),
        ({"unit": "study"}, "toy has no studies"),
        ({"categories": ["a", "z"]}, "'z' is not a category of toy: a, b, c, d"),
        ({"groups": 5}, "5 of the 4 categories of toy"),
    ],
)
def test_what_the_data_lacks(problem: tuple[np.ndarray, np.ndarray], score: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        scorer(data(problem[0]), "toy.npz", **score)
    assert "\n" not in str(error.value)


def test_predictions_of_other_samples_or_categories(problem: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = problem
    for wrong in (scores[:-1], scores[:, :3]):
        with pytest.raises(ConfigError, match="no row may change the test samples or the categories"):
            scorer(data(labels))(wrong)


MISTAKES = {
    "ensembles: [{name: e, rows: [nobody]}]": "'e' is of 'nobody', which is not one of the rows a, b",
    "ensembles: [{name: a, rows: [b]}]": "'a' is the name of another row",
    "ensembles: [{name: e, rows: [b], over: member}]": "ensembles.0.over: expected 'rows', 'seeds' or 'members'",
    "ensembles: [{name: e, rows: [b], row: [a]}]": "unknown key 'ensembles.0.row'",
    "ensembles: [{name: e, rows: [b], over: members}]": "learns from the given labels alone",
    "axis: {key: train.epochs}": "give both key and values",
    "axis: [{title: x}, {title: x}]": "several need a title each",
    "axis: {title: a/b}": "'a/b' becomes the name of a folder",
    "score: {unit: patient}": "score.unit: expected 'sample', 'study' or 'group', got 'patient'",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items())
def test_mistakes_in_a_table(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(f"recipe: {{chain: {{generations: 1}}}}\nrows: {{a: [], b: []}}\n{line}\n")
    with pytest.raises(ConfigError) as error:
        load_experiment(tmp_path / "t.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_nothing_is_trained_before_the_score_is_known_to_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.experiment.run.refine", lambda *_, **__: pytest.fail("trained"))
    np.savez(tmp_path / "x.npz", features=np.eye(20), label=np.tile(np.eye(2), (10, 1)))
    table = config(recipe={"data": {"source": str(tmp_path / "x.npz")}}, score={"unit": "group"})
    with pytest.raises(DataError, match="x has no groups"):
        run_experiment(table, tmp_path / "out", quiet=True)
