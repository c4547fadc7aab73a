"""The noise model: what is put in is found, and Bayes' rule says the rest."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from labelwise.audit.table import judge
from labelwise.audit.wrong_labels import GivenLabels, NoiseModel, fit_noise_model


def noisy(n: int, transition: np.ndarray, seed: int = 0):
    """Soft answers, and labels of right classes that follow them, made wrong by a transition matrix."""
    rng = np.random.default_rng(seed)
    classes = len(transition)
    logits = 3 * rng.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = np.array([rng.choice(classes, p=row) for row in p])
    given = np.array([rng.choice(classes, p=transition[k]) for k in right])
    return np.log(p).astype(np.float32), right, given


def test_scale_and_transition_are_found_and_scores_are_probabilities():
    transition = np.array([[0.65, 0.25, 0.1], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
    log_p, right, given = noisy(6000, transition)
    model = fit_noise_model(0.5 * log_p, GivenLabels.plain(given))
    assert abs(model.scale - 2) < 0.4 and np.abs(model.transition - transition).max() < 0.06
    judged = judge(
        model.right_class(0.5 * log_p, GivenLabels.plain(given), follow=0, unshown=0), given
    )  # as the labels were made
    assert abs(judged.score.mean() - (right != given).mean()) < 0.03
    assert roc_auc_score(right != given, judged.score) > 0.8
    for low in (0.1, 0.4, 0.8):
        some = (judged.score >= low) & (judged.score < low + 0.2)
        assert abs((right != given)[some].mean() - judged.score[some].mean()) < 0.08


def test_right_class_is_bayes_rule():
    model = NoiseModel(1.0, np.zeros(2), np.array([[0.9, 0.1], [0.4, 0.6]]))
    found = model.right_class(np.log(np.array([[0.5, 0.5]], dtype=np.float32)), GivenLabels.plain(np.array([1])))
    np.testing.assert_allclose(found, [[0.1 / 0.7, 0.6 / 0.7]], rtol=1e-5)


def test_a_doubted_label_gets_the_likeliest_other_class_and_no_other_label_any():
    right = np.array([[0.45, 0.3, 0.25], [0.6, 0.4, 0.0]], dtype=np.float32)
    judged = judge(right, np.array([0, 0]))
    assert judged.suggested.tolist() == [1, 0]
    np.testing.assert_allclose(judged.score, [0.55, 0.4], rtol=1e-5)


def test_after_a_review_the_rest_is_estimated_from_the_labels_that_were_first_given():
    """The labels that look most wrong were corrected. Without what they were, nothing seems to be wrong any more."""
    transition = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    log_p, right, first = noisy(4000, transition)
    before = GivenLabels.plain(first)
    score = judge(fit_noise_model(log_p, before).right_class(log_p, before, 0, 0), first).score
    reviewed = score >= np.sort(score)[-800]
    label = np.where(reviewed, right, first)
    wrong = (right != label)[~reviewed].mean()

    def rate(given: GivenLabels) -> float:
        model = fit_noise_model(log_p, given)
        found = judge(model.right_class(log_p, given, 0, 0), given.label).score
        assert (found[given.reviewed] == 0).all()
        return float(found[~reviewed].mean())

    assert abs(rate(GivenLabels(label, first, reviewed)) - wrong) < 0.02
    assert rate(GivenLabels.plain(label)) < wrong / 2
    unknown = np.where(reviewed, -1, first)
    assert rate(GivenLabels(label, unknown, reviewed)) < wrong
