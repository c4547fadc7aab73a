"""Splits: groups stay whole, draws are stratified and nested, labels are replaced where they should be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from helpers.data import data_config
from labelwise.data import splits
from labelwise.data.dataset import Dataset, Features, Samples
from labelwise.data.notes import assumptions
from labelwise.data.splits import prepare, stratified_order
from labelwise.errors import DataError

SPLIT = {"select": [3, 5, 8, 10], "test": [11, 14, 15, 18, 19], "fit": [0, 1, 6, 7, 9, 12, 16, 17, 20, 23]}
LIMITED = [2, 7, 10, 21]


def make(
    label: Sequence[int], part: str | Sequence[str] = "", groups: Any = None, classes: int | None = None
) -> Samples:
    n = len(label)
    count = classes or max(label) + 1
    return Samples(
        name="made",
        classes=tuple(f"class {i}" for i in range(count)),
        ids=np.array([f"s{i}" for i in range(n)]),
        label=np.array(label, dtype=np.int64),
        part=np.full(n, part) if isinstance(part, str) else np.array(part),
        source=Features(np.arange(n, dtype=np.float32)[:, None]),
        groups=None if groups is None else np.array([str(group) for group in groups]),
    )


def split(samples: Samples, **options: Any) -> Dataset:
    return prepare(samples, data_config(options))


def many(n: int = 1000, num_classes: int = 5) -> list[int]:
    return np.random.default_rng(0).integers(num_classes, size=n).tolist()


def test_without_a_split_both_are_held_out():
    dataset = split(make(many()), test_share=0.2, select_share=0.1)
    assert dataset.sizes() == {"fit": 720, "select": 80, "test": 200}
    np.testing.assert_array_equal(dataset.source.values[:, 0], np.arange(1000))  # order kept, rows still theirs
    total = np.bincount(dataset.label)
    for name, share in (("test", 0.2), ("select", 0.08)):
        count = np.bincount(dataset.label[dataset.rows(name)], minlength=5)
        assert np.abs(count - share * total).max() <= 1.5


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        (["train"] * 80 + ["val"] * 20, (72, 8, 20)),
        (["train"] * 80 + ["test"] * 20, (72, 8, 20)),
        (["fit"] * 80 + ["test"] * 20, (72, 8, 20)),
        (["fit"] * 70 + ["select"] * 10 + ["test"] * 20, (70, 10, 20)),
        (["train"] * 70 + ["val"] * 10 + ["test"] * 20, (70, 10, 20)),
        (["train"] * 70 + ["select"] * 10 + ["val"] * 20, (70, 10, 20)),
        (["train"] * 100, (72, 8, 20)),
        (["fit"] * 90 + ["select"] * 10, (72, 10, 18)),
    ],
)
def test_parts_of_the_data_are_honoured(parts, sizes):
    assert tuple(split(make([0, 1] * 50, parts)).sizes().values()) == sizes


def test_the_same_seed_gives_the_same_split_and_another_one_does_not():
    one, same, other = (split(make(many()), split_seed=seed).split for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_split_does_not_depend_on_the_order_of_the_samples():
    samples = make(many())
    order = np.random.default_rng(1).permutation(len(samples))
    np.testing.assert_array_equal(split(samples).split[order], split(samples.take(order)).split)


@settings(max_examples=30, deadline=None)
@given(
    group_labels=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=40, max_size=80),
    seed=st.integers(0, 9),
    limit=st.integers(30, 60),
)
def test_groups_are_never_parted(group_labels, seed, limit):
    label = [value for group in group_labels for value in group]
    groups = [number for number, group in enumerate(group_labels) for _ in group]
    samples = make([0, 1, 2, *label], groups=[-1, -2, -3, *groups])
    try:
        dataset = split(samples, split_seed=seed, train_limit=limit)
    except DataError as error:
        if "empty class" not in str(error):
            raise
        reject()  # a draw that leaves a rare class without a group to learn from
    whole = np.unique(samples.groups, return_counts=True)
    for group in np.unique(dataset.groups):
        rows = dataset.groups == group
        assert len(set(dataset.split[rows].tolist())) == 1
        assert rows.sum() == whole[1][whole[0] == group][0]
    assert dataset.sizes()["fit"] + dataset.sizes()["select"] <= limit


@settings(max_examples=50, deadline=None)
@given(label=st.lists(st.integers(0, 4), min_size=1, max_size=120), seed=st.integers(0, 99))
def test_every_prefix_of_the_order_is_stratified(label, seed):
    values = np.array(label, dtype=np.int64)
    ids = np.array([f"s{i}" for i in range(len(label))])
    order = np.concatenate(stratified_order(values, ids, seed, "test"))
    assert sorted(order.tolist()) == list(range(len(label)))
    total = np.bincount(values, minlength=5)
    for length in range(1, len(label) + 1):
        count = np.bincount(values[order[:length]], minlength=5)
        assert np.abs(count - length * total / len(label)).max() <= 2.5


def test_limits_are_nested_and_stratified():
    samples = make(many(2000), ["train"] * 1500 + ["test"] * 500)
    kept = []
    for limit in (100, 400, 1000):
        dataset = split(samples, train_limit=limit, test_limit=limit // 4)
        train = dataset.split != "test"
        assert train.sum() == limit
        assert dataset.sizes()["test"] == limit // 4
        share = np.bincount(dataset.label[train]) / limit
        np.testing.assert_allclose(share, np.bincount(samples.label[:1500]) / 1500, atol=2 / limit)
        kept.append((set(dataset.ids[train].tolist()), set(dataset.ids[~train].tolist())))
    for small, large in pairwise(kept):
        assert small[0] < large[0]
        assert small[1] < large[1]


def test_few_samples_of_many_classes_still_give_a_select_split():
    dataset = split(make([i % 100 for i in range(400)], "train"), test_share=0, select_share=0.1)
    assert dataset.sizes() == {"fit": 360, "select": 40, "test": 0}
    assert np.bincount(dataset.label[dataset.rows("fit")]).min() >= 3


def test_a_hold_out_takes_at_least_one_group():
    assert split(make([0, 1] * 4), test_share=0.01, select_share=0.01).sizes() == {"fit": 6, "select": 1, "test": 1}
    groups = np.arange(60) // 10
    sizes = split(make([0, 1] * 30, groups=groups), test_share=0.1, select_share=0.1).sizes()
    assert sizes == {"fit": 40, "select": 10, "test": 10}


def test_a_hold_out_ends_at_the_nearest_group_and_before_one_that_lies_half_in_it():
    groups = np.arange(60) // 10
    for share, held_out in ((0.24, 10), (0.25, 10), (0.26, 20)):
        sizes = split(make([0, 1] * 30, groups=groups), test_share=share, select_share=0).sizes()
        assert sizes["test"] == held_out


def test_a_split_stays_the_same_in_later_versions():
    """Runs are continued by later versions, which must not learn from what was held out."""
    dataset = split(make([0, 1] * 12), test_share=0.2, select_share=0.2, labelled=10, split_seed=1)
    found = {name: [int(x[1:]) for x in dataset.ids[dataset.split == name]] for name in ("select", "test", "fit")}
    assert found == SPLIT
    limited = split(make([0, 1] * 12), test_share=0.2, select_share=0, train_limit=4)
    assert [int(x[1:]) for x in limited.ids[limited.split == "fit"]] == LIMITED


def test_the_first_classes():
    dataset = split(make(many(), classes=9), classes=3)
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert dataset.label.max() == 2


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (
            make([0, 1, -1, -1] * 5, ["train"] * 10 + ["test"] * 10),
            {},
            "6 samples of test are unlabelled, first s10",
        ),
        (make([0, 1] * 10, classes=3), {}, "empty class 'class 2'"),
        (make([0, 1] * 10), {"classes": 3}, "data.classes: expected at most 2, the classes of made, got 3"),
        (make([0, 1] * 10, "test"), {}, "no training samples"),
        (make([0, 1] * 10, ["train", ""] * 10), {}, "10 samples have no split and others have one, first s1"),
        (make([0, 1] * 3, groups=[0] * 6), {}, "data.test_share: 0.2 of 6 samples in 1 groups leaves none"),
        (make([0, 1] * 3), {"test_share": 0, "select_share": 0.95}, "data.select_share: 0.95 of 6 samples in 6 groups"),
        (
            make([0, 1] * 10, ["train"] * 18 + ["val"] * 2, groups=[*range(18), 3, 19]),
            {},
            "group '3' is in fit and in test",
        ),
        (
            make([0, 1] * 10, "train", groups=np.arange(20) // 10),
            {"train_limit": 4, "test_share": 0},
            "less than one group",
        ),
        (
            make([0, 1] * 10, "train", groups=np.arange(20) // 10),
            {"labelled": 4, "select_share": 0, "test_share": 0},
            r"data\.labelled: 4 is less than one group of samples \(10\)",
        ),
        (make(list(range(10)) * 3), {"train_limit": 5, "select_share": 0}, "empty class"),
    ],
)
def test_what_cannot_be_split(samples, options, message):
    with pytest.raises(DataError, match=message):
        split(samples, **options)


def test_repeated_ids():
    samples = make([0, 1] * 10)
    samples.ids[3] = "s7"
    with pytest.raises(DataError, match="id 's7' is listed twice"):
        split(samples)


# --- noise ---


@pytest.mark.parametrize("kind", ["uniform", "pairs"])
def test_noise_falls_on_fit_and_select_only(kind):
    samples = make(many())
    clean = split(samples)
    noisy = split(samples, noise={"kind": kind, "rate": 0.4})
    np.testing.assert_array_equal(noisy.split, clean.split)
    np.testing.assert_array_equal(noisy.true_label, clean.label)
    wrong = noisy.label != noisy.true_label
    assert wrong.sum() == round(0.4 * 800)
    assert not wrong[noisy.rows("test")].any()
    assert wrong[noisy.rows("select")].any()
    assert clean.true_label is None


# --- another label column ---


def label_file(path: Path, **columns: Any) -> dict[str, Any]:
    match path.suffix:
        case ".npz":
            np.savez(path, **columns)
        case ".csv":
            pd.DataFrame(columns).to_csv(path, index=False)
        case _:
            pd.DataFrame(columns).to_parquet(path)
    return {"file": str(path), "column": "other"}


TRUE = [0, 1, 2] * 10
PART = ["train"] * 24 + ["test"] * 6
GIVEN = [0, 1, 1] * 6 + [0, 2, 2] * 2


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_training_labels_are_replaced_in_order(tmp_path, suffix):
    labels = label_file(tmp_path / f"l{suffix}", other=GIVEN, more=GIVEN)
    dataset = split(make(TRUE, PART), labels=labels, train_limit=20)
    rows = [int(name[1:]) for name in dataset.ids]
    assert dataset.true_label.tolist() == [TRUE[row] for row in rows]
    assert dataset.label.tolist() == [GIVEN[row] if row < 24 else TRUE[row] for row in rows]
    assert dataset.sizes() == {"fit": 18, "select": 2, "test": 6}


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_training_labels_are_matched_by_id(tmp_path, suffix):
    order = np.random.default_rng(0).permutation(24)
    ids = [f"s{i}" for i in order]
    labels = label_file(tmp_path / f"l{suffix}", other=[GIVEN[i] for i in order] + [0], id=[*ids, "not in the data"])
    dataset = split(make(TRUE, PART), labels=labels)
    assert dataset.label.tolist() == GIVEN + TRUE[24:]


def test_class_names_and_data_without_a_split(tmp_path):
    labels = label_file(tmp_path / "l.csv", other=[f"class {i}" for i in [*GIVEN, 0, 0, 0, 1, 1, 2]])
    dataset = split(make(TRUE), labels=labels)
    test = dataset.rows("test")
    assert dataset.label[test].tolist() == [TRUE[row] for row in test]
    fit = dataset.rows("fit")
    assert dataset.label[fit].tolist() == [[*GIVEN, 0, 0, 0, 1, 1, 2][row] for row in fit]


def test_true_labels_survive_further_noise(tmp_path):
    labels = label_file(tmp_path / "l.npz", other=GIVEN)
    dataset = split(make(TRUE, PART), labels=labels, noise={"rate": 0.5})
    assert dataset.true_label.tolist() == TRUE


def test_kept_classes_are_those_of_both_labels(tmp_path):
    labels = label_file(tmp_path / "l.npz", other=GIVEN)
    dataset = split(make(TRUE, PART), labels=labels, classes=2, select_share=0)
    assert dataset.label.max() == dataset.true_label.max() == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"given": GIVEN}, r"l\.npz: no column 'other'; it has given"),
        ({"other": GIVEN[:-1]}, r"l\.npz: other has 23 labels, expected 24: one per training sample"),
        ({"other": [*GIVEN[:-1], 3]}, r"l\.npz: other: label 3 of row 23 is out of range: 3 classes"),
        ({"other": GIVEN, "id": [f"s{i}" for i in range(1, 25)]}, "no label for training sample 's0'"),
        ({"other": GIVEN, "id": ["s1", *(f"s{i}" for i in range(1, 24))]}, "id 's1' is listed twice"),
        ({"other": GIVEN, "id": ["s1"]}, "1 entries for 24 labels"),
        ({"other": np.zeros((24, 2))}, "multi-label"),
    ],
)
def test_label_columns_that_do_not_fit(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        split(make(TRUE, PART), labels=label_file(tmp_path / "l.npz", **columns))


def test_a_missing_label_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        split(make(TRUE, PART), labels={"file": str(tmp_path / "none.npz"), "column": "other"})


def test_unreadable_images_are_looked_for_among_the_classes_that_are_kept(monkeypatch):
    asked: list[list[str]] = []

    def broken(samples: Samples, decoders: object) -> list[tuple[int, str]]:
        asked.append(samples.ids.tolist())
        return [(1, "cut short")]

    monkeypatch.setattr(splits, "find_unreadable", broken)
    samples = make([2, 0, 1, 0, 2, 1, 0, 1, 0, 1] * 2)
    found = split(samples, classes=2, unreadable="skip")
    assert asked == [[f"s{i}" for i, label in enumerate(samples.label) if label < 2]]
    assert set(asked[0]) - set(found.ids.tolist()) == {"s2"} and found.unreadable == ("s2: cut short",)
    assert "s2" in split(samples, classes=2).ids and len(asked) == 1


def test_what_is_held_out_is_told_with_its_option():
    with assumptions() as told:
        split(make(many(200)), test_share=0.25)
    assert told == [
        "made: no test part, so 25% of all samples are test (data.test_share)",
        "made: no select part, so 10% of the training samples are select (data.select_share)",
    ]


@pytest.mark.parametrize(("option", "value"), [("known", {"protocol": "uniform"}), ("categories", ["a"])])
def test_options_of_several_labels_are_refused_by_name(option, value):
    with pytest.raises(DataError, match=rf"made: one class per sample; data\.{option} is for multi-label data"):
        split(make(many(100)), **{option: value})
