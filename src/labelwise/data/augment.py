"""Augmentation beyond the crop, on whole batches: RandAugment, random erasing, mixup and CutMix.

Drawn from the same counters as the crop, in relative units, so that views of one sample at two sizes get the same
treatment and the refinery labels what the student sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from labelwise.config import ViewConfig
from labelwise.data.counter_rng import uniforms
from labelwise.data.sampling import MixPlan

Operation = Callable[[Tensor, float], Tensor]
"""Applied to (B, C, S, S) in [0, 1] with a signed strength in [-1, 1]."""

ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 3.3)


def augment(
    images: Tensor, views: ViewConfig, seed: int, keys: NDArray[np.uint64], numbers: NDArray[np.int64]
) -> Tensor:
    """RandAugment and erasing as ``views`` asks for; (B, C, S, S) in [0, 1] to the same."""
    if views.rand_augment_ops:
        images = _rand_augment(images, views, seed, keys, numbers)
    if views.erasing > 0:
        images = _erase(images, views.erasing, uniforms(seed, "erasing", keys, numbers, 5))
    return images


def mix_inputs(inputs: dict[int, Tensor], plan: MixPlan, partner: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Mix each view with its partner.

    Returns
    -------
    share : (B,) of the view itself; for CutMix the share of the area that stays, at the largest size
    inputs : mixed views
    """
    share = torch.from_numpy(plan.share).to(partner.device)
    if not plan.cut:
        own = share[:, None, None, None]
        return share, {size: own * x + (1 - own) * x[partner] for size, x in inputs.items()}
    centre = torch.from_numpy(plan.centre).to(partner.device)
    side = (1 - share).sqrt()
    mixed = {}
    for size, x in inputs.items():
        low = ((centre - side[:, None] / 2).clamp(0, 1) * size).round()
        high = ((centre + side[:, None] / 2).clamp(0, 1) * size).round()
        inside = _rectangle(low, high, size)
        mixed[size] = torch.where(inside[:, None], x[partner], x)
    first = max(inputs)
    low = ((centre - side[:, None] / 2).clamp(0, 1) * first).round()
    high = ((centre + side[:, None] / 2).clamp(0, 1) * first).round()
    return 1 - (high - low).prod(1) / first**2, mixed


def _rectangle(low: Tensor, high: Tensor, size: int) -> Tensor:
    """(B, size, size) bool: pixels with low <= (y, x) < high."""
    grid = torch.arange(size, device=low.device)
    y = (grid >= low[:, :1]) & (grid < high[:, :1])
    x = (grid >= low[:, 1:]) & (grid < high[:, 1:])
    return y[:, :, None] & x[:, None, :]


def _erase(images: Tensor, probability: float, u: NDArray[np.float64]) -> Tensor:
    """Random erasing (Zhong et al. 2020) with the image's mean colour."""
    area = ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * u[:, 1]
    ratio = np.exp(math.log(ERASED_RATIO[0]) + math.log(ERASED_RATIO[1] / ERASED_RATIO[0]) * u[:, 2])
    extent = np.minimum(1, np.sqrt(np.stack([area * ratio, area / ratio], axis=1)))
    low = u[:, 3:5] * (1 - extent)
    size = images.shape[-1]
    box = torch.from_numpy(np.rint(np.stack([low, low + extent]) * size)).to(images.device)
    inside = _rectangle(box[0], box[1], size)
    inside &= torch.from_numpy(u[:, 0] < probability).to(images.device)[:, None, None]
    return torch.where(inside[:, None], images.mean((2, 3), keepdim=True), images)


def _rand_augment(
    images: Tensor, views: ViewConfig, seed: int, keys: NDArray[np.uint64], numbers: NDArray[np.int64]
) -> Tensor:
    """RandAugment (Cubuk et al. 2020): for every sample a few operations of one strength, their sign at random.

    Samples that drew the same operation and sign are treated together.
    """
    strength = views.rand_augment_magnitude / 30
    draws = uniforms(seed, "rand-augment", keys, numbers, 2 * views.rand_augment_ops)
    operations = _operations(images.shape[1])
    for k in range(views.rand_augment_ops):
        chosen = np.floor(draws[:, 2 * k] * len(operations)).astype(int)
        sign = np.where(draws[:, 2 * k + 1] < 0.5, -1, 1)
        out = images.clone()
        for code in np.unique(chosen * 2 + (sign > 0)):
            rows = torch.from_numpy(np.flatnonzero(chosen * 2 + (sign > 0) == code)).to(images.device)
            out[rows] = operations[code // 2](images[rows], strength if code % 2 else -strength)
        images = out.clamp_(0, 1)
    return images


def _affine(
    x: Tensor, *, angle: float = 0.0, shift: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)
) -> Tensor:
    size = x.shape[-1]
    pixels = [round(s * size) for s in shift]
    return tv.affine(x, angle, pixels, 1.0, list(shear), InterpolationMode.BILINEAR, fill=[0.5])


def _operations(channels: int) -> list[Operation]:
    """The fourteen operations, strengths as in the paper's code: 30 degrees, 0.3 shear, 45 % shift, factor 1 +- 0.9."""
    shared: list[Operation] = [
        lambda x, s: x,
        lambda x, s: _affine(x, angle=30 * s),
        lambda x, s: _affine(x, shift=(0.45 * s, 0)),
        lambda x, s: _affine(x, shift=(0, 0.45 * s)),
        lambda x, s: _affine(x, shear=(math.degrees(math.atan(0.3 * s)), 0)),
        lambda x, s: _affine(x, shear=(0, math.degrees(math.atan(0.3 * s)))),
        lambda x, s: tv.adjust_brightness(x, 1 + 0.9 * s),
        lambda x, s: tv.adjust_contrast(x, 1 + 0.9 * s),
        lambda x, s: tv.adjust_sharpness(x, 1 + 0.9 * s),
        lambda x, s: _on_uint8(x, lambda y: tv.posterize(y, 8 - round(4 * abs(s)))),
        lambda x, s: tv.solarize(x, 1 - abs(s)),
        lambda x, s: tv.autocontrast(x),
        lambda x, s: _on_uint8(x, tv.equalize),
    ]
    if channels == 3:
        shared.append(lambda x, s: tv.adjust_saturation(x, 1 + 0.9 * s))
    return shared


def _on_uint8(x: Tensor, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """For operations defined on 256 levels."""
    return operation(x.mul(255).round().to(torch.uint8)).float().div_(255)
