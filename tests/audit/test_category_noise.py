"""The noise of multi-label data, found again where it was made on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.audit.category_answers import EmbeddedCells, kernel_logistic, nearest_neighbours
from labelwise.audit.category_noise import CellNoise, GivenCells, fit_cell_noise, with_related


def noisy(n=4000, c=3, missed=0.2, added=0.05, known=1.0, seed=0):
    """Logits that say how likely each label is positive, given labels, and the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 4, (n, c)).astype(np.float32)
    right = rng.random((n, c)) < expit(logits)
    given = np.where(right, rng.random((n, c)) >= missed, rng.random((n, c)) < added).astype(np.float32)
    given[rng.random((n, c)) >= known] = np.nan
    return logits, given, right


@pytest.mark.parametrize("known", [1.0, 0.3])
def test_rates_and_calibration_are_found_from_given_labels_alone(known):
    logits, given, right = noisy(known=known)
    noise = fit_cell_noise(logits / 3, GivenCells.plain(given))  # answers that are three times too unsure
    np.testing.assert_allclose(noise.missed, 0.2, atol=0.05)
    np.testing.assert_allclose(noise.added, 0.05, atol=0.025)
    np.testing.assert_allclose(noise.scale, 3, rtol=0.2)
    positive = noise.positive(logits / 3, GivenCells.plain(given))
    for low in np.arange(0, 1, 0.2):
        inside = (positive >= low) & (positive < low + 0.2)
        assert positive[inside].mean() == pytest.approx(right[inside].mean(), abs=0.06)


def test_the_probability_is_that_of_bayes_rule():
    noise = CellNoise(np.array([2.0]), np.array([-1.0]), np.array([0.1]), np.array([0.02]))
    logits = np.float32([[0.7], [0.7], [0.7]])
    p = expit(2 * 0.7 - 1)
    expected = [p * 0.9 / (p * 0.9 + (1 - p) * 0.02), p * 0.1 / (p * 0.1 + (1 - p) * 0.98), p]
    given = GivenCells.plain(np.float32([[1], [0], [np.nan]]))
    np.testing.assert_allclose(noise.positive(logits, given)[:, 0], expected, rtol=1e-6)


def test_a_category_of_few_labels_has_the_rates_of_the_others():
    logits, given, _ = noisy()
    given[6:, 2] = np.nan
    noise = fit_cell_noise(logits, GivenCells.plain(given))
    assert noise.missed[2] == pytest.approx(noise.missed[:2].mean(), rel=0.2)


def test_no_label_that_is_wrong_gives_small_rates():
    logits, given, _ = noisy(missed=0, added=0)
    noise = fit_cell_noise(logits, GivenCells.plain(given))
    assert noise.missed.max() < 0.02 and noise.added.max() < 0.02


def test_labels_of_other_categories_inform_a_category():
    """The first category is the second, and its own answers say nothing; the third is unrelated."""
    logits, given, right = noisy(n=900, missed=0.02, added=0.02)
    logits[:, 0] = 0
    right[:, 0] = right[:, 1]
    given[:, 0] = np.where(right[:, 0], np.random.default_rng(1).random(900) >= 0.1, 0)
    fold = np.arange(900) % 3
    found = with_related(logits, GivenCells.plain(given), fold)
    missing = right[:, 0] & (given[:, 0] == 0)
    unlabelled = given[:, 0] == 0
    assert average_precision_score(missing[unlabelled], found[unlabelled, 0]) > 0.8
    assert np.corrcoef(found[:, 2], logits[:, 2])[0, 1] > 0.99


def test_no_cell_has_seen_its_own_label_in_the_other_categories():
    """Labels of pure chance cannot be told."""
    rng = np.random.default_rng(0)
    logits, given = rng.normal(0, 0.1, (600, 4)).astype(np.float32), (rng.random((600, 4)) < 0.5).astype(np.float32)
    found = with_related(logits, GivenCells.plain(given), np.arange(600) % 3)
    assert roc_auc_score(given.ravel(), found.ravel()) < 0.54


def clusters(n=400, d=6, known=1.0, seed=0):
    """Two clusters; the first category is the cluster, the second the sign of a direction."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    cluster = rng.random(n) < 0.5
    x[cluster, 0] += 6
    right = np.stack([cluster, x[:, 1] > 0], axis=1)
    values = right.astype(np.float32)
    values[rng.random(values.shape) >= known] = np.nan
    return EmbeddedCells(values, np.arange(n) % 5, np.arange(n).astype(str), x), right


@pytest.mark.parametrize("classifier", [kernel_logistic, nearest_neighbours])
@pytest.mark.parametrize("known", [1.0, 0.3])
def test_classifiers_answer_known_and_unknown_cells(classifier, known):
    data, right = clusters(known=known)
    found = classifier(data, 0)
    assert np.isfinite(found).all()
    assert ((found > 0) == right).mean(0).min() > 0.8
    assert ((found[:, 0] > 0) == right[:, 0]).mean() > 0.99


@pytest.mark.parametrize("classifier", [kernel_logistic, nearest_neighbours])
def test_no_sample_has_seen_its_own_labels(classifier):
    """Labels of pure chance cannot be told."""
    data, _ = clusters(n=300)
    rng = np.random.default_rng(5)
    values = (rng.random((300, 2)) < 0.5).astype(np.float32)
    found = classifier(EmbeddedCells(values, data.fold, data.groups, data.x), 0)
    assert ((found > 0) == (values > 0.5)).mean() < 0.6


def test_neighbours_of_the_own_group_do_not_answer():
    x = np.repeat(np.random.default_rng(0).standard_normal((40, 5)), 2, axis=0).astype(np.float32)
    values = np.repeat(np.random.default_rng(1).random((40, 1)) < 0.5, 2, axis=0).astype(np.float32)
    data = EmbeddedCells(values, np.repeat(np.arange(40) % 5, 2), np.repeat(np.arange(40), 2).astype(str), x)
    assert ((nearest_neighbours(data, 0) > 0) == (values > 0.5)).mean() < 0.75


def test_kernel_logistic_is_at_least_as_likely_as_a_linear_one():
    data, right = clusters(n=500)
    noise = np.random.default_rng(2).random(right.shape) < 0.1
    given = (right ^ noise).astype(np.float32)
    found = kernel_logistic(EmbeddedCells(given, data.fold, data.groups, data.x), 0)
    loss = np.logaddexp(0, np.where(given > 0.5, -found, found)).mean()
    linear = np.zeros_like(found)
    for fold in range(5):
        seen = data.fold != fold
        for c in range(2):
            p = LogisticRegression().fit(data.x[seen], given[seen, c]).predict_proba(data.x[~seen])[:, 1]
            linear[~seen, c] = logit(p)
    assert loss < np.logaddexp(0, np.where(given > 0.5, -linear, linear)).mean() + 0.03
