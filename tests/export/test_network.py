"""What is exported loads into timm, torch and labelwise, and gives the logits that it should."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from helpers.cft_run_factory import make_cft_run
from helpers.results_file import write_results
from helpers.run_factory import make_run
from labelwise import cli
from labelwise.config import ModelConfig
from labelwise.errors import ConfigError, ModelError, RunError
from labelwise.export import network as module
from labelwise.export.network import export
from labelwise.features.file import read_features
from labelwise.models import checkpoint, zoo
from labelwise.models.backbone import ModelSource
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.results import CftResults, EnsembleResults, FeaturesResults, read_results_as

NAMES = ("cat", "dog", "fish")
SPEC = InputSpec("image", 32, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), "bicubic")
GREY = InputSpec("image", 32, 1, (0.4,), (0.2,))


def make(
    folder: Path, name: str = "test_resnet", spec: InputSpec = SPEC, classes: Any = NAMES, **args: Any
) -> Classifier:
    torch.manual_seed(1)
    model = zoo.build(ModelConfig(name=name, args=args), classes, spec)
    model.train()(
        torch.rand(8, spec.channels, *[model.spec.size] * 2) if spec.kind == "image" else torch.rand(8, spec.size)
    )
    checkpoint.save(folder, model.eval(), {"eval_crop": 0.9, "generation": 2})
    return model


def cft_run(
    folder: Path, dim: int, names: tuple[str, ...] = NAMES, **changes: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    weight, bias = torch.randn(len(names), dim), torch.randn(len(names))
    folder.mkdir()
    save_file({"weight": weight, "bias": bias}, folder / "head.safetensors")
    make_cft_run(folder, categories=list(names))
    results = read_results_as(folder, CftResults)
    write_results(folder, results.model_copy(update=changes))
    return weight, bias


def features_of(net: torch.nn.Module, arguments: dict[str, Any]) -> FeaturesResults:
    """What a folder of features tells of its network, which saw 24 px."""
    seen = InputSpec("image", 24, 3, (0.5,) * 3, (0.5,) * 3, "bicubic")
    known = {"weights_hash": checkpoint.weights_hash(net), "input": seen.to_json(), "eval_crop": 0.7}
    data = {"name": "photos", "data": "", "splits": {"fit": 9, "select": 0, "test": 0}, "rows": 9, "categories": 3}
    how = {"head": False, "precision": "fp16", "autocast": "no", "shards": 1, "largest_logit_difference": None}
    cost = {"seconds": 1.0, "images_per_second": 9.0}
    network = {"model": "test_resnet", "args": arguments, "dim": net.num_features}
    return FeaturesResults.model_validate({"kind": "features", **network, **known, **data, **how, **cost})


def images(channels: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(4, channels, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("name", "spec", "args"),
    [("test_resnet", SPEC, {}), ("test_efficientnet", GREY, {"drop_rate": 0.1}), ("test_vit", SPEC, {})],
)
@torch.no_grad()
def test_a_checkpoint_for_timm(tmp_path, name, spec, args):
    model = make(tmp_path / "model", name, spec, **args)
    done = export(tmp_path / "model", tmp_path / "out")
    assert done.timm and done.categories == NAMES and done.largest_difference < 1e-4
    plain = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    x = images(spec.channels, model.spec.size)
    torch.testing.assert_close(plain((x - model.mean) / model.std), model(x), atol=1e-5, rtol=1e-4)
    config = timm.data.resolve_model_data_config(plain)
    assert list(config["input_size"]) == [spec.channels, model.spec.size, model.spec.size]
    assert tuple(config["mean"]) == spec.mean and tuple(config["std"]) == spec.std
    assert config["crop_pct"] == 0.9 and config["interpolation"] == spec.interpolation
    assert plain.pretrained_cfg["label_names"] == list(NAMES)
    again, card = checkpoint.load(tmp_path / "out")
    torch.testing.assert_close(again.eval()(x), model(x), atol=1e-5, rtol=1e-4)
    assert again.classes == NAMES and card["generation"] == 2


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("small-narrow", SPEC),
        ("torchvision/shufflenet_v2_x0_5", SPEC),
        ("mlp", InputSpec("features", 4, 1, (0.0,) * 4, (1.0,))),
    ],
)
def test_other_networks_are_a_state_dict(tmp_path, name, spec):
    model = make(tmp_path / "model", name, spec)
    done = export(tmp_path / "model")
    assert done.folder == tmp_path / "model" / "export" and not done.timm
    assert sorted(file.name for file in done.folder.iterdir()) == ["model.json", "model.safetensors"]
    state = load_file(done.folder / "model.safetensors")
    assert state.keys() == model.net.state_dict().keys()
    model.net.load_state_dict(state)


@pytest.mark.parametrize("name", ["test_resnet", "small-narrow"])
@pytest.mark.parametrize("names", [("dog", "fish", "cat"), ("a", "b", "c", "d")])
@torch.no_grad()
def test_a_new_head_in_a_checkpoint(tmp_path, name, names):
    """The same categories in another order, or others altogether."""
    model = make(tmp_path / "model", name)
    head = model.net.fc if name == "test_resnet" else model.net.classifier
    weight, bias = cft_run(tmp_path / "cft", head.in_features, names)
    done = export(tmp_path / "cft", network=ModelSource(str(tmp_path / "model")))
    assert done.categories == names and done.folder == tmp_path / "cft" / "export"
    new, card = checkpoint.load(done.folder)
    assert new.classes == names and card["eval_crop"] == 0.9
    run = read_results_as(tmp_path / "cft", CftResults)
    assert card["thresholds"] == {one.name: one.threshold.value for one in run.categories[:-1] if one.threshold}
    assert len(card["thresholds"]) == len(names) - 1  # the last category has none
    export(done.folder, tmp_path / "again")
    assert checkpoint.load(tmp_path / "again")[1]["thresholds"] == card["thresholds"]
    features = []
    head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    x = images()
    model(x)
    torch.testing.assert_close(new.eval()(x), features[0] @ weight.T + bias, atol=1e-4, rtol=1e-4)
    if done.timm:
        plain = timm.create_model(f"local-dir:{done.folder}", pretrained=True).eval()
        torch.testing.assert_close(plain((x - model.mean) / model.std), new(x), atol=1e-5, rtol=1e-4)
        assert plain.pretrained_cfg["label_names"] == list(names)
    unchanged = checkpoint.load(tmp_path / "model")[0].eval()
    torch.testing.assert_close(unchanged(x), model(x))


def test_a_new_head_in_a_network_by_name(tmp_path):
    """It was trained on seven other classes; its features saw 24 px."""
    net = timm.create_model("test_resnet", num_classes=7)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    overlay = {"pretrained_cfg_overlay": {"mean": [0.1] * 3}}
    source = features_of(net, overlay)
    cft_run(tmp_path / "cft", net.num_features, features=source)
    done = export(tmp_path / "cft", tmp_path / "out", network=ModelSource("test_resnet", tmp_path / "w.safetensors"))
    assert done.timm and done.categories == NAMES
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_classes"] == 3 and config["model_args"] == {}
    expected = {"input_size": [3, 24, 24], "mean": [0.5] * 3, "crop_pct": 0.7, "interpolation": "bicubic"}
    assert expected.items() <= config["pretrained_cfg"].items()
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="test_resnet: not the weights that the features were made with"):
        export(tmp_path / "cft", tmp_path / "out", network=ModelSource("test_resnet", tmp_path / "w.safetensors"))


def test_a_network_with_weights_of_another_library(tmp_path, capsys):
    net = timm.create_model("test_resnet", num_classes=7)
    state = {f"_m{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(net.state_dict().items())}
    torch.save(state, tmp_path / "w.pt")
    source = features_of(net, {})
    cft_run(tmp_path / "cft", net.num_features, features=source)
    with pytest.raises(ModelError, match="--weights-by-order"):
        export(tmp_path / "cft", tmp_path / "out", ModelSource("test_resnet", tmp_path / "w.pt"))
    capsys.readouterr()
    export(tmp_path / "cft", tmp_path / "out", ModelSource("test_resnet", tmp_path / "w.pt", weights_by_order=True))
    assert "matched by order" in capsys.readouterr().err
    found = checkpoint.load(tmp_path / "out")[0].net.state_dict()
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items() if not key.startswith("fc."))


def test_a_head_that_does_not_fit(tmp_path):
    make(tmp_path / "model")
    cft_run(tmp_path / "cft", 11)
    with pytest.raises(ModelError, match=r"weight \(3, 11\) and bias \(3,\) does not fit a backbone of \d+ features"):
        export(tmp_path / "cft", network=ModelSource(str(tmp_path / "model")))


def test_a_network_whose_own_head_has_no_bias(tmp_path, monkeypatch):
    """Its constructor cannot hold the new head, so nothing could load it."""
    (tmp_path / "nobias.py").write_text(
        "from torch import nn\n\n\n"
        "def net(classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, classes, bias=False))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    make(tmp_path / "model", "nobias:net")
    cft_run(tmp_path / "cft", 4)
    with pytest.raises(ModelError, match=r"nobias:net cannot be built again with this head \(.*has an extra '3.bias'"):
        export(tmp_path / "cft", network=ModelSource(str(tmp_path / "model"), trust=True))


@pytest.mark.parametrize(
    ("changes", "tensors", "message"),
    [
        ({"categories": ()}, None, r"head\.safetensors: 3 outputs for the 0 categories of results"),
        ({}, {"weight": torch.zeros(3, 4)}, r"head\.safetensors: needs weight and bias, it has weight"),
        ({}, {"weight": torch.zeros(3, 4), "bias": torch.zeros(2)}, r"weight \(3, 4\) and bias \(2,\) are no head"),
        ({}, {}, r"head\.safetensors: no such file"),
    ],
)
def test_runs_that_hold_no_head(tmp_path, changes, tensors, message):
    cft_run(tmp_path / "cft", 4, **changes)
    if tensors == {}:
        (tmp_path / "cft" / "head.safetensors").unlink()
    elif tensors is not None:
        save_file(tensors, tmp_path / "cft" / "head.safetensors")
    with pytest.raises(RunError, match=message):
        export(tmp_path / "cft", network=ModelSource("test_resnet"))


def test_a_run_of_networks_names_its_checkpoints(tmp_path):
    make_run(tmp_path / "run", classes=list(NAMES), seeds=1, generations=2, epochs=2, pictures=False)
    with pytest.raises(RunError, match=r"several networks; name the checkpoint to export, one of seed-0/generation-1"):
        export(tmp_path / "run")
    scores = {"mean": 0.5, "scored": 1, "categories": (0.5,)}
    rows = ({"name": "a", "select": scores, "test": None},)
    ensemble = {"kind": "ensemble", "how": "rank", "objective": "ap", "rows": rows, "categories": ("cat",)}
    write_results(tmp_path, EnsembleResults.model_validate(ensemble))
    with pytest.raises(
        RunError, match="a run of `labelwise ensemble` holds no network; name a checkpoint or a CFT run"
    ):
        export(tmp_path)


def test_what_is_asked_for_must_make_sense(tmp_path):
    make(tmp_path / "model")
    with pytest.raises(ConfigError, match="is a checkpoint, a whole network"):
        export(tmp_path / "model", network=ModelSource("test_resnet"))
    cft_run(tmp_path / "cft", 4)
    with pytest.raises(ConfigError, match="holds a head; say --model CHECKPOINT"):
        export(tmp_path / "cft")
    with pytest.raises(ConfigError, match="needs either --weights FILE or --pretrained"):
        export(tmp_path / "cft", network=ModelSource("test_resnet"))
    with pytest.raises(RunError, match="there is no such folder"):
        export(tmp_path / "nothing", network=ModelSource("test_resnet"))


def test_a_copy_that_says_something_else_is_noticed(tmp_path, monkeypatch):
    model = make(tmp_path / "model")
    original = checkpoint.load

    def damaged(path: Path, trust: bool) -> Any:
        found, card = original(path, trust)
        if path != tmp_path / "model":
            torch.nn.init.zeros_(found.net.fc.weight)
        return found, card

    monkeypatch.setattr(module.checkpoint, "load", damaged)
    with pytest.raises(ModelError, match=r"logits are .* away from what they should be"):
        export(tmp_path / "model", tmp_path / "out")
    assert model.classes == NAMES


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Features with a head, a CFT run by hand, and the network back: the three commands fit together."""
    monkeypatch.setenv("COLUMNS", "300")
    make(tmp_path / "model")
    rng = np.random.default_rng(0)
    pixels, label = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), rng.integers(0, 2, (12, 3))
    np.savez(tmp_path / "data.npz", images=pixels, label=label, categories=np.array(NAMES), split=np.arange(12) % 3)

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["labelwise", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            cli.main()
        captured = capsys.readouterr()
        assert not captured.err
        return str(captured.out)

    out = call("features", tmp_path / "model", "--data", tmp_path / "data.npz", "--out", tmp_path / "f", "--quiet")
    assert "12 x 96 features (fp16) with its head" in out
    dim = read_features(tmp_path / "f").dim
    cft_run(tmp_path / "cft", dim, features=read_results_as(tmp_path / "f", FeaturesResults))
    out = call("export", tmp_path / "cft", "--model", tmp_path / "model", "--out", tmp_path / "out")
    assert "3 categories" in out and f'timm.create_model("local-dir:{tmp_path / "out"}", pretrained=True)' in out
    assert timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).num_classes == 3
