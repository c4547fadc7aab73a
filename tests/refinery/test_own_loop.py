"""``RefineryLabels`` in a loop of the user's own: any network, plain tensors, and what it can see is wrong."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from labelwise import RefineryLabels
from labelwise.config import ModelConfig
from labelwise.errors import DataError, LabelwiseError, ModelError
from labelwise.models import zoo
from labelwise.models.classifier import InputSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
NORMALISATION = {"mean": MEAN, "std": STD}


def own_network(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, outputs))


def images(*shape: int) -> Tensor:
    return torch.rand(shape or (4, 3, 16, 16), generator=torch.Generator().manual_seed(1))


def normalise(x: Tensor, mean: Any = MEAN, std: Any = STD) -> Tensor:
    return (x - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


def test_labels_of_any_network_are_its_probabilities() -> None:
    net = own_network().train()
    labels = RefineryLabels(net, ("a", "b", "c"), **NORMALISATION)
    found = labels(images())
    with torch.no_grad():
        torch.testing.assert_close(found, torch.softmax(net(normalise(images())), 1))
    assert not found.requires_grad and not net.training and not any(p.requires_grad for p in net.parameters())


def test_a_timm_model_says_itself_what_it_takes() -> None:
    net = timm.create_model("test_resnet", num_classes=3).eval()
    found = RefineryLabels(net, 3)(images(2, 3, 32, 32))
    config = net.pretrained_cfg
    with torch.no_grad():
        expected = torch.softmax(net(normalise(images(2, 3, 32, 32), config["mean"], config["std"])), 1)
    torch.testing.assert_close(found, expected)


def test_a_stated_normalisation_is_undone() -> None:
    raw = RefineryLabels(own_network(), 3, **NORMALISATION)(images())
    other = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    stated = RefineryLabels(own_network(), 3, **NORMALISATION, normalised=other)
    torch.testing.assert_close(stated(normalise(images(), *other)), raw, atol=1e-5, rtol=1e-4)


def test_pixels_as_bytes_are_those_in_0_to_1() -> None:
    pixels = (images() * 255).round()
    labels = RefineryLabels(own_network(), 3, **NORMALISATION)
    torch.testing.assert_close(labels(pixels.byte()), labels(pixels / 255))


def test_a_size_of_both_sides() -> None:
    labels = RefineryLabels(own_network(), 3, **NORMALISATION, size=16)
    torch.testing.assert_close(labels(images()), RefineryLabels(own_network(), 3, **NORMALISATION)(images()))
    for shape in ((4, 3, 15, 16), (4, 3, 16, 15)):
        with pytest.raises(DataError, match=r"takes images of 16 px, got \(1[56], 1[56]\)"):
            labels(images(*shape))


def test_several_networks_have_the_mean_label_and_multi_label_ones_sigmoids() -> None:
    one, two = own_network(), own_network()
    with torch.no_grad():
        two[5].weight.mul_(-20)
    alone = [RefineryLabels(net, 3, **NORMALISATION)(images()) for net in (one, two)]
    both = RefineryLabels([one, two], 3, **NORMALISATION)(images())
    torch.testing.assert_close(both, torch.stack(alone).mean(0))
    several = RefineryLabels(one, 3, **NORMALISATION, multi_label=True)(images())
    with torch.no_grad():
        torch.testing.assert_close(several, torch.sigmoid(one(normalise(images()))))


def test_a_network_of_labelwise_brings_its_classes_in_any_order() -> None:
    spec = InputSpec("image", 8, 3, MEAN, STD)
    model = zoo.build(ModelConfig(name="small-narrow"), ("a", "b", "c"), spec)
    own = RefineryLabels(model)(images())
    torch.testing.assert_close(RefineryLabels(model, ("c", "a", "b"))(images()), own[:, [2, 0, 1]])
    with pytest.raises(ModelError, match=r"has other classes than the data \(3 against 2; it has 'c'\)"):
        RefineryLabels(model, ("a", "b"))


def test_embeddings_and_outputs_with_logits() -> None:
    spec = InputSpec("features", 5, 1, (0.0,) * 5, (1.0,))
    labels = RefineryLabels(zoo.build(ModelConfig(name="mlp"), ("a", "b"), spec))
    assert labels(torch.randn(4, 5)).shape == (4, 2)
    with pytest.raises(DataError, match=r"mlp takes embeddings \(B, 5\), got \(4, 6\)"):
        labels(torch.randn(4, 6))

    class Wrapped(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return SimpleNamespace(logits=x.mean((2, 3)))

    torch.testing.assert_close(
        RefineryLabels(Wrapped(), 3, **NORMALISATION)(images()), torch.softmax(normalise(images()).mean((2, 3)), 1)
    )


REFUSED: dict[str, tuple[Callable[[], Tensor], str]] = {
    "normalised": (lambda: normalise(images()), r"raw pixels must lie in \[0, 1\], these lie in \[-"),
    "floats up to 255": (lambda: images() * 255, r"must lie in \[0, 1\].*pass raw pixels"),
    "NaN": (lambda: images() * np.nan, r"these lie in \[nan, nan\]"),
    "integers": (lambda: (images() * 255).long(), "uint8 in 0..255 or floats in .*, got torch.int64"),
    "grey and alpha": (lambda: images(4, 2, 16, 16), r"takes images \(B, 3, H, W\), got \(4, 2, 16, 16\)"),
    "channels last": (lambda: images(4, 16, 16, 3), r"takes images \(B, 3, H, W\), got \(4, 16, 16, 3\)"),
    "one image": (lambda: images(3, 16, 16), r"takes images \(B, 3, H, W\), got \(3, 16, 16\)"),
    "too small": (lambda: images(4, 3, 2, 2), r"cannot take \(4, 3, 2, 2\) inputs"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_images_that_are_not_as_stated(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(LabelwiseError, match=message) as error:
        RefineryLabels(own_network(), 3, **NORMALISATION)(make())
    assert "\n" not in str(error.value)


def test_raw_pixels_where_a_normalisation_is_stated() -> None:
    labels = RefineryLabels(own_network(), 3, **NORMALISATION, normalised=((0.9,) * 3, (0.5,) * 3))
    with pytest.raises(DataError, match=r"with their normalisation undone, must lie in \[0, 1\]"):
        labels(images())
    with pytest.raises(DataError, match="normalised images must be floats of 3 channels"):
        labels(images().mul(255).byte())


def test_networks_that_are_not_as_stated() -> None:
    with pytest.raises(ModelError, match="Sequential does not say how its input is normalised; give mean and std"):
        RefineryLabels(own_network(), 3)
    with pytest.raises(ModelError, match="Sequential does not name its classes; give classes"):
        RefineryLabels(own_network(), **NORMALISATION)
    with pytest.raises(ModelError, match=r"gives logits \(4, 5\), expected 3 classes"):
        RefineryLabels(own_network(5), 3, **NORMALISATION)(images())
    with pytest.raises(ModelError, match="std above 0"):
        RefineryLabels(own_network(), 3, mean=MEAN, std=(0.1, 0.0, 0.1))
    with pytest.raises(ModelError, match="at least one network"):
        RefineryLabels([], 3)
    broken = own_network()
    with torch.no_grad():
        broken[0].weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="answers with NaN; are its weights"):
        RefineryLabels(broken, 3, **NORMALISATION)(images())
    with pytest.raises(ModelError, match="unseen needs to know the samples; call it with a Batch"):
        RefineryLabels(own_network(), 3, **NORMALISATION, unseen=np.zeros(4, dtype=np.int64))(images())


def test_a_network_of_one_size() -> None:
    labels = RefineryLabels(own_network(), 3, **NORMALISATION, size=32)
    assert labels.sizes == (32,)
    with pytest.raises(DataError, match=r"takes images of 32 px, got \(16, 16\); resize them"):
        labels(images())
    fixed = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    with pytest.raises(ModelError, match=r"cannot take \(4, 3, 16, 16\) inputs"):
        RefineryLabels(fixed, 3)(images())
