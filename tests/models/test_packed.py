"""Model folders of timm and transformers, and checkpoints of a hub, are checkpoints here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch import nn

from labelwise.config import load_recipe
from labelwise.errors import ModelError
from labelwise.inference.predict import predict
from labelwise.models import checkpoint, of_transformers, zoo
from labelwise.models.classifier import InputSpec
from labelwise.refinery.chain import refine
from labelwise.results import RefineResults, read_results_as

NAMES = ["cat", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What timm itself writes for its hub."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("of") / "timm"
    net = timm.create_model("test_resnet", num_classes=2)
    told = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "input_size": (3, 32, 32), "crop_pct": 0.9}
    net.pretrained_cfg |= {**told, "interpolation": "bilinear"}
    save_for_hf(net, str(path), model_config={"label_names": NAMES}, safe_serialization=True)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in NAMES:
            (root / split / name).mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@torch.no_grad()
def test_a_folder_of_timm_predicts_as_timm_does(folder, photos):
    model, card = checkpoint.load(folder)
    assert model.classes == tuple(NAMES) and card["eval_crop"] == 0.9
    assert model.spec == InputSpec("image", 32, 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), "bilinear")
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.rand(4, 3, 32, 32)
    expected = plain((x - torch.tensor(model.spec.mean).view(3, 1, 1)) / torch.tensor(model.spec.std).view(3, 1, 1))
    torch.testing.assert_close(model.eval()(x), expected)
    assert predict(folder, photos / "val").classes == tuple(NAMES)


def test_a_folder_of_timm_is_a_refinery_and_first_weights(folder, photos, tmp_path):
    changes = [f"data.source={photos}", "data.workers=0", "train={epochs: 1, batch_size: 4}", "views.size=32"]
    recipe = load_recipe(
        None, [*changes, "model.name=test_resnet", f"model.init={folder}", f"chain.refinery=[{folder}]"]
    )
    refine(recipe, tmp_path / "run", quiet=True)
    rows = read_results_as(tmp_path / "run", RefineResults).rows
    assert "timm" in rows[0].labels
    card = json.loads((tmp_path / "run" / "refineries" / "timm" / "model.json").read_text())
    assert card["weights_hash"] == checkpoint.weights_hash(checkpoint.load(folder)[0].net)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "nothing"}, "no network called 'nothing'"),
        ({"num_classes": 0}, "has no head; `labelwise features test_resnet --weights FILE` takes it"),
        ({"model_args": {"checkpoint_path": "x"}}, "model.args checkpoint_path='x' may name a file"),
        ({"architecture": None, "model_type": None}, r"config\.json: damaged"),
        ({"num_classes": 3}, r"config\.json: 2 different names for 3 classes"),
    ],
)
def test_folders_that_are_wrong(folder, tmp_path, change, message):
    told = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | change))
    with pytest.raises(ModelError, match=message):
        checkpoint.load(tmp_path)


class Answer(nn.Module):
    """Stands for a classifier of transformers, which `benchmarks/formats_in.py` tries itself."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            num_labels=2, to_json_string=lambda use_diff: json.dumps({"width": 4, "id2label": {}, "model_type": "tiny"})
        )
        self.values, self.layer = values, nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.layer(x.mean((2, 3))))


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    net = Answer({})
    library = SimpleNamespace(
        AutoConfig=SimpleNamespace(for_model=lambda kind, **values: {"kind": kind, **values}),
        AutoModelForImageClassification=SimpleNamespace(from_pretrained=lambda *_, **__: net, from_config=Answer),
    )
    monkeypatch.setattr(of_transformers, "_library", lambda name: library)


def test_a_folder_of_transformers(transformers, tmp_path):
    config = {
        "model_type": "tiny",
        "architectures": ["TinyForImageClassification"],
        "id2label": {"1": "dog", "0": "cat"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    prepared = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": {"shortest_edge": 40}, "resample": 3}
    prepared |= {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepared))
    model, card = checkpoint.load(tmp_path)
    assert model.classes == ("cat", "dog") and card["task"] == "multi-label" and card["eval_crop"] == 0.8
    assert model.spec == InputSpec("image", 32, 3, (0.1,) * 3, (0.2,) * 3, "bicubic")
    checkpoint.save(tmp_path / "ours", model, card)
    again, card = checkpoint.load(tmp_path / "ours")
    assert again.name == "transformers/tiny" and again.args == {"width": 4}
    assert again.net.values == {"kind": "tiny", "num_labels": 2, "num_channels": 3, "width": 4}
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(again(x), model(x))
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["TinyModel"]}))
    with pytest.raises(ModelError, match="holds TinyModel, not a classifier"):
        checkpoint.load(tmp_path)


def test_without_the_library_it_is_named(monkeypatch):
    monkeypatch.setattr(of_transformers, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"transformers/vit: needs the package transformers: pip install 'labelwise\["):
        of_transformers.build(zoo.ModelConfig(name="transformers/vit"), 2, 3)


def test_a_name_of_the_hub(folder, photos, monkeypatch, labelwise, tmp_path):
    def snapshot(name: str, allow_patterns: list[str]) -> str:
        if name != "me/net":
            raise OSError("offline\nsince Monday")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    done = labelwise("predict", "hf-hub:me/net", photos / "val", "--out", tmp_path / "p.csv")
    assert done.code == 0 and not done.err
    done = labelwise("predict", "hf_hub:me/other", photos / "val", "--out", tmp_path / "p.csv")
    [line] = done.err
    assert done.code == 1 and line.startswith(
        "error: hf_hub:me/other: cannot be fetched from the Hugging Face hub (OSError"
    )


def of_hub(pretrained: bool = False, num_classes: int = 7) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))


def test_a_function_as_torch_hub_has_them():
    spec = InputSpec("image", 8, 3, (0.0,) * 3, (1.0,) * 3)
    name = f"{__name__}:of_hub"
    assert sys.modules[__name__].of_hub is of_hub
    for init in ("random", "pretrained"):
        model = zoo.build(zoo.ModelConfig(name=name, init=init), ("a", "b"), spec)
        assert model(torch.rand(4, 3, 8, 8)).shape == (4, 2)
    with pytest.raises(ModelError, match=r"model\.args of .*:of_hub: .*'nothing'"):
        zoo.build(zoo.ModelConfig(name=name, args={"nothing": 1}), ("a", "b"), spec)
