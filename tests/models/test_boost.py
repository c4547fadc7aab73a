"""BoostLU as a property of a network: by hand, and everything that a network goes through leaves it as it is."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelwise.config import ModelConfig, Recipe, load_recipe
from labelwise.errors import ConfigError, ModelError
from labelwise.models import zoo
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier, InputSpec

CLASSES = tuple("abcde")
GREY = InputSpec("image", 24, 1, (0.3,), (0.2,))
EMBEDDED = InputSpec("features", 20, 1, (0.5,) * 20, (2.0,))
NETWORKS = [
    ("small-narrow", 16),
    ("paper-mobilenet", 64),
    ("resnet18", 64),
    ("efficientnet_lite0", 64),
    ("torchvision/mobilenet_v2", 64),
    ("torchvision/resnet18", 64),
]


def colours(size: int) -> InputSpec:
    return InputSpec("image", size, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))


def build(name: str, spec: InputSpec, boost: float = 5.0, training: bool = True, **args: object) -> Classifier:
    torch.manual_seed(0)
    return zoo.build(ModelConfig(name=name, boost=boost, boost_training=training, args=args), CLASSES, spec)


def small(boost: float = 5.0, training: bool = True) -> Classifier:
    return build("small-narrow", GREY, boost, training, norm="group")


def views(spec: InputSpec) -> Tensor:
    return torch.rand(3, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "size"), NETWORKS)
@torch.no_grad()
def test_a_boost_of_one_is_the_network_itself(name, size):
    model, x = build(name, colours(size)).eval(), views(colours(size))
    boosted, boost = model(x), model.boost
    assert boost is not None and boost.alpha == 5
    model.boost = replace(boost, alpha=1.0)
    ordinary = model.net((x - model.mean) / model.std)
    torch.testing.assert_close(model(x), ordinary, atol=1e-5, rtol=1e-5)
    assert (boosted > ordinary + 1e-3 * ordinary.abs()).any() and (boosted >= ordinary - 1e-5).all()


@torch.no_grad()
def test_boosted_logits_by_hand():
    model, x = small().eval(), views(GREY)
    net = model.net
    features = net.features((x - 0.3) / 0.2).numpy()
    weight, bias = net.classifier.weight.numpy(), net.classifier.bias.numpy()
    assert features.shape == (3, 64, 3, 3)
    expected = np.zeros((3, 5))
    for b, c, i, j in np.ndindex(3, 5, 3, 3):
        score = features[b, :, i, j] @ weight[c] + bias[c]
        expected[b, c] += (5 * score if score > 0 else score) / 9
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-5)


def test_weights_and_their_names_are_those_of_the_network_without_it():
    model, plain = (build("resnet18", colours(64), boost) for boost in (5.0, 1.0))
    assert plain.boost is None and model.net.training
    assert list(model.net.state_dict()) == list(plain.net.state_dict())
    assert weights_hash(model.net) == weights_hash(plain.net)
    assert plain.network == {"name": "resnet18", "args": {}}
    assert model.network == {"name": "resnet18", "args": {}, "boost": 5.0, "boost_training": True}
    assert ModelConfig(**model.network).boost == 5


def test_in_evaluation_alone():
    model, always, plain, x = small(training=False), small(), small(boost=1.0), views(GREY)
    torch.testing.assert_close(model(x), plain(x))
    torch.testing.assert_close(model.eval()(x), always.eval()(x))
    assert not torch.equal(model(x), plain.eval()(x))


def test_every_weight_learns():
    """Or several processes would wait for gradients that never come."""
    model, x = small(), views(GREY)
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_gradient_checkpoints_change_nothing():
    gradients = []
    for checkpointed in (False, True):
        model = build("test_resnet", colours(64))
        model.net.set_grad_checkpointing(checkpointed)
        model.eval()(views(colours(64))).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_memory_format_and_precision():
    model, x = build("test_resnet", colours(64)).eval(), views(colours(64))
    expected = model(x)
    model.use_channels_last()
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(x).float(), expected, atol=0.05, rtol=0.05)


@torch.no_grad()
def test_a_copy_is_another_network():
    """Averaged weights are those of a copy."""
    model, x = small().eval(), views(GREY)
    before, other = model(x), copy.deepcopy(model)
    other.net.classifier.weight.mul_(2)
    torch.testing.assert_close(model(x), before)
    assert not torch.allclose(other(x), before)


# what has nothing to boost


@pytest.mark.parametrize(
    ("name", "spec", "what"),
    [
        ("mlp", EMBEDDED, "takes embeddings, which have no positions"),
        ("test_vit", colours(160), "not the mean of a feature map"),
        ("test_convnext", colours(64), "not the mean of a feature map"),  # a norm behind the pooling
        ("mobilenetv3_small_050", colours(64), "not the mean of a feature map"),  # a layer behind the pooling
        ("torchvision/shufflenet_v2_x0_5", colours(64), "not the mean of a feature map"),
        ("paper-darknet19", colours(64), "its head is not one linear layer"),
        ("resnet18", colours(32), "of 32 px has one position; set a larger views.size"),
    ],
)
def test_refused_in_one_line(name, spec, what):
    with pytest.raises(ModelError, match=f"^model.boost: {name}.*{what}") as caught:
        build(name, spec)
    assert "\n" not in str(caught.value)


def test_a_pooling_that_is_no_mean(monkeypatch):
    """Only running the network tells."""

    class Highest(nn.Module):
        def __init__(self, classes: int, channels: int) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(channels, 6, 3), nn.Linear(6, classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).amax((2, 3)))

    monkeypatch.setitem(zoo.OWN, "highest", Highest)
    with pytest.raises(ModelError, match=r"highest: .* not the mean of a feature map"):
        build("highest", GREY)
    assert build("highest", GREY, boost=1.0).boost is None


@pytest.mark.parametrize("alpha", ["0.5", "-1", ".inf", ".nan", "five"])
def test_options(alpha):
    with pytest.raises(ConfigError, match=r"model\.boost"):
        load_recipe(None, [f"model.boost={alpha}"])
    assert Recipe().model.boost == 1
