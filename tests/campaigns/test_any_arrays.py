"""Feature files and label tables of any type, shape, order and hole: a command works, or refuses in one line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

pytestmark = pytest.mark.campaign

ROWS, DIM, CATEGORIES = 24, 3, 2
RNG = np.random.default_rng(0)
LABELS = RNG.choice([0.0, 1.0, np.nan], (ROWS, CATEGORIES), p=[0.5, 0.4, 0.1])
SOUND: dict[str, np.ndarray] = {
    "features": RNG.normal(size=(ROWS, DIM)).astype(np.float32),
    "labels": LABELS,
    "categories": np.array(["cat", "dog"]),
    "split": np.tile(["fit", "select", "test"], ROWS // 3),
    "ids": np.arange(ROWS).astype(str),
    "groups": np.arange(ROWS) // 2,
    "head_weight": RNG.normal(size=(CATEGORIES, DIM)),
    "head_bias": np.zeros(CATEGORIES),
    "label_weight": np.ones((ROWS, CATEGORIES)),
}
LEAST = ("features", "labels", "categories", "split")

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(),
    hnp.unicode_string_dtypes(max_len=4),
    hnp.byte_string_dtypes(max_len=4),
    hnp.datetime64_dtypes(max_period="D"),
)
SIZES = st.sampled_from([0, 1, CATEGORIES, DIM, ROWS, ROWS + 1])
SHAPES = st.one_of(st.sampled_from([array.shape for array in SOUND.values()]), st.lists(SIZES, max_size=3).map(tuple))


@st.composite
def changed(draw: Any, array: np.ndarray) -> np.ndarray:
    """A sound array in another type or order, with odd values in it, or any other array."""
    how = draw(st.sampled_from(["type", "values", "order", "any"]))
    if how == "any":
        return draw(hnp.arrays(draw(DTYPES), draw(SHAPES)))
    if how == "order":
        return np.asfortranarray(array[::-1])
    if how == "type":
        try:
            with np.errstate(all="ignore"):
                return array.astype(draw(DTYPES))
        except (TypeError, ValueError):
            return array
    odd = array.copy()
    value = draw(st.sampled_from([np.nan, np.inf, -np.inf, -1, 0.5, 2, 1e30, 1e300, 255]))
    rows = draw(st.lists(st.integers(0, len(array) - 1), max_size=len(array)))
    if array.dtype.kind == "i" and not abs(value) < 1e9:
        value = -1
    with np.errstate(over="ignore"):
        odd[rows] = str(value) if array.dtype.kind == "U" else array.dtype.type(value)
    return odd


@st.composite
def files(draw: Any) -> dict[str, np.ndarray]:
    keys = draw(st.permutations([*LEAST, *draw(st.lists(st.sampled_from([*SOUND][4:]), unique=True))]))
    wrong = draw(st.lists(st.sampled_from(keys), max_size=2, unique=True))
    missing = draw(st.lists(st.sampled_from(keys), max_size=1))
    return {key: draw(changed(SOUND[key])) if key in wrong else SOUND[key] for key in keys if key not in missing}


def works_or_refuses(done: Any) -> None:
    said = " ".join(done.err)
    assert "Warning" not in said and "Traceback" not in said, said
    if done.code:
        assert done.code == 1 and len(done.err) <= 3, done.err
        assert len(done.err[-1]) < 2000 and ["error: " in line for line in done.err].count(True) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(arrays=files())
def test_a_feature_file(arrays: dict[str, np.ndarray], labelwise: Callable[..., Any], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    np.savez(folder / "any.npz", **arrays)
    first = () if "head_weight" in arrays else ("--base", "ignore")
    options = ("--preset", "fast", "--set", "draws=100", "--quiet", "--out", folder / "out")
    works_or_refuses(labelwise("cft", folder / "any.npz", *first, *options))


@pytest.mark.quick
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(arrays=files())
def test_data_of_that_file(arrays: dict[str, np.ndarray], labelwise: Callable[..., Any], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    np.savez(folder / "any.npz", **arrays)
    works_or_refuses(labelwise("data", "stats", folder / "any.npz"))


WORDS = st.one_of(
    st.sampled_from(["", " ", "cat", "dog", "1", "0", "nan", "NA", "-1", "train", "val", "test", "1.5", "a|b"]),
    st.text(max_size=5),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    columns=st.lists(st.sampled_from(["path", "label", "split", "group", "x"]), min_size=1, max_size=5),
    rows=st.lists(st.lists(WORDS, min_size=5, max_size=5), max_size=8),
    separator=st.sampled_from(",,,;\t"),
)
def test_a_table_of_images(
    columns: list[str],
    rows: list[list[str]],
    separator: str,
    labelwise: Callable[..., Any],
    tmp_path_factory: Any,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for number in range(len(rows)):
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    with open(folder / "any.csv", "w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        for number, row in enumerate(rows):
            writer.writerow([f"{number}.png" if c == "path" else w for c, w in zip(columns, row, strict=False)])
    works_or_refuses(labelwise("data", "stats", folder / "any.csv"))
