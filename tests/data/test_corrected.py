"""Corrected labels as `data.labels.file`: which count in which split, and what a wrong table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelwise.config import load_recipe
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset
from labelwise.errors import DataError
from labelwise.labels.table import GIVEN, INFERRED, UNKNOWN

N = 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """40 embeddings of four classes, the last two unlabelled, without splits."""
    path = tmp_path / "data.npz"
    label = np.arange(N) % 4
    label[-2:] = -1
    features = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
    np.savez(path, features=features, label=label, classes=np.array(["10", "2", "cat", "dog"]), ids=ids())
    return path


def ids() -> np.ndarray[Any, Any]:
    return np.array([f"s{i:02d}" for i in range(N)])


def load(source: Path, labels: pd.DataFrame | None = None, *options: str, partial: bool = False) -> Dataset:
    changes = [f"data.source={source}", *options]
    if labels is not None:
        labels.to_csv(source.parent / "labels.csv", index=False)
        changes.append(f"data.labels.file={source.parent / 'labels.csv'}")
    return load_dataset(load_recipe(None, changes).data, partial=partial)


def table(dataset: Dataset, **corrections: tuple[str, str]) -> pd.DataFrame:
    """What `labelwise audit apply` writes: the given labels, and corrections by id as (label, provenance)."""
    names = ["" if k < 0 else dataset.classes[k] for k in dataset.label]
    frame = pd.DataFrame({"id": dataset.ids, "label": names, "provenance": ["given" if n else "" for n in names]})
    for name, (label, provenance) in corrections.items():
        frame.loc[frame["id"] == name, ["label", "provenance"]] = [label, provenance]
    return frame


def first_of(dataset: Dataset, split: str, count: int = 2) -> list[str]:
    """Ids of samples of class "10"."""
    return [str(name) for name in dataset.ids[(dataset.split == split) & (dataset.label == 0)][:count]]


def test_reviewed_labels_count_everywhere_and_inferred_ones_where_a_network_learns_and_chooses(source):
    plain = load(source, None, "data.select_share=0.4")
    wanted = {}
    for split in ("fit", "select", "test"):
        one, two = first_of(plain, split)
        wanted |= {one: ("2", "reviewed"), two: ("dog", "inferred")}
    found = load(source, table(plain, **wanted), "data.select_share=0.4")
    assert found.classes == plain.classes == ("10", "2", "cat", "dog")
    assert (found.split == plain.split).all() and (found.ids == plain.ids).all()
    expected = plain.label.copy()
    for row, (name, split) in enumerate(zip(plain.ids.tolist(), plain.split.tolist(), strict=True)):
        label, provenance = wanted.get(name, ("", ""))
        if provenance == "reviewed" or (provenance and split != "test"):
            expected[row] = found.classes.index(label)
    assert (found.label == expected).all() and (expected != plain.label).sum() == 5
    assert found.reviewed is not None
    assert set(found.ids[found.reviewed]) == {name for name, (_, kind) in wanted.items() if kind == "reviewed"}
    assert found.uncorrected is not None and (found.uncorrected == plain.label).all()
    assert found.true_label is None, "labels that were corrected are no truth"
    assert found.fingerprint() != plain.fingerprint()


def test_a_label_that_was_confirmed_makes_another_run(source):
    plain = load(source)
    [name] = first_of(plain, "fit", 1)
    given, confirmed = load(source, table(plain)), load(source, table(plain, **{name: ("10", "reviewed")}))
    assert (given.label == confirmed.label).all() and given.fingerprint() != confirmed.fingerprint()


def test_corrections_of_other_labels_than_those_of_the_data_do_not_say_what_was_first_given(source):
    """The audit saw labels of another column: what the data say of a corrected sample was never given."""
    plain = load(source)
    one, two, three = first_of(plain, "fit", 3)
    found = load(source, table(plain, **{one: ("2", "reviewed"), two: ("dog", "inferred"), three: ("cat", "given")}))
    assert found.uncorrected is not None
    changed = np.isin(found.ids, [one, two])
    assert (found.uncorrected[changed] == -1).all() and (found.uncorrected == found.label)[~changed].all()


def test_a_column_says_what_was_first_given(source):
    plain = load(source)
    one, two, three = first_of(plain, "fit", 3)
    labels = table(plain, **{one: ("2", "reviewed"), two: ("dog", "inferred"), three: ("cat", "given")})
    labels["first"] = labels["label"].mask(labels["id"] == one, "dog").mask(labels["id"] == two, "")
    found = load(source, labels)
    assert found.uncorrected is not None
    first = dict(zip(found.ids.tolist(), found.uncorrected.tolist(), strict=True))
    assert [first[name] for name in (one, two, three)] == [3, -1, found.classes.index("cat")]
    labels["first"] = "cow"
    with pytest.raises(DataError, match=r"label 'cow' of 's\d+' is not a class"):
        load(source, labels)


def test_an_unlabelled_sample_that_was_reviewed_joins_fit(source):
    plain = load(source)
    found = load(source, table(plain, s38=("dog", "reviewed")))
    assert plain.split[38] == found.split[39] == "unlabelled" and found.label[39] == -1
    assert found.split[38] == "fit" and found.label[38] == 3
    assert load(source, table(plain, s38=("dog", "reviewed")), partial=True).label[38] == 3


def test_samples_that_are_left_out_or_not_named_are_no_matter(source, capsys):
    plain = load(source)
    names = first_of(plain, "fit", 2)
    labels = table(plain, **dict.fromkeys(names, ("2", "reviewed")))
    few = load(source, labels, "data.train_limit=12")
    assert few.reviewed is not None and len(few) < len(plain) and capsys.readouterr().err == ""
    one = load(source, labels[labels["id"] == names[0]])
    assert one.reviewed is not None and one.reviewed.sum() == 1 and (one.label != plain.label).sum() == 1
    labels.loc[0, "id"] = "gone"
    load(source, labels)
    assert f"1 of {N} ids are not in data" in capsys.readouterr().err


def test_simulated_noise_stays_beneath_the_corrections_and_the_truth_stays_known(source):
    noisy = load(source, None, "data.noise.rate=0.5")
    wrong = noisy.ids[(noisy.split == "fit") & (noisy.label != noisy.true_label)][:4].tolist()
    assert noisy.true_label is not None
    truth = {name: noisy.classes[noisy.true_label[noisy.ids == name][0]] for name in wrong}
    held_out = str(noisy.ids[(noisy.split == "test") & (noisy.label == 0)][0])
    corrections = {**{name: (label, "reviewed") for name, label in truth.items()}, held_out: ("dog", "reviewed")}
    found = load(source, table(noisy, **corrections), "data.noise.rate=0.5")
    assert (found.split == noisy.split).all() and (found.true_label == noisy.true_label).all()
    changed = found.ids[found.label != noisy.label]
    assert sorted(changed) == sorted(wrong), "test has its true labels, whatever a reviewer says"


def test_a_file_without_provenance_is_another_column_as_before(source):
    plain = load(source)
    labels = table(plain).drop(columns="provenance")
    labels.loc[labels["id"] == first_of(plain, "fit", 1)[0], "label"] = "dog"
    labels.loc[labels["label"] == "", "label"] = "cat"
    labels["label"] = labels["label"].replace({"10": "cat", "2": "cat"})
    found = load(source, labels, partial=True)
    assert found.true_label is not None and found.reviewed is None


WRONG = {
    "no id": (lambda t: t.drop(columns="id"), "no column 'id'; it has label, provenance"),
    "no label": (lambda t: t.drop(columns="label"), "no column 'label'"),
    "an id twice": (lambda t: pd.concat([t, t[:1]]), "id 's00' is listed twice"),
    "no class": (lambda t: t.replace({"label": "cat"}, "cow"), "label 'cow' of 's02' is not a class: 10, 2, cat, dog"),
    "no kind": (lambda t: t.replace({"provenance": "given"}, "guess"), "provenance 'guess', expected given, reviewed"),
    "blank label": (lambda t: t.replace({"label": "2"}, ""), "'s01' has a label without its provenance, or the other"),
    "no id of the data": (lambda t: t.assign(id=["x" + name for name in t["id"]]), "no id is one of data, such as 's0"),
    "a class is lost": (lambda t: t.replace({"label": "dog"}, "cat"), "leaves no sample of class 'dog'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_one_line(source, name):
    change, message = WRONG[name]
    with pytest.raises(DataError) as error:
        load(source, change(table(load(source))))
    assert message in str(error.value) and "labels.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """40 embeddings in two categories; every fifth label is unknown."""
    path = tmp_path / "cells.npz"
    label = (np.arange(2 * N).reshape(N, 2) % 3 == 0).astype(np.float32)
    label.ravel()[::5] = np.nan
    np.savez(path, features=np.ones((N, 3), np.float32), label=label, classes=np.array(["edema", "nodule"]), ids=ids())
    return path


def cell_table(dataset: Dataset) -> pd.DataFrame:
    assert dataset.table is not None
    frame = pd.DataFrame({"id": dataset.ids})
    for c, category in enumerate(dataset.classes):
        known = dataset.table.known[:, c]
        frame[category] = np.where(known, np.nan_to_num(dataset.table.values[:, c]).astype(int).astype(str), "")
        frame[f"{category}:provenance"] = np.where(known, "given", "")
    return frame


def test_cells_that_were_reviewed_are_known_and_inferred_ones_are_learnt_alone(cells):
    plain = load(cells)
    assert plain.table is not None
    labels = cell_table(plain).set_index("id")
    row = {split: plain.ids[plain.split == split].tolist() for split in ("fit", "select", "test")}
    unknown = str(plain.ids[(plain.split == "fit") & (plain.table.source[:, 0] == UNKNOWN)][0])
    flipped = str(plain.ids[(plain.split == "fit") & (plain.table.values[:, 1] == 0)][0])
    labels.loc[unknown, ["edema", "edema:provenance"]] = ["1", "reviewed"]
    labels.loc[flipped, ["nodule", "nodule:provenance"]] = ["1", "inferred"]
    labels.loc[row["test"], "nodule:provenance"] = np.where(labels.loc[row["test"], "nodule"] == "", "", "inferred")
    found = load(cells, labels.reset_index())
    assert found.table is not None and found.reviewed is not None
    place = {name: i for i, name in enumerate(found.ids.tolist())}
    assert found.table.source[place[unknown], 0] == GIVEN and found.table.values[place[unknown], 0] == 1
    assert found.table.source[place[flipped], 1] == INFERRED and found.table.values[place[flipped], 1] == 1
    assert found.reviewed.sum() == 1 and found.reviewed[place[unknown], 0]
    np.testing.assert_array_equal(found.uncorrected, plain.table.given())
    changed = found.table.source != plain.table.source
    assert changed.sum() == 2, "what is scored in test is what was given"
    kept = ~changed
    np.testing.assert_array_equal(found.table.values[kept], plain.table.values[kept])
    labels["edema:first"], labels["nodule:first"] = "0", ""
    first = load(cells, labels.reset_index()).uncorrected
    assert first is not None and first[place[unknown], 0] == 0 and np.isnan(first[place[flipped], 1])
    np.testing.assert_array_equal(first[kept], plain.table.given()[kept])
    few = load(cells, labels.reset_index(), "data.categories=[nodule]")
    assert few.reviewed is not None and few.reviewed.shape == (N, 1) and not few.reviewed.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="nodule:provenance"), "no column 'nodule:provenance'"),
        (lambda t: t.drop(columns="nodule"), "no column 'nodule'"),
        (lambda t: t.assign(**{"edema": "0.5", "edema:provenance": "reviewed"}), "'edema' of 's00' is '0.5', expected"),
        (lambda t: t[["id", "edema", "nodule"]], "has no provenance columns, as the table of `labelwise audit apply`"),
    ],
)
def test_a_wrong_table_of_cells_is_one_line(cells, change, message):
    with pytest.raises(DataError) as error:
        load(cells, change(cell_table(load(cells))))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_table_may_be_parquet_with_numbers(cells):
    plain = load(cells)
    labels = cell_table(plain)
    labels["nodule"] = pd.to_numeric(labels["nodule"]).map(lambda y: 1 - y)
    labels.loc[labels["nodule:provenance"] == "given", "nodule:provenance"] = "reviewed"
    path = cells.parent / "labels.parquet"
    labels.to_parquet(path, index=False)
    found = load(cells, None, f"data.labels.file={path}")
    assert plain.table is not None and found.table is not None
    np.testing.assert_array_equal(found.table.values[:, 1], 1 - plain.table.values[:, 1])
