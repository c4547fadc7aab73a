"""AP and AUC against scikit-learn, and where scikit-learn and others have holes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.errors import DataError
from labelwise.metrics import ranking as module
from labelwise.metrics.ranking import Ranking, average_precision, mean_over_categories, ranking, roc_auc

NAN = math.nan
ODD_VALUES = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, 1.0, 1 + 1e-7, 98.0, 98.00001, 1e30, -1e30, np.inf, -np.inf])


def on_device(scores: np.ndarray, labels: np.ndarray) -> Ranking:
    """The path of an accelerator, which is plain torch and runs anywhere."""
    original = module._on_cpu
    try:
        module._on_cpu = module._on_device
        return ranking(scores, labels)
    finally:
        module._on_cpu = original


PATHS = pytest.mark.parametrize("rank", [ranking, on_device], ids=["cpu", "device"])


def by_scikit_learn(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """AP and AUC of one row; scores by their level, as scikit-learn refuses infinities and rounds the huge."""
    known = ~np.isnan(labels)
    label, level = labels[known], np.unique(scores[known], return_inverse=True)[1]
    if not 0 < label.sum() < len(label):
        return NAN, NAN
    return average_precision_score(label, level), roc_auc_score(label, level)


def check(found: Ranking, scores: np.ndarray, labels: np.ndarray) -> None:
    full = np.broadcast_to(labels, scores.shape)
    assert found.ap.shape == found.auc.shape == found.positives.shape == found.negatives.shape == scores.shape[:-1]
    assert found.ap.dtype == found.auc.dtype == torch.float64 and found.positives.dtype == torch.int64
    for index in np.ndindex(scores.shape[:-1]):
        expected = by_scikit_learn(scores[index], full[index])
        assert (found.ap[index], found.auc[index]) == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert found.positives[index] == (full[index] == 1).sum() and found.negatives[index] == (full[index] == 0).sum()


@PATHS
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from(["odd", "few", "normal", "normal64", "half"]))
def test_against_scikit_learn(rank, seed, n, kind):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 4), rng.integers(1, 4), n)
    scores = {
        "odd": rng.choice(ODD_VALUES, shape).astype(np.float32),
        "few": rng.integers(-2, 3, shape).astype(np.float32),
        "normal": rng.normal(size=shape).astype(np.float32),
        "normal64": rng.normal(size=shape),
        "half": rng.normal(size=shape).astype(np.float16),
    }[kind]
    lead = tuple(rng.choice([1, size]) for size in shape[:2])
    labels = rng.choice([0, 1, NAN], (*lead, n), p=[0.6, 0.2, 0.2])
    check(rank(scores, labels), scores, labels)


@PATHS
def test_more_rows_than_one_task_or_step(rank, monkeypatch):
    monkeypatch.setattr(module, "CACHE_ELEMENTS", 300)
    monkeypatch.setattr(module, "DEVICE_ELEMENTS", 300)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 50, (4, 9, 100)).astype(np.float32)
    labels = rng.choice([0, 1, NAN], (4, 1, 100), p=[0.3, 0.2, 0.5])
    labels[2] = NAN
    check(rank(scores, labels), scores, labels)


@PATHS
def test_constant_scores_whatever_the_order(rank):
    label = np.repeat([1.0, 0.0], [10, 90])
    for labels in (label, label[::-1].copy(), np.random.default_rng(0).permutation(label)):
        for constant in (0.0, -3.0, np.inf):
            found = rank(np.full((2, 100), constant, np.float32), labels)
            assert found.auc.tolist() == [0.5, 0.5] and found.ap.tolist() == pytest.approx([0.1, 0.1], abs=1e-15)


@PATHS
def test_undefined_is_nan_in_both_and_counted(rank):
    scores = np.random.default_rng(0).normal(size=(5, 6))
    labels = np.array([[1.0] * 6, [0.0] * 6, [NAN] * 6, [1, 0, NAN, NAN, NAN, NAN], [NAN] * 5 + [1]])
    found = rank(scores, labels)
    assert found.ap.isnan().tolist() == found.auc.isnan().tolist() == [True, True, True, False, True]
    assert found.positives.tolist() == [6, 0, 0, 1, 1] and found.negatives.tolist() == [0, 6, 0, 1, 0]
    assert found.scored == 1
    assert found.of("ap") is found.ap and found.of("auc") is found.auc


@PATHS
def test_one_positive(rank):
    scores = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4], [4, 4, 1, 1], [np.inf, np.inf, np.inf, -np.inf]], np.float32)
    found = rank(scores, np.array([1.0, 0, 0, 0]))
    assert found.ap.tolist() == pytest.approx([1, 1 / 4, 1 / 2, 1 / 3])
    assert found.auc.tolist() == pytest.approx([1, 0, 5 / 6, 2 / 3])


@PATHS
def test_order_and_scale_change_nothing(rank):
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(-20, 20, (6, 80)).astype(np.float32), rng.choice([0, 1, NAN], 80)
    plain, order = rank(scores, labels), rng.permutation(80)
    for other in (rank(scores[:, order], labels[order]), rank(scores * np.float32(1e3), labels)):
        assert torch.equal(other.auc, plain.auc) and torch.allclose(other.ap, plain.ap, rtol=1e-14)
    assert rank(-scores, labels).auc.tolist() == pytest.approx((1 - plain.auc).tolist())


@PATHS
def test_close_scores_are_not_ties_and_signed_zeros_are(rank):
    labels = np.array([0.0, 1.0])
    assert rank(np.array([1.0, 1.0 + 1e-15]), labels).auc == 1
    assert rank(np.array([98.0, 98.00001], np.float32), labels).auc == 1  # equal after a sigmoid
    assert rank(np.array([0.0, 1e-45], np.float32), labels).auc == 1  # the smallest denormal number
    assert rank(np.array([-0.0, 0.0], np.float32), labels).auc == 0.5 == rank(np.array([0.0, -0.0]), labels).auc


@PATHS
def test_large_counts_are_exact(rank):
    n = 100_000  # positives x negatives does not fit 32 bits, nor exactly a float32
    labels = np.arange(n) % 2
    found = rank(np.arange(n, dtype=np.float32), labels)
    half = n // 2
    assert found.auc.item() == half * (half + 1) / 2 / half**2
    assert found.positives == half and found.ap.item() == pytest.approx(0.5, abs=1e-4)


def test_labels_broadcast_over_any_dimension():
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 9, (3, 4, 5, 30)).astype(np.float32)
    for lead in [(), (5,), (4, 1), (4, 5), (1, 1, 5), (1, 4, 1), (3, 1, 1), (3, 1, 5), (3, 4, 5)]:
        labels = rng.choice([0, 1, NAN], (*lead, 30))
        check(ranking(scores, labels), scores, labels)
    known = rng.random((3, 1, 1, 30)) < 0.5
    labels = rng.random((4, 1, 30)) < 0.5
    expected = np.where(known, labels.astype(float), NAN)
    check(ranking(scores, labels, known=known), scores, expected)


def test_known_hides_any_value():
    scores, hidden = np.array([1.0, 2, 3, 4]), np.array([0, 1, 0.3, -1])
    found = ranking(scores, hidden, known=np.array([True, True, False, False]))
    assert (found.ap, found.auc, found.positives, found.negatives) == (1, 1, 1, 1)
    assert ranking(scores, np.array([0, 1, NAN, NAN]), known=np.ones(4, bool)).negatives == 1


def test_batched_is_looped():
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(size=(3, 4, 50)).astype(np.float32), rng.choice([0, 1, NAN], (3, 1, 50))
    found = ranking(scores, labels)
    for c, p in np.ndindex(3, 4):
        alone = ranking(scores[c, p], labels[c, 0])
        assert alone.ap == found.ap[c, p] and alone.auc == found.auc[c, p] and alone.ap.shape == ()
    assert torch.equal(average_precision(scores, labels), found.ap) and torch.equal(roc_auc(scores, labels), found.auc)


def test_empty_shapes():
    for lead in [(0,), (3, 0), (0, 3), (2, 3)]:
        found = ranking(np.zeros((*lead, 0), np.float32), np.zeros(0))
        assert found.ap.shape == lead and found.ap.isnan().all() and found.scored == 0
    for labels in (np.zeros((0, 1, 5)), np.zeros((1, 5)), np.zeros((0, 4, 5))):
        assert ranking(np.zeros((0, 4, 5), np.float32), labels).auc.shape == (0, 4)


def test_layouts_and_types_of_the_same_numbers():
    rng = np.random.default_rng(4)
    wide = rng.integers(0, 30, (60, 10)).astype(np.float32)
    scores, labels = wide.T[::2], rng.integers(0, 2, 60)
    plain = ranking(np.ascontiguousarray(scores), labels)
    frozen = wide.copy()
    frozen.setflags(write=False)
    double = torch.from_numpy(wide.astype(np.float64)).requires_grad_()
    for same, other in [
        (scores, labels.astype(bool)),
        (scores[:, ::-1], labels[::-1]),
        (frozen.T[::2], labels.astype(np.int8)),
        (torch.from_numpy(wide).T[::2], torch.from_numpy(labels).float()),
        (torch.from_numpy(wide).T[::2].bfloat16(), torch.from_numpy(labels)),
        (double.T[::2], labels.astype(np.float16)),
    ]:
        found = ranking(same, other)
        assert torch.allclose(found.ap, plain.ap, rtol=1e-14) and torch.equal(found.auc, plain.auc)
        assert not found.ap.requires_grad
    before = wide.copy()
    ranking(wide.T, labels)
    assert np.array_equal(wide, before), "the scores of the caller were sorted in place"


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.1, NAN]], [1.0, 0.0], "NaN"),
        ([[0.1, 0.2]], [0.3, 0.0], "not 0.3"),
        ([[0.1, 0.2]], [-1, 0], "not -1"),
        ([[0.1, 0.2]], [1.0, 0.0, 0.0], r"labels \(3,\) do not fit scores \(1, 2\)"),
        ([[0.1, 0.2]], [[1.0, 0.0], [0.0, 1.0]], "do not fit"),
        (0.5, 1.0, "do not fit"),
        ([[1, 2]], [1, 0], "floating"),
    ],
)
def test_bad_input(scores, labels, message):
    with pytest.raises(DataError, match=message):
        ranking(torch.tensor(scores), torch.tensor(labels))


def test_bad_known():
    with pytest.raises(DataError, match=r"labels \(2,\) and known \(3,\) do not fit"):
        ranking(np.zeros((4, 2)), np.zeros(2), known=np.ones(3, bool))


def test_mean_over_categories():
    mean, count = mean_over_categories(np.array([[0.5, NAN, NAN], [1.0, 0.2, NAN]]))
    assert mean.tolist() == pytest.approx([0.75, 0.2, NAN], nan_ok=True) and count.tolist() == [2, 1, 0]
    mean, count = mean_over_categories(torch.tensor([0.1, NAN, 0.3]))
    assert (mean.item(), count.item()) == (pytest.approx(0.2), 2)


def test_a_score_may_be_nan_where_the_label_is_unknown():
    scores, labels = [[0.9, NAN, 0.3, math.inf]], [[1.0, NAN, 0.0, 1.0]]
    found = ranking(torch.tensor(scores), torch.tensor(labels))
    assert found.ap.tolist() == [1.0] and found.auc.tolist() == [1.0]
    masked = ranking(torch.tensor(scores), torch.tensor([1.0, 1, 0, 1]), known=torch.tensor([True, False, True, True]))
    assert masked.ap.tolist() == [1.0]


# Labels and scores that scikit-learn's and torchmetrics' own tests and documentation use, with the values they state.
STATED = [
    ([0, 1], [0, 1], 1.0, 1.0),
    ([0, 1], [1, 0], 0.5, 0.0),
    ([1, 0], [1, 1], 0.5, 0.5),
    ([1, 0], [1, 0], 1.0, 1.0),
    ([1, 0], [0.5, 0.5], 0.5, 0.5),
    ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 5 / 6, 0.75),
    ([1, 0, 0, 1], [0.75, 0.45, 0.05, 0.05], 0.75, 0.625),
    ([0, 0, 1, 1], [0.05, 0.75, 0.55, 0.65], 7 / 12, 0.5),
    ([1, 0, 1, 1], [0.35, 0.05, 0.75, 0.05], 11 / 12, 5 / 6),
]


@pytest.mark.parametrize(("labels", "scores", "ap", "auc"), STATED)
def test_values_that_other_libraries_state(labels, scores, ap, auc):
    found = ranking(torch.tensor(scores, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32))
    assert (found.ap.item(), found.auc.item()) == pytest.approx((ap, auc), abs=1e-6)
    oracle = average_precision_score(labels, scores), roc_auc_score(labels, scores)
    assert oracle == pytest.approx((ap, auc), abs=1e-6)


# scikit-learn's toy tables of several categories (test_precision_recall_curve_toydata), with the mean AP it states.
TABLES = [
    ([[1, 0], [0, 1]], [[0, 1], [0, 1]], 0.5),
    ([[1, 0], [0, 1]], [[0, 1], [1, 0]], 0.5),
    ([[1, 0], [0, 1]], [[1, 0], [0, 1]], 1.0),
    ([[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]], 0.5),
]


@pytest.mark.parametrize(("labels", "scores", "ap"), TABLES)
def test_means_that_scikit_learn_states(labels, scores, ap):
    table, values = np.array(labels, dtype=np.float32), np.array(scores, dtype=np.float32)
    found = ranking(values.T, table.T)
    assert mean_over_categories(found.ap)[0].item() == pytest.approx(ap, abs=1e-6)
    assert average_precision_score(table, values, average="macro") == pytest.approx(ap, abs=1e-6)
    expected = roc_auc_score(table, values, average="macro")
    assert mean_over_categories(found.auc)[0].item() == pytest.approx(expected, abs=1e-6)


@PATHS
@pytest.mark.parametrize("kind", ["probabilities", "logits", "dimension", "ignored", "rounded"])
def test_inputs_as_torchmetrics_draws_them(rank, kind):
    """Of its fixtures of multi-label tasks (unittests/classification/_inputs.py): four batches of 32 samples and five
    categories, as probabilities and logits, with a further dimension, and with labels that are to be ignored."""
    generator = torch.Generator().manual_seed(42)
    shape = (4, 32, 5, 3) if kind == "dimension" else (4, 32, 5)
    scores = torch.rand(shape, generator=generator)
    labels = torch.randint(0, 2, shape, generator=generator).float()
    if kind == "logits":
        scores = scores.logit()
    if kind == "rounded":
        scores = (scores * 10).round() / 10
    if kind == "ignored":
        labels[torch.rand(shape, generator=generator) < 0.3] = NAN
    scores, labels = scores.movedim(1, -1), labels.movedim(1, -1)  # samples last
    check(rank(scores.numpy(), labels.numpy()), scores.numpy(), labels.numpy())
    together = [x.movedim(0, -2).flatten(-2).numpy() for x in (scores, labels)]  # the four batches as one
    check(rank(*together), *together)


@pytest.mark.parametrize("allow_unlabeled", [False, True])
def test_inputs_as_scikit_learn_draws_them(allow_unlabeled):
    """Of test_ranking.py: tables of make_multilabel_classification, and scores that are their noisy copies."""
    for seed in range(5):
        _, table = make_multilabel_classification(40, n_classes=6, allow_unlabeled=allow_unlabeled, random_state=seed)
        noisy = table + np.random.default_rng(seed).normal(size=table.shape)
        for scores in (noisy, noisy.round(), np.zeros(table.shape)):
            labels = table.T.astype(np.float64)
            check(ranking(scores.T.copy(), labels), scores.T, labels)
