"""Views become studies: the highest score, and a label that views share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from labelwise.errors import DataError
from labelwise.metrics.study import study_labels, study_scores


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))
def test_against_a_loop(seed, n, c, most):
    rng = np.random.default_rng(seed)
    study = np.array([f"patient{i}/study1" for i in rng.integers(0, most, n)])
    scores = rng.normal(size=(n, c)).astype(np.float32)
    labels = rng.choice([0, 1, 0.5, np.nan], size=(n, c)).astype(np.float32)
    names, highest = study_scores(scores, study)
    same, label = study_labels(labels, study)
    assert names.tolist() == same.tolist() == sorted(set(study.tolist()))
    assert highest.shape == label.shape == (len(names), c) and highest.dtype == label.dtype == np.float32
    for s, name in enumerate(names.tolist()):
        own = [i for i in range(n) if study[i] == name]
        for k in range(c):
            assert highest[s, k] == max(scores[i, k] for i in own)
            known = [labels[i, k] for i in own if labels[i, k] == labels[i, k]]
            assert label[s, k] == max(known) if known else np.isnan(label[s, k])


def test_scores_of_studies_as_the_competition_takes_them():
    """A frontal and a lateral view each; the finding of the second patient shows in the lateral view alone."""
    study = np.array(["p1/s1", "p1/s1", "p2/s1", "p2/s1", "p3/s2"])
    scores = np.array([[0.2], [0.1], [0.1], [0.9], [0.3]])
    labels = np.array([[0.0], [0.0], [1.0], [1.0], [0.0]])
    _, highest = study_scores(scores, study)
    _, label = study_labels(labels, study)
    assert roc_auc_score(labels[:, 0], scores[:, 0]) < 1 == roc_auc_score(label[:, 0], highest[:, 0])


def test_where_views_differ_the_known_and_then_the_positive_label_counts():
    labels = np.array([[np.nan, 0, np.nan], [0, 1, np.nan], [1, np.nan, np.nan]])
    np.testing.assert_array_equal(study_labels(labels, ["a", "a", "b"])[1], [[0, 1, np.nan], [1, np.nan, np.nan]])


def test_infinite_scores_and_no_views():
    scores = np.array([[-np.inf, 1], [-np.inf, np.inf]])
    np.testing.assert_array_equal(study_scores(scores, ["a", "a"])[1], [[-np.inf, np.inf]])
    names, highest = study_scores(np.zeros((0, 3)), np.zeros(0, dtype=np.str_))
    assert names.shape == (0,) and highest.shape == (0, 3)


def test_bad_input():
    with pytest.raises(DataError, match="scores contain NaN"):
        study_scores(np.array([[np.nan]]), ["a"])
    with pytest.raises(DataError, match=r"not -1; decide uncertain"):
        study_labels(np.array([[-1.0]]), ["a"])
    with pytest.raises(DataError, match=r"scores \(2, 1\) and studies \(3,\) do not fit"):
        study_scores(np.zeros((2, 1)), ["a", "b", "c"])
    with pytest.raises(DataError, match=r"labels \(2,\)"):
        study_labels(np.zeros(2), ["a", "b"])
