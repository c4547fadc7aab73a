"""Views of an image: where a crop lies, and its pixels.

A view is drawn once as integers (:class:`Boxes`) and can be rendered again from them, pixel for pixel, at any size.
Rendering is two matrix products, with the same antialiased filters as Pillow and torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import ViewConfig
from labelwise.data.counter_rng import random_words, uniforms

ATTEMPTS = 10
"""Tries for a crop that fits, as in torchvision's RandomResizedCrop; then the largest centred one."""

TABLE_BYTES = 64 * 2**20
"""Resampling matrices of every possible interval, plain and mirrored, are kept up to this size; beyond it they are
computed per batch."""

CHUNK = 64
"""Images rendered at once on a CPU: a chunk stays in its cache."""


@dataclass(frozen=True)
class Boxes:
    """Crops of B images in source pixels: int32 arrays (B,), ``flip`` bool (B,)."""

    top: NDArray[np.int32]
    left: NDArray[np.int32]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    flip: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Boxes:
        return Boxes(self.top[rows], self.left[rows], self.height[rows], self.width[rows], self.flip[rows])


def draw_boxes(
    views: ViewConfig,
    seed: int,
    keys: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
) -> Boxes:
    """Random resized crops with flips (Szegedy et al. 2015, as torchvision draws them), for B (sample, view) pairs.

    Area share uniform in ``views.scale``, log of the ratio uniform in ``views.ratio``, position uniform over the
    integer positions that fit.
    """
    draws = uniforms(seed, "crop", keys, numbers, 4 * ATTEMPTS + 1)
    u = draws[:, :-1].reshape(-1, ATTEMPTS, 4)
    area = (heights * widths)[:, None] * (views.scale[0] + (views.scale[1] - views.scale[0]) * u[..., 0])
    log_low, log_high = math.log(views.ratio[0]), math.log(views.ratio[1])
    ratio = np.exp(log_low + (log_high - log_low) * u[..., 1])
    w, h = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (w > 0) & (h > 0) & (w <= widths[:, None]) & (h <= heights[:, None])
    first = fits.argmax(axis=1)
    rows = np.arange(len(keys))
    found = fits[rows, first]
    width, height = w[rows, first], h[rows, first]
    if not found.all():
        fallback_w, fallback_h = _largest(heights, widths, views.ratio)
        width, height = np.where(found, width, fallback_w), np.where(found, height, fallback_h)
    top = np.where(found, np.floor(u[rows, first, 2] * (heights - height + 1)), (heights - height) // 2)
    left = np.where(found, np.floor(u[rows, first, 3] * (widths - width + 1)), (widths - width) // 2)
    flip = (draws[:, -1] < 0.5) if views.flip else np.zeros(len(keys), dtype=bool)
    top, left, height, width = (x.astype(np.int32) for x in (top, left, height, width))
    return Boxes(top, left, height, width, flip)


def centre_boxes(eval_crop: float, heights: NDArray[np.int64], widths: NDArray[np.int64]) -> Boxes:
    """The centred square whose side is ``eval_crop`` of the shorter side: resize and centre crop in one.

    With ``eval_crop`` 0.875 and an output of 224 this is the usual "resize 256, centre crop 224", its box rounded to
    whole source pixels.
    """
    side = np.maximum(1, np.rint(eval_crop * np.minimum(heights, widths))).astype(np.int32)
    top, left = ((n - side) // 2 for n in (heights, widths))
    return Boxes(top.astype(np.int32), left.astype(np.int32), side, side, np.zeros(len(side), dtype=bool))


def render(pixels: Tensor, boxes: Boxes, size: int, interpolation: str) -> Tensor:
    """Crop and resize a batch of equally large images, each by its own box.

    Parameters
    ----------
    pixels : (B, H, C, W) uint8; rows hold all channels, so both products run over contiguous memory
    boxes : B crops
    size : side of the output
    interpolation : ``bilinear`` or ``bicubic``, antialiased

    Returns
    -------
    (B, C, size, size) float32 in [0, 1]
    """
    _, height, channels, width = pixels.shape
    chunk = CHUNK if pixels.device.type == "cpu" else len(boxes)
    parts = []
    for start in range(0, len(boxes), max(1, chunk)):
        box = boxes[start : start + chunk]
        image = pixels[start : start + chunk].float()
        down = _matrices(box.top, box.height, None, size, height, interpolation, pixels.device)
        across = _matrices(box.left, box.width, box.flip, size, width, interpolation, pixels.device)
        rows = torch.bmm(image.view(-1, height * channels, width), across.transpose(1, 2))
        out = torch.bmm(down, rows.view(-1, height, channels * size))
        parts.append(out.view(-1, size, channels, size).permute(0, 2, 1, 3))
    out = torch.cat(parts) if len(parts) > 1 else parts[0]
    out = out.mul_(1 / 255)
    return out.clamp_(0, 1) if interpolation == "bicubic" else out


def resized_crop(pixels: NDArray[np.uint8], box: Sequence[int], size: int, interpolation: str) -> Tensor:
    """Crop and resize one image, with the pixels of torchvision's ``resized_crop`` in less than half of its time.

    Parameters
    ----------
    pixels : (H, W, C); the channels of a pixel stay beside each other until the end, which is what is fast
    box : top, left, height, width
    size : side of the output
    interpolation : ``bilinear`` or ``bicubic``, antialiased

    Returns
    -------
    (C, size, size) uint8
    """
    top, left, height, width = box
    crop = torch.from_numpy(pixels[top : top + height, left : left + width].copy()).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(crop, (size, size), mode=interpolation, antialias=True)[0]


def feature_masks(
    drop: float, seed: int, keys: NDArray[np.uint64], numbers: NDArray[np.int64], dim: int
) -> NDArray[np.float32]:
    """Views of embeddings: (B, dim) masks, 0 with probability ``drop`` and 1 / (1 - drop) elsewhere (mean kept)."""
    words = random_words(seed, "features", keys, numbers, -(-dim // 8), rounds=7)
    kept = words.view(np.uint16)[:, :dim] >= np.uint16(round(drop * 65535))
    return kept.astype(np.float32) * np.float32(1 / (1 - drop))


def _largest(
    heights: NDArray[np.int64], widths: NDArray[np.int64], ratio: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Width and height of the largest centred crop with an allowed ratio."""
    shape = widths / heights
    width = np.where(shape > ratio[1], np.rint(heights * ratio[1]), widths)
    height = np.where(shape < ratio[0], np.rint(widths / ratio[0]), heights)
    return np.maximum(1, np.minimum(width, widths)), np.maximum(1, np.minimum(height, heights))


def _matrices(
    low: NDArray[np.int32],
    length: NDArray[np.int32],
    flip: NDArray[np.bool_] | None,
    out: int,
    size: int,
    interpolation: str,
    device: torch.device,
) -> Tensor:
    """Resampling matrices (B, out, size) that map ``size`` source pixels to ``out`` pixels of the interval."""
    intervals = size * (size + 1) // 2
    if 2 * intervals * out * size * 4 <= TABLE_BYTES:
        # Row of the interval (low, length): lengths in ascending order, starts within each; then all of them mirrored.
        index = (length.astype(np.int64) - 1) * (2 * size - length + 2) // 2 + low
        index = index if flip is None else index + intervals * flip
        return _table(out, size, interpolation, device).index_select(0, torch.from_numpy(index).to(device))
    weights = _weights(torch.from_numpy(low).to(device), torch.from_numpy(length).to(device), out, size, interpolation)
    if flip is None or not flip.any():
        return weights
    return torch.where(torch.from_numpy(flip).to(device)[:, None, None], weights.flip(1), weights)


@lru_cache(maxsize=8)
def _table(out: int, size: int, interpolation: str, device: torch.device) -> Tensor:
    low = torch.cat([torch.arange(size - length + 1) for length in range(1, size + 1)])
    length = torch.cat([torch.full((size - length + 1,), length) for length in range(1, size + 1)])
    weights = _weights(low, length, out, size, interpolation)
    return torch.cat([weights, weights.flip(1)]).to(device)


def _weights(low: Tensor, length: Tensor, out: int, size: int, interpolation: str) -> Tensor:
    """The separable filter of an antialiased resize, one row per output pixel, rows summing to one.

    Pillow's convolution resampling: the filter is stretched by the shrinking factor (never compressed), and does not
    look outside the crop.
    """
    scale = (length.double() / out)[:, None, None]
    stretch = scale.clamp(min=1.0)
    pixel = torch.arange(out, device=low.device, dtype=torch.float64)[None, :, None]
    source = torch.arange(size, device=low.device, dtype=torch.float64)[None, None, :]
    start = low.double()[:, None, None]
    distance = ((source + 0.5 - start - (pixel + 0.5) * scale) / stretch).abs()
    weights = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    weights *= (source >= start) & (source < start + length.double()[:, None, None])
    return (weights / weights.sum(-1, keepdim=True)).float()


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution kernel (1981) with Pillow's a = -0.5."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
