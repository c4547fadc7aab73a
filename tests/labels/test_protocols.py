"""Simulated label noise: exact rates, other classes only, the same for the same keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.errors import DataError
from labelwise.labels.protocols import pair_noise, uniform_noise

SCHEMES = (uniform_noise, pair_noise)


def draw(n: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(num_classes, size=n), rng.integers(2**63, size=n).astype(np.uint64)


@pytest.mark.parametrize("corrupt", SCHEMES)
@settings(deadline=None)
@given(n=st.integers(0, 200), num_classes=st.integers(2, 7), rate=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_exactly_the_rate_becomes_another_class(corrupt, n, num_classes, rate, seed):
    label, keys = draw(n, num_classes, seed % 1000)
    noisy = corrupt(label, num_classes, rate, seed, keys)
    assert (noisy != label).sum() == round(rate * n)
    assert noisy.dtype == label.dtype
    assert ((noisy >= 0) & (noisy < num_classes)).all()


@pytest.mark.parametrize("corrupt", SCHEMES)
def test_depends_on_keys_not_on_order(corrupt):
    label, keys = draw(500, 5)
    order = np.random.default_rng(1).permutation(500)
    noisy = corrupt(label, 5, 0.4, 3, keys)
    np.testing.assert_array_equal(noisy[order], corrupt(label[order], 5, 0.4, 3, keys[order]))
    assert (noisy != corrupt(label, 5, 0.4, 4, keys)).any()


@pytest.mark.parametrize("corrupt", SCHEMES)
def test_a_lower_rate_replaces_a_subset(corrupt):
    label, keys = draw(1000, 5)
    low, high = (corrupt(label, 5, rate, 0, keys) for rate in (0.2, 0.5))
    replaced = low != label
    np.testing.assert_array_equal(low[replaced], high[replaced])


def test_uniform_noise_reaches_every_other_class_equally():
    label = np.zeros(40_000, dtype=np.int64)
    noisy = uniform_noise(label, 5, 1.0, 0, draw(40_000, 5)[1])
    counts = np.bincount(noisy, minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 10_000).max() < 500  # six standard deviations


def test_consecutive_keys_are_as_good_as_random_ones():
    keys = np.arange(40_000, dtype=np.uint64)
    replaced = uniform_noise(np.zeros(40_000, dtype=np.int64), 2, 0.5, 0, keys).astype(bool)
    assert abs(replaced[:20_000].mean() - 0.5) < 0.03
    assert abs((replaced[1:] == replaced[:-1]).mean() - 0.5) < 0.03


def test_pair_noise_takes_the_next_class():
    label, keys = draw(300, 4)
    noisy = pair_noise(label, 4, 0.5, 0, keys)
    replaced = noisy != label
    np.testing.assert_array_equal(noisy[replaced], (label[replaced] + 1) % 4)


@pytest.mark.parametrize(
    ("label", "num_classes", "rate", "message"),
    [
        ([0, 1], 2, 1.5, "rate 1.5"),
        ([0, 1], 2, float("nan"), "rate nan"),
        ([0, 2], 2, 0.5, "0 to 2"),
        ([0, -1], 2, 0.5, "-1 to 0"),
        ([0, 0], 1, 0.5, "single class"),
        ([0, 0, 0], 2, 0.5, "one per sample"),
    ],
)
def test_refuses(label, num_classes, rate, message):
    with pytest.raises(DataError, match=message):
        uniform_noise(np.array(label), num_classes, rate, 0, np.array([1, 2], dtype=np.uint64))
