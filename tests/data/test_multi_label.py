"""Multi-label data: read with their label table, split and counted; options of single-label data are refused."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from helpers.data import data_config
from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset, read_samples
from labelwise.data.stats import dataset_stats, render_stats
from labelwise.errors import DataError
from labelwise.labels import protocols
from labelwise.labels.table import GIVEN, UNCERTAIN, UNKNOWN

N, NAMES = 20, ("cat", "dog", "fish")
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
LABEL = np.random.default_rng(1).choice([1, 0, np.nan, -1, 0.5], size=(N, 3)).astype(np.float32)
LABEL[:, 2] = np.nan
SPLIT = np.array([0] * 10 + [1] * 4 + [2] * 6)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"images": PIXELS, "label": LABEL, "label_name": np.array(NAMES), **arrays})
    return path


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(data_config({"source": str(path), **options}), partial=True)


@pytest.mark.parametrize("key", ["label_name", "categories", "classes"])
def test_an_npz_with_a_label_per_category(tmp_path, key):
    path = tmp_path / "m.npz"
    np.savez(path, **{"images": PIXELS, "labels": LABEL, key: np.array(NAMES), "split": SPLIT})
    dataset = load(path)
    assert dataset.classes == NAMES and dataset.table is not None and dataset.table.categories == NAMES
    np.testing.assert_array_equal(dataset.table.to_wire(), LABEL)
    assert (dataset.label == -1).all() and dataset.label.shape == (N,)
    assert dataset.sizes() == {"fit": 10, "select": 4, "test": 6}
    assert set(np.unique(dataset.table.source)) <= {UNKNOWN, GIVEN, UNCERTAIN}


@pytest.mark.parametrize(
    ("protocol", "option", "keep"),
    [
        ("uniform", {"share": 0.5}, lambda own: protocols.keep_uniform(own, 0.5, 3 + 526)),
        ("cells", {"share": 0.5}, lambda own: protocols.keep_uniform_by_cell(own, 0.5, 3)),
        ("hcp", {"share": 0.5}, lambda own: protocols.keep_hcp(own.values.shape, 0.5, 3)),
        ("single_positive", {}, lambda own: protocols.keep_single_positive(own, 3 + 526)),
        ("fixed", {"count": 4}, lambda own: protocols.keep_fixed_per_category(own, 4, 3 + 526)),
        ("balanced", {"count": 2}, lambda own: protocols.keep_balanced_per_category(own, 2, 3 + 526)),
        ("positives", {"share": 0.5}, lambda own: protocols.keep_positives(own, 0.5, 3 + 526)),
    ],
)
def test_a_protocol_is_drawn_over_the_training_part_in_its_own_order(tmp_path, protocol, option, keep):
    """Published protocols hide labels before anything is held out: seeds 526 + seed, or as the authors' code has it."""
    labels = np.random.default_rng(2).choice([1, 0], size=(N, 3), p=[0.4, 0.6]).astype(np.float32)
    path = npz(tmp_path / "m.npz", label=labels, split=np.where(SPLIT == 1, 0, SPLIT))
    given = load(path, select_share=0.3)
    hidden = load(path, select_share=0.3, known={"protocol": protocol, "seed": 3, **option})
    np.testing.assert_array_equal(hidden.split, given.split)
    training, fit = np.flatnonzero(given.split != "test"), given.rows("fit")
    kept = keep(given.table.take(training))
    expected = given.table.known.copy()
    expected[fit] &= kept[np.isin(training, fit)]
    assert 0 < expected[fit].sum() < given.table.known[fit].sum()
    np.testing.assert_array_equal(hidden.table.known, expected)


def test_categories_without_names_are_numbered(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, images=PIXELS, label=np.eye(N, 3, dtype=np.uint8))
    assert load(path).classes == ("0", "1", "2")


