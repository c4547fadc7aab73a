"""Networks of timm and torchvision for small images: a stem that does not shrink the map."""

from __future__ import annotations

from typing import Any

import torchvision
from timm.models.resnet import ResNet
from torch import nn

from labelwise.errors import ModelError


def small_stem(net: nn.Module, name: str) -> None:
    """Make the first convolution of a ResNet 3x3 with stride 1 and leave the pooling behind it out, in place.

    As He et al. 2016 (section 4.2) have it for 32 px. ResNets of timm are all that its class has, such as ResNeXt; of
    a deep stem, whose first of three convolutions is 3x3 already, only the stride changes.

    Raises
    ------
    ModelError
        If it is no ResNet.
    """
    if not isinstance(net, torchvision.models.ResNet | ResNet):
        raise ModelError(
            f"model.small_images: {name} has no form for small images; ResNets of timm and torchvision have one, and"
            " so have our networks whose names begin with paper-"
        )
    old: Any = net.conv1
    first = old if isinstance(old, nn.Conv2d) else old[0]
    conv = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as both libraries do
    if first is old:
        net.conv1 = conv
    else:
        old[0] = conv
    net.maxpool = nn.Identity()
