"""Boxes as torchvision draws them, pixels as torchvision resizes them, both replayable."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from labelwise.config import ViewConfig
from labelwise.data import views as module
from labelwise.data.dataset import Dataset, Features, PixelArray
from labelwise.data.loaders import FeatureLoader, MemoryLoader
from labelwise.data.sampling import BatchPlan
from labelwise.data.views import Boxes, centre_boxes, draw_boxes, feature_masks, render

CPU = torch.device("cpu")
BOXES = [[6, 7, 47, 39, 0], [1, 1, 57, 73, 1], [5, 24, 53, 47, 0], [20, 40, 22, 27, 0]]
MASKS = [[0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0], [1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1]]


def draw(view: ViewConfig, n: int, height: int, width: int, seed: int = 0, number: int = 0) -> Boxes:
    full = np.full(n, 0, dtype=np.int64)
    return draw_boxes(view, seed, np.arange(n, dtype=np.uint64), full + number, full + height, full + width)


def images(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, height, channels, width), generator=generator, dtype=torch.uint8)


def reference(pixels: torch.Tensor, boxes: Boxes, size: int, mode: str) -> torch.Tensor:
    out = []
    for i in range(len(boxes)):
        image = pixels[i].permute(1, 0, 2).float() / 255
        top, left, height, width = (int(x[i]) for x in (boxes.top, boxes.left, boxes.height, boxes.width))
        crop = tv.resized_crop(image, top, left, height, width, [size, size], InterpolationMode(mode), antialias=True)
        out.append((crop.flip(-1) if boxes.flip[i] else crop).clamp(0, 1))
    return torch.stack(out)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (19, 33, 8), (33, 19, 7), (8, 8, 24), (70, 50, 16)]
)
def test_pixels_are_those_of_torchvision(height, width, size, channels, mode):
    rng = np.random.default_rng(height * size)
    n = 70  # more than a chunk
    h, w = rng.integers(1, height + 1, n), rng.integers(1, width + 1, n)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    boxes = Boxes(*(x.astype(np.int32) for x in (top, left, h, w)), rng.random(n) < 0.5)
    pixels = images(n, height, width, channels)
    torch.testing.assert_close(
        render(pixels, boxes, size, mode), reference(pixels, boxes, size, mode), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_table_and_the_computed_way_agree(mode, monkeypatch):
    boxes, pixels = draw(ViewConfig(), 20, 17, 21), images(20, 17, 21)
    table = render(pixels, boxes, 9, mode)
    monkeypatch.setattr(module, "TABLE_BYTES", 0)
    torch.testing.assert_close(render(pixels, boxes, 9, mode), table, atol=1e-6, rtol=0)


def test_a_chunk_does_not_change_pixels(monkeypatch):
    boxes, pixels = draw(ViewConfig(), 20, 16, 16), images(20, 16, 16)
    whole = render(pixels, boxes, 8, "bilinear")
    monkeypatch.setattr(module, "CHUNK", 7)
    torch.testing.assert_close(render(pixels, boxes, 8, "bilinear"), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width", "resize", "size"), [(32, 32, 16, 12), (32, 48, 16, 14), (48, 24, 24, 18)])
def test_the_centre_view_is_resize_and_centre_crop(height, width, resize, size):
    pixels = images(3, height, width)
    boxes = centre_boxes(size / resize, np.full(3, height), np.full(3, width))
    resized = tv.resize(pixels.permute(0, 2, 1, 3).float() / 255, [resize], antialias=True)
    expected = tv.center_crop(resized, [size, size])
    ours = render(pixels, boxes, size, "bilinear")
    # The filter of a crop does not look outside it, so only the border differs.
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4, rtol=0)


def test_the_whole_square_image_stays_as_it_is():
    pixels = images(2, 12, 12)
    boxes = centre_boxes(1.0, np.full(2, 12), np.full(2, 12))
    torch.testing.assert_close(render(pixels, boxes, 12, "bilinear"), pixels.permute(0, 2, 1, 3) / 255)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)),
    st.integers(0, 2**31),
)
def test_boxes_lie_inside_and_are_as_asked(height, width, scale, ratio, seed):
    view = ViewConfig(scale=tuple(sorted(scale)), ratio=tuple(sorted(ratio)))
    boxes = draw(view, 40, height, width, seed)
    top, left, h, w = (x.astype(int) for x in (boxes.top, boxes.left, boxes.height, boxes.width))
    assert (h >= 1).all() and (w >= 1).all() and (top >= 0).all() and (left >= 0).all()
    assert (top + h <= height).all() and (left + w <= width).all()
    # Up to rounding of both sides by half a pixel, and a side is one pixel at least.
    # The fallback keeps the ratio but not the area.
    low, high = view.ratio
    assert ((w + 0.5) / np.maximum(h - 0.5, 0.5) >= low - 1e-9)[h > 1].all()
    assert (np.maximum(w - 0.5, 0.5) / (h + 0.5) <= high + 1e-9)[w > 1].all()
    wide, tall = module._largest(np.array([height]), np.array([width]), view.ratio)
    fallback = (w == wide) & (h == tall)
    area = height * width
    assert ((w + 0.5) * (h + 0.5) >= view.scale[0] * area - 1e-6)[~fallback].all()
    assert ((w - 0.5) * (h - 0.5) <= view.scale[1] * area + 1e-6)[~fallback].all()


@pytest.mark.parametrize(("height", "width"), [(10, 2000), (2000, 10), (1, 500)])
def test_panoramas_fall_back_to_the_largest_centred_crop_as_torchvision_does(height, width):
    view = ViewConfig(scale=(0.9, 1.0))
    boxes = draw(view, 20, height, width)
    expected = RandomResizedCrop.get_params(torch.zeros(1, height, width), list(view.scale), list(view.ratio))
    for i in range(20):
        assert (boxes.top[i], boxes.left[i], boxes.height[i], boxes.width[i]) == tuple(expected)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 120)])
def test_boxes_are_distributed_as_torchvision_s(height, width):
    view = ViewConfig()
    n = 1500
    ours = draw(view, n, height, width)
    torch.manual_seed(0)
    empty = torch.zeros(1, height, width)
    theirs = np.array([RandomResizedCrop.get_params(empty, list(view.scale), list(view.ratio)) for _ in range(n)])
    top, left, h, w = (x.astype(float) for x in (ours.top, ours.left, ours.height, ours.width))
    pairs = [
        (h * w, theirs[:, 2] * theirs[:, 3]),
        (np.log(w / h), np.log(theirs[:, 3] / theirs[:, 2])),
        (top + h / 2, theirs[:, 0] + theirs[:, 2] / 2),
        (left + w / 2, theirs[:, 1] + theirs[:, 3] / 2),
        (top, theirs[:, 0]),
    ]
    for a, b in pairs:
        error = math.sqrt((a.var() + b.var()) / n)
        assert abs(a.mean() - b.mean()) < 4 * error
        assert a.std() == pytest.approx(b.std(), rel=0.1)
    assert abs(ours.flip.mean() - 0.5) < 4 * math.sqrt(0.25 / n)


def test_boxes_of_a_seed_stay_the_same_in_later_versions():
    """Runs are continued and stores of labels are read by later versions, which draw these crops again."""
    boxes = draw(ViewConfig(), 4, 60, 80, seed=3, number=2)
    assert np.stack([boxes.top, boxes.left, boxes.height, boxes.width, boxes.flip], 1).tolist() == BOXES
    masks = feature_masks(0.5, 3, np.arange(2, dtype=np.uint64), np.full(2, 1), 12)
    assert (masks > 0).astype(int).tolist() == MASKS


def test_flip_can_be_switched_off_without_moving_the_boxes():
    on, off = draw(ViewConfig(), 50, 20, 20), draw(ViewConfig(flip=False), 50, 20, 20)
    assert on.flip.any() and not off.flip.any()
    np.testing.assert_array_equal(on.left, off.left)


def dataset(source: PixelArray | Features) -> Dataset:
    n = len(source)
    ids = np.array([f"image-{i}" for i in range(n)])
    return Dataset("d", ("a", "b"), ids, ids, np.arange(n) % 2, np.full(n, "fit"), source)


def test_a_view_is_the_same_pixels_in_any_batch():
    rng = np.random.default_rng(0)
    data = dataset(PixelArray(rng.integers(0, 256, (30, 12, 14, 3), dtype=np.uint8)))
    loader = MemoryLoader(data, ViewConfig(), CPU)
    rows, numbers = np.arange(30), rng.integers(0, 100, 30)
    (whole,) = loader.stream([BatchPlan(rows, numbers)], (8,), 5)
    for size in (1, 7):
        order = rng.permutation(30)
        plans = [BatchPlan(order[i : i + size], numbers[order[i : i + size]]) for i in range(0, 30, size)]
        parts = list(loader.stream(plans, (8,), 5))
        again = torch.cat([b.inputs[8] for b in parts])
        assert torch.equal(again, whole.inputs[8][order])
    (other,) = loader.stream([BatchPlan(rows, numbers + 1)], (8,), 5)
    assert (other.inputs[8] != whole.inputs[8]).flatten(1).any(1).float().mean() > 0.9


def test_a_view_follows_its_sample_when_the_data_set_is_cut():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 9, 9, 1), dtype=np.uint8)
    data = dataset(PixelArray(pixels))
    keep = np.array([7, 2])
    cut = Dataset(
        "d", ("a", "b"), data.ids[keep], data.ids[keep], data.label[keep], data.split[keep], PixelArray(pixels[keep])
    )
    (a,) = MemoryLoader(data, ViewConfig(), CPU).stream([BatchPlan(keep, np.array([3, 3]))], (6,), 0)
    (b,) = MemoryLoader(cut, ViewConfig(), CPU).stream([BatchPlan(np.array([0, 1]), np.array([3, 3]))], (6,), 0)
    assert torch.equal(a.inputs[6], b.inputs[6])


@pytest.mark.parametrize("drop", [0.1, 0.3, 0.75])
def test_feature_masks_drop_the_asked_share_and_keep_the_mean(drop):
    keys, numbers = np.arange(400, dtype=np.uint64), np.zeros(400, dtype=np.int64)
    mask = feature_masks(drop, 0, keys, numbers, 101)
    assert mask.shape == (400, 101) and mask.dtype == np.float32
    error = 4 * math.sqrt(drop * (1 - drop) / mask.size)
    assert abs((mask == 0).mean() - drop) < error
    assert abs(mask.mean() - 1) < error / (1 - drop)
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - drop))}
    assert np.abs((mask == 0).mean(0) - drop).max() < 5 * math.sqrt(drop * (1 - drop) / 400)


def test_feature_masks_drop_exactly_their_share_of_all_words(monkeypatch):
    words = np.arange(65536, dtype=np.uint16).view(np.uint32)[None]
    monkeypatch.setattr(module, "random_words", lambda *_, **__: words)
    for drop, dropped in ((0.0, 0), (0.25, 16384), (0.5, 32768)):
        assert (feature_masks(drop, 0, np.zeros(1, np.uint64), np.zeros(1, np.int64), 65536) == 0).sum() == dropped


def test_feature_masks_replay():
    keys, numbers = np.arange(20, dtype=np.uint64), np.arange(20)
    whole = feature_masks(0.3, 1, keys, numbers, 13)
    np.testing.assert_array_equal(feature_masks(0.3, 1, keys[[4, 2]], numbers[[4, 2]], 13), whole[[4, 2]])
    assert (feature_masks(0.3, 2, keys, numbers, 13) != whole).any()
    assert (feature_masks(0.0, 1, keys, numbers, 13) == 1).all()
    data = dataset(Features(np.ones((20, 13), dtype=np.float32)))
    loader = FeatureLoader(data, ViewConfig(feature_dropout=0.3), CPU)
    (batch,) = loader.stream([BatchPlan(np.arange(20), np.full(20, 2))], (13,), 1)
    np.testing.assert_array_equal(batch.inputs[13], feature_masks(0.3, 1, data.keys, np.full(20, 2), 13))
    (centre,) = loader.stream([BatchPlan(np.arange(20))], (13,), 1)
    assert (centre.inputs[13] == 1).all()
