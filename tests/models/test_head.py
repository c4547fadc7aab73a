"""The head of any network is found by running it; what is not one linear layer is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.models.classifier import InputSpec, as_classifier
from labelwise.models.head import split_head

B, K = 2, 5
IMAGE = InputSpec("image", 32, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
EMBEDDING = InputSpec("features", 7, 1, (0.0,) * 7, (1.0,))


class Backbone(nn.Module):
    """(B, 3, S, S) to (B, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean((2, 3))


class Net(Backbone):
    """A backbone, a linear head, and whatever a test puts behind it."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.head = nn.Linear(6, K, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.head(super().forward(x)))

    def behind(self, logits: Tensor) -> Tensor:
        return logits


@dataclass
class Output:
    """What networks of transformers return."""

    logits: Tensor
    hidden_states: None = None


class LikeTransformers(Net):
    def forward(self, pixel_values: Tensor) -> Output:
        return Output(super().forward(pixel_values))


def images(size: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(3, channels, size, size, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def check(net: nn.Module, spec: InputSpec, x: Tensor, path: str | None = None) -> None:
    """Split, and merge other heads of the same and of another number of categories."""
    split = split_head(net, spec)
    if path is not None:
        assert split.paths == (path,)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.eval()
    features, logits = split.features_and_logits(x)
    assert features.shape == (len(x), split.linear.in_features) and features.ndim == 2
    torch.testing.assert_close(features @ split.weight.T + split.bias, logits, atol=1e-5, rtol=1e-4)
    for categories in (K, 2):
        weight = torch.randn(categories, features.shape[1])
        bias = torch.randn(categories)
        merged = split.merge(weight, bias).eval()
        found = merged(x)
        found = getattr(found, "logits", found)
        torch.testing.assert_close(found, features @ weight.T + bias, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("test_resnet", "fc"),
        ("test_efficientnet", "classifier"),
        ("test_vit", "head"),
        ("test_convnext", "head.fc"),
        ("test_byobnet", "head.fc"),
        ("test_nfnet", "head.fc"),
        ("test_mambaout", None),
    ],
)
def test_timm(name, path):
    net = timm.create_model(name, num_classes=K)
    size = net.pretrained_cfg["input_size"][-1] if "vit" in name else 32
    check(net, InputSpec("image", size, 3, (0.0,) * 3, (1.0,) * 3), images(size), path)


@pytest.mark.parametrize(
    ("name", "path", "size"),
    [
        ("resnet18", "fc", 32),
        ("mobilenet_v3_small", "classifier.3", 32),
        ("densenet121", "classifier", 32),
        ("shufflenet_v2_x0_5", "fc", 32),
    ],
)
def test_torchvision(name, path, size):
    net = torchvision.models.get_model(name, weights=None, num_classes=K)
    check(net, IMAGE, images(size), path)


def test_torchvision_networks_with_hidden_layers_in_the_head():
    """The classifier of VGG and the head of a transformer, in small."""
    with torch.device("meta"):  # without the hundred million weights that are replaced
        vgg = torchvision.models.VGG(nn.Identity(), num_classes=K)
    vgg.features = nn.Sequential(nn.Conv2d(3, 512, 3), nn.AdaptiveAvgPool2d(7))
    vgg.classifier = nn.Sequential(nn.Linear(512 * 49, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, K))
    check(vgg, IMAGE, images(), "classifier.3")
    vit = torchvision.models.VisionTransformer(32, 16, 1, 2, 12, 24, num_classes=K)
    check(vit, IMAGE, images(), "heads.head")


@pytest.mark.parametrize("name", ["small-narrow", "paper-mobilenet"])
def test_our_own(name):
    model = zoo.build(ModelConfig(name=name), tuple("abcde"), IMAGE)
    check(model.net, IMAGE, images())
    check(model, IMAGE, images())  # behind its normalisation


def test_embeddings():
    model = zoo.build(ModelConfig(name="mlp"), tuple("abcde"), EMBEDDING)
    check(model, EMBEDDING, torch.rand(3, 7))
    linear = nn.Linear(7, K)
    check(linear, EMBEDDING, torch.rand(3, 7), "")


def test_outputs_with_logits():
    check(LikeTransformers(), IMAGE, images(), "head")


def test_a_head_without_bias_gets_one():
    net = Net(bias=False)
    split = split_head(net, IMAGE)
    assert split.bias.tolist() == [0.0] * K
    assert net.head.bias is None
    check(net, IMAGE, images(), "head")


def test_a_head_that_is_registered_twice_is_replaced_everywhere():
    class Twice(Net):
        def __init__(self) -> None:
            super().__init__()
            self.alias = self.head

        def forward(self, x: Tensor) -> Tensor:
            return self.alias(Backbone.forward(self, x))

    net = Twice()
    assert set(split_head(net, IMAGE).paths) == {"head", "alias"}
    check(net, IMAGE, images())


def test_a_head_with_as_many_outputs_as_inputs_behind_another():
    """Several layers have the right shape; only the last one's output is the network's."""
    net = nn.Sequential(Backbone(), nn.Linear(6, K), nn.ReLU(), nn.Linear(K, K), nn.Tanh(), nn.Linear(K, K))
    check(net, IMAGE, images(), "5")


def test_modes_and_the_example():
    net = Net()
    net.train()
    net.conv.eval()
    split_head(net, torch.rand(4, 3, 20, 20))
    assert net.training and net.head.training and not net.conv.training
    assert not net.head._forward_hooks and not net.head._forward_pre_hooks


def behind(function):
    class Changed(Net):
        def behind(self, logits: Tensor) -> Tensor:
            return function(logits)

    return Changed()


class Distilled(Net):
    """Mean of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(6, K)

    def forward(self, x: Tensor) -> Tensor:
        features = Backbone.forward(self, x)
        return (self.head(features) + self.other(features)) / 2


class Cosine(Net):
    """Cosine similarity to class vectors, scaled."""

    def forward(self, x: Tensor) -> Tensor:
        features = functional.normalize(Backbone.forward(self, x))
        return 10 * functional.linear(features, functional.normalize(self.head.weight))


class Adapted(nn.Linear):
    """A linear layer that does more than its weight says."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.sum(1, keepdim=True)


class Dense(Net):
    """Logits of every place."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(2).transpose(1, 2))


class Pooled(Net):
    """A linear layer on every place, then the mean: linear, but not on one vector per sample."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(2).transpose(1, 2)).mean(1)


def with_head(head: nn.Module) -> nn.Module:
    net = Net()
    net.head = head
    return net


@pytest.mark.parametrize(
    "net",
    [
        behind(lambda logits: logits.softmax(1)),
        behind(lambda logits: logits.softmax(1).log()),
        behind(lambda logits: logits / 1.0001),
        behind(lambda logits: logits.clamp(-50, 50)),  # leaves the probe's logits as they are
        behind(lambda logits: 30 * torch.tanh(logits / 30)),
        behind(lambda logits: logits.clone().relu_()),
        Distilled(),
        Cosine(),
        with_head(Adapted(6, K)),
        with_head(nn.Sequential(nn.Linear(6, K), nn.BatchNorm1d(K))),
        Dense(),
        Pooled(),
        nn.Sequential(Backbone(), nn.Flatten()),
    ],
    ids=[
        "softmax",
        "log",
        "temperature",
        "clamp",
        "cap",
        "relu",
        "two",
        "cosine",
        "adapted",
        "norm",
        "dense",
        "pooled",
        "none",
    ],
)
def test_other_heads_are_refused(net):
    with pytest.raises(
        ModelError, match=r"^my network: its head is not one linear layer.*last layers are .*\w \(\w+\)"
    ):
        split_head(net, IMAGE, "my network")


@pytest.mark.parametrize("name", ["squeezenet1_1"])
def test_a_convolution_as_head_is_refused(name):
    net = torchvision.models.get_model(name, weights=None, num_classes=K)
    with pytest.raises(ModelError, match=r"SqueezeNet: .*classifier\.1 \(Conv2d\)"):
        split_head(net, IMAGE)


def test_distilled_deit_is_refused():
    net = timm.create_model(
        "deit_tiny_distilled_patch16_224", num_classes=K, img_size=32, embed_dim=12, depth=1, num_heads=2
    )
    with pytest.raises(ModelError, match="not one linear layer"):
        split_head(net, IMAGE)


def test_networks_that_cannot_be_asked():
    class Boxes(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"boxes": super().forward(x)}

    with pytest.raises(ModelError, match="Boxes: the network returns dict, expected a tensor"):
        split_head(Boxes(), IMAGE)
    with pytest.raises(ModelError, match=r"grey: cannot run on an input of shape \(2, 1, 32, 32\)"):
        split_head(Net(), InputSpec("image", 32, 1, (0.5,), (0.2,)), "grey")


def test_heads_that_do_not_fit():
    split = split_head(Net(), IMAGE)
    for weight, bias in ((torch.zeros(K, 7), torch.zeros(K)), (torch.zeros(K, 6), torch.zeros(4))):
        with pytest.raises(ModelError, match="does not fit a backbone of 6 features"):
            split.merge(weight, bias)


def test_merging_keeps_precision_and_device():
    split = split_head(Net().to(torch.bfloat16), torch.rand(2, 3, 8, 8, dtype=torch.bfloat16))
    assert split.weight.dtype == torch.float32
    merged = split.merge(torch.zeros(4, 6), torch.ones(4))
    assert merged.head.weight.dtype == torch.bfloat16
    assert merged(torch.rand(1, 3, 8, 8, dtype=torch.bfloat16)).tolist() == [[1.0] * 4]


class Answers(nn.Module):
    """A network that answers with an object, as transformers' classifiers do."""

    def __init__(self, spatial: bool = False) -> None:
        super().__init__()
        self.net, self.spatial = nn.Conv2d(3, 5, 8), spatial

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        found = self.net(x)
        return SimpleNamespace(logits=found if self.spatial else found.flatten(1))


def test_a_classifier_takes_the_logits_out_of_an_object() -> None:
    net, x = Answers(), torch.rand(4, 3, 8, 8)
    classifier = as_classifier(net, tuple("abcde"), (0.0,) * 3, (1.0,) * 3)
    torch.testing.assert_close(classifier(x), net(x).logits)
    wrong = as_classifier(Answers(spatial=True), tuple("abcde"), (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(
        ModelError, match=r"Answers: gives logits of shape \(4, 5, 1, 1\), expected \(samples, classes\)"
    ):
        wrong(x)
