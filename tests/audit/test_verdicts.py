"""A verdict follows from probabilities by rules that a reader can check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.audit.verdicts import BOTH, CONFIDENT, OUTLIER, SECOND, WRONG, verdicts

SURE = np.array([[0.9, 0.1, 0.0]])
SHARED = np.array([[0.5, 0.45, 0.05]])
THREE = np.array([[0.4, 0.35, 0.25]])


@pytest.mark.parametrize(
    ("score", "right", "expected"),
    [
        (0.1, SURE, "correct"),
        (0.9, SURE, "wrong"),
        (WRONG, SURE, "wrong"),
        (0.5, SHARED, "ambiguous"),
        (0.4, SHARED, "ambiguous"),
        (0.4, THREE, "correct"),  # three classes share the mass: nobody knows, and it is likelier right than wrong
        (0.6, THREE, "wrong"),
    ],
)
def test_wrong_and_ambiguous(score, right, expected):
    assert verdicts(np.array([score]), right) == [expected]


def test_views_that_are_sure_of_different_classes_see_several_objects():
    dog, cat, unsure = [0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]
    views = np.array([[dog, dog, dog], [cat, unsure, dog]])  # (views, images, classes)
    assert verdicts(np.array([0.9, 0.1, 0.1]), SURE.repeat(3, 0), views) == ["several objects", "correct", "correct"]


def test_an_outlier_is_an_outlier_whatever_the_answers():
    found = verdicts(np.array([0.9, 0.1, 0.9]), SURE.repeat(3, 0), outlier=np.array([OUTLIER, OUTLIER, 0.0]))
    assert found == ["outlier", "outlier", "wrong"]


@given(st.integers(0, 2**32 - 1))
def test_every_sample_is_judged_as_if_alone(seed):
    rng = np.random.default_rng(seed)
    right = rng.dirichlet(np.full(4, 0.4), 6)
    views = rng.dirichlet(np.full(4, 0.4), (3, 6))
    score, outlier = rng.random(6), rng.normal(2, 1, 6)
    alone = []
    for i in range(6):
        second, first = sorted(right[i])[-2:]
        sure = {int(view[i].argmax()) for view in views if view[i].max() >= CONFIDENT}
        verdict = "wrong" if score[i] >= WRONG else "correct"
        verdict = "ambiguous" if second >= SECOND and first + second >= BOTH else verdict
        verdict = "several objects" if len(sure) > 1 else verdict
        alone.append("outlier" if outlier[i] >= OUTLIER else verdict)
    assert verdicts(score, right, views, outlier) == alone


def test_what_a_person_has_looked_at_is_correct():
    far, views = np.array([OUTLIER, OUTLIER]), SURE.repeat(2, 0)[None]
    found = verdicts(np.array([0.9, 0.9]), SURE.repeat(2, 0), views, far, reviewed=np.array([True, False]))
    assert found == ["correct", "outlier"]
