"""The estimator among scikit-learn's tools: its checks, cross-validation, pipelines, seeds, thresholds and scores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from labelwise.cft.finetuner import CategoryWiseFineTuner
from labelwise.cft.first_head import fit_first_head
from labelwise.cft.solvers.inputs import SolverInput, Split
from labelwise.errors import ConfigError, InputError

Toy = Callable[..., Any]

EXPECTED_FAILURES = {
    "check_fit_score_takes_y": "the arguments of fit and score are called features and labels",
    "check_n_features_in_after_fitting": "it passes y to score by keyword, where the argument is called labels",
    "check_estimators_dtypes": "its labels are 1 and 2; labels of a category are 0 and 1",
    "check_fit2d_1feature": "its labels are 1 and 2; labels of a category are 0 and 1",
}


def test_scikit_learns_checks_pass() -> None:
    tuner = CategoryWiseFineTuner(device="cpu")
    found = check_estimator(tuner, expected_failed_checks=EXPECTED_FAILURES, on_skip=None)
    status: dict[str, list[str]] = {}
    for result in found:
        status.setdefault(result["status"], []).append(result["check_name"])
    assert sorted(status["xfail"]) == sorted(EXPECTED_FAILURES), "a check that passes is no expected failure"
    assert len(status["passed"]) >= 35 and "failed" not in status


def test_it_is_a_multi_label_estimator() -> None:
    tags = CategoryWiseFineTuner().__sklearn_tags__()
    assert tags.classifier_tags.multi_label and not tags.classifier_tags.multi_class
    assert tags.target_tags.multi_output and tags.target_tags.required and not tags.target_tags.single_output


@pytest.mark.parametrize("name", [None, "average_precision"])
def test_cross_validation(name: str | None, partial: Toy) -> None:
    """Partly known labels are scored by the estimator itself; scikit-learn's own scorers need all of them."""
    toy = partial(0)
    labels = toy.fit[1] if name is None else toy.test[1][:300]
    features = toy.fit[0] if name is None else toy.test[0][:300]
    found = cross_val_score(CategoryWiseFineTuner(device="cpu"), features, labels, cv=3, scoring=name)
    assert found.shape == (3,) and found.min() > 0.4 and found.max() <= 1
    train, test = next(KFold(3).split(features))
    tuner = CategoryWiseFineTuner(device="cpu").fit(features[train], labels[train])
    logits, known = tuner.decision_function(features[test]), ~np.isnan(labels[test])
    by_hand = [average_precision_score(labels[test][k, c], logits[k, c]) for c, k in enumerate(known.T)]
    assert found[0] == pytest.approx(np.mean(by_hand), abs=1e-6)


