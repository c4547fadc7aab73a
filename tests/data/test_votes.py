"""Votes of people beside the samples: whose they are after limits and splits, what is scored, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from helpers.data import data_config
from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset
from labelwise.errors import DataError
from labelwise.metrics.classification import human_scores

TRAIN, TEST, K = 30, 12, 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Embeddings, the test samples first, so that neither part begins at row 0 of all samples."""
    rng = np.random.default_rng(0)
    n = TRAIN + TEST
    np.savez(
        tmp_path / "x.npz",
        features=rng.standard_normal((n, 4)).astype(np.float32),
        label=np.arange(n) % K,
        split=np.array(["test"] * TEST + ["train"] * TRAIN),
        ids=np.array([f"s{i:02}" for i in range(n)]),
    )
    return tmp_path / "x.npz"


def counts(rows: int = TEST) -> np.ndarray:
    """Votes (rows, 3) that say which row they are of."""
    return np.stack([np.arange(rows), np.full(rows, 5), np.full(rows, 3)], axis=1).astype(np.uint8)


def load(data: Path, votes: np.ndarray | None = None, key: str = "counts", **options: Any) -> Dataset:
    own: dict[str, Any] = {"source": str(data), "select_share": 0.2}
    split = options.pop("split", "test")
    if votes is not None:
        np.savez(data.with_name("votes.npz"), **{key: votes})
        own["votes"] = {"file": str(data.with_name("votes.npz")), "split": split}
    return load_dataset(data_config(own | options))


def check(found: Dataset, expected: dict[str, np.ndarray]) -> None:
    """Every sample of ``expected`` has these votes, as shares; no other sample has any."""
    assert found.votes is not None and found.votes.dtype == np.float32
    for name, votes in zip(found.ids.tolist(), found.votes, strict=True):
        if name in expected:
            assert votes == pytest.approx(expected[name] / expected[name].sum()), name
        else:
            assert np.isnan(votes).all(), name


@pytest.mark.parametrize("limits", [{}, {"test_limit": 5}, {"test_limit": 5, "train_limit": 12, "split_seed": 3}])
def test_votes_of_test_follow_their_sample(data: Path, limits: dict[str, int]) -> None:
    found = load(data, counts(), **limits)
    assert len(found.rows("test")) == limits.get("test_limit", TEST)
    check(found, {f"s{i:02}": counts()[i].astype(float) for i in range(TEST)})


def test_votes_of_the_training_part_reach_fit_and_select(data: Path) -> None:
    found = load(data, counts(TRAIN), split="train")
    check(found, {f"s{i + TEST:02}": counts(TRAIN)[i].astype(float) for i in range(TRAIN)})
    assert found.votes is not None and not np.isnan(found.votes[found.rows("select")]).any()


def test_fewer_classes_share_the_votes_that_are_left(data: Path) -> None:
    votes = counts()
    votes[3] = [0, 0, 9]
    found = load(data, votes, classes=2)
    kept = [i for i in range(TEST) if i % K < 2 and i != 3]
    check(found, {f"s{i:02}": votes[i, :2].astype(float) for i in kept})
    assert "s03" in found.ids  # it stays, as a sample nobody voted on


def test_only_votes_change_what_a_run_depends_on(data: Path) -> None:
    plain, voted = load(data), load(data, counts())
    assert plain.votes is None and load(data).fingerprint() == plain.fingerprint()
    assert voted.fingerprint() != plain.fingerprint() != load(data, counts() + 1).fingerprint()
    assert load(data, counts()).fingerprint() == voted.fingerprint() == load(data, counts() * 2.0).fingerprint()
    # What it was before there were votes.
    assert load_dataset(DataConfig(source="digits")).fingerprint() == "486264048218261f"


def bad(row: int, column: int, value: float) -> np.ndarray:
    found = counts().astype(float)
    found[row, column] = value
    return found


MISTAKES: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "samples": (counts(TEST - 1), {}, r"votes.npz: counts is uint8 of shape \(11, 3\), expected numbers \(12, 3\)"),
    "classes": (counts()[:, :2], {}, r"shape \(12, 2\), expected numbers \(12, 3\): a row for each test sample of x"),
    "labels": (np.arange(TEST), {}, r"shape \(12,\), expected"),
    "text": (counts().astype(str), {}, "is <U3 of shape"),
    "nan": (bad(4, 1, np.nan), {}, "counts: row 4 holds NaN or an infinite number"),
    "infinite": (bad(4, 1, np.inf), {}, "row 4 holds NaN or an infinite number"),
    "negative": (bad(2, 0, -1), {}, "counts: row 2 holds a negative number of votes"),
    "nobody": (counts() * (np.arange(TEST) < 6)[:, None], {}, r"counts: row 6 has no vote \(and 5 more rows\)"),
    "key": (counts(), {"key": "vote"}, r"no key 'counts' of votes \(data.votes.key\); it has vote"),
    "part": (counts(), {"split_column": ""}, "data.votes.split: x has no test part of its own"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, data: Path) -> None:
    votes, options, message = MISTAKES[name]
    with pytest.raises(DataError, match=message) as error:
        load(data, votes, **options)
    assert "\n" not in str(error.value)


def test_multi_label_data_have_no_votes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=np.eye(20), label=np.tile(np.eye(2), (10, 1)))
    with pytest.raises(DataError, match="multi-label data; data"):
        load(tmp_path / "x.npz", counts(20))


def test_a_run_scores_its_networks_against_the_votes(labelwise: Callable[..., Any], data: Path) -> None:
    load(data, counts())
    recipe, out = data.with_name("r.yaml"), data.with_name("out")
    recipe.write_text(
        f"data: {{source: {data}, votes: {{file: {data.with_name('votes.npz')}}}}}\nmodel: {{name: mlp}}\n"
        "train: {epochs: 1, batch_size: 16}\nchain: {generations: 1}\nthreads: 1\n"
    )
    done = labelwise("refine", recipe, "--out", out, "--quiet")
    assert done.code == 0, done.err
    results = json.loads((out / "results.json").read_text())
    [row] = results["rows"]
    assert 0 < row["test"]["human_kl"] < row["test"]["human_ce"] and "human_kl" not in row["select"]
    assert results["summary"][0]["test_human_kl"]["mean"] == pytest.approx(row["test"]["human_kl"])
    assert set(row["fit"]) == {"top1", "ece", "entropy"} and 0 <= row["fit"]["ece"] <= 1


@pytest.mark.realdata
def test_cifar10h(shared_data: Path) -> None:
    """Rows and columns of CIFAR-10H are the test images and classes of CIFAR-10: people mostly say the label."""
    votes = {"file": str(shared_data / "cifar10h.npz")}
    config = {"source": str(shared_data / "cifar10_jpeg.npz"), "votes": votes, "memory": "no", "train_limit": 1000}
    found = load_dataset(data_config(config | {"test_limit": 2000}))
    rows = found.rows("test")
    assert found.votes is not None and np.isnan(found.votes[found.rows("fit")]).all()
    own = found.votes[rows]
    assert len(rows) == 2000 and (own.argmax(1) == found.label[rows]).mean() > 0.98
    # What a network that knows nothing would score: log 10 less the entropy of the votes.
    score = human_scores(torch.zeros(2000, 10), own)
    assert score["human_kl"] == pytest.approx(np.log(10) - np.mean(entropy(own.astype(float), axis=1)), rel=1e-5)
