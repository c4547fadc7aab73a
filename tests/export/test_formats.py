"""Graphs for other runtimes give what the network gives, and decide as `labelwise predict` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from PIL import Image
from torch import nn

from labelwise.config import ModelConfig
from labelwise.errors import ConfigError, ModelError
from labelwise.export import formats
from labelwise.export.formats import Graphs, write_graphs
from labelwise.inference.predict import predict
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import Classifier, InputSpec

NAMES = ("cat", "dög, red", "fish")
PHOTO = InputSpec("image", 24, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), "bicubic")
VECTOR = InputSpec("features", 6, 1, (0.5,) * 6, (2.0,))
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"


def make(config: ModelConfig, spec: InputSpec) -> Classifier:
    """A network with statistics and values that are not those of a fresh one."""
    torch.manual_seed(1)
    model = zoo.build(config, NAMES, spec)
    if config.name in ("kernel_ridge", "knn", "lda", "logistic"):
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    side = model.spec.size
    model.train()(torch.rand(16, spec.channels, side, side) if spec.kind == "image" else torch.randn(16, side))
    return model.eval()


def session(file: Path) -> Any:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("config", "spec"),
    [
        (ModelConfig(name="knn", args={"samples": 9, "neighbours": 3}), VECTOR),
        (ModelConfig(name="paper-xnor-resnet50", args={"width": 0.1, "blocks": [1]}, small_images=True), PHOTO),
    ],
    ids=["knn", "xnor"],
)
@torch.no_grad()
def test_networks_whose_layers_are_their_own(tmp_path, config, spec):
    """`benchmarks/formats_out.py` does it for every family."""
    model = make(config, spec)
    gaps = write_graphs(tmp_path, model, {}, Graphs(onnx=True, torchscript=True))
    assert [file.name for file in gaps] == ["model.onnx", "model.ts"] and max(gaps.values()) < 1e-5
    x = torch.randn(5, 6) if spec.kind == "features" else torch.rand(5, 3, 24, 24)
    torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(x), (model(x), model(x).softmax(1)))
    logits, probability = session(tmp_path / "model.onnx").run(None, {"input": x.numpy()})
    np.testing.assert_allclose(logits, model(x).numpy(), atol=1e-5)
    np.testing.assert_allclose(probability, model(x).softmax(1).numpy(), atol=1e-5)


@pytest.mark.parametrize("boost", [1.0, 2.0])
@torch.no_grad()
def test_a_program_of_torch_export(tmp_path, boost):
    model = make(ModelConfig(name="small-narrow", boost=boost), PHOTO)
    gaps = write_graphs(tmp_path, model, {"task": "multi-label"}, Graphs(exported=True))
    assert gaps == {tmp_path / "model.pt2": 0.0}
    told = {"labelwise.json": ""}
    x = torch.rand(5, 3, 24, 24)
    found = torch.export.load(tmp_path / "model.pt2", extra_files=told).module()(x)
    torch.testing.assert_close(found, (model(x), model(x).sigmoid(), model(x) >= 0))
    assert json.loads(told["labelwise.json"])["thresholds"] == [0.0] * 3


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and a multi-label checkpoint with thresholds among its logits of them, exported for ONNX Runtime."""
    from labelwise.export.network import export

    folder = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(8):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        coarse.resize((40 + number, 50), Image.Resampling.BICUBIC).save(folder / "photos" / f"{number}.png")
    model = make(ModelConfig(name="small-narrow"), PHOTO)
    card = {"task": "multi-label", "eval_crop": 0.9, "generation": 2}
    checkpoint.save(folder / "model", model, card)
    middle = np.median(predict(folder / "model", folder / "photos").logits, 0)
    thresholds = {name: float(value) for name, value in zip(NAMES[:2], middle, strict=False)}
    checkpoint.save(folder / "model", model, card | {"thresholds": thresholds})
    export(folder / "model", folder / "exported", graphs=Graphs(onnx=True, images=folder / "photos"))
    return folder


def test_the_file_says_all_that_a_consumer_needs(exported):
    told = session(exported / "exported" / "model.onnx").get_modelmeta().custom_metadata_map
    card = checkpoint.load(exported / "model")[1]
    assert told["task"] == "multi-label" and json.loads(told["classes"]) == list(NAMES)
    assert json.loads(told["thresholds"]) == [*card["thresholds"].values(), 0.0]
    assert told["weights_hash"] == card["weights_hash"] and told["generation"] == "2"
    seen = {"kind": "image", "size": 24, "channels": 3, "crop": 0.9, "interpolation": "bicubic", "range": [0, 1]}
    assert json.loads(told["input"]) == seen


def test_the_example_of_the_docs_decides_as_predict_does(exported, monkeypatch):
    """Without labelwise and torch: the code of the page, run as it stands."""
    code = PAGE.read_text().partition("```python\nimport json\n")[2].partition("```")[0]
    expected = predict(exported / "model", exported / "photos")
    monkeypatch.chdir(exported)
    monkeypatch.setitem(sys.modules, "torch", None)
    found: dict[str, Any] = {}
    exec("import json\n" + code, found)
    decided = {name: found["positive_of"](exported / "photos" / name) for name in expected.ids}
    assert decided == {
        name: [NAMES[k] for k in np.flatnonzero(row)] for name, row in zip(expected.ids, expected.positive, strict=True)
    }
    assert 0 < sum(map(len, decided.values())) < 24


@given(st.floats(-50, 50), st.integers(-3, 3))
def test_a_threshold_in_float32_decides_as_the_one_in_float64(threshold, steps):
    single = formats._at_least(np.array([threshold]))
    logit = np.float32(threshold)
    for _ in range(abs(steps)):
        logit = np.nextafter(logit, np.float32(np.inf if steps > 0 else -np.inf))
    assert single.dtype == np.float32 and (logit >= single[0]) == (float(logit) >= threshold)


class Stubborn(nn.Module):
    """Counts its batch in Python, which no graph sees."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.mean((2, 3)) * len(x))


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        (Graphs(exported=True), r"model\.pt2: .*:Stubborn cannot be written as exported: "),
        (Graphs(torchscript=True), r"model\.ts: .*as torchscript: its outputs are [\d.]+ away from the network's"),
    ],
)
def test_a_network_that_no_graph_can_hold(tmp_path, graphs, message):
    model = make(ModelConfig(name=f"{__name__}:Stubborn"), PHOTO)
    with pytest.raises(ModelError, match=message) as error:
        write_graphs(tmp_path, model, {}, graphs)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_the_command_says_how_far_the_files_are(exported, labelwise, tmp_path):
    done = labelwise("export", exported / "model", "--out", tmp_path / "out", "--torchscript")
    assert done.code == 0 and not done.err and "model.ts: at most 0.0e+00 from the network" in done.out
    done = labelwise("export", exported / "model", "--out", tmp_path / "out", "--images", exported / "photos")
    assert done.code == 1 and done.err[0].startswith("error: --images: they check what --onnx")


def test_packages_that_are_missing_are_named_before_anything_is_written(exported, tmp_path, monkeypatch):
    from labelwise.export.network import export

    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match=r"--onnx: needs the package onnxscript: pip install 'labelwise\[onnx\]'"):
        export(exported / "model", tmp_path / "out", graphs=Graphs(onnx=True))
    assert not list(tmp_path.iterdir())