def test_labels_follow_their_samples_through_take_and_split(tmp_path):
    names = np.array([f"image {row}" for row in range(N)])
    path = npz(tmp_path / "m.npz", image_name=names, patient=np.arange(N) // 2)
    samples = read_samples(DataConfig(source=str(path)))
    rows = np.array([7, 0, 12])
    np.testing.assert_array_equal(samples.take(rows).table.to_wire(), LABEL[rows])
    dataset = load(path, test_share=0.3, select_share=0.2)
    assert all(size > 0 for size in dataset.sizes().values()) and sum(dataset.sizes().values()) == N
    place = {name: row for row, name in enumerate(names.tolist())}
    order = [place[name] for name in dataset.ids.tolist()]
    np.testing.assert_array_equal(dataset.table.to_wire(), LABEL[order])
    for group in np.unique(dataset.groups):
        assert len(set(dataset.split[dataset.groups == group])) == 1
    assert len(np.unique(dataset.groups)) == N // 2
    limited = load(path, test_share=0.3, train_limit=8)
    assert len(limited.table) == len(limited) < N


def test_rare_categories_are_dealt_over_the_splits(tmp_path):
    n, rare, frequent = 400, 20, 200
    label = np.zeros((n, 2), dtype=np.float32)
    rows = np.random.default_rng(3).permutation(n)
    label[rows[:rare], 0] = label[rows[:frequent], 1] = 1
    np.savez(tmp_path / "rare.npz", images=np.zeros((n, 2, 2), np.uint8), label=label)
    dataset = load(tmp_path / "rare.npz", test_share=0.25, select_share=0.2)
    for split, share in (("fit", 0.6), ("select", 0.15), ("test", 0.25)):
        counts = dataset.table.take(dataset.rows(split)).known_positive
        assert abs(counts[0] - share * rare) <= 1 and abs(counts[1] - share * frequent) <= 2


def test_own_split_can_be_left_aside(tmp_path):
    """Where the source parts its patients: refused, and the message says what helps."""
    path = npz(tmp_path / "m.npz", patient=np.arange(N) % 7, split=SPLIT)
    with pytest.raises(DataError, match=r"group '0' is in fit and in test.*--set 'data\.split_column=\"\"'"):
        load(path)
    dataset = load(path, split_column="", test_share=0.4)
    for group in np.unique(dataset.groups):
        assert len(set(dataset.split[dataset.groups == group])) == 1
    assert load(npz(tmp_path / "s.npz", scene=np.arange(N) // 4), group_column="scene").groups[5] == "1"
    for option in ("split_column", "group_column"):
        with pytest.raises(DataError, match=r"m\.npz: .*expected fold, it has images"):
            load(path, **{option: "fold"})


def test_the_fingerprint_sees_the_labels(tmp_path):
    dataset = load(npz(tmp_path / "m.npz", split=SPLIT))
    other = LABEL.copy()
    other[3, 2] = 1
    assert load(npz(tmp_path / "m.npz", split=SPLIT, label=other)).fingerprint() != dataset.fingerprint()
    assert load(npz(tmp_path / "m.npz", split=SPLIT)).fingerprint() == dataset.fingerprint()


def test_a_table_of_other_samples_is_refused(tmp_path):
    dataset = load(npz(tmp_path / "m.npz"))
    with pytest.raises(DataError, match="label table"):
        dataclasses.replace(dataset, table=dataset.table.take(np.arange(3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 2}, r"data\.classes is for single-label"),
        ({"noise": {"rate": 0.2}}, r"data\.noise is for"),
        ({"labels": {"file": "l.npz", "column": "x"}}, r"l\.npz' has no provenance columns"),
    ],
)
def test_options_of_single_label_data(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        load(npz(tmp_path / "m.npz"), **options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": np.where(LABEL == 1, 2, LABEL)}, r"m\.npz: label: row \d+, category '\w+': 2 is not a label"),
        ({"label": LABEL[:, :2]}, r"m\.npz: label: expected the shape \(N, 3\), found \(20, 2\)"),
        ({"label": LABEL[:5]}, r"m\.npz: label has shape \(5,\), expected \(20,\)"),
        ({"label_name": np.array(["a", "b", "a"])}, r"m\.npz: label: category 'a' is named twice"),
        ({"image_name": np.array(["a"] * N)}, "id 'a' is listed 20 times"),
    ],
)
def test_bad_labels(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(npz(tmp_path / "m.npz", **arrays))


def test_unlabelled_samples_of_single_label_data(tmp_path):
    label = np.arange(N) % 3 - 1
    path = npz(tmp_path / "s.npz", label=label)
    dataset = load(path, noise={"rate": 0.5})
    assert dataset.table is None and (dataset.label >= -1).all()
    assert (dataset.label == -1).sum() == (label == -1).sum()  # noise makes no labels
    stats = dataset_stats(dataset)
    assert stats["unlabelled"] == 7
    assert sum(row[split] for row in stats["classes"] for split in ("fit", "select", "test")) == N - 7


def test_stats(tmp_path):
    dataset = load(npz(tmp_path / "m.npz", split=SPLIT))
    stats = dataset_stats(dataset)
    assert stats["classes"] is None
    for c, row in enumerate(stats["categories"]):
        assert row["name"] == NAMES[c]
        for number, split in enumerate(("fit", "select", "test")):
            own = LABEL[number == SPLIT, c]
            expected = {
                "positive": (own >= 0.5).sum(),
                "negative": ((own >= 0) & (own < 0.5)).sum(),
                "unknown": np.isnan(own).sum(),
                "uncertain": (own == -1).sum(),
            }
            assert row[split] == expected
        assert row["trainable"] == (row["fit"]["positive"] > 0 and row["fit"]["negative"] > 0)
    assert not stats["categories"][2]["trainable"]
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(render_stats(stats))
    text = console.export_text()
    fish = next(line for line in text.splitlines() if "fish" in line)
    assert "0/0" in fish and "20" in fish and "no" in fish
    assert "3, 2 of them trainable" in text


@pytest.mark.realdata
def test_real_data(shared_data):
    dataset = load(shared_data / "ucm_multilabel_128.npz", memory="no")
    assert dataset.sizes() == {"fit": 1285, "select": 395, "test": 420}
    assert dataset.ids[0] == "agricultural00" and len(dataset.classes) == 17
    with pytest.raises(DataError, match="group"):
        load(shared_data / "nih_cxr64.npz")
    chests = load(shared_data / "nih_cxr64.npz", split_column="")
    assert len(chests) == 1000 and len(np.unique(chests.groups)) < 1000


def test_select_can_be_limited_to_see_what_it_costs(tmp_path):
    path = npz(tmp_path / "m.npz", split=SPLIT)
    whole = load(path)
    few = load(path, select_limit=2)
    assert len(few.rows("select")) == 2 < len(whole.rows("select"))
    assert set(few.ids[few.rows("select")]) < set(whole.ids[whole.rows("select")])
    np.testing.assert_array_equal(few.ids[few.rows("test")], whole.ids[whole.rows("test")])
    np.testing.assert_array_equal(few.ids[few.rows("fit")], whole.ids[whole.rows("fit")])
