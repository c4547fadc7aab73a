"""`labelwise audit` on embeddings and on somebody's probabilities, from data to the list."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from labelwise.audit.run import run_audit
from labelwise.config import AuditConfig, load_recipe
from labelwise.errors import ConfigError, DataError, RunError
from labelwise.refinery.chain import refine, train
from labelwise.results import open_run
from labelwise.results.audit_table import read_audit_table

QUICK = AuditConfig(folds=2, seeds=1, threads=1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """300 digits as embeddings, a fifth of the labels wrong."""
    x, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(x))[:300]
    x, true = x[rows].astype(np.float32), true[rows]
    label = np.where(rng.random(300) < 0.2, (true + rng.integers(1, 10, 300)) % 10, true)
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    ids = np.array([f"digit-{i}" for i in range(300)])
    np.savez(path, features=x, label=label, classes=np.array([f"d{i}" for i in range(10)]), ids=ids)
    return path, label != true


def test_wrong_labels_of_embeddings_come_first(digits, tmp_path):
    path, wrong = digits
    found = run_audit(QUICK, path, tmp_path / "audit", quiet=True)
    frame = read_audit_table(tmp_path / "audit")
    truth = wrong[frame["id"].str.removeprefix("digit-").astype(int)]
    assert roc_auc_score(truth, frame["score"]) > 0.95
    assert open_run(tmp_path / "audit").results == found
    assert found.labels == 300 and found.verdicts["wrong"] == (frame["verdict"] == "wrong").sum()
    assert found.expected[-1].depth == 300
    assert sum(one.wrong for one in found.classes) == pytest.approx(found.expected[-1].wrong)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "audit" / "audit.parquet"), frame, check_exact=False, rtol=1e-5, check_dtype=False
    )


def test_reviewed_labels_are_not_doubted_again(digits, tmp_path, labelwise):
    """The two likeliest wrong labels are confirmed, the third is corrected; then the data are audited again."""
    path, _ = digits
    first = run_audit(QUICK, path, tmp_path / "one", quiet=True)
    before = read_audit_table(tmp_path / "one")
    head, labels = before[:3], tmp_path / "labels.csv"
    decided = [*head["given"][:2], head["suggested"][2]]
    head[["id"]].assign(label=decided).to_csv(tmp_path / "c.csv", index=False)
    words = ["audit", "apply", tmp_path / "one", "--corrections", tmp_path / "c.csv", "--out", labels]
    assert labelwise(*words).code == 0
    again = run_audit(QUICK, path, tmp_path / "two", overrides=[f"data.labels.file={labels}"], quiet=True)
    frame = read_audit_table(tmp_path / "two")
    last = frame[-3:].set_index("id").loc[head["id"]]
    assert last["given"].tolist() == last["suggested"].tolist() == decided
    assert (last["score"] == 0).all() and set(last["verdict"]) == {"correct"}
    assert (again.labels, again.reviewed, first.reviewed) == (300, 3, 0)
    assert again.expected[-1].wrong == pytest.approx(frame["score"].sum())
    assert labelwise("audit", "apply", tmp_path / "two", "--above", "0", "--out", tmp_path / "all.csv").code == 0
    table = pd.read_csv(tmp_path / "all.csv").set_index("id").loc[head["id"]]
    assert table["label"].tolist() == decided and set(table["provenance"]) == {"reviewed"}
    assert table["first"].tolist() == head["given"].tolist()


def test_a_stopped_audit_goes_on_and_another_is_refused(digits, tmp_path):
    """Answers that are damaged are given again."""
    path, _ = digits
    out = tmp_path / "audit"
    first = run_audit(QUICK, path, out, quiet=True)
    (out / "results.json").unlink()
    (out / "answers" / "logistic.npz").write_bytes(b"PK\x03\x04 half a file")
    kept = (out / "answers" / "kernel_ridge.npz").stat().st_mtime_ns
    again = run_audit(QUICK, path, out, quiet=True)
    assert again.expected == first.expected and (out / "answers" / "kernel_ridge.npz").stat().st_mtime_ns == kept
    with pytest.raises(RunError, match="another options"):
        run_audit(QUICK.model_copy(update={"folds": 3}), path, out, quiet=True)


def test_data_of_one_class_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.eye(8, dtype=np.float32), label=np.zeros(8, int), classes=["a", "b"])
    with pytest.raises(DataError, match="all 8 labels are 'a'; an audit needs labels of at least two classes"):
        run_audit(QUICK, tmp_path / "x.npz", tmp_path / "audit", quiet=True)
    assert not (tmp_path / "audit").exists()


def answers_file(path, **changes):
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]])
    arrays = {"probabilities": p, "labels": np.array([0, 1, 1, 1]), "classes": np.array(["a", "b"])} | changes
    np.savez(path, **arrays)
    return path


def test_probabilities_of_an_npz_or_csv_give_the_same_list(tmp_path):
    npz = answers_file(tmp_path / "answers.npz")
    csv = tmp_path / "answers.csv"
    csv.write_text("id,given,a,b\n0,a,0.9,0.1\n1,b,0.2,0.8\n2,b,0.7,0.3\n3,b,0.1,0.9\n")
    lists = []
    for source in (npz, csv):
        run_audit(AuditConfig(), source, tmp_path / source.suffix[1:], quiet=True)
        lists.append(read_audit_table(tmp_path / source.suffix[1:]))
    pd.testing.assert_frame_equal(*lists)
    assert lists[0]["id"][0] == "2" and lists[0]["given"][0] == "b"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probabilities": np.array([[0.9, 0.1], [0.2, 0.7], [0.7, 0.3], [0.1, 0.9]])}, "row 1, id '1', .* sum to one"),
        ({"probabilities": np.array([[0.9, 0.1], [0.2, np.nan], [0.7, 0.3], [0.1, 0.9]])}, "not a number"),
        ({"probabilities": np.array([[1.9, -0.9], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]])}, "outside 0 and 1"),
        ({"ids": np.array(["x", "x", "y", "z"])}, "id 'x' is listed twice"),
        ({"labels": np.array([0, 1, 2, 1])}, "out of range"),
        ({"labels": np.array([1, 1, 1, 1])}, "all 4 labels are 'b'"),
        ({"classes": np.array(["a", "b", "c"])}, "2 columns of probabilities for 3 classes"),
    ],
)
def test_what_is_wrong_with_probabilities_is_said_in_one_line(tmp_path, changes, words):
    source = answers_file(tmp_path / "answers.npz", **changes)
    with pytest.raises(DataError, match=words) as raised:
        run_audit(AuditConfig(), source, tmp_path / "audit", quiet=True)
    assert "\n" not in str(raised.value) and not (tmp_path / "audit").exists()


IMAGES = ("data.train_limit=60", "data.test_limit=10", "train.epochs=1", "threads=1", "data.noise.rate=0.2")


def test_networks_that_have_not_seen_a_fold_answer_its_images_and_are_kept(tmp_path):
    config = AuditConfig(folds=2, seeds=1, views=2, thumbnails=5)
    out = tmp_path / "audit"
    found = run_audit(config, "digits", out, model="small-narrow", overrides=IMAGES, quiet=True)
    assert found.answers == ("small-narrow 1, view 1", "small-narrow 1, view 2")
    assert found.splits.model_dump() == {"fit": 54, "select": 6, "test": 0, "unlabelled": None}
    weights = out / "seed-0" / "network-fold-2" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    (out / "results.json").unlink()
    assert (
        run_audit(config, "digits", out, model="small-narrow", overrides=IMAGES, quiet=True).expected == found.expected
    )
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="another networks"):
        run_audit(config, "digits", out, model="small-wide", overrides=IMAGES, quiet=True)


def test_the_fold_networks_of_a_refine_run_answer_its_data(tmp_path):
    chain = ["chain.generations=2", "chain.folds=2", "model.name=small-narrow"]
    refine(load_recipe(None, [*IMAGES, *chain]), tmp_path / "run", quiet=True)
    found = run_audit(AuditConfig(views=1), tmp_path / "run", tmp_path / "audit", quiet=True)
    assert found.answers == ("generation-1 seed 0",) and found.labels == 60
    with pytest.raises(ConfigError, match=r"--model small-wide: .* holds answers already"):
        run_audit(AuditConfig(), tmp_path / "run", tmp_path / "other", model="small-wide", quiet=True)


def test_a_run_without_fold_networks_and_images_without_a_network_say_what_to_do(tmp_path):
    train(load_recipe(None, [*IMAGES, "model.name=small-narrow"]), tmp_path / "run", quiet=True)
    with pytest.raises(RunError, match=r"chain.folds=5, or audit .* labelwise audit digits --model small-narrow"):
        run_audit(AuditConfig(), tmp_path / "run", tmp_path / "audit", quiet=True)
    with pytest.raises(ConfigError, match="name the network that answers with --model, such as resnet18"):
        run_audit(AuditConfig(), "digits", tmp_path / "audit", quiet=True)


def test_an_option_of_the_audit_is_named_whole(labelwise):
    done = labelwise("audit", "digits", "--set", "epochs=2")
    assert done.code == 1
    assert done.err == ["error: --set epochs=2: an option of the audit; write --set audit.epochs=2"]
