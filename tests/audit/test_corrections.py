"""`labelwise audit apply`: corrections over the labels of an audit, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.audit_lists import CATEGORIES, CLASSES, multi, single
from labelwise.audit.corrections import apply_corrections
from labelwise.audit.finished import Correction, FinishedAudit
from labelwise.config import load_recipe
from labelwise.data.readers import load_dataset
from labelwise.labels.table import GIVEN, INFERRED, UNKNOWN


def read(path: Path) -> dict[str, list[str]]:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert frame["id"].is_monotonic_increasing
    return {row[0]: list(row[1:]) for row in frame.itertuples(index=False)}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_reviewer_has_the_last_word_over_the_scores(labelwise, tmp_path):
    audit = single(tmp_path / "audit")
    before = {path.name: path.read_bytes() for path in audit.iterdir()}
    table = write(tmp_path / "c.csv", "id,label\ntrain/b.jpg,cat\ntrain/x y.jpg,dog\ntrain/d.jpg,dog\n")
    out = tmp_path / "labels.csv"
    done = labelwise("audit", "apply", audit, "--corrections", table, "--above", "0.9", "--out", out)
    assert done.code == 0, done.err
    assert f"2 labels changed (1 reviewed, 1 inferred), 2 confirmed, of 5 -> {out}" in done.out
    assert read(out) == {
        "test/a.jpg": ["cat", "given", "cat"],
        "train/a.jpg": ["10", "inferred", "dog"],
        "train/b.jpg": ["cat", "reviewed", "cat"],
        "train/d.jpg": ["dog", "reviewed", "dog"],
        "train/x y.jpg": ["dog", "reviewed", "10"],
    }
    assert {path.name: path.read_bytes() for path in audit.iterdir()} == before
    again = labelwise("audit", "apply", audit, "--corrections", table, "--above", "0.9", "--out", out)
    assert again.code == 0, "the same content is no overwriting"
    refused = labelwise("audit", "apply", audit, "--above", "0.9", "--out", out)
    assert refused.code == 1 and refused.err == [
        f"error: --out {out}: exists, and nothing is overwritten; give another --out"
    ]


def test_decisions_may_stand_for_labels(labelwise, tmp_path):
    text = "id,label,decision\ntrain/b.jpg,,accept\ntrain/a.jpg,,reject\ntrain/x y.jpg,dog,other\ntest/a.jpg,dog,skip\n"
    table, out = write(tmp_path / "c.csv", text), tmp_path / "labels.csv"
    done = labelwise("audit", "apply", single(tmp_path / "audit"), "--corrections", table, "--out", out)
    assert done.code == 0 and "2 labels changed, 1 confirmed, of 5" in done.out
    found = {name: cells[:2] for name, cells in read(out).items()}
    assert found["train/b.jpg"] == ["dog", "reviewed"] and found["train/a.jpg"] == ["dog", "reviewed"]
    assert found["train/x y.jpg"] == ["dog", "reviewed"] and found["test/a.jpg"] == ["cat", "given"]


def test_cells_have_three_columns_for_each_category(labelwise, tmp_path):
    audit = multi(tmp_path / "audit")
    pairs = [("s1", "nodule", 1), ("s3", "no finding", 0), ("s2", "edema", 1)]
    table, out = tmp_path / "c.parquet", tmp_path / "labels.csv"
    pd.DataFrame(pairs, columns=["id", "category", "label"]).to_parquet(table)
    done = labelwise("audit", "apply", audit, "--corrections", table, "--above", "0.95", "--out", out)
    assert done.code == 0, done.err
    assert "3 labels changed (2 reviewed, 1 inferred), 1 confirmed, of 8" in done.out
    names = [
        part for name in ("edema", "no finding", "nodule") for part in (name, f"{name}:provenance", f"{name}:first")
    ]
    assert pd.read_csv(out).columns.tolist() == ["id", *names]
    assert read(out) == {
        "s1": ["1", "inferred", "0", "1", "given", "1", "1", "reviewed", ""],
        "s2": ["1", "reviewed", "1", "", "", "", "0", "given", "0"],
        "s3": ["0", "given", "0", "0", "reviewed", "", "1", "given", "1"],
    }


@pytest.mark.parametrize("make", [single, multi])
def test_the_reviewed_labels_of_one_round_are_the_corrections_of_the_next(labelwise, tmp_path, make):
    audit = make(tmp_path / "audit")
    category = ",nodule" if make is multi else ""
    name, label = ("s2", "1") if make is multi else ("train/a.jpg", "cat")
    header = "id,category,label" if make is multi else "id,label"
    first = write(tmp_path / "c.csv", f"{header}\n{name}{category},{label}\n")
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    assert labelwise("audit", "apply", audit, "--corrections", first, "--above", "0.9", "--out", one).code == 0
    done = labelwise("audit", "apply", audit, "--corrections", one, "--corrections", first, "--out", two)
    assert done.code == 0 and "1 labels changed, 0 confirmed" in done.out
    text = two.read_text()
    assert text.count("reviewed") == 1 and "inferred" not in text


LABELS = ["cat", "dog", "10", ""]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS[:3]), st.floats(0, 1)), min_size=1, max_size=8
    ),
    reviewed=st.dictionaries(st.integers(0, 7), st.sampled_from(LABELS[:3])),
    above=st.one_of(st.none(), st.floats(0, 1)),
)
def test_every_label_is_what_the_rules_say(rows, reviewed, above):
    frame = pd.DataFrame(rows, columns=["given", "suggested", "score"])
    frame.loc[frame["given"] == "", "score"] = np.nan
    frame["id"] = [f"s{i}" for i in range(len(rows))]
    frame["provenance"] = np.where(frame["given"] == "", "", "given")
    frame["first"] = frame["given"]
    audit = FinishedAudit(Path("a"), False, tuple(LABELS[:3]), frame.sample(frac=1, random_state=0))
    made = [Correction(f"s{i}", label) for i, label in reviewed.items() if i < len(rows)]
    found = apply_corrections(audit, made, above)
    expected = []
    for i, (label, suggested, score) in enumerate(rows):
        kind = "given" if label else ""
        if label and above is not None and score >= above and suggested != label:
            label, kind = suggested, "inferred"
        if i in reviewed:
            label, kind = reviewed[i], "reviewed"
        expected.append((f"s{i}", label, kind, rows[i][0]))
    assert list(found.frame.itertuples(index=False, name=None)) == expected
    changed = sum(label != row[0] for (_, label, _, _), row in zip(expected, rows, strict=True))
    assert (found.reviewed + found.inferred, found.total) == (changed, len(rows))
    assert found.confirmed == sum(rows[i][0] == label for i, label in reviewed.items() if i < len(rows))


WRONG = {
    "unknown id": ("id,label\nnowhere.jpg,cat\n", "'nowhere.jpg' is not a sample of the audit"),
    "unknown class": ("id,label\ntrain/a.jpg,cow\n", "label 'cow' of 'train/a.jpg' is not one of cat, dog, 10"),
    "no label": ("id,label\ntrain/a.jpg,\n", "label '' of 'train/a.jpg' is not one of"),
    "an id twice": ("id,label\ntrain/a.jpg,cat\ntrain/a.jpg,dog\n", "'train/a.jpg' is corrected to 'cat' and to 'dog'"),
    "no id column": ("name,label\ntrain/a.jpg,cat\n", "no column 'id'; it has name, label"),
    "no label column": ("id,class\ntrain/a.jpg,cat\n", "no column 'label'"),
    "cells": ("id,category,label\ntrain/a.jpg,cat,1\n", "has a column 'category', but the audit is of one class per"),
    "no rows": ("id,label\n", "holds no corrections"),
    "nothing": ("", "empty, no line in it"),
    "a decision": ("id,label,decision\ntrain/a.jpg,cat,yes\n", "decision 'yes' of 'train/a.jpg' is not one of accept"),
}
WRONG_CELLS = {
    "no category column": ("id,label\ns1,1\n", "no column 'category'"),
    "unknown category": (
        "id,category,label\ns1,tumour,1\n",
        "category 'tumour' of 's1' is not one of edema, no finding",
    ),
    "no number": ("id,category,label\ns1,edema,yes\n", "label 'yes' of 's1' is not one of 1 or 0"),
    "a cell twice": ("id,category,label\ns1,edema,1\ns1,edema,0\n", "'edema' of 's1' is corrected to '1' and to '0'"),
    "no id beside a provenance": ("edema,edema:provenance\n1,reviewed\n", "has no column 'id', or none 'edema' beside"),
}


@pytest.mark.parametrize(
    ("make", "name"), [*((single, name) for name in WRONG), *((multi, name) for name in WRONG_CELLS)]
)
def test_a_wrong_file_is_one_line_and_nothing_is_written(labelwise, tmp_path, make, name):
    text, message = (WRONG if make is single else WRONG_CELLS)[name]
    table, out = write(tmp_path / "c.csv", text), tmp_path / "labels.csv"
    done = labelwise("audit", "apply", make(tmp_path / "audit"), "--corrections", table, "--out", out)
    assert done.code == 1 and len(done.err) == 1 and message in done.err[0] and not out.exists()


def test_a_wrong_command_is_one_line(labelwise, tmp_path):
    audit = single(tmp_path / "audit")
    for words, message in [
        ([], "nothing to apply; give --corrections FILE, or --above 0.95, or both"),
        (["--above", "0.9", "--out", tmp_path / "labels.txt"], "expected a .csv file"),
        (["--above", "0.9", "--out", tmp_path], "expected a .csv file"),
        (["--corrections", tmp_path / "none.csv"], "none.csv: no such file"),
        (["--corrections", write(tmp_path / "c.dat", "id,label\n")], "c.dat: not a table; understood are .csv, .tsv,"),
    ]:
        done = labelwise("audit", "apply", audit, *words)
        assert done.code == 1 and len(done.err) == 1 and message in done.err[0], words
    nowhere = labelwise("audit", "apply", tmp_path / "nowhere", "--above", "0.9")
    assert nowhere.code == 1 and "there is no such folder" in nowhere.err[0]
    assert labelwise("audit", "apply", audit, "--above", "2").code == 2


def test_a_category_that_is_called_as_the_column_of_ids_is_refused(labelwise, tmp_path):
    audit = multi(tmp_path / "audit")
    results = audit / "results.json"
    results.write_text(results.read_text().replace('"edema"', '"id"'))
    text = (audit / "audit.csv").read_text().replace("edema", "id")
    (audit / "audit.csv").write_text(text)
    done = labelwise("audit", "apply", audit, "--above", "0.9", "--out", tmp_path / "labels.csv")
    assert done.code == 1 and "a category is called 'id'" in done.err[0]


def test_a_recipe_reads_what_is_written(labelwise, tmp_path):
    """Also blanks, names of classes that are numbers, and names of categories with a space."""
    features, source, labels = np.ones((3, 2), np.float32), tmp_path / "data.npz", tmp_path / "labels.csv"
    names = np.array(["s1", "s2", "s3"])
    cells = np.array([[0, 1, np.nan], [1, np.nan, 0], [0, np.nan, 1]], dtype=np.float32)
    np.savez(source, features=features, label=cells, classes=np.array(CATEGORIES), ids=names, split=np.zeros(3, int))
    table = write(tmp_path / "c.csv", "id,category,label\ns2,no finding,1\n")
    words = ["audit", "apply", multi(tmp_path / "many"), "--corrections", table, "--above", "0.9", "--out", labels]
    assert labelwise(*words).code == 0
    options = ["data.test_share=0", "data.select_share=0", f"data.labels.file={labels}"]
    found = load_dataset(load_recipe(None, [f"data.source={source}", *options]).data, partial=True).table
    assert found is not None
    np.testing.assert_array_equal(found.values, [[1, 1, np.nan], [1, 1, 0], [0, np.nan, 1]])
    assert found.source.tolist() == [[INFERRED, GIVEN, UNKNOWN], [GIVEN] * 3, [GIVEN, UNKNOWN, GIVEN]]
    ids = ["train/b.jpg", "train/a.jpg", "train/x y.jpg", "test/a.jpg", "train/d.jpg"]
    np.savez(source, features=np.ones((5, 2), np.float32), label=[0, 1, 2, 0, 1], classes=CLASSES, ids=ids)
    labels.unlink()
    assert labelwise("audit", "apply", single(tmp_path / "one"), "--above", "0.9", "--out", labels).code == 0
    data = load_dataset(load_recipe(None, [f"data.source={source}", *options]).data, partial=True)
    assert [data.classes[k] for k in data.label] == ["dog", "10", "10", "cat", "dog"]


@pytest.mark.parametrize("make", [single, multi])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame.iloc[:-1], "labels, the audit had"),
        (lambda frame: pd.concat([frame.iloc[1:], frame.iloc[-1:]]), "is in it twice"),
        (lambda frame: frame.assign(score="much"), "column 'score' holds text"),
        (lambda frame: frame.assign(suggested="unicorn"), "suggested 'unicorn' is not one of this audit"),
        (lambda frame: frame.assign(given="unicorn"), "given 'unicorn' is not one of this audit"),
        (lambda frame: frame.assign(verdict="perhaps"), "verdict 'perhaps' is not one of this audit"),
        (lambda frame: frame.assign(provenance="god"), "provenance 'god' is not one of this audit"),
    ],
)
def test_a_list_that_is_not_the_audit_s_is_refused(labelwise, tmp_path, make, change, told):
    file = make(tmp_path / "audit") / "audit.csv"
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    change(frame).to_csv(file, index=False)
    done = labelwise("audit", "apply", tmp_path / "audit", "--above", "0.5", "--out", tmp_path / "labels.csv")
    assert done.code == 1 and len(done.err) == 1 and f"{file}: " in done.err[0] and told in done.err[0], done.err
    frame.sample(frac=1, random_state=0).to_csv(file, index=False, encoding="utf-8-sig", lineterminator="\r\n")
    again = labelwise("audit", "apply", tmp_path / "audit", "--above", "0.5", "--out", tmp_path / "labels.csv")
    assert again.code == 0, again.err
