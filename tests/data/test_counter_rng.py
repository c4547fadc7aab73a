"""Known answers of Philox4x32-10, and draws that depend on nothing but their key."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelwise.data.counter_rng import derive_seed, generator, philox, random_words, uniforms

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_random123(counter, key, answer):
    words = philox(tuple(np.array([c], dtype=np.uint64) for c in counter), key)
    assert tuple(int(word[0]) for word in words) == answer


def test_a_draw_does_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    keys = rng.integers(2**63, size=50).astype(np.uint64) * np.uint64(2)
    views = rng.integers(2**32, size=50)
    whole = uniforms(3, "crop", keys, views, 41)
    order = rng.permutation(50)
    np.testing.assert_array_equal(uniforms(3, "crop", keys[order], views[order], 41), whole[order])
    for row in (0, 17, 49):
        np.testing.assert_array_equal(uniforms(3, "crop", keys[[row]], views[[row]], 41)[0], whole[row])
    # Asking for fewer numbers does not change the first ones.
    np.testing.assert_array_equal(uniforms(3, "crop", keys, views, 5), whole[:, :5])


def test_every_part_of_the_key_matters():
    keys, views = np.array([5, 5 + 2**40], dtype=np.uint64), np.array([0, 0])
    base = random_words(0, "a", keys, views, 4)
    assert (base[0] != base[1]).all()
    for other in (
        random_words(1, "a", keys, views, 4),
        random_words(0, "b", keys, views, 4),
        random_words(0, "a", keys, views + 1, 4),
    ):
        assert (base != other).mean() > 0.9
    assert len(np.unique(base)) == base.size


@pytest.mark.parametrize("rounds", [7, 10])
def test_uniform_over_samples_and_over_views(rounds):
    many, zero = np.arange(5000), np.zeros(5000, dtype=np.int64)
    for keys, views in ((many, zero), (zero, many)):
        words = random_words(0, "ks", keys.astype(np.uint64), views, 1, rounds)
        for column in words.T:
            assert stats.kstest(column / 2**32, "uniform").pvalue > 1e-3
        correlation = np.corrcoef(words.T.astype(float)) - np.eye(4)
        assert np.abs(correlation).max() < 0.06
        lagged = np.corrcoef(words[1:, 0].astype(float), words[:-1, 0].astype(float))[0, 1]
        assert abs(lagged) < 0.06


def test_range_and_shape():
    u = uniforms(0, "x", np.arange(100, dtype=np.uint64), np.zeros(100, dtype=np.int64), 7)
    assert u.shape == (100, 7) and u.min() >= 0 and u.max() < 1


def test_generator_and_seed_depend_on_their_parts_alone():
    assert derive_seed(1, "a") == derive_seed(1, "a") != derive_seed(1, "b")
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert 0 <= derive_seed("x") < 2**63
    assert generator(1, "order", 2).random() == generator(1, "order", 2).random() != generator(1, "order", 3).random()
