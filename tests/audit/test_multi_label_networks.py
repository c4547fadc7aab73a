"""`labelwise audit` of multi-label data by fold networks: images, embeddings with --model, and a refine run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from labelwise.audit.run import run_audit
from labelwise.config import AuditConfig, load_recipe
from labelwise.errors import ConfigError
from labelwise.refinery.chain import refine
from labelwise.results import open_run
from labelwise.results.audit_table import read_audit_table

CATEGORIES = ("left", "right")
QUICK = AuditConfig(folds=2, seeds=2, views=2, epochs=4, thumbnails=4, duplicates=False, threads=1)
SMALL = ("views.scale=[0.9,1.0]", "train.batch_size=16")


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """120 images whose left and right halves are bright or dark; a tenth of the known labels is wrong."""
    rng = np.random.default_rng(0)
    right = rng.random((120, 2)) < 0.5
    images = rng.integers(0, 60, (120, 8, 8, 1)) + 150 * np.repeat(right, 4, axis=1)[:, None, :, None]
    labels = (right ^ (rng.random(right.shape) < 0.1)).astype(np.float32)
    labels[rng.random(right.shape) < 0.2] = np.nan
    folder = tmp_path_factory.mktemp("halves")
    ids, split = np.array([f"i{k}" for k in range(120)]), np.repeat(["fit", "select", "test"], [80, 20, 20])
    common = {"labels": labels, "categories": np.array(CATEGORIES), "ids": ids, "split": split}
    np.savez(folder / "images.npz", images=images.astype(np.uint8), **common)
    np.savez(folder / "features.npz", features=images.reshape(120, 64).astype(np.float32), **common)
    return folder, right, labels


def flipped(frame, right, labels):
    """Which listed known labels are wrong, and their rows and columns in the data."""
    head = frame[frame["given"] != ""]
    rows, columns = head["id"].str[1:].astype(int).to_numpy(), head["category"].map(CATEGORIES.index).to_numpy()
    return head, (labels != right)[rows, columns], rows, columns


def test_fold_networks_answer_images_and_are_kept(halves, tmp_path):
    folder, right, labels = halves
    out = tmp_path / "audit"
    found = run_audit(QUICK, folder / "images.npz", out, model="small-narrow", overrides=SMALL, quiet=True)
    assert found.task == "multi-label" and found.answers == ("small-narrow 1", "small-narrow 2")
    head, wrong, rows, columns = flipped(read_audit_table(out), right, labels)
    assert len(head) == found.labels == (~np.isnan(labels)).sum()
    assert roc_auc_score(wrong, head["score"]) > 0.95

    audited = np.flatnonzero((~np.isnan(labels)).any(1))
    says = []
    for number in (1, 2):
        files = [out / "answers" / f"small_narrow_{number}_view_{view}.npz" for view in (1, 2)]
        mean = np.mean([logit(np.load(file)["answers"].clip(1e-4, 1 - 1e-4)) for file in files], axis=0)
        says.append(mean[np.searchsorted(audited, rows), columns] > 0)
    suggested = (head["suggested"] == "1").to_numpy()
    np.testing.assert_allclose(head["agreement"], np.mean([one == suggested for one in says], axis=0))

    weights = out / "seed-1" / "network-fold-2" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    (out / "results.json").unlink()
    (out / "answers" / "small_narrow_2_view_2.npz").unlink()
    again = run_audit(QUICK, folder / "images.npz", out, model="small-narrow", overrides=SMALL, quiet=True)
    assert again.expected == found.expected and weights.stat().st_mtime_ns == before


def test_a_network_answers_embeddings_beside_the_classifiers(halves, tmp_path):
    folder, right, labels = halves
    one = QUICK.model_copy(update={"seeds": 1})
    found = run_audit(one, folder / "features.npz", tmp_path / "audit", model="mlp", quiet=True)
    assert found.answers == ("mlp 1", "kernel logistic", "nearest neighbours")
    head, wrong, *_ = flipped(read_audit_table(tmp_path / "audit"), right, labels)
    assert roc_auc_score(wrong, head["score"]) > 0.95
    assert set((3 * head["agreement"]).round(3)) <= {0, 1, 2, 3}


def test_the_fold_networks_of_a_refine_run_answer_its_cells(halves, tmp_path):
    folder, _, labels = halves
    options = [
        f"data.source={folder / 'images.npz'}",
        "model.name=small-narrow",
        "views.size=8",
        "train.epochs=1",
        "chain.generations=2",
        "chain.folds=2",
        "threads=1",
    ]
    refine(load_recipe(None, options), tmp_path / "run", quiet=True)
    found = run_audit(AuditConfig(views=1), tmp_path / "run", tmp_path / "audit", quiet=True)
    assert open_run(tmp_path / "audit").results == found
    assert found.answers == ("generation-1 seed 0",) and found.labels == (~np.isnan(labels)).sum()


def test_images_without_a_network_say_what_to_do(halves, tmp_path):
    with pytest.raises(ConfigError, match="name the network that answers with --model"):
        run_audit(QUICK, halves[0] / "images.npz", tmp_path / "audit", quiet=True)
