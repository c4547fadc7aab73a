"""Several processes write the store that one writes, also when one of them is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import forked
from labelwise.config import ModelConfig
from labelwise.errors import ConfigError, DataError, RunError
from labelwise.labelling.run import label, prepare
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.sharding import processes


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers that need not import torch."""
    monkeypatch.setattr(processes, "FRESH", forked.context)


def fragile(folder: Path, marker: Path) -> str:
    spec = InputSpec("image", 8, 3, (0.5,) * 3, (0.1,) * 3)
    config = ModelConfig(name="helpers.fragile_network:Fragile", args={"marker": str(marker)})
    checkpoint.save(folder, zoo.build(config, ("ant", "bee", "cat", "dog", "elk"), spec), {})
    return str(folder)


def shards(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.glob("*.bin")}


def test_a_process_that_is_killed_loses_its_shard_to_another(request_for, tmp_path, capsys) -> None:
    marker = tmp_path / "marker"
    asked = request_for(models=(fragile(tmp_path / "net", marker),), shard_samples=20, trust=True)
    one = label(prepare(asked, tmp_path / "one"), quiet=True)
    marker.touch()
    two = label(prepare(asked, tmp_path / "two", processes=2), quiet=True)
    assert not marker.exists() and "was killed; the others take its shard" in capsys.readouterr().err
    assert two.checksum == one.checksum and shards(tmp_path / "two") == shards(tmp_path / "one")
    assert len(shards(tmp_path / "two")) == 5


def test_if_all_processes_are_killed_the_error_says_so(request_for, tmp_path) -> None:
    marker = tmp_path / "marker"
    asked = request_for(models=(fragile(tmp_path / "net", marker),), shard_samples=50, trust=True)
    ready = prepare(asked, tmp_path / "store", processes=1)
    marker.touch()
    with pytest.raises(RunError, match="all 1 processes were killed; is there enough memory"):
        processes.make_in_processes(asked, tmp_path / "store", ready.shards.todo, 1, lambda _: None)


def test_an_error_in_a_process_is_the_error_of_the_command(request_for, tmp_path) -> None:
    asked = request_for()
    ready = prepare(asked, tmp_path / "store", processes=2)
    with pytest.raises(DataError, match="k is 9, expected 1 to 5"):
        processes.make_in_processes(request_for(k=9), tmp_path / "store", ready.shards.todo, 1, lambda _: None)


def test_ray_that_is_not_installed_is_one_line(request_for, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed; pip install 'labelwise\[ray\]'"):
        label(prepare(request_for(), tmp_path / "store"), engine="ray", quiet=True)
