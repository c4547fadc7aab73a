"""``data.workers: auto``: the number of processes is measured, and no result depends on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from labelwise.config import load_recipe
from labelwise.data.readers import load_dataset
from labelwise.data.worker_count import best_of, choose_workers, cores
from labelwise.errors import ConfigError
from labelwise.models.checkpoint import load, weights_hash
from labelwise.refinery.chain import train

QUICK = ["model.name=small-narrow", "train.epochs=1", "train.batch_size=8", "views.size=16", "threads=1"]


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 110.0}, 1),
        ({1: 100.0, 2: 190.0}, 2),
        ({1: 100.0, 2: 190.0, 4: 200.0}, 2),
        ({1: 100.0, 2: 190.0, 4: 380.0, 8: 400.0}, 4),
        ({1: 100.0, 2: 60.0}, 1),
    ],
)
def test_twice_the_processes_must_pay(rates, chosen):
    assert best_of(rates) == chosen


def test_ranks_of_a_machine_share_its_cores():
    assert cores({}) >= 1 and cores({"LOCAL_WORLD_SIZE": "1000"}) == 1


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "photos" / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20 + number % 3, 24, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_a_run_is_the_same_with_any_number(photos, tmp_path, capsys):
    changes = [*QUICK, f"data.source={photos}", "data.memory=no"]
    hashes = []
    for workers in ("auto", 0):
        out = tmp_path / str(workers)
        train(load_recipe(None, [*changes, f"data.workers={workers}"]), out, quiet=True)
        hashes.append(weights_hash(load(out)[0].net))
        told = capsys.readouterr().err
        assert ("data.workers: " in told and "1: " in told) == (workers == "auto")
    assert hashes[0] == hashes[1]


def test_data_in_memory_need_no_process(capsys):
    recipe = load_recipe(None, ["data.source=digits", "data.train_limit=50"])
    assert choose_workers(load_dataset(recipe.data), recipe.views, 8, torch.device("cpu")) == 0
    assert capsys.readouterr().err == ""


def test_what_is_no_number(tmp_path):
    for wrong, words in (("-1", "a number greater than or equal to 0, or 'auto'"), ("many", "whole number, or 'auto'")):
        with pytest.raises(ConfigError, match=rf"^data\.workers: expected .*{words}, got '?{wrong}'?$"):
            load_recipe(None, [f"data.workers={wrong}"])
