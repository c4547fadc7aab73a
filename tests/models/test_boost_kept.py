"""A boost goes with the network: to disk and back, into refineries, and through evaluation and export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from labelwise import demo
from labelwise.config import ModelConfig, Recipe, load_recipe
from labelwise.errors import ModelError
from labelwise.export.network import export
from labelwise.inference.evaluate import evaluate
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.refinery.chain import refine
from labelwise.runs import read_json, write_json

SPEC = InputSpec("image", 24, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))


def build(name: str = "small-narrow", **options: float) -> Classifier:
    torch.manual_seed(0)
    return zoo.build(ModelConfig(name=name, **options), ("a", "b", "c"), SPEC).eval()


@torch.no_grad()
def test_to_disk_and_back(tmp_path: Path) -> None:
    x = torch.rand(2, 3, 24, 24)
    for name, options in {"on": {"boost": 5.0, "boost_training": False}, "off": {}}.items():
        model = build(**options)
        checkpoint.save(tmp_path / name, model, {})
        loaded, card = checkpoint.load(tmp_path / name)
        assert loaded.boost == model.boost
        assert card["network"] == {"name": "small-narrow", "args": {}, **options}
        torch.testing.assert_close(loaded.eval()(x), model(x))
    write_json(tmp_path / "on" / "model.json", card | {"network": {"name": "small-narrow", "args": {}, "boost": 0.5}})
    with pytest.raises(ModelError, match=r"model\.json: damaged"):
        checkpoint.load(tmp_path / "on")


def test_an_export_is_for_labelwise_alone(tmp_path: Path) -> None:
    """timm would leave the boost out, and say nothing."""
    for boost in (1.0, 5.0):
        model = zoo.build(ModelConfig(name="test_resnet", boost=boost), ("a", "b"), replace(SPEC, size=64))
        checkpoint.save(tmp_path / f"{boost}", model, {})
        found = export(tmp_path / f"{boost}")
        assert found.timm == (boost == 1) and (found.folder / "config.json").exists() == found.timm
        assert checkpoint.load(found.folder)[0].boost == model.boost


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """Two generations of a boosted network that rejects large losses."""
    folder = tmp_path_factory.mktemp("boost")
    demo.write_digit_attributes(folder / "digits.npz", 1.0, seed=0)
    changes = [f"data={{source: {folder / 'digits.npz'}, train_limit: 200, select_limit: 50, test_limit: 50}}"]
    changes += ["data.known={protocol: cells, share: 0.3}", "views={size: 16, flip: false}", "threads=1"]
    changes += ["labels={unknown: negative, scheme: ll-r}", "model={name: small-narrow, boost: 5}"]
    recipe = load_recipe(None, [*changes, "train={epochs: 2, batch_size: 64, ema: 0.5}", "chain.generations=2"])
    refine(recipe, folder / "run", quiet=True)
    return folder / "run", recipe


def test_a_chain_and_its_evaluation(finished: tuple[Path, Recipe]) -> None:
    out, recipe = finished
    rows = read_json(out / "results.json")["rows"]
    assert rows[0]["labels"] == "given, unknown as negative, ll-r"
    for row in rows:
        model, _ = checkpoint.load(out / row["path"])
        assert model.boost is not None and model.boost.alpha == 5
        found = evaluate(out / row["path"], recipe, split="test").to_json()
        assert found["map"] == pytest.approx(row["test"]["map"], abs=1e-6)


def test_outputs_in_another_order(finished: tuple[Path, Recipe]) -> None:
    out, recipe = finished
    path = out / read_json(out / "results.json")["rows"][0]["path"]
    classes = read_json(path / "model.json")["classes"]
    whole = evaluate(path, recipe, split="test").to_json()
    turned = recipe.model_copy(update={"data": recipe.data.model_copy(update={"categories": tuple(classes[::-1])})})
    other = evaluate(path, turned, split="test").to_json()
    assert other["map"] == pytest.approx(whole["map"], abs=1e-6)
    aps = [{entry["name"]: entry["ap"] for entry in found["categories"]} for found in (whole, other)]
    assert list(aps[0]) == list(aps[1])[::-1]
    np.testing.assert_allclose([aps[0][name] for name in classes], [aps[1][name] for name in classes])
