"""Networks for images of 32 to 64 pixels: the size of their last map, and that checkpoints know the form."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.export.network import export
from labelwise.models import checkpoint, zoo
from labelwise.models.boost import feature_map
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.settings import changed

CLASSES = ("a", "b", "c")
NARROW = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 32]}
NETWORKS = [
    ("resnet18", NARROW),
    ("resnet50", NARROW),
    ("resnet10t", {"channels": [8, 16, 16, 32], "stem_width": 8}),
    ("test_resnet", {}),
    ("torchvision/resnet18", {}),
    ("paper-alexnet", {"width": 0.1}),
    ("paper-vgg16", {"width": 0.1}),
    ("paper-vgg19", {"width": 0.1}),
    ("paper-mobilenet", {"width": 0.1}),
    ("paper-darknet19", {"width": 0.1}),
    ("paper-xnor-resnet50", {"width": 0.1, "blocks": [1, 1, 1, 1]}),
]


def images(size: int, channels: int = 3) -> InputSpec:
    return InputSpec("image", size, channels, (0.4,) * channels, (0.2,) * channels)


def build(name: str, spec: InputSpec, small: bool = True, **args: object) -> Classifier:
    torch.manual_seed(0)
    return zoo.build(ModelConfig(name=name, args=args, small_images=small), CLASSES, spec)


@pytest.mark.parametrize(("name", "args"), NETWORKS, ids=[name for name, _ in NETWORKS])
@torch.no_grad()
def test_32_and_64_pixels(name, args):
    for size, side in ((32, 4), (64, 8)):
        model = build(name, images(size), **args).eval()
        x = torch.rand(2, 3, size, size)
        assert model(x).shape == (2, 3)
        assert feature_map(model.net, x).shape[2:] == (side, side)


@pytest.mark.parametrize(("name", "args"), NETWORKS, ids=[name for name, _ in NETWORKS])
@torch.no_grad()
def test_a_checkpoint_knows_the_form(tmp_path, name, args):
    model = build(name, images(32, 3), **args)
    model.train()(torch.rand(8, 3, 32, 32))
    checkpoint.save(tmp_path, model.eval(), {})
    assert json.loads((tmp_path / "model.json").read_text())["network"] == {
        "name": name,
        "args": args,
        "small_images": True,
    }
    again, _ = checkpoint.load(tmp_path)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(x), model(x)) and again.network == copy.deepcopy(model).network
    done = export(tmp_path, tmp_path / "out")  # compares logits itself
    assert not done.timm and torch.equal(checkpoint.load(done.folder)[0].eval()(x), model(x))


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18", "torchvision/resnet50"])
def test_resnets_lose_their_first_stride_and_pooling(name):
    with torch.device("meta"):
        plain, small = build(name, images(32), small=False).net, build(name, images(32)).net
    changed = {key for key, value in plain.state_dict().items() if small.state_dict()[key].shape != value.shape}
    assert changed == {"conv1.weight"} and plain.state_dict().keys() == small.state_dict().keys()
    assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(small.maxpool, nn.Identity)


def test_a_deep_stem_keeps_its_three_convolutions():
    plain, small = build("resnet10t", images(32), small=False).net, build("resnet10t", images(32)).net
    assert [m.stride for m in small.conv1 if isinstance(m, nn.Conv2d)] == [(1, 1)] * 3
    assert [v.shape for v in small.state_dict().values()] == [v.shape for v in plain.state_dict().values()]


def test_grey_images():
    assert build("resnet18", images(32, 1), **NARROW).net.conv1.in_channels == 1
    assert build("paper-xnor-resnet50", images(32, 1), width=0.1).net.features[0].in_channels == 1


@pytest.mark.parametrize("name", ["small-narrow", "small-wide", "small-resnet", "mlp"])
def test_networks_of_one_form(name):
    spec = InputSpec("features", 5, 1, (0.0,) * 5, (1.0,)) if name == "mlp" else images(32)
    with pytest.raises(ModelError, match=f"model.small_images: {name} has one form for all sizes of images"):
        build(name, spec)


@pytest.mark.parametrize("name", ["test_vit", "efficientnet_lite0", "torchvision/vgg16_bn", "resnetv2_50"])
def test_networks_of_the_libraries_without_the_form(name):
    with pytest.raises(ModelError, match=f"model.small_images: {name} has no form for small images") as error:
        with torch.device("meta"):
            build(name, images(32))
    assert "\n" not in str(error.value)


def test_pretrained_weights_are_of_the_other_form():
    with pytest.raises(ModelError, match="pretrained weights of resnet18 are not of its form for small_images"):
        zoo.build(ModelConfig(name="resnet18", init="pretrained", small_images=True), CLASSES, images(32))


def test_the_user_s_own_network_may_have_the_form(tmp_path, monkeypatch):
    (tmp_path / "own_form.py").write_text(
        "from torch import nn\n\n\n"
        "def net(num_classes, in_channels, small_images=False):\n"
        "    conv = nn.Conv2d(in_channels, 4, 3, 1 if small_images else 4)\n"
        "    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert build("own_form:net", images(32)).net[0].stride == (1, 1)
    assert build("own_form:net", images(32), small=False).net[0].stride == (4, 4)


def test_the_option_is_no_news_where_it_is_off():
    """Fingerprints are made of what is changed."""
    assert changed(ModelConfig(name="resnet18", small_images=False)) == changed(ModelConfig(name="resnet18"))
    assert build("resnet18", images(32), small=False, **NARROW).network == {"name": "resnet18", "args": NARROW}


# the ResNet for 32 px


@torch.no_grad()
def test_resnet_20():
    model = zoo.build(ModelConfig(name="small-resnet"), tuple("abcdefghij"), images(32))
    assert zoo.parameter_count(model.net) == 269_722
    assert sum(isinstance(m, nn.Conv2d) for m in model.net.modules()) + 1 == 20
    x = torch.rand(2, 3, 32, 32)
    assert model.eval()(x).shape == (2, 10) and feature_map(model.net, x).shape == (2, 64, 8, 8)
    assert model.net.features[-1].body[0].out_channels == 64


@torch.no_grad()
def test_its_shortcut_is_every_other_pixel_and_zeros():
    block = zoo.build(ModelConfig(name="small-resnet", args={"blocks": 1}), CLASSES, images(32)).net.features[4].eval()
    block.body[-1].weight.zero_()
    x = torch.randn(2, 16, 8, 8)
    expected = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 16, 4, 4)], 1)
    torch.testing.assert_close(block(x), F.relu(expected))


@pytest.mark.parametrize("args", [{"blocks": 0}, {"width": 0}])
def test_its_arguments(args):
    with pytest.raises(ModelError, match=r"model\.args of small-resnet: blocks and width are at least 1"):
        zoo.build(ModelConfig(name="small-resnet", args=args), CLASSES, images(32))
