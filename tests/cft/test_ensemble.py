"""Several models as one: means of logits, probabilities and ranks, aligned by sample and category."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.cft.ensemble import PREDICTIONS, EnsembleConfig, combine, run_ensemble
from labelwise.errors import ConfigError, DataError, RunError
from labelwise.results import read_results

N, C = 120, 3
CATEGORIES = np.array(["a", "b", "c"])


@pytest.fixture
def labels():
    values = (np.random.default_rng(0).random((N, C)) < 0.3).astype(np.float32)
    values[::7, 1] = np.nan
    return values


def write_run(folder, logits, labels, ids=None, categories=CATEGORIES):
    folder.mkdir()
    ids = np.array([f"i{n}" for n in range(N)]) if ids is None else ids
    split = np.where([int(name[1:]) % 2 == 1 for name in ids], "select", "test")
    arrays = {"logits": logits, "labels": labels, "ids": ids, "groups": ids, "split": split, "categories": categories}
    np.savez(folder / PREDICTIONS, **arrays)
    return folder


def noisy(labels, seed, noise=1.5):
    noise = noise * np.random.default_rng(seed).standard_normal(labels.shape)
    return (np.nan_to_num(labels) * 2 + noise).astype(np.float32)


def test_means_of_logits_probabilities_and_ranks(labels):
    first, second = noisy(labels, 1), np.round(noisy(labels, 2))  # rounded: ties
    np.testing.assert_allclose(combine([first, second], "logit"), (first.astype(float) + second) / 2)
    expected = (1 / (1 + np.exp(-first.astype(float))) + 1 / (1 + np.exp(-second.astype(float)))) / 2
    np.testing.assert_allclose(1 / (1 + np.exp(-combine([first, second], "probability"))), expected)
    expected = (rankdata(first, axis=0) + rankdata(second, axis=0)) / 2 / (N + 1)
    np.testing.assert_allclose(combine([first, second], "rank"), expected)


def test_extreme_logits_stay_ordered_and_finite():
    scores = combine([np.array([[-1e30], [0.0], [1e30]])] * 2, "probability")
    assert np.isfinite(scores).all() and (np.diff(scores[:, 0]) > 0).all()


def test_saturated_probabilities_are_ranked_by_what_they_lack_to_one():
    logits = [np.array([[98.0], [97.0], [99.5]]), np.array([[97.5], [98.0], [99.0]])]
    found = combine(logits, "probability")[:, 0]
    # 1 - p is e^-z here, so the mean's logit is -log of the mean of e^-z.
    np.testing.assert_allclose(found, -np.log(np.mean([np.exp(-z[:, 0]) for z in logits], axis=0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": lambda s: np.where(s == "select", "test", "select")}, "split of sample 'i0' is 'select' and 'test'"),
        ({"labels": lambda y: 1 - y}, "the label of sample 'i0' in category 'a' is 1 and 0"),
        ({"labels": lambda y: np.where(np.isnan(y), 0, y)}, "'b' is 0 and nan"),
        ({"groups": lambda g: np.roll(g, 1)}, "groups of sample 'i0' is 'i119' and 'i0'"),
    ],
)
def test_runs_of_other_splits_labels_or_groups_are_refused(tmp_path, labels, change, message):
    first, other = (write_run(tmp_path / name, noisy(labels, 1), labels) for name in ("a", "b"))
    with np.load(other / PREDICTIONS) as file:
        arrays = dict(file)
    for key, changed in change.items():
        arrays[key] = changed(arrays[key])
    np.savez(other / PREDICTIONS, **arrays)
    with pytest.raises(DataError, match=message):
        run_ensemble([first, other], tmp_path / "out", EnsembleConfig())


@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_results_are_those_of_scikit_learn_and_name_the_best_member(tmp_path, labels, objective):
    logits = [noisy(labels, seed, noise) for seed, noise in ((1, 3.0), (2, 1.0), (3, 1.2))]
    runs = [write_run(tmp_path / f"run{i}", values, labels) for i, values in enumerate(logits)]
    results = run_ensemble(runs, tmp_path / "out", EnsembleConfig(how="logit", objective=objective))
    metric = average_precision_score if objective == "ap" else roc_auc_score
    mean, test = np.mean(logits, axis=0), np.arange(N) % 2 == 0
    for row, scores in zip(results.rows, [*logits, mean], strict=True):
        known = [test & ~np.isnan(labels[:, c]) for c in range(C)]
        expected = [metric(labels[known[c], c], scores[known[c], c]) for c in range(C)]
        assert row.test.categories == pytest.approx(expected, abs=1e-6)
        assert row.test.mean == pytest.approx(np.mean(expected), abs=1e-6)
    gain = results.rows[-1].gain
    best = max(results.rows[:-1], key=lambda row: row.select.mean)
    assert gain.over == best.name
    assert gain.points == pytest.approx(results.rows[-1].test.mean - best.test.mean, abs=1e-9)
    assert gain.interval[0] <= gain.points <= gain.interval[1]
    assert read_results(tmp_path / "out") == results


def test_members_are_aligned_by_id_and_category_name(tmp_path, labels):
    logits, order = noisy(labels, 1), np.random.default_rng(5).permutation(N)
    ids = np.array([f"i{n}" for n in range(N)])
    first = write_run(tmp_path / "first", logits, labels)
    # The same model, told with other rows and columns: the mean must be the model itself.
    other = write_run(
        tmp_path / "other", logits[order][:, [2, 0, 1]], labels[order][:, [2, 0, 1]], ids[order], CATEGORIES[[2, 0, 1]]
    )
    rows = run_ensemble([first, other], tmp_path / "out", EnsembleConfig(how="logit")).rows
    assert rows[0].test == rows[1].test == rows[2].test


def test_bad_input_is_refused_in_one_line(tmp_path, labels):
    first = write_run(tmp_path / "first", noisy(labels, 1), labels)
    (tmp_path / "empty").mkdir()
    ids = np.array([f"x{n}" for n in range(N)])
    strangers = write_run(tmp_path / "strangers", noisy(labels, 2), labels, ids)
    other = write_run(tmp_path / "other", noisy(labels, 2), labels, None, np.array(["a", "b", "z"]))
    cases = [
        ([first], ConfigError, "at least two"),
        ([first, tmp_path / "empty" / ".." / "first"], ConfigError, "needs different runs"),
        ([first, tmp_path / "empty"], RunError, PREDICTIONS),
        ([first, strangers], DataError, "not the same samples"),
        ([first, other], DataError, "'c'"),
    ]
    for runs, error, text in cases:
        with pytest.raises(error, match=text) as caught:
            run_ensemble(runs, tmp_path / "out", EnsembleConfig())
        assert "\n" not in str(caught.value)
