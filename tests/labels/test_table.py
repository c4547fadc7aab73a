"""The label table: what it accepts, counts and gives back, and that nothing inferred or hidden passes for known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, INFERRED, UNCERTAIN, UNKNOWN, LabelTable

NAN = np.nan
WIRE = np.array([[1, 0, NAN], [-1, 0.5, 0], [0, 0.25, NAN], [1, 1, -1]], dtype=np.float32)
NAMES = ("cat", "dog", "owl")
labels = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.sampled_from([0.0, 1.0, 0.25, 0.5, NAN, -1.0]),
)


def table(wire: np.ndarray = WIRE, weight: np.ndarray | None = None) -> LabelTable:
    return LabelTable.from_wire(wire, [f"c{c}" for c in range(wire.shape[1])] if wire is not WIRE else NAMES, weight)


def test_every_kind_of_label_is_read():
    made = table()
    np.testing.assert_array_equal(
        made.source,
        [
            [GIVEN, GIVEN, UNKNOWN],
            [UNCERTAIN, GIVEN, GIVEN],
            [GIVEN, GIVEN, UNKNOWN],
            [GIVEN, GIVEN, UNCERTAIN],
        ],
    )
    np.testing.assert_array_equal(made.values, np.where(WIRE == -1, NAN, WIRE))
    assert made.values.dtype == np.float32 and made.source.dtype == np.uint8
    assert len(made) == 4 and made.categories == NAMES


@settings(deadline=None, max_examples=50)
@given(wire=labels)
def test_wire_round_trip_and_counts_against_a_loop(wire):
    made = table(wire)
    back = made.to_wire()
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, wire)
    np.testing.assert_array_equal(made.given(), np.where(made.known, wire, NAN))
    for c, counted in enumerate(made.counts()):
        column = wire[:, c].tolist()
        assert counted == {
            "name": f"c{c}",
            "positive": sum(v >= 0.5 for v in column),
            "negative": sum(0 <= v < 0.5 for v in column),
            "unknown": sum(v != v for v in column),
            "uncertain": column.count(-1),
            "inferred": 0,
            "soft": sum(0 < v < 1 for v in column),
        }
        assert (made.known_positive[c], made.known_negative[c]) == (counted["positive"], counted["negative"])
        assert made.trainable()[c] == (counted["positive"] > 0 and counted["negative"] > 0)


def test_inferred_labels_have_values_but_are_not_known():
    made = LabelTable(np.array([[0.75, 1.0]], np.float32), np.array([[INFERRED, GIVEN]], np.uint8), ("a", "b"))
    np.testing.assert_array_equal(made.known, [[False, True]])
    np.testing.assert_array_equal(made.given(), [[NAN, 1.0]])
    np.testing.assert_array_equal(made.known_positive, [0, 1])
    np.testing.assert_array_equal(made.to_wire(), [[0.75, 1.0]])
    assert made.counts()[0]["inferred"] == 1 and made.counts()[0]["soft"] == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int8, bool])
def test_any_numbers_are_read_and_never_written_to(dtype):
    wire = np.array([[1, 0], [0, 1]], dtype=dtype)
    made = LabelTable.from_wire(wire, np.array(["a", "b"]))
    assert made.values.dtype == np.float32 and made.known.all()
    assert all(type(name) is str for name in made.categories)
    made.values[0, 0] = 0
    assert wire[0, 0] == 1


def test_single_label_data():
    made = LabelTable.from_classes(np.array([2, -1, 0]), NAMES)
    np.testing.assert_array_equal(made.to_wire(), [[0, 0, 1], [NAN] * 3, [1, 0, 0]])
    for label in ([3], [-2], [0.5], [[1]]):
        with pytest.raises(DataError, match="class indices"):
            LabelTable.from_classes(np.array(label), NAMES)


def test_take_keeps_all_columns_together():
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    made = LabelTable(table().values, table().source, NAMES, weight, {"pets": ("cat", "dog")})
    rows = np.array([3, 0, 0])
    taken = made.take(rows)
    np.testing.assert_array_equal(taken.to_wire(), WIRE[rows])
    np.testing.assert_array_equal(taken.weight, weight[rows])
    assert taken.category_groups == {"pets": ("cat", "dog")}
    np.testing.assert_array_equal(made.take(np.array([False, True, True, False])).to_wire(), WIRE[1:3])


def test_all_rows_are_taken_without_a_copy():
    made = table()
    assert made.take(np.arange(len(made))) is made
    assert made.take(np.arange(len(made))[::-1]) is not made
    small = made.take(np.array([0, 1]))
    assert len(small) == 2 and len(small.take(np.array([False, True]))) == 1  # a mask is not a list of rows


def test_hide_makes_unknown_whatever_is_not_kept():
    keep = np.array([[True, False, True], [False, True, True], [True, True, True], [False, False, True]])
    hidden = table().hide(keep)
    np.testing.assert_array_equal(hidden.to_wire(), np.where(keep, WIRE, NAN))
    assert hidden.source.dtype == np.uint8 and hidden.source[1, 0] == UNKNOWN
    for bad in (keep.astype(np.uint8), keep[:2], keep[0]):
        with pytest.raises(DataError, match=r"keep mask must be bool \(4, 3\)"):
            table().hide(bad)


@pytest.mark.parametrize(
    ("wire", "names", "weight", "message"),
    [
        ([[0, 2]], "ab", None, "f.npz: row 0, category 'b': 2 is not a label"),
        ([[0, 1], [-0.5, 1]], "ab", None, "row 1, category 'a': -0.5 is not a label"),
        ([[np.inf, 1]], "ab", None, "category 'a': inf"),
        ([[1e300, 1]], "ab", None, "category 'a': inf"),
        ([[0, 1]], "aa", None, "f.npz: category 'a' is named twice"),
        ([[0, 1]], "abc", None, r"f.npz: expected the shape \(N, 3\), found \(1, 2\)"),
        ([0, 1], "ab", None, r"expected the shape \(N, 2\), found \(2,\)"),
        ([["0", "1"]], "ab", None, "expected numbers"),
        ([[None, 1]], "ab", None, "expected numbers"),
        ([[0, 1]], "ab", [[1, -1]], "row 0, category 'b': weight -1"),
        ([[0, 1]], "ab", [[NAN, 1]], "category 'a': weight nan"),
        ([[0, 1]], "ab", [[1]], r"weights of f.npz: expected the shape \(1, 2\)"),
    ],
)
def test_from_wire_refuses(wire, names, weight, message):
    with pytest.raises(DataError, match=message):
        LabelTable.from_wire(wire, list(names), weight, name="f.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.array([[0.5, 0.5]], np.float32)}, "category 'b': an unknown or uncertain label has the value"),
        ({"values": np.array([[NAN, NAN]], np.float32)}, "category 'a': value nan"),
        ({"values": np.array([[1.5, NAN]], np.float32)}, "value 1.5 is not within 0 and 1"),
        ({"values": np.array([[0.5, NAN]])}, "values must be float32"),
        ({"source": np.array([[4, 0]], np.uint8)}, "source 4"),
        ({"source": np.array([[1, 0]])}, "source must be uint8"),
        ({"categories": ("a",)}, r"values must be float32 \(N, 1\)"),
        ({"categories": ("b", "b")}, "'b' is named twice"),
        ({"weight": np.ones((1, 2))}, "weight must be float32"),
        ({"weight": np.array([[1, np.inf]], np.float32)}, "category 'b': weight inf"),
        ({"category_groups": {"g": ("a", "z")}}, "group 'g' names 'z'"),
    ],
)
def test_the_table_refuses_what_breaks_its_promise(change, message):
    parts = {"values": np.array([[0.5, NAN]], np.float32), "source": np.array([[1, 0]], np.uint8)}
    with pytest.raises(DataError, match=message):
        LabelTable(**{**parts, "categories": ("a", "b"), **change})


@pytest.mark.realdata
def test_real_data(shared_data):
    with np.load(shared_data / "ucm_features_lite0.npz") as file:
        made = LabelTable.from_wire(file["labels"], file["categories"])
    assert made.values.shape == (2100, 17) and made.known.all() and made.trainable().all()
    assert made.known_positive.sum() / len(made) == pytest.approx(3.33, abs=0.01)
