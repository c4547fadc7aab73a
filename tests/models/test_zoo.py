"""Networks by name, and one clear error for every way to get one wrong."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.models.classifier import IMAGENET_MEAN, Classifier, InputSpec

CLASSES = tuple("abcdefghij")
RGB = InputSpec("image", 32, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
GREY = InputSpec("image", 16, 1, (0.3,), (0.2,))
EMBEDDED = InputSpec("features", 20, 1, (0.5,) * 20, (2.0,))


def build(name: str, spec: InputSpec = RGB, init: str = "random", **args: object) -> Classifier:
    return zoo.build(ModelConfig(name=name, init=init, args=args), CLASSES, spec)


def error_of(name: str, spec: InputSpec = RGB, init: str = "random", **args: object) -> str:
    with pytest.raises(ModelError) as caught:
        build(name, spec, init, **args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def forward(model: Classifier) -> torch.Tensor:
    spec = model.spec
    shape = (2, spec.size) if spec.kind == "features" else (2, spec.channels, spec.size, spec.size)
    return model.eval()(torch.rand(shape))


def conv_count(widths: list[int], channels: int, classes: int) -> int:
    convolutions = sum(9 * a * b for a, b in zip([channels, *widths], widths, strict=False))
    return convolutions + 2 * sum(widths) + (widths[-1] + 1) * classes


@pytest.mark.parametrize(
    ("name", "widths", "about"), [("small-narrow", [16, 32, 64], 24e3), ("small-wide", [32, 64, 128, 128], 242e3)]
)
def test_small_networks_have_the_promised_size(name, widths, about):
    model = build(name)
    count = zoo.parameter_count(model.net)
    assert count == conv_count(widths, 3, 10) and count == pytest.approx(about, rel=0.02)
    assert zoo.parameter_count(build(name, GREY).net) == conv_count(widths, 1, 10)
    assert zoo.parameter_count(build(name, norm="group").net) == count
    assert not list(build(name, norm="group").net.buffers())
    assert forward(model).shape == (2, 10)


def test_mlp():
    model = build("mlp", EMBEDDED, hidden=8, layers=2)
    assert zoo.parameter_count(model.net) == 20 * 8 + 16 + 8 * 8 + 16 + 9 * 10
    assert forward(model).shape == (2, 10)


def test_names_and_data_must_fit():
    assert "embeddings" in error_of("small-wide", EMBEDDED) and "mlp" in error_of("resnet10t", EMBEDDED)
    assert "mlp takes embeddings" in error_of("mlp")


@pytest.mark.parametrize("spec", [RGB, GREY], ids=["rgb", "grey"])
def test_timm(spec):
    model = build("test_resnet", spec)
    assert forward(model).shape == (2, 10)
    assert model.spec == spec  # random weights follow the data


def test_timm_transformers_keep_their_size():
    model = build("test_vit", RGB)
    assert model.spec.size == 160 and model.spec.mean == RGB.mean
    assert forward(model).shape == (2, 10)


def test_torchvision():
    model = build("torchvision/squeezenet1_1", InputSpec("image", 64, 3, (0.5,) * 3, (0.2,) * 3))
    assert forward(model).shape == (2, 10)
    assert "RGB" in error_of("torchvision/squeezenet1_1", GREY)
    assert "did you mean squeezenet1_1" in error_of("torchvision/squeezenet11")


def test_import_path_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "their_networks.py").write_text(
        "from torch import nn\n"
        "def tiny(num_classes, in_channels, width=4):\n"
        "    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, width, 3), pool, nn.Linear(width, num_classes))\n"
        "value = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = build("their_networks:tiny", width=6)
    assert forward(model).shape == (2, 10) and model.net[0].out_channels == 6 and model.spec == RGB
    assert "no attribute 'small'" in error_of("their_networks:small")
    assert "not a function" in error_of("their_networks:value")
    assert "depth" in error_of("their_networks:tiny", depth=3)
    assert "cannot be imported" in error_of("no_such_module:f") and "cannot be imported" in error_of(":f")


def test_unknown_names_are_answered_with_a_suggestion():
    assert "small-narrow" in error_of("small-narow")
    assert "did you mean" in error_of("resnet1") and "resnet10t" in error_of("resnet10tt")
    assert "no network called 'qqqqqqqqqq'" in error_of("qqqqqqqqqq")


def test_arguments_that_are_refused():
    assert "model.args of small-narrow" in error_of("small-narrow", depth=3)
    assert "model.args of test_resnet" in error_of("test_resnet", no_such_argument=1)
    assert "model.args of torchvision/squeezenet1_1" in error_of("torchvision/squeezenet1_1", no_such_argument=1)
    assert "norm is batch or group, not 'instance'" in error_of("small-wide", norm="instance")
    assert "norm is batch or layer" in error_of("mlp", EMBEDDED, norm="group")


def test_own_networks_have_no_pretrained_weights():
    assert "no pretrained weights of small-wide" in error_of("small-wide", init="pretrained")


def test_pretrained_without_a_network_is_one_clear_line(monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("Max retries\nexceeded")

    monkeypatch.setattr(timm, "create_model", offline)
    message = error_of("resnet10t", init="pretrained")
    assert "resnet10t could not be fetched from the Hugging Face hub" in message and "model.init=PATH" in message

    def no_route(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torchvision.models, "get_model", no_route)
    assert "download.pytorch.org" in error_of("torchvision/resnet18", init="pretrained")


def test_pretrained_in_real_offline_mode(tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "could not be fetched" in error_of("test_resnet", init="pretrained")


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_pretrained_torchvision_gets_an_output_per_class(name, monkeypatch):
    real = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: real(name, weights=None))
    model = build(f"torchvision/{name}", InputSpec("image", 64, 3, (0.5,) * 3, (0.2,) * 3), init="pretrained")
    assert forward(model).shape == (2, 10) and model.spec.mean == IMAGENET_MEAN


def test_normalisation_and_grey_views_on_a_network_of_colours():
    torch.manual_seed(0)
    spec = InputSpec("image", 8, 3, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    model = Classifier(nn.Flatten(), spec, CLASSES, "flat", {})
    x = torch.rand(2, 3, 8, 8)
    expected = (x - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1)
    torch.testing.assert_close(model(x), expected.flatten(1))
    grey = x[:, :1]
    torch.testing.assert_close(model(grey), model(grey.repeat(1, 3, 1, 1)))
    features = Classifier(nn.Identity(), EMBEDDED, CLASSES, "same", {})
    torch.testing.assert_close(features(torch.ones(2, 20)), torch.full((2, 20), 0.25))


def test_channels_last_changes_nothing_but_the_layout():
    model, x = build("small-narrow").eval(), torch.rand(2, 3, 32, 32)
    before = model(x)
    model.use_channels_last()
    assert model.net.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-4)
