"""The published ways to hide labels: each against its rule written out, nested, reproducible, and strict on input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.errors import DataError
from labelwise.labels import protocols
from labelwise.labels.protocols import (
    keep_balanced_per_category,
    keep_fixed_per_category,
    keep_hcp,
    keep_positives,
    keep_single_positive,
    keep_uniform,
    keep_uniform_by_cell,
)
from labelwise.labels.strategies import unknown
from labelwise.labels.table import GIVEN, INFERRED, UNCERTAIN, LabelTable

SHARES = (keep_uniform, keep_uniform_by_cell, keep_positives)
COUNTS = (keep_fixed_per_category, keep_balanced_per_category)


def draw(
    n: int, categories: int, seed: int = 0, codes: tuple[float, ...] = (1, 0, 0.75, 0.25, np.nan, -1)
) -> LabelTable:
    wire = np.random.default_rng(seed).choice(codes, size=(n, categories))
    return LabelTable.from_wire(wire, [f"c{c}" for c in range(categories)])


def slow_keep_uniform(table: LabelTable, share: float, seed: int) -> np.ndarray:
    """The paper's rule, label by label."""
    rng = np.random.Generator(np.random.PCG64(seed))
    keep = np.zeros(table.values.shape, dtype=bool)
    for row in range(len(table)):
        value, source = table.values[row].tolist(), table.source[row].tolist()
        columns = range(len(value))
        positives = [c for c in columns if source[c] == GIVEN and value[c] >= 0.5]
        negatives = [c for c in columns if source[c] == GIVEN and value[c] < 0.5]
        uncertains = [c for c in columns if source[c] == UNCERTAIN]
        for column in positives + negatives + uncertains:
            if rng.random() < share:
                keep[row, column] = True
    return keep


@pytest.mark.parametrize("keep", [keep_uniform, keep_uniform_by_cell])
def test_draws_go_on_from_block_to_block(keep, monkeypatch):
    table = draw(30, 4)
    whole = keep(table, 0.5)
    monkeypatch.setattr(protocols, "BLOCK_ELEMENTS", 28)
    np.testing.assert_array_equal(keep(table, 0.5), whole)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(0, 12),
    categories=st.integers(1, 7),
    data=st.integers(0, 2**20),
    share=st.floats(0, 1),
    seed=st.sampled_from([526, 0, 1]),
)
def test_uniform_is_the_paper_s_loop(n, categories, data, share, seed):
    table = draw(n, categories, data)
    np.testing.assert_array_equal(keep_uniform(table, share, seed), slow_keep_uniform(table, share, seed))


def test_uniform_seed_is_the_paper_s():
    table = draw(20, 5)
    np.testing.assert_array_equal(keep_uniform(table, 0.3), slow_keep_uniform(table, 0.3, 526))


def test_uniform_by_cell_is_one_draw_per_cell_of_annotated_labels():
    full, partial = draw(30, 4, codes=(0, 1)), draw(30, 4)
    matrix = np.random.Generator(np.random.PCG64(526 + 3)).random((30, 4))
    np.testing.assert_array_equal(keep_uniform_by_cell(full, 0.3, 3), matrix < 0.3)
    annotated = ~np.isnan(partial.to_wire())
    np.testing.assert_array_equal(keep_uniform_by_cell(partial, 0.3, 3), (matrix < 0.3) & annotated)


def test_hcp_is_numpy_s_generator_after_seed_0():
    # The first numbers of numpy.random.seed(0); numpy.random.rand(2, 4), as printed in countless notebooks.
    matrix = np.array([[0.5488135, 0.71518937, 0.60276338, 0.54488318], [0.4236548, 0.64589411, 0.43758721, 0.891773]])
    for share in (0.0, 0.43, 0.545, 0.603, 0.8, 1.0):
        np.testing.assert_array_equal(keep_hcp((2, 4), share), matrix < share)
    assert (keep_hcp((2, 4), 0.545, seed=1) != (matrix < 0.545)).any()
    for seed in (-1, 2**32):
        with pytest.raises(DataError, match="seed"):
            keep_hcp((2, 4), 0.4, seed)


