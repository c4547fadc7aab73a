"""`labelwise audit` on a feature file of partly known multi-label data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from labelwise.audit.run import run_audit
from labelwise.config import AuditConfig
from labelwise.errors import DataError
from labelwise.results import open_run
from labelwise.results.audit_table import read_audit_table

QUICK = AuditConfig(folds=3, threads=1)


def feature_file(path, values):
    """300 samples, of which the last one copies the first; the labels are signs of two directions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    x[299] = x[0]
    right = (x[:, :2] > 0).astype(np.float32)
    ids = np.array([f"i{k}" for k in range(300)])
    split = np.repeat(["fit", "select", "test"], [200, 50, 50])
    labels = values(right, rng)
    np.savez(path, features=x, labels=labels, categories=np.array(["tree", "road"]), ids=ids, split=split)
    return right, labels


def partly_known(right, rng):
    labels = np.where(rng.random(right.shape) < 0.08, 1 - right, right)
    labels[rng.random(right.shape) < 0.3] = np.nan
    labels[0], labels[299] = [1, 1], [1, 0]
    return labels


def test_cells_of_a_feature_file_are_ranked(tmp_path):
    right, labels = feature_file(tmp_path / "cells.npz", partly_known)
    found = run_audit(QUICK, tmp_path / "cells.npz", tmp_path / "audit", quiet=True)
    frame, known = read_audit_table(tmp_path / "audit"), ~np.isnan(labels)
    assert open_run(tmp_path / "audit").results == found
    assert found.task == "multi-label" and found.transition is None and found.labels == known.sum()
    assert found.answers == ("kernel logistic", "nearest neighbours")
    head = frame[: known.sum()]
    rows, columns = head["id"].str[1:].astype(int), head["category"].map({"tree": 0, "road": 1})
    wrong = (labels != right)[rows, columns]
    assert wrong[: int(wrong.sum() * 0.7)].mean() > 0.8
    assert head["given"].tolist() == [f"{given:.0f}" for given in labels[rows, columns]]
    assert set(head["split"]) == {"fit", "select", "test"}
    assert set(frame["verdict"][known.sum() :]) == {"suggestion"}
    audited = known.any(1)  # a sample of which nothing is known is left to `labelwise predict`
    assert [one.unknown for one in found.classes] == (~known[audited]).sum(0).tolist()
    pairs = pd.read_csv(tmp_path / "audit" / "duplicates.csv").loc[0].to_dict()
    assert (pairs["id_a"], pairs["id_b"], pairs["given_a"], pairs["given_b"]) == ("i0", "i299", "tree, road", "tree")
    assert found.duplicates is not None and found.duplicates.labels_differ == found.duplicates.across_splits == 1


def test_reviewed_cells_are_not_doubted_again(tmp_path, labelwise):
    """Of the two likeliest wrong labels the first is confirmed, the second turned; then the data are audited again."""
    _, labels = feature_file(tmp_path / "cells.npz", partly_known)
    run_audit(QUICK, tmp_path / "cells.npz", tmp_path / "one", quiet=True)
    head, table = read_audit_table(tmp_path / "one")[:2], tmp_path / "labels.csv"
    decided = [head["given"][0], head["suggested"][1]]
    head[["id", "category"]].assign(label=decided).to_csv(tmp_path / "c.csv", index=False)
    words = ["audit", "apply", tmp_path / "one", "--corrections", tmp_path / "c.csv", "--out", table]
    assert labelwise(*words).code == 0
    corrected = [f"data.labels.file={table}"]
    found = run_audit(QUICK, tmp_path / "cells.npz", tmp_path / "two", overrides=corrected, quiet=True)
    known = int((~np.isnan(labels)).sum())
    assert (found.labels, found.reviewed) == (known, 2)
    last = read_audit_table(tmp_path / "two")[known - 2 : known].set_index(["id", "category"])
    last = last.loc[list(zip(head["id"], head["category"], strict=True))]
    assert last["given"].tolist() == last["suggested"].tolist() == decided
    assert (last["score"] == 0).all() and set(last["verdict"]) == {"correct"}
    assert sum(one.wrong for one in found.classes) == pytest.approx(found.expected[-1].wrong)


def test_labels_of_one_kind_are_refused_before_anything_is_written(tmp_path):
    feature_file(tmp_path / "cells.npz", lambda right, rng: np.where(rng.random(right.shape) < 0.5, 1.0, np.nan))
    with pytest.raises(DataError, match="known positive and known negative"):
        run_audit(QUICK, tmp_path / "cells.npz", tmp_path / "audit", quiet=True)
    assert not (tmp_path / "audit").exists()
