"""Label strategies: what they fill in, what they leave alone, and draws that depend on no order."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from labelwise.config import UncertainName, UnknownName
from labelwise.errors import ConfigError, DataError
from labelwise.labels.strategies import train_targets, uncertain, unknown
from labelwise.labels.table import GIVEN, INFERRED, UNCERTAIN, UNKNOWN, LabelTable

NAN = np.nan
NAMES = ("cat", "dog", "owl")
WIRE = np.array([[1, -1, NAN], [-1, 0.5, 0], [NAN, NAN, -1]], dtype=np.float32)


def table(wire: np.ndarray = WIRE, names: tuple[str, ...] = NAMES) -> LabelTable:
    return LabelTable.from_wire(wire, names)


def undecided(rows: int, code: float = -1.0) -> LabelTable:
    return table(np.full((rows, 3), code))


@pytest.mark.parametrize(("policy", "value"), [("negative", 0), ("positive", 1), ((0.25, 0.25), 0.25)])
@pytest.mark.parametrize(
    ("strategy", "code", "entries"), [(uncertain, UNCERTAIN, WIRE == -1), (unknown, UNKNOWN, np.isnan(WIRE))]
)
def test_constant_policies_touch_their_own_entries_only(strategy, code, entries, policy, value):
    before = table()
    after = strategy(before, policy)
    np.testing.assert_array_equal(after.to_wire(), np.where(entries, value, WIRE))
    np.testing.assert_array_equal(after.source, np.where(entries, INFERRED, before.source))
    np.testing.assert_array_equal(after.known, before.known)
    np.testing.assert_array_equal(before.to_wire(), WIRE)
    assert (before.source[entries] == code).all()


@pytest.mark.parametrize(("strategy", "names"), [(uncertain, UncertainName), (unknown, UnknownName)])
def test_every_name_that_a_recipe_may_give_is_a_policy(strategy, names):
    for name in get_args(names):
        strategy(table(), name)
    with pytest.raises(ConfigError, match=f"is not one of {', '.join(get_args(names))} or a range"):
        strategy(table(), "maybe")


def test_policies_that_infer_nothing():
    ignored = uncertain(table(), "unknown")
    np.testing.assert_array_equal(ignored.to_wire(), np.where(WIRE == -1, NAN, WIRE))
    assert not (ignored.source == UNCERTAIN).any() and not (ignored.source == INFERRED).any()
    np.testing.assert_array_equal(unknown(table(), "ignore").source, table().source)


@pytest.mark.parametrize(
    ("policy", "low", "up"), [("smooth-negative", 0, 0.3), ("smooth-positive", 0.55, 0.85), ((0.2, 0.9), 0.2, 0.9)]
)
def test_smoothing_draws_uniformly(policy, low, up):
    drawn = uncertain(undecided(4000), policy).values
    assert low <= drawn.min() and drawn.max() <= np.float32(up)
    share = np.sort((drawn.ravel() - low) / (up - low))
    # Kolmogorov-Smirnov distance; 2.2 / sqrt(n) is passed with probability 1e-4.
    assert np.abs(share - np.linspace(0, 1, share.size)).max() < 2.2 / np.sqrt(share.size)
    assert len(np.unique(drawn)) > 0.99 * drawn.size
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.07
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.07


@pytest.mark.parametrize(("strategy", "code"), [(uncertain, -1.0), (unknown, NAN)])
def test_draws_depend_on_seed_key_and_name_alone(strategy, code):
    keys = np.random.default_rng(0).integers(2**63, size=50).astype(np.uint64)
    drawn = strategy(undecided(50, code), (0, 1), 3, keys).values
    rows, columns = np.random.default_rng(1).permutation(50)[:20], [2, 0]
    part = table(np.full((20, 2), code), tuple(NAMES[c] for c in columns))
    np.testing.assert_array_equal(strategy(part, (0, 1), 3, keys[rows]).values, drawn[rows][:, columns])
    assert (strategy(undecided(50, code), (0, 1), 4, keys).values != drawn).mean() > 0.99
    by_row = strategy(undecided(50, code), (0, 1), 3).values
    np.testing.assert_array_equal(
        by_row, strategy(undecided(50, code), (0, 1), 3, np.arange(50, dtype=np.uint64)).values
    )
    assert (by_row != drawn).mean() > 0.99


def test_uncertain_and_unknown_are_drawn_independently():
    first, second = uncertain(undecided(50), (0, 1)), unknown(undecided(50, NAN), (0, 1))
    assert (first.values != second.values).mean() > 0.99


def test_draws_are_the_same_on_every_machine():
    keys = np.array([1, 2**63], dtype=np.uint64)
    drawn = uncertain(table(np.full((2, 2), -1.0), ("cat", "dog")), (0, 1), 7, keys).values
    # Computed with Python's own integers: SplitMix64 over the seed, the key, and BLAKE2b of the category's name.
    np.testing.assert_allclose(drawn, [[0.48528188606, 0.29285927836], [0.19031322028, 0.75665022964]], rtol=1e-6)


def test_policies_by_category():
    made = uncertain(table(), {"dog": "positive", "cat": "unknown"})
    np.testing.assert_array_equal(made.to_wire(), [[1, 1, NAN], [NAN, 0.5, 0], [NAN, NAN, -1]])
    assert made.source[0, 1] == INFERRED and made.source[1, 0] == UNKNOWN and made.source[2, 2] == UNCERTAIN
    made = unknown(table(), {"owl": "negative", "cat": [0.5, 0.5], "dog": "ignore"})
    np.testing.assert_array_equal(made.to_wire(), [[1, -1, 0], [-1, 0.5, 0], [0.5, NAN, -1]])


def test_weights_and_groups_stay():
    weight = np.ones((3, 3), np.float32)
    made = LabelTable(table().values, table().source, NAMES, weight, {"pets": ("cat", "dog")})
    filled = unknown(uncertain(made, "smooth-negative"), "negative")
    assert filled.weight is weight and filled.category_groups == made.category_groups


def test_train_targets():
    made = uncertain(table(), {"dog": "positive"})
    targets, weight = train_targets(made)
    assert targets.dtype == weight.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 1, 0], [0, 0.5, 0], [0, 0, 0]])
    np.testing.assert_array_equal(weight, [[1, 1, 0], [0, 1, 1], [0, 0, 0]])
    trust = np.full((3, 3), 0.25, np.float32)
    _, weighted = train_targets(LabelTable(made.values, made.source, NAMES, trust))
    np.testing.assert_array_equal(weighted, weight / 4)
    assert weighted.dtype == np.float32


@pytest.mark.parametrize("strategy", [uncertain, unknown])
@pytest.mark.parametrize(
    "policy", ["maybe", "", None, (0.5,), (0.6, 0.4), (-0.1, 0.5), (0.5, 1.1), (NAN, 1), ("0", "1"), 0.5]
)
def test_refuses_policies(strategy, policy):
    with pytest.raises(ConfigError, match=f"policy for {strategy.__name__} labels, category 'cat'"):
        strategy(table(), policy)
    with pytest.raises(ConfigError, match="category 'dog'"):
        strategy(table(), {"cat": "negative", "dog": policy})


@pytest.mark.parametrize("strategy", [uncertain, unknown])
def test_refuses_the_other_strategy_s_words_unknown_categories_and_keys(strategy):
    with pytest.raises(ConfigError, match="is not one of"):
        strategy(table(), "ignore" if strategy is uncertain else "smooth-negative")
    with pytest.raises(ConfigError, match="'bat' is not a category"):
        strategy(table(), {"bat": "negative"})
    for keys in (np.arange(3), np.arange(2, dtype=np.uint64)):
        with pytest.raises(DataError, match="one for each of 3 samples"):
            strategy(table(), "negative", 0, keys)


def test_known_labels_are_never_changed():
    full = table(np.array([[1, 0, 0.3]]))
    for made in (uncertain(full, (0, 1)), unknown(full, (0, 1))):
        np.testing.assert_array_equal(made.values, full.values)
        assert (made.source == GIVEN).all()