def test_single_positive_keeps_each_positive_equally_often():
    table = draw(300, 5)
    positive = table.known & (table.values >= 0.5)
    keep = keep_single_positive(table)
    assert not (keep & ~positive).any()
    np.testing.assert_array_equal(keep.sum(axis=1), positive.any(axis=1))
    row = np.array([[1, 0, 1, -1, 1, np.nan]])
    same = LabelTable.from_wire(np.repeat(row, 30_000, axis=0), list("abcdef"))
    counts = keep_single_positive(same).sum(axis=0)
    assert counts[[1, 3, 5]].sum() == 0
    assert np.abs(counts[[0, 2, 4]] - 10_000).max() < 500  # six standard deviations


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 40), count=st.integers(0, 15), data=st.integers(0, 2**20))
def test_numbers_per_category(n, count, data):
    table = draw(n, 3, data, codes=(1, 0, 0, 0.75, np.nan, -1))
    positives, negatives = table.known_positive, table.known_negative
    fixed = table.hide(keep_fixed_per_category(table, count))
    np.testing.assert_array_equal(fixed.known_positive, np.minimum(positives, count))
    np.testing.assert_array_equal(fixed.known_negative, np.minimum(negatives, count))
    balanced = table.hide(keep_balanced_per_category(table, count))
    each = np.minimum(np.minimum(positives, negatives), count // 2)
    np.testing.assert_array_equal(balanced.known_positive, each)
    np.testing.assert_array_equal(balanced.known_negative, each)
    assert not (fixed.source == UNCERTAIN).any() and not (balanced.source == UNCERTAIN).any()


@pytest.mark.parametrize("protocol", COUNTS)
def test_numbers_per_category_come_from_anywhere(protocol):
    table = LabelTable.from_wire(np.tile([[1.0], [0.0]], (5000, 2)), ["a", "b"])
    keep = protocol(table, 2000)
    assert abs(keep[:5000].sum() / keep.sum() - 0.5) < 0.05
    assert (keep[:, 0] != keep[:, 1]).any()


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 40), share=st.floats(0, 1), data=st.integers(0, 2**20))
def test_drop_positives_leaves_exactly_the_share(n, share, data):
    table = draw(n, 3, data)
    keep = keep_positives(table, share)
    assert keep.sum() == round(share * table.known_positive.sum())
    assert not (keep & ~(table.known & (table.values >= 0.5))).any()


@pytest.mark.parametrize("protocol", SHARES + COUNTS)
def test_nested_reproducible_and_another_seed_differs(protocol):
    table = draw(200, 6)
    amounts = (0.1, 0.3, 0.9) if protocol in SHARES else (4, 10, 30)
    low, middle, high = (protocol(table, amount, 5) for amount in amounts)
    assert low.sum() < middle.sum() < high.sum()
    assert not (low & ~middle).any() and not (middle & ~high).any()
    np.testing.assert_array_equal(middle, protocol(table, amounts[1], 5))
    assert (middle != protocol(table, amounts[1], 6)).any()


@pytest.mark.parametrize("protocol", SHARES)
def test_the_ends_of_the_range(protocol):
    table = draw(50, 6)
    kept = (table.known & (table.values >= 0.5)) if protocol is keep_positives else ~np.isnan(table.to_wire())
    assert not protocol(table, 0.0).any()
    np.testing.assert_array_equal(protocol(table, 1.0), kept)


@pytest.mark.parametrize("protocol", [keep_uniform, keep_uniform_by_cell])
def test_about_the_share_is_kept_of_every_kind(protocol):
    table = draw(20_000, 3)
    keep = protocol(table, 0.1)
    positive = table.known & (table.values >= 0.5)
    for kind in (positive, table.known & ~positive, table.source == UNCERTAIN):
        assert abs(keep[kind].mean() - 0.1) < 0.02


@pytest.mark.parametrize("protocol", [*SHARES, *COUNTS, keep_single_positive])
def test_inferred_labels_are_never_kept(protocol):
    table = unknown(draw(50, 6), "positive")
    keep = protocol(table) if protocol is keep_single_positive else protocol(table, 1.0 if protocol in SHARES else 99)
    assert keep.any() and table.hide(keep).known_positive.sum() == keep[table.values >= 0.5].sum()
    assert not (table.hide(keep).source == INFERRED).any()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_refuses_shares(share):
    for protocol in SHARES:
        with pytest.raises(DataError, match="is not within 0 and 1"):
            protocol(draw(2, 2), share)
    with pytest.raises(DataError, match="is not within 0 and 1"):
        keep_hcp((2, 2), share)


@pytest.mark.parametrize("count", [-1, 0.5, float("nan")])
@pytest.mark.parametrize("protocol", COUNTS)
def test_refuses_counts(protocol, count):
    with pytest.raises(DataError, match="is not a whole number"):
        protocol(draw(2, 2), count)


def test_refuses_negative_seeds():
    table = draw(2, 2)
    for protocol, amount in ((keep_uniform, 0.5), (keep_positives, 0.5), (keep_fixed_per_category, 1)):
        with pytest.raises(DataError, match="seed -1 is negative"):
            protocol(table, amount, -1)
    with pytest.raises(DataError, match="negative"):
        keep_uniform_by_cell(table, 0.5, -527)


@pytest.mark.realdata
def test_real_data(shared_data):
    with np.load(shared_data / "ucm_features_lite0.npz") as file:
        table = LabelTable.from_wire(file["labels"][file["split"] == "fit"], file["categories"])
    keep = keep_uniform(table, 0.1)
    np.testing.assert_array_equal(keep, slow_keep_uniform(table, 0.1, 526))
    assert table.hide(keep).known.mean() == pytest.approx(0.1, abs=0.01)
