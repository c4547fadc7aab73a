"""Networks that several runs have in common are trained once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from labelwise.config import load_recipe
from labelwise.refinery.chain import refine
from labelwise.refinery.network import NETWORK
from labelwise.runs import RESUME, ROW, start_run

BASE = (
    "data={source: digits, train_limit: 120, test_limit: 50, noise: {rate: 0.3}}",
    "train={epochs: 2, batch_size: 32, channels_last: false}",
)
WEIGHTS = "seed-0/generation-1/model.safetensors"


def run(out: Path, shared: Path | None, *changes: str) -> dict[str, Any]:
    return refine(load_recipe(None, [*BASE, *changes]), out, quiet=True, network_cache=shared).to_json()


def test_a_second_run_begins_with_the_network_of_the_first(tmp_path: Path) -> None:
    shared = tmp_path / "networks"
    one = run(tmp_path / "one", shared, "chain={generations: 1}")
    two = run(tmp_path / "two", shared, "chain={generations: 2}")
    alone = run(tmp_path / "alone", None, "chain={generations: 2}")
    assert (tmp_path / "one" / WEIGHTS).samefile(tmp_path / "two" / WEIGHTS)
    assert two["rows"][0] == one["rows"][0]
    assert [row["weights_hash"] for row in two["rows"]] == [row["weights_hash"] for row in alone["rows"]]
    assert len(list(shared.iterdir())) == 2


def test_another_recipe_takes_nothing(tmp_path: Path) -> None:
    shared = tmp_path / "networks"
    run(tmp_path / "one", shared, "chain={generations: 1}")
    run(tmp_path / "two", shared, "chain={generations: 1}", "train.lr=0.01")
    assert (tmp_path / "one" / WEIGHTS).read_bytes() != (tmp_path / "two" / WEIGHTS).read_bytes()


def test_a_run_that_was_stopped_takes_what_another_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "networks"
    run(tmp_path / "one", shared, "chain={generations: 1}")
    start_run(tmp_path / "two", "refine", {})
    stopped = tmp_path / "two" / "seed-0" / "generation-1"
    stopped.mkdir(parents=True)
    (stopped / NETWORK).write_bytes((tmp_path / "one" / "seed-0" / "generation-1" / NETWORK).read_bytes())
    (stopped / RESUME).write_bytes(b"half of a network")

    def no_links(source: object, target: object) -> None:
        raise OSError("this disk knows no links")

    monkeypatch.setattr(os, "link", no_links)
    run(tmp_path / "two", shared, "chain={generations: 1}")
    names = {file.name for file in stopped.iterdir()}
    assert {ROW, NETWORK, "model.safetensors"} <= names and RESUME not in names
    assert (stopped / "model.safetensors").read_bytes() == (tmp_path / "one" / WEIGHTS).read_bytes()


def test_half_of_a_network_is_not_taken(tmp_path: Path) -> None:
    shared = tmp_path / "networks"
    one = run(tmp_path / "one", shared, "chain={generations: 1}")
    (shelf,) = shared.iterdir()
    (shelf / ROW).unlink()
    (shelf / "model.safetensors").unlink()
    two = run(tmp_path / "two", shared, "chain={generations: 1}")
    assert two["rows"][0]["weights_hash"] == one["rows"][0]["weights_hash"]
    assert [entry.name for entry in shared.iterdir()] == [shelf.name]  # and no rubbish beside it


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = run(tmp_path / "one", tmp_path / "file" / "networks", "chain={generations: 1}")
    assert len(found["rows"]) == 1
