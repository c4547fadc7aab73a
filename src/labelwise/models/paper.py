"""Networks of the Label Refinery paper (arXiv 1805.02641) that torchvision and timm do not have in the same form."""

from __future__ import annotations

from torch import Tensor, nn


class _Convolutional(nn.Module):
    """Layers from an image to (B, K)."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 224, 224) to logits (B, K)."""
        return self.layers(x)


def alexnet(num_classes: int, in_channels: int) -> nn.Module:
    """AlexNet in one tower with batch normalisation after every layer but the last; no dropout, no LRN, no groups.

    62,396,480 parameters with 1,000 classes and RGB; for 224 px.
    """

    def conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int, pool: bool) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs)]
        return layers + ([nn.MaxPool2d(2)] if pool else []) + [nn.ReLU(inplace=True)]

    def hidden(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]

    return _Convolutional(
        nn.Sequential(
            *conv(in_channels, 96, 11, 4, 2, pool=True),
            *conv(96, 256, 5, 1, 2, pool=True),
            *conv(256, 384, 3, 1, 1, pool=False),
            *conv(384, 384, 3, 1, 1, pool=False),
            *conv(384, 256, 3, 1, 1, pool=True),
            nn.Flatten(),
            *hidden(256 * 6 * 6, 4096),
            *hidden(4096, 4096),
            nn.Linear(4096, num_classes, bias=False),
        )
    )


def mobilenet(num_classes: int, in_channels: int, width: float = 1.0) -> nn.Module:
    """MobileNet v1 (Howard et al. 2017): depthwise separable convolutions, ``width`` times the published channels."""

    def scaled(channels: int) -> int:
        return round(channels * width)

    def separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]

    stem = scaled(32)
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, stem, 3, 2, 1, bias=False),
        nn.BatchNorm2d(stem),
        nn.ReLU(inplace=True),
    ]
    inputs = stem
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    for channels, stride in zip(widths, strides, strict=True):
        layers += separable(inputs, scaled(channels), stride)
        inputs = scaled(channels)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes)]
    return _Convolutional(nn.Sequential(*layers, *head))


def darknet19(num_classes: int, in_channels: int) -> nn.Module:
    """Darknet-19, the backbone of YOLOv2 (Redmon and Farhadi 2017): 3x3 and 1x1 convolutions with leaky ReLU."""
    blocks = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512), (1024, 512, 1024, 512, 1024))
    layers: list[nn.Module] = []
    inputs = in_channels
    for i, block in enumerate(blocks):
        layers += [nn.MaxPool2d(2)] if i else []
        for j, outputs in enumerate(block):
            kernel = 1 if j % 2 else 3
            layers += [
                nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.1, inplace=True),
            ]
            inputs = outputs
    head = [nn.Conv2d(inputs, num_classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _Convolutional(nn.Sequential(*layers, *head))
