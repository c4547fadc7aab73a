"""A ResNet whose inner convolutions are binary, as XNOR-Net has them (Rastegari et al. 2016, arXiv 1603.05279).

Every forward pass computes the binary weights from real ones. The real ones are the parameters, so that optimisers,
averages and checkpoints know nothing of it. Signs are exact in every precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelwise.models.paper import scaled

EXPANSION = 4
"""Channels that leave a bottleneck, over those of its 3x3 convolution."""


class _Sign(torch.autograd.Function):
    """The sign, and the gradient that is described in :func:`sign`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs() <= 1)
        return torch.ones_like(x).copysign_(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (near,) = ctx.saved_tensors
        return gradients[0] * near


def sign(x: Tensor) -> Tensor:
    """Signs in {-1, +1} of ``x``, that of 0 being +1, with a straight-through gradient (XNOR-Net, section 3.2).

    Returns
    -------
    the shape and dtype of ``x``; its gradient is the output's where ``abs(x) <= 1``, else 0
    """
    if torch.compiler.is_exporting() or torch._C._get_tracing_state():  # graphs hold no function of ours, nor copysign
        return torch.where(x < 0, -1.0, 1.0).to(x.dtype)
    return _Sign.apply(x)


class BinaryConv2d(nn.Conv2d):
    """A convolution of signs with signs: ``conv(sign(x), alpha * sign(W))``, alpha the mean of ``abs(W)`` per filter.

    Alpha is a function of W like any other, so the gradient by W is that of the product: alpha times the one of the
    sign, plus ``sign(W) / n`` times the one of alpha, n being the values of a filter. The scale of the inputs (K in
    XNOR-Net) is left out, and borders are padded with zeros.
    """

    def binary_weight(self) -> Tensor:
        """(O, I, k, k) in two values per filter, -alpha and +alpha."""
        return self.weight.abs().mean((1, 2, 3), keepdim=True) * sign(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W), of which the sign alone counts, to (B, O, H', W')."""
        return F.conv2d(sign(x), self.binary_weight(), None, self.stride, self.padding)


def _binary(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """The norm comes first: a sign needs values around zero."""
    return nn.BatchNorm2d(inputs), BinaryConv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 binary convolutions beside a shortcut, which is real where no shape changes."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * channels
        self.body = nn.Sequential(
            *_binary(inputs, channels, 1), *_binary(channels, channels, 3, stride), *_binary(channels, outputs, 1)
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_binary(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) to (B, O, H / stride, W / stride)."""
        return self.body(x) + self.shortcut(x)


class XnorResNet(nn.Module):
    """ResNetXnor-50: a ResNet-50 in which all but the first convolution and the last layer are binary.

    The Label Refinery paper names the network and its accuracy. It was never released; that the layers are those of
    XNOR-Net is known, all else is decided here: batch norm, sign, convolution in this order; no ReLU between them; the
    projections of shortcuts binary too; stride in the 3x3 convolution.

    Parameters
    ----------
    num_classes, in_channels : outputs and image channels
    blocks : bottlenecks of each stage; a stage after the first halves the map and doubles the channels
    width : multiplies all inner channels
    small_images : the first convolution is 3x3 with stride 1, and the pooling behind it is left out
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: float = 1.0,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        if not blocks or min(blocks) < 1:
            raise ValueError(f"blocks are at least 1 a stage, not {list(blocks)}")
        inputs = scaled(64, width)
        kernel, stride = (3, 1) if small_images else (7, 2)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, inputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
        ]
        layers += [] if small_images else [nn.MaxPool2d(3, 2, 1)]
        for stage, number in enumerate(blocks):
            channels = scaled(64 * 2**stage, width)
            for block in range(number):
                layers.append(_Bottleneck(inputs, channels, 2 if stage and not block else 1))
                inputs = EXPANSION * channels
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to logits (B, K)."""
        return self.classifier(self.features(x).mean((2, 3)))
