"""Networks of the Label Refinery paper: the published sizes, and arguments that are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import paper, zoo
from labelwise.models.classifier import Classifier, InputSpec

IMAGENET = tuple(map(str, range(1000)))
RGB = InputSpec("image", 224, 3, (0.5,) * 3, (0.2,) * 3)


def build(name: str, classes: tuple[str, ...] = IMAGENET, spec: InputSpec = RGB, **args: object) -> Classifier:
    return zoo.build(ModelConfig(name=name, args=args), classes, spec)


def convolutions(blocks: list[list[tuple[int, int]]], channels: int) -> int:
    """Weights of convolutions (outputs, kernel) and of their norms."""
    count = 0
    for outputs, kernel in [layer for block in blocks for layer in block]:
        count += channels * outputs * kernel**2 + 2 * outputs
        channels = outputs
    return count


DARKNET = convolutions(
    [
        [(32, 3)],
        [(64, 3)],
        [(128, 3), (64, 1), (128, 3)],
        [(256, 3), (128, 1), (256, 3)],
        [(512, 3), (256, 1), (512, 3), (256, 1), (512, 3)],
        [(1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3)],
    ],
    3,
)
VGG_NORMS = 2 * 2 * 4096  # scale and shift behind the two hidden layers; the rest is as torchvision counts it


@pytest.mark.parametrize(
    ("name", "args", "count"),
    [
        ("paper-alexnet", {}, 62_396_480),
        ("paper-vgg16", {}, 138_365_992 + VGG_NORMS),
        ("paper-vgg19", {}, 143_678_248 + VGG_NORMS),
        ("paper-vgg19", {"dropout": 0.5}, 143_678_248 + VGG_NORMS),
        ("torchvision/resnet18", {}, 11_689_512),
        ("torchvision/resnet34", {}, 21_797_672),
        ("torchvision/resnet50", {}, 25_557_032),
        ("resnet50", {}, 25_557_032),
        ("paper-mobilenet", {}, 4_231_976),
        ("paper-mobilenet", {"width": 0.75}, 2_585_560),
        ("paper-mobilenet", {"width": 0.5}, 1_331_592),
        ("paper-mobilenet", {"width": 0.25}, 470_072),
        ("paper-darknet19", {}, DARKNET + 1024 * 1000 + 1000),
    ],
)
def test_published_sizes(name, args, count):
    with torch.device("meta"):  # shapes without numbers
        model = build(name, **args)
        assert zoo.parameter_count(model.net) == count
        assert model.net(torch.empty(2, 3, 224, 224)).shape == (2, 1000)


def test_vgg_differs_from_torchvision_s_by_its_head_alone():
    """The same convolutions in the same order; norms in place of dropout behind the hidden layers."""
    with torch.device("meta"):
        ours = build("paper-vgg16").net
        theirs = build("torchvision/vgg16_bn").net
    kinds = [(type(m), getattr(m, "weight", torch.empty(0)).shape) for m in ours.layers]
    expected = [(type(m), getattr(m, "weight", torch.empty(0)).shape) for m in theirs.features]
    assert kinds[: len(expected)] == expected
    assert [kind for kind, _ in kinds[len(expected) :]] == [
        nn.AdaptiveAvgPool2d,
        nn.Flatten,
        *[nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout] * 2,
        nn.Linear,
    ]
    assert [m.p for m in ours.modules() if isinstance(m, nn.Dropout)] == [0, 0]


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19", "mobilenet", "darknet19"])
def test_width_multiplies_the_inner_channels(name):
    function = getattr(paper, name)
    with torch.device("meta"):
        whole, half = function(10, 3), function(10, 3, width=0.5)
    for large, small in zip(whole.parameters(), half.parameters(), strict=True):
        first, last = large.shape[1:2] == (3,), large.shape[0] == 10
        assert small.shape[0] == (10 if last else large.shape[0] // 2)
        if large.ndim > 1 and large.shape[1] > 1:  # all but depthwise filters
            assert small.shape[1] == (3 if first else large.shape[1] // 2)


@pytest.mark.parametrize("name", ["paper-alexnet", "paper-vgg16", "paper-darknet19", "paper-mobilenet"])
@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
def test_a_width_that_is_none(name, width):
    with pytest.raises(ModelError, match=f"model.args of {name}: width is above 0, not {width}"):
        build(name, width=width)


def test_a_tiny_width_keeps_a_channel():
    with torch.device("meta"):
        assert build("paper-mobilenet", width=1e-6).net.layers[0].out_channels == 1


def test_alexnet_takes_one_size():
    small = InputSpec("image", 32, 3, (0.5,) * 3, (0.2,) * 3)
    with pytest.raises(ModelError, match=r"paper-alexnet takes images of 224 px, not 32: set views\.size, or") as error:
        build("paper-alexnet", spec=small)
    assert "\n" not in str(error.value)
