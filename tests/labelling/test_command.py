"""``labelwise label``: what is told before and after, and mistakes in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labelwise.labelling.run import label, prepare
from labelwise.store.reader import Store


@pytest.fixture
def words(network, arrays) -> list[str]:
    return ["label", network(), "--data", str(arrays), "--views", "2", "--k", "3", "--seed", "3"]


def test_size_and_time_are_told_and_nothing_is_written(labelwise, words, tmp_path) -> None:
    done = labelwise(*words, "--out", tmp_path / "store", "--plan", "--json")
    told = json.loads(done.out)
    assert done.code == 0 and not (tmp_path / "store").exists()
    assert told["crops_left"] == told["samples"] * 2 and told["bytes_per_crop"] == 8 + 3 * 4 and told["seconds"] > 0
    labelwise(*words, "--out", tmp_path / "store", "--quiet")
    assert sum(path.stat().st_size for path in (tmp_path / "store").glob("*.bin")) == told["bytes"]
    done = labelwise(*words, "--out", tmp_path / "store", "--plan")
    assert "nothing is left to label" in done.out


def test_parts_tell_what_is_missing(labelwise, words, tmp_path) -> None:
    words += ["--out", str(tmp_path / "store"), "--shard-samples", "20", "--quiet"]
    done = labelwise(*words, "--shard", "2/2")
    assert done.code == 0 and "part 2 of 2 is finished, other parts are missing" in done.out
    done = labelwise(*words, "--shard", "1/2", "--json")
    assert json.loads(done.out)["checksum"] and len(Store(tmp_path / "store").shards) > 3


def test_a_mass_is_at_most_what_was_told(request_for, tmp_path) -> None:
    run = prepare(request_for(k=4, mass=0.5), tmp_path / "store")
    found = label(run, quiet=True)
    assert run.estimate.at_most and found.bytes < run.estimate.bytes and "at most" in run.estimate.in_words()
    assert 1 <= found.mean_classes < 4 and found.mean_mass >= 0.5
    counts = np.concatenate([shard.records["count"] for shard in Store(tmp_path / "store").shards])
    assert found.mean_classes == pytest.approx(counts.mean())


@pytest.mark.parametrize(
    ("more", "words_of_error"),
    [
        (["--k", "none"], "--k none: expected a number of classes"),
        (["--k", "9"], "k is 9, expected 1 to 5"),
        (["--shard", "5/4"], "--shard 5/4: expected I/N"),
        (["--set", "views.scales=[0.5, 1]"], "unknown key 'views.scales'"),
        (["--split", "unlabelled"], "no sample is in unlabelled"),
    ],
)
def test_mistakes_are_one_line(more, words_of_error, labelwise, words, tmp_path) -> None:
    done = labelwise(*words, *more, "--out", tmp_path / "store")
    assert done.code == 1 and len(done.err) == 1 and words_of_error in done.err[0]
    assert not (tmp_path / "store").exists()


def test_views_must_be_said_somewhere(labelwise, network, arrays, tmp_path) -> None:
    words = ["label", network(), "--data", str(arrays), "--out", str(tmp_path / "store"), "--quiet"]
    assert "--views" in labelwise(*words).err[0]
    assert labelwise(*words, "--set", "views.number=2").code == 0
    assert Store(tmp_path / "store").header.views_per_sample == 2