def test_pipeline_clone_and_grid_search(partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    pipeline = make_pipeline(StandardScaler(), CategoryWiseFineTuner(device="cpu", method="logistic"))
    copy = clone(pipeline).fit(*toy.fit)
    assert copy.predict(toy.test[0]).shape == toy.test[1].shape and 0.5 < copy.score(*toy.test) <= 1
    head = {"head_weight": toy.weight, "head_bias": toy.bias}
    pipeline.fit(*toy.fit, **{f"categorywisefinetuner__{key}": value for key, value in head.items()})
    assert np.array_equal(pipeline[-1].head_weight_, toy.weight)
    options = {"categorywisefinetuner__base": ["ignore", "assume-negative"]}
    searched = GridSearchCV(clone(pipeline), options, cv=2).fit(*toy.fit)
    assert searched.best_params_["categorywisefinetuner__base"] in ("ignore", "assume-negative")
    assert np.isfinite(searched.cv_results_["mean_test_score"]).all()


def test_columns_of_a_data_frame_are_remembered(partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    frame = pd.DataFrame(toy.fit[0], columns=list("abcdef"))
    tuner = CategoryWiseFineTuner(device="cpu").fit(frame, pd.DataFrame(toy.fit[1]))
    assert tuner.feature_names_in_.tolist() == list("abcdef") and tuner.n_features_in_ == 6
    with pytest.raises(InputError, match="feature names should match") as caught:
        tuner.predict(frame[list("fedcba")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [["even", "prime"], None])
def test_reports_name_their_categories(names: list[str] | None, partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    labels = toy.fit[1] if names is None else pd.DataFrame(toy.fit[1], columns=names)
    tuner = CategoryWiseFineTuner(device="cpu")
    assert [report.name for report in tuner.fit(toy.fit[0], labels).report_] == (names or ["0", "1"])
    tuner.fit(toy.fit[0], labels, categories=("first", "second"))
    assert [report.name for report in tuner.report_] == ["first", "second"]
    with pytest.raises(InputError, match="categories: 3 names, the labels have 2 columns"):
        tuner.fit(toy.fit[0], labels, categories=("a", "b", "c"))


# the first head


@pytest.mark.parametrize("base", ["ignore", "assume-negative"])
def test_without_a_head_the_first_one_is_fitted(base: Any, partial: Toy) -> None:
    toy = partial(0)
    splits = [Split(side[0], torch.from_numpy(side[1])) for side in (toy.fit, toy.select)]
    first = fit_first_head(SolverInput(*splits, torch.zeros(4, 24), torch.zeros(4), 0, "ap", 2**28), base)
    alone = CategoryWiseFineTuner(device="cpu", base=base).fit(*toy.fit, select=toy.select)
    given = CategoryWiseFineTuner(device="cpu").fit(
        *toy.fit, head_weight=first[0], head_bias=first[1], select=toy.select
    )
    assert np.array_equal(alone.head_weight_, first[0]) and np.array_equal(alone.head_bias_, first[1])
    assert np.array_equal(alone.weight_, given.weight_) and alone.report_ == given.report_


def test_half_a_head_and_missing_labels_are_refused(partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    with pytest.raises(InputError, match="give both head_weight and head_bias"):
        CategoryWiseFineTuner(device="cpu").fit(*toy.fit, head_weight=toy.weight)
    with pytest.raises(InputError, match="requires y to be passed"):
        CategoryWiseFineTuner(device="cpu").fit(toy.fit[0], None)
    with pytest.raises(ConfigError, match=r"base: expected one of .*ignore.*, got 'guess'"):
        CategoryWiseFineTuner(device="cpu", base="guess").fit(*toy.fit)  # type: ignore[arg-type]


# predictions and scores


def test_predictions_follow_the_thresholds(partial: Toy) -> None:
    toy = partial(0)
    plain = toy.fitted()
    probability = plain.predict_proba(toy.test[0])
    found = plain.predict(toy.test[0])
    assert found.dtype == np.int64 and np.array_equal(found, (plain.decision_function(toy.test[0]) >= 0).astype(int))
    assert np.array_equal(found[abs(probability - 0.5) > 1e-6], (probability >= 0.5)[abs(probability - 0.5) > 1e-6])
    ruled = toy.fitted({"threshold": "recall=0.9"})
    assert np.array_equal(ruled.weight_, plain.weight_) and not np.array_equal(ruled.threshold_, plain.threshold_)
    known = toy.select[1] == 1
    recall = (ruled.predict(toy.select[0]) * known).sum(0) / known.sum(0)
    assert (recall >= 0.9).all() and (recall < 1).any()


def test_a_category_without_a_threshold_falls_back_to_one_half_and_says_so(partial: Toy) -> None:
    toy = partial(0)
    chosen = toy.select[1].copy()
    chosen[:, 2] = np.where(chosen[:, 2] == 1, np.nan, chosen[:, 2])
    tuner = toy.fitted({"threshold": "max-f1"}, select=(toy.select[0], chosen))
    assert tuner.threshold_[2] == 0 and (tuner.threshold_[[0, 1, 3]] != 0).all()
    assert any("1 of 4 categories have no threshold for max-f1" in line for line in tuner.warnings_)
    with pytest.raises(ConfigError, match="precision=X"):
        toy.fitted({"threshold": "best"})


@pytest.mark.parametrize("objective", ["ap", "auc"])
def test_the_score_is_the_mean_over_categories_that_can_be_scored(objective: Any, partial: Toy) -> None:
    toy = partial(0)
    tuner = toy.fitted({"objective": objective})
    labels = toy.test[1].copy()
    labels[:, 1] = np.where(labels[:, 1] == 1, -1, labels[:, 1])
    labels[::3, 0] = np.nan
    logits, known = tuner.decision_function(toy.test[0]), np.isfinite(labels) & (labels >= 0)
    metric = average_precision_score if objective == "ap" else roc_auc_score
    expected = [metric(labels[known[:, c], c], logits[known[:, c], c]) for c in (0, 2, 3)]
    assert tuner.score(toy.test[0], labels) == pytest.approx(np.mean(expected), abs=1e-6)
    assert np.isnan(tuner.score(toy.test[0], np.full_like(labels, np.nan)))
    with pytest.raises(InputError, match="labels: 2 categories, the head has 4"):
        tuner.score(toy.test[0], labels[:, :2])


# seeds


@pytest.mark.parametrize(
    "make",
    [lambda: None, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3), lambda: np.int64(3)],
    ids=["none", "RandomState", "Generator", "NumPy integer"],
)
def test_every_random_state_is_taken(make: Callable[[], Any], partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    one, two = (CategoryWiseFineTuner(device="cpu", random_state=make()).fit(*toy.fit) for _ in range(2))
    assert np.isfinite(one.weight_).all()
    if make() is not None:
        assert np.array_equal(one.weight_, two.weight_)


def test_a_random_state_moves_on_and_an_integer_does_not(partial: Toy) -> None:
    toy = partial(0, categories=2, dim=6)
    for state, same in ((np.random.RandomState(0), False), (np.random.default_rng(0), False), (0, True)):
        tuner = CategoryWiseFineTuner(device="cpu", random_state=state)
        first = tuner.fit(*toy.fit).weight_
        assert np.array_equal(tuner.fit(*toy.fit).weight_, first) == same


@pytest.mark.parametrize("state", [-1, 2**32, 0.5, "zero"])
def test_other_random_states_are_refused_in_one_line(state: Any, partial: Toy) -> None:
    with pytest.raises(ConfigError, match=r"random_state .* expected None, an integer from 0 to") as caught:
        CategoryWiseFineTuner(device="cpu", random_state=state).fit(*partial(0, categories=2, dim=6).fit)
    assert "\n" not in str(caught.value)


def test_importing_the_estimator_loads_nothing_that_it_does_not_need() -> None:
    slow = ("timm", "torchvision", "accelerate", "matplotlib", "safetensors", "sklearn.model_selection", "rich")
    code = f"import sys, labelwise.cft.finetuner; print([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
