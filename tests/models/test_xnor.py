"""Binary convolutions: their values, their gradients by hand, and that a network of them learns."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.models.classifier import InputSpec
from labelwise.models.xnor import BinaryConv2d, XnorResNet, sign

RGB = InputSpec("image", 224, 3, (0.5,) * 3, (0.2,) * 3)
TINY = {"blocks": (1, 1), "width": 0.25}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tiny(classes: int = 4) -> XnorResNet:
    return XnorResNet(classes, 3, **TINY, small_images=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sign_has_two_values_and_a_clipped_gradient(dtype):
    values = torch.tensor([-7, -1.5, -1, -0.25, -0.125, 0, 0.25, 1, 1.5, 7], dtype=dtype, requires_grad=True)
    found = sign(values)
    assert found.dtype == dtype and found.tolist() == [-1, -1, -1, -1, -1, 1, 1, 1, 1, 1]
    above = torch.arange(1, 11).to(dtype)
    (gradient,) = torch.autograd.grad(found, values, above)
    assert gradient.dtype == dtype and gradient.tolist() == [0, 0, 3, 4, 5, 6, 7, 8, 0, 0]


def conv(stride: int = 1, kernel: int = 3) -> BinaryConv2d:
    layer = BinaryConv2d(5, 4, kernel, stride, kernel // 2, bias=False)
    with torch.no_grad():
        layer.weight.normal_()  # a third of the values beyond 1
    return layer


def test_weights_have_two_values_per_filter():
    layer = conv()
    found = layer.binary_weight()
    for filter_, real in zip(found, layer.weight, strict=True):
        alpha = real.detach().abs().mean()
        torch.testing.assert_close(filter_.unique(), torch.stack([-alpha, alpha]))
        assert torch.equal(filter_ > 0, real >= 0)
    assert not torch.allclose(found, layer.weight)  # the parameter stays real


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1), (2, 1)])
def test_values_by_counting(stride, kernel):
    """Alpha times (agreements - disagreements) of signs in every patch."""
    layer, x = conv(stride, kernel), torch.randn(2, 5, 7, 7)
    patches = F.unfold(torch.where(x >= 0, 1.0, -1.0), kernel, padding=kernel // 2, stride=stride)
    filters = torch.where(layer.weight >= 0, 1.0, -1.0).flatten(1)
    agreements = torch.stack([(patches * f[:, None]).sum(1) for f in filters], 1)
    expected = agreements * layer.weight.abs().mean((1, 2, 3))[:, None]
    torch.testing.assert_close(layer(x).flatten(2), expected, atol=1e-5, rtol=1e-5)


def test_gradients_by_hand():
    layer, x = conv(), torch.randn(2, 5, 6, 6, requires_grad=True)
    above = torch.randn(2, 4, 6, 6)
    found = torch.autograd.grad(layer(x), [x, layer.weight], above)

    signs = torch.where(x >= 0, 1.0, -1.0).requires_grad_()
    binary = layer.binary_weight().detach().requires_grad_()
    by_signs, by_binary = torch.autograd.grad(F.conv2d(signs, binary, padding=1), [signs, binary], above)
    torch.testing.assert_close(found[0], torch.where(x.abs() <= 1, by_signs, 0.0))

    real = layer.weight.detach()
    alpha = real.abs().mean((1, 2, 3), keepdim=True)
    through_sign = torch.where(real.abs() <= 1, alpha * by_binary, 0.0)
    through_alpha = real.sign() * (by_binary * real.sign()).sum((1, 2, 3), keepdim=True) / real[0].numel()
    torch.testing.assert_close(found[1], through_sign + through_alpha)
    assert (real.abs() > 1).any() and (x.abs() > 1).any()


def test_all_but_the_first_convolution_and_the_last_layer_are_binary(monkeypatch):
    seen: list[tuple[Tensor, Tensor]] = []
    real = F.conv2d

    def record(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        seen.append((x.detach(), weight.detach()))
        return real(x, weight, *rest)

    monkeypatch.setattr(F, "conv2d", record)
    net = tiny()
    net(torch.rand(2, 3, 16, 16))
    (first, *others) = seen
    assert len(first[1][0].unique()) == first[1][0].numel()
    assert len(others) == sum(isinstance(m, BinaryConv2d) for m in net.modules()) == 2 * 4
    for x, weight in others:
        assert x.unique().tolist() == [-1, 1]
        assert all(len(filter_.unique()) == 2 and filter_.sum().isfinite() for filter_ in weight)


def test_size_of_the_whole_network():
    """The convolutions and the last layer of ResNet-50; norms before the convolutions, not behind them."""
    with torch.device("meta"):
        model = zoo.build(ModelConfig(name="paper-xnor-resnet50"), tuple(map(str, range(1000))), RGB)
        theirs = torchvision.models.resnet50()
        assert model.net(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    ours = list(model.net.modules())
    shapes = [sorted(m.weight.shape for m in net if isinstance(m, nn.Conv2d)) for net in (ours, theirs.modules())]
    assert shapes[0] == shapes[1]
    assert sum(isinstance(m, BinaryConv2d) for m in ours) == 16 * 3 + 4
    norms = 64 + sum(m.in_channels for m in ours if isinstance(m, BinaryConv2d)) + 2048
    kept = sum(p.numel() for n, p in theirs.named_parameters() if p.ndim > 1 or n == "fc.bias")
    assert zoo.parameter_count(model.net) == kept + 2 * norms == 25_553_192


def test_it_learns_32_images():
    net, x = tiny(), F.interpolate(torch.rand(32, 3, 4, 4), size=8, mode="bilinear")
    y = torch.arange(32) % 4
    before = {name: value.clone() for name, value in net.named_parameters()}
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(4), abs=0.3) and losses[-1] < losses[0] / 4
    signs = [
        (before[f"{name}.weight"] >= 0) != (module.weight >= 0)
        for name, module in net.named_modules()
        if isinstance(module, BinaryConv2d)
    ]
    assert all(changed.any() for changed in signs)  # of every binary layer


@torch.no_grad()
def test_real_weights_are_the_whole_state():
    """A copy with the same state is the same network, and mixed precision keeps the signs."""
    net, x = tiny(), torch.rand(4, 3, 16, 16)
    net(x)
    net.eval()
    other = tiny()
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(other.eval()(x), net(x))
    last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, other(x), atol=1e-4, rtol=1e-4)
    layer = conv()
    x = torch.randn(2, 5, 7, 7)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(x)
        assert layer.binary_weight().dtype == torch.float32
    torch.testing.assert_close(mixed.float(), layer(x), atol=1e-5, rtol=0.01)


@pytest.mark.parametrize(
    ("args", "what"), [({"blocks": []}, "blocks are"), ({"blocks": [1, 0]}, "blocks are"), ({"width": 0}, "width is")]
)
def test_arguments_that_are_refused(args, what):
    with pytest.raises(ModelError, match=f"model.args of paper-xnor-resnet50: {what}"):
        zoo.build(ModelConfig(name="paper-xnor-resnet50", args=args), ("a", "b"), RGB)
