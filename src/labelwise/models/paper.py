"""Networks of the Label Refinery paper (arXiv 1805.02641) that torchvision and timm do not have in the same form.

``width`` multiplies all inner channels; 1 is the published network. With ``small_images`` a network takes images of 32
to 64 pixels: 32 pixels end in a 4x4 map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

ALEXNET_SIZE = 224
"""Side of the only images that AlexNet takes as it was published."""

_SMALL_MAP = 4  # side of the map that the hidden layers of the networks for small images look at
_SMALL_HIDDEN = 512  # their width; 4096 are made for 1,000 classes


class _Convolutional(nn.Module):
    """Layers from an image to (B, K)."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to logits (B, K)."""
        return self.layers(x)


def scaled(channels: int, width: float) -> int:
    """``width`` times ``channels``, at least 1.

    Raises
    ------
    ValueError
        If ``width`` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width is above 0, not {width}")
    return max(1, round(channels * width))


def _hidden(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def alexnet(num_classes: int, in_channels: int, width: float = 1.0, small_images: bool = False) -> nn.Module:
    """AlexNet in one tower with batch normalisation after every layer but the last; no dropout, no LRN, no groups.

    62,396,480 parameters with 1,000 classes and RGB; for 224 px. For small images, by our decision, the first
    convolution is 5x5 with stride 1 and the hidden layers have 512 units.
    """

    def conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int, pool: bool) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs)]
        return layers + ([nn.MaxPool2d(2)] if pool else []) + [nn.ReLU(inplace=True)]

    a, b, c = (scaled(channels, width) for channels in (96, 256, 384))
    hidden = scaled(_SMALL_HIDDEN if small_images else 4096, width)
    side = _SMALL_MAP if small_images else 6
    return _Convolutional(
        nn.Sequential(
            *(conv(in_channels, a, 5, 1, 2, pool=True) if small_images else conv(in_channels, a, 11, 4, 2, pool=True)),
            *conv(a, b, 5, 1, 2, pool=True),
            *conv(b, c, 3, 1, 1, pool=False),
            *conv(c, c, 3, 1, 1, pool=False),
            *conv(c, b, 3, 1, 1, pool=True),
            *([nn.AdaptiveAvgPool2d(side)] if small_images else []),
            nn.Flatten(),
            *_hidden(b * side * side, hidden),
            *_hidden(hidden, hidden),
            nn.Linear(hidden, num_classes, bias=False),
        )
    )


def vgg16(
    num_classes: int, in_channels: int, width: float = 1.0, dropout: float = 0.0, small_images: bool = False
) -> nn.Module:
    """VGG-16 (Simonyan and Zisserman 2015) with batch normalisation after every layer but the last.

    138,382,376 parameters with 1,000 classes and RGB. What regularised the hidden layers in the paper is not known: as
    in its AlexNet, it is batch normalisation here, which torchvision's and timm's ``vgg16_bn`` lack there. ``dropout``
    comes on top. For small images, by our decision, the last two poolings are left out and the hidden layers have 512
    units.
    """
    return _vgg(num_classes, in_channels, (2, 2, 3, 3, 3), width, dropout, small_images)


def vgg19(
    num_classes: int, in_channels: int, width: float = 1.0, dropout: float = 0.0, small_images: bool = False
) -> nn.Module:
    """VGG-19, otherwise as :func:`vgg16`: 143,694,632 parameters with 1,000 classes and RGB."""
    return _vgg(num_classes, in_channels, (2, 2, 4, 4, 4), width, dropout, small_images)


def _vgg(
    num_classes: int, in_channels: int, depths: Sequence[int], width: float, dropout: float, small_images: bool
) -> nn.Module:
    def layers() -> Iterator[nn.Module]:
        inputs = in_channels
        for number, (depth, channels) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True)):
            outputs = scaled(channels, width)
            for _ in range(depth):
                yield from (nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
                inputs = outputs
            if number < (3 if small_images else 5):
                yield nn.MaxPool2d(2)
        side, hidden = (_SMALL_MAP, _SMALL_HIDDEN) if small_images else (7, 4096)
        hidden = scaled(hidden, width)
        yield from (nn.AdaptiveAvgPool2d(side), nn.Flatten())
        yield from (*_hidden(inputs * side * side, hidden), nn.Dropout(dropout))
        yield from (*_hidden(hidden, hidden), nn.Dropout(dropout))
        yield nn.Linear(hidden, num_classes)

    return _Convolutional(nn.Sequential(*layers()))


def mobilenet(num_classes: int, in_channels: int, width: float = 1.0, small_images: bool = False) -> nn.Module:
    """MobileNet v1 (Howard et al. 2017): depthwise separable convolutions, ``width`` times the published channels.

    For small images the first two strides are 1.
    """

    def separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]

    inputs = scaled(32, width)
    early = 1 if small_images else 2
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, inputs, 3, early, 1, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
    ]
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    strides = (1, early, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    for channels, stride in zip(widths, strides, strict=True):
        layers += separable(inputs, scaled(channels, width), stride)
        inputs = scaled(channels, width)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes)]
    return _Convolutional(nn.Sequential(*layers, *head))


def darknet19(num_classes: int, in_channels: int, width: float = 1.0, small_images: bool = False) -> nn.Module:
    """Darknet-19, the backbone of YOLOv2 (Redmon and Farhadi 2017): 3x3 and 1x1 convolutions with leaky ReLU.

    For small images the last two of its five poolings are left out.
    """
    blocks = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512), (1024, 512, 1024, 512, 1024))
    pooled = range(1, 4 if small_images else 6)
    layers: list[nn.Module] = []
    inputs = in_channels
    for i, block in enumerate(blocks):
        layers += [nn.MaxPool2d(2)] if i in pooled else []
        for j, channels in enumerate(block):
            outputs, kernel = scaled(channels, width), 1 if j % 2 else 3
            layers += [
                nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.1, inplace=True),
            ]
            inputs = outputs
    head = [nn.Conv2d(inputs, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _Convolutional(nn.Sequential(*layers, *head))
