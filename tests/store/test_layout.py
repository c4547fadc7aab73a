"""Records of crop labels: what is written is read again, to the precision that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.store_factory import best, log_probabilities, some_boxes

from labelwise.data.views import Boxes
from labelwise.errors import DataError
from labelwise.store.layout import CropLabels, Layout, join, unpack


def test_ten_classes_of_a_crop_take_48_bytes_and_small_variants_24_and_8():
    assert Layout(1000, 10).bytes_per_crop() == 48
    assert Layout(1000, 8, boxes=False, precision="uint8").bytes_per_crop() == 24
    assert Layout(1000, 2, boxes=False).bytes_per_crop() == 8
    assert Layout(70_000, 10).bytes_per_crop() == 68


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(1, 30), st.integers(0, 9), st.booleans(), st.sampled_from(["fp16", "uint8"]))
def test_what_is_written_is_read_again(classes, k, crops, boxes, precision):
    layout = Layout(classes, min(k, classes), boxes, precision)
    drawn, labels = some_boxes(crops, k), best(log_probabilities(crops, classes, k), layout.k)
    records, entries = layout.encode(drawn, labels)
    assert records.nbytes == crops * layout.bytes_per_crop()
    found = layout.decode(records, entries)
    if boxes:
        for name in ("top", "left", "height", "width", "flip"):
            np.testing.assert_array_equal(getattr(unpack(records["box"]), name), getattr(drawn, name))
    if layout.sparse:
        np.testing.assert_array_equal(found.ids, labels.ids)
    smallest = 2**-24  # half floats below 2**-14 lie so far apart
    step = smallest + 2e-3 * np.abs(labels.values) if precision == "fp16" else 0.07 + 0.02 * np.abs(labels.values)
    assert (np.abs(found.values - np.maximum(labels.values, -16 if precision == "uint8" else -np.inf)) <= step).all()


def test_a_crop_has_as_many_classes_as_its_mass_needs():
    layout = Layout(20, 6, mass=0.9)
    labels = best(log_probabilities(50, 20, 0), 6)
    records, entries = join(
        [
            layout.encode(some_boxes(50, 1)[s], CropLabels(labels.ids[s], labels.values[s]))
            for s in (slice(0, 20), slice(20, 20), slice(20, 50))
        ]
    )
    found = layout.decode(records, entries)
    for crop in range(50):
        p = np.exp(labels.values[crop].astype(np.float64))
        need = min(6, int((np.cumsum(p) < 0.9).sum()) + 1)
        assert records["count"][crop] == need
        np.testing.assert_array_equal(found.ids[crop, :need], labels.ids[crop, :need])
        np.testing.assert_allclose(found.values[crop, :need], labels.values[crop, :need], rtol=2e-3)
        assert np.isneginf(found.values[crop, need:]).all()


def test_log_odds_of_all_categories():
    odds = np.random.default_rng(0).normal(0, 5, (9, 7)).astype(np.float32)
    for precision, step in (("fp16", 0.01), ("uint8", 0.07)):
        layout = Layout(7, 7, precision=precision, multi_label=True)
        found = layout.decode(*layout.encode(some_boxes(9, 0), CropLabels(None, odds)))
        assert found.ids is None
        np.testing.assert_allclose(found.values, odds, atol=step)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Layout(5, 6), "k is 6, expected 1 to 5"),
        (lambda: Layout(5, 3, multi_label=True), "leave k and mass out"),
        (lambda: Layout(5, 5, mass=0.9), "set k, too"),
    ],
)
def test_layouts_that_cannot_be(build, words):
    with pytest.raises(DataError, match=words):
        build()


def test_crops_that_do_not_fit_and_nan_are_refused():
    layout, labels = Layout(5, 2), best(log_probabilities(1, 5, 0), 2)
    large = Boxes(*(np.array([n], dtype=np.int32) for n in (30_000, 0, 3_000, 5)), np.array([False]))
    with pytest.raises(DataError, match="32767 px"):
        layout.encode(large, labels)
    with pytest.raises(DataError, match="NaN"):
        layout.encode(some_boxes(1, 0), CropLabels(labels.ids, labels.values * np.nan))
