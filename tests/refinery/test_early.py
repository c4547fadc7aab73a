"""Mistakes are told before training, and what was trained is kept whatever comes after."""

from __future__ import annotations

import pytest
from PIL import Image

from labelwise.config import load_recipe
from labelwise.errors import ConfigError, DataError, ModelError
from labelwise.models import checkpoint
from labelwise.refinery import network
from labelwise.refinery.chain import train

DIGITS = ["data={source: digits, train_limit: 60, test_limit: 20}", "train={epochs: 1, batch_size: 16}"]


def test_an_error_while_scoring_loses_no_weights(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise DataError("a broken image")

    monkeypatch.setattr(network, "_row", fail)
    with pytest.raises(DataError, match="broken"):
        train(load_recipe(None, DIGITS), tmp_path / "run", quiet=True)
    assert checkpoint.load(tmp_path / "run" / "seed-0" / "generation-1")[1]["labels"] == "given"


def photos(root, classes, sizes=(8, 9)):
    for part in ("train", "test"):
        for place, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, sizes[number % 2]), (60 * place, 9, 9)).save(folder / f"{number}.png")
    return root


def test_a_broken_test_image_is_found_before_training(tmp_path):
    root = photos(tmp_path / "photos", ("cat", "dog"))
    image = root / "test" / "dog" / "1.png"
    image.write_bytes(image.read_bytes()[:40])
    recipe = load_recipe(None, [f"data.source={root}", "views.size=8", "data.select_share=0.25"])
    with pytest.raises(DataError, match=r"1\.png.*data\.unreadable"):
        train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_one_class_is_no_task(tmp_path):
    recipe = load_recipe(None, [f"data.source={photos(tmp_path / 'one', ('cat',))}"])
    with pytest.raises(DataError, match="has one class, 'cat'"):
        train(recipe, tmp_path / "run", quiet=True)


def test_a_tracker_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("labelwise.refinery.checks.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="wandb is not installed"):
        train(load_recipe(None, [*DIGITS, "train.trackers=[wandb]"]), tmp_path, quiet=True)


def test_the_size_of_a_transformer_is_what_was_asked_for(tmp_path):
    own = ["model.name=test_vit", "views.size=64"]
    with pytest.raises(ModelError, match=r"takes 160 px only, not 64.*img_size: 64"):
        train(load_recipe(None, [*DIGITS, *own]), tmp_path / "a", quiet=True)
    train(load_recipe(None, [*DIGITS, *own, "model.args={img_size: 64}"]), tmp_path / "b", quiet=True)
    assert checkpoint.load(tmp_path / "b" / "best")[0].spec.size == 64
