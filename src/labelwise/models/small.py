"""Small networks for small images and for embeddings; for tests, demos and experiments that must run on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8


def _check_norm(norm: str, allowed: tuple[str, ...]) -> None:
    if norm not in allowed:
        raise ValueError(f"norm is {' or '.join(allowed)}, not {norm!r}")


class SmallConvNet(nn.Module):
    """3x3 convolutions with normalisation and ReLU, global average pooling, one linear layer.

    Parameters
    ----------
    num_classes, in_channels : outputs and image channels
    widths, strides : one per convolution
    norm : ``batch``, or ``group`` where statistics of the batch are unwanted
    """

    def __init__(
        self, num_classes: int, in_channels: int, widths: Sequence[int], strides: Sequence[int], norm: str = "batch"
    ) -> None:
        super().__init__()
        _check_norm(norm, ("batch", "group"))
        layers: list[nn.Module] = []
        for width, stride in zip(widths, strides, strict=True):
            layers += [
                nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(GROUPS, width),
                nn.ReLU(inplace=True),
            ]
            in_channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to logits (B, K)."""
        return self.classifier(self.features(x).mean((2, 3)))


def small_narrow(num_classes: int, in_channels: int, norm: str = "batch") -> SmallConvNet:
    """16-32-64 channels, 24 thousand parameters: a student that must stay small."""
    return SmallConvNet(num_classes, in_channels, (16, 32, 64), (2, 2, 2), norm)


def small_wide(num_classes: int, in_channels: int, norm: str = "batch") -> SmallConvNet:
    """32-64-128-128 channels, 242 thousand parameters."""
    return SmallConvNet(num_classes, in_channels, (32, 64, 128, 128), (2, 2, 2, 1), norm)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without weights: every other pixel, new channels zero."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) to (B, O, H / stride, W / stride)."""
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(self.body(x) + shortcut)


class SmallResNet(nn.Module):
    """The ResNet for 32 px of He et al. 2016 (arXiv 1512.03385, section 4.2): 6 ``blocks`` + 2 layers.

    269,722 parameters with 3 blocks (ResNet-20), 10 classes and RGB.

    Parameters
    ----------
    num_classes, in_channels : outputs and image channels
    blocks : residual blocks in each of the three stages, at 32, 16 and 8 px
    width : channels of the first stage; each further stage doubles them
    """

    def __init__(self, num_classes: int, in_channels: int, blocks: int = 3, width: int = 16) -> None:
        super().__init__()
        if blocks < 1 or width < 1:
            raise ValueError(f"blocks and width are at least 1, not {blocks} and {width}")
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
        for stage in range(3):
            for block in range(blocks):
                outputs = width * 2**stage
                layers.append(_ResidualBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to logits (B, K)."""
        return self.classifier(self.features(x).mean((2, 3)))


class MLP(nn.Module):
    """Hidden layers with normalisation and ReLU for embeddings.

    Parameters
    ----------
    num_classes, in_features : outputs and inputs
    hidden, layers : width and number of hidden layers
    dropout : in front of the last layer
    norm : ``batch`` or ``layer``
    """

    def __init__(
        self,
        num_classes: int,
        in_features: int,
        hidden: int = 256,
        layers: int = 2,
        dropout: float = 0.0,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        _check_norm(norm, ("batch", "layer"))
        stack: list[nn.Module] = []
        for _ in range(layers):
            stack += [
                nn.Linear(in_features, hidden, bias=False),
                nn.BatchNorm1d(hidden) if norm == "batch" else nn.LayerNorm(hidden),
                nn.ReLU(inplace=True),
            ]
            in_features = hidden
        self.features = nn.Sequential(*stack)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to logits (B, K)."""
        return self.classifier(self.dropout(self.features(x)))
