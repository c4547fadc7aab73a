"""Features in shards are the same, byte for byte, whoever computes which, in any order, also after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import forked
from labelling.test_processes import fragile
from labelwise.config import load_recipe
from labelwise.errors import DataError, RunError
from labelwise.features import job
from labelwise.features.extract import write_features
from labelwise.features.file import read_features
from labelwise.features.job import FeaturesJob, FeaturesRequest
from labelwise.models.backbone import ModelSource
from labelwise.runs import read_json
from labelwise.sharding import processes
from labelwise.sharding.part import Part, own_part

N = 50


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., FeaturesRequest]:
    """Makes requests for 50 images in five shards, by a network whose process can be made to die."""
    rng = np.random.default_rng(0)
    classes = ("ant", "bee", "cat", "dog", "elk")
    arrays = {"images": rng.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8), "label": np.arange(N) % 5}
    np.savez(tmp_path / "d.npz", **arrays, classes=np.array(classes), split=np.repeat(["fit", "select"], N // 2))
    source = ModelSource(fragile(tmp_path / "net", tmp_path / "marker"), trust=True)
    recipe = load_recipe(None, [f"data.source={tmp_path / 'd.npz'}", "train.channels_last=false"])
    return lambda shard_samples=10: FeaturesRequest(source, recipe, shard_samples=shard_samples)


def content(folder: Path) -> dict[str, bytes]:
    """Every file but those that tell of commands and seconds."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in ("run.json", "results.json")}


def test_parts_ranks_and_processes_write_what_one_process_writes(ask, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(processes, "FRESH", forked.context)
    asked, expected = ask(), tmp_path / "one"
    assert write_features(asked, expected, quiet=True).shards == 5
    assert [path.name for path in sorted(expected.iterdir()) if path.is_dir()] == [f"{n:05d}" for n in range(5)]
    for part in ("3/3", "1/3"):
        assert write_features(asked, tmp_path / "parts", own_part(part, {}), quiet=True) is None
    with pytest.raises(DataError, match="parts: unfinished, rows are missing"):
        read_features(tmp_path / "parts")
    assert write_features(asked, tmp_path / "parts", own_part("2/3", {}), quiet=True).rows == N
    for rank in "10":
        part = own_part(None, {"RANK": rank, "WORLD_SIZE": "2"})
        found = write_features(asked, tmp_path / "ranks", part, quiet=True)
    assert found.rows == N
    (tmp_path / "marker").touch()
    assert write_features(asked, tmp_path / "two", processes=2, quiet=True).largest_logit_difference > 0
    assert not (tmp_path / "marker").exists() and "the others take its shard" in capsys.readouterr().err
    for name in ("parts", "ranks", "two"):
        assert content(tmp_path / name) == content(expected), name


def test_one_shard_is_the_folder_itself_with_the_same_rows(ask, tmp_path) -> None:
    write_features(ask(), tmp_path / "five", quiet=True)
    found = write_features(ask(None), tmp_path / "flat", quiet=True)
    flat, five = read_features(tmp_path / "flat"), read_features(tmp_path / "five")
    assert (
        found.shards == 1 and isinstance(flat.features, np.memmap) and np.load(tmp_path / "flat" / "features.npy").any()
    )
    np.testing.assert_allclose(five.features[:], flat.features, rtol=2e-3)
    for field in ("labels", "split", "ids", "head_weight", "head_bias", "categories"):
        np.testing.assert_array_equal(getattr(five, field), getattr(flat, field))
    with pytest.raises(RunError, match=r"another shard_samples \(10, now 20\)"):
        write_features(ask(20), tmp_path / "five", quiet=True)


def test_what_is_finished_stays_and_what_is_damaged_is_computed_again(ask, tmp_path, monkeypatch, capsys) -> None:
    write_features(ask(), tmp_path / "whole", quiet=True)
    out, made = tmp_path / "f", []
    compute = FeaturesJob._features

    def until_third(work, rows, advance):
        made.append(int(rows[0]))
        if len(made) == 3:
            raise KeyboardInterrupt
        return compute(work, rows, advance)

    monkeypatch.setattr(FeaturesJob, "_features", until_third)
    with pytest.raises(KeyboardInterrupt):
        write_features(ask(), out, quiet=True)
    before = bytearray((out / "00001" / "features.npy").read_bytes())
    before[-1] ^= 1
    (out / "00001" / "features.npy").write_bytes(before)
    first = write_features(ask(), out, quiet=True)
    assert made == [0, 10, 20, 10, 20, 30, 40] and content(out) == content(tmp_path / "whole")
    assert "00001: is damaged and is computed again" in capsys.readouterr().err
    assert write_features(ask(), out, quiet=True) == first and len(made) == 7
    assert first.largest_logit_difference == read_json(tmp_path / "whole" / "results.json")["largest_logit_difference"]


def test_the_size_of_a_shard_follows_what_the_network_costs(ask, monkeypatch) -> None:
    flops = 2 * 192 * 5  # of the head alone: a linear classifier of 8 x 8 x 3 numbers
    monkeypatch.setattr(job, "choose_device", lambda place: torch.device("cpu"))
    monkeypatch.setattr(job, "SHARD_FLOPS", 30.5 * flops)
    assert ask(None).open().identity["shard_samples"] == 30
    monkeypatch.setattr(job, "SHARD_PIXELS", 20 * 64)
    assert ask(None).open().identity["shard_samples"] == 20
    monkeypatch.setattr(job, "SHARD_BYTES", 7 * 192 * 2)
    assert ask(None).open().shards == -(-N // 7)


@pytest.mark.parametrize(
    ("words", "error"),
    [(["--shard", "4/3"], "--shard 4/3: expected I/N"), (["--engine", "ray"], "pip install 'labelwise[ray]'")],
)
def test_mistakes_are_one_line(words, error, labelwise, ask, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    command = ["features", tmp_path / "net", "--data", tmp_path / "d.npz", "--out", tmp_path / "f", "--trust-code"]
    ask()
    done = labelwise(*command, *words)
    assert done.code == 1 and len(done.err) == 1 and error in done.err[0]


def test_the_command_tells_what_is_missing(labelwise, ask, tmp_path) -> None:
    ask()
    command = ["features", tmp_path / "net", "--data", tmp_path / "d.npz", "--out", tmp_path / "f", "--trust-code"]
    command += ["--shard-samples", "20", "--quiet"]
    done = labelwise(*command, "--shard", "2/2")
    assert done.code == 0 and "part 2 of 2 is finished, other parts are missing" in done.out
    assert "50 x 192 features (fp16) with its head" in labelwise(*command, "--shard", "1/2").out


def test_parts_of_other_features_do_not_mix(ask, tmp_path) -> None:
    """Where another command has taken the folder before anything was made in it, the first one sees that."""
    write_features(ask(), tmp_path / "f", Part(0, 5), quiet=True)
    (tmp_path / "f" / "run.json").unlink()
    (tmp_path / "f" / "00000").rename(tmp_path / "00000")
    write_features(ask(20), tmp_path / "f", Part(1, 3), quiet=True)
    (tmp_path / "00000").rename(tmp_path / "f" / "00000")
    with pytest.raises(RunError, match=r"00000: another run.*another shard_samples \(10, now 20\)"):
        write_features(ask(20), tmp_path / "f", quiet=True)
