"""Two loaders, one set of views; mixing and augmentation that the labels follow."""

from __future__ import annotations

import gc
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from labelwise.config import ViewConfig
from labelwise.data.augment import _operations, augment
from labelwise.data.dataset import Dataset, Features, ImageFiles, PixelArray
from labelwise.data.loaders import Batch, FileLoader, MemoryLoader, make_loader
from labelwise.data.sampling import BatchPlan, Shard, plan_training
from labelwise.data.views import resized_crop

CPU = torch.device("cpu")
N, SIDE = 11, 20
ROWS = np.arange(N)


def make(source) -> Dataset:
    n = len(source)
    ids = np.array([f"image-{i}" for i in range(n)])
    return Dataset("d", ("a", "b", "c"), ids, ids, np.arange(n) % 3, np.full(n, "fit"), source)


def pixels(channels: int = 3) -> np.ndarray:
    """Away from black and white, where torchvision clips uint8 bicubic once per axis and we once in all."""
    return np.random.default_rng(0).integers(60, 200, (N, SIDE, SIDE, channels), dtype=np.uint8)


def memory(views: ViewConfig, channels: int = 3) -> MemoryLoader:
    return MemoryLoader(make(PixelArray(pixels(channels))), views, CPU)


@pytest.fixture
def files(tmp_path: Path) -> Dataset:
    paths = []
    for i, image in enumerate(pixels()):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    return make(ImageFiles(tuple(paths), 3))


def plans(views: ViewConfig, batch: int = 4, epoch: int = 2) -> list[BatchPlan]:
    return plan_training(ROWS, batch, views, 0, epoch, Shard())


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("centre", [False, True])
def test_both_loaders_show_the_same_views(files, mode, centre):
    views = ViewConfig(interpolation=mode, eval_crop=0.8)
    todo = [BatchPlan(ROWS)] if centre else plans(views)
    ours = list(memory(views).stream(todo, (8, 12), 7))
    theirs = list(FileLoader(files, views, CPU, 0).stream(todo, (8, 12), 7))
    assert len(ours) == len(theirs) == len(todo)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
        for name in ("top", "left", "height", "width", "flip"):
            np.testing.assert_array_equal(getattr(a.boxes, name), getattr(b.boxes, name))
        assert torch.equal(a.given, b.given)
        for size in (8, 12):
            assert a.inputs[size].shape == b.inputs[size].shape == (len(a), 3, size, size)
            # The file loader rounds to 256 levels (once per axis).
            assert (a.inputs[size] - b.inputs[size]).abs().max() < 2.5 / 255
            assert (a.inputs[size] - b.inputs[size]).abs().mean() < 0.6 / 255


def test_the_same_views_again_after_as_many_epochs(files):
    """Crop, flip, colours and erased rectangle; in another order."""
    views = ViewConfig(number=2, rand_augment_ops=1, erasing=0.5)
    dataset = make(Features(np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)))
    for loader, size in (
        (memory(views), 8),
        (FileLoader(files, views, CPU, 0), 8),
        (make_loader(dataset, views, CPU), 6),
    ):
        seen = []
        for epoch in range(4):
            batches = list(loader.stream(plans(views, N, epoch), (size,), 7))
            rows = np.concatenate([b.rows for b in batches])
            assert {b.epoch for b in batches} == {epoch}
            seen.append((rows, torch.cat([b.inputs[size] for b in batches])[np.argsort(rows)]))
        for epoch in (0, 1):
            assert torch.equal(seen[epoch][1], seen[epoch + 2][1])
            assert (seen[epoch][0] != seen[epoch + 2][0]).any()
        assert ((seen[0][1] != seen[1][1]).flatten(1).any(1)).float().mean() > 0.5


def test_the_number_of_workers_changes_nothing(files):
    views = ViewConfig(mixup=0.5, erasing=0.5, rand_augment_ops=1, repeats=2)
    alone, helped = (list(FileLoader(files, views, CPU, w).stream(plans(views), (8,), 7)) for w in (0, 2))
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.inputs[8], b.inputs[8]) and torch.equal(a.mix.share, b.mix.share)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
def test_crops_have_the_pixels_of_torchvision(mode, channels):
    rng = np.random.default_rng(0)
    for _ in range(40):
        height, width, size = rng.integers(1, 300, 3).tolist()
        image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        top, left = int(rng.integers(height)), int(rng.integers(width))
        box = (top, left, int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1)))
        ours = resized_crop(image, box, size, mode)
        theirs = tv.resized_crop(
            torch.from_numpy(image).permute(2, 0, 1), *box, [size, size], InterpolationMode(mode), antialias=True
        )
        assert ours.dtype == torch.uint8 and torch.equal(ours, theirs)


def test_workers_live_as_long_as_the_loader(files):
    """They decode one stream after the other: also after one that was left early, and beside one that goes on."""
    views, alone = ViewConfig(), FileLoader(files, ViewConfig(), CPU, 0)
    expected = {epoch: [b.inputs[8] for b in alone.stream(plans(views, 4, epoch), (8,), 7)] for epoch in range(3)}
    before = {process.pid for process in multiprocessing.active_children()}
    loader, workers = FileLoader(files, views, CPU, 2), []
    for epoch in range(2):
        for batch, crops in zip(loader.stream(plans(views, 4, epoch), (8,), 7), expected[epoch], strict=True):
            assert torch.equal(batch.inputs[8], crops)
        workers.append({process.pid for process in multiprocessing.active_children()} - before)
    next(loader.stream(plans(views), (12,), 3))
    for batch, crops in zip(loader.stream(plans(views, 4, 2), (8,), 7), expected[2], strict=True):
        assert torch.equal(batch.inputs[8], crops)
    workers.append({process.pid for process in multiprocessing.active_children()} - before)
    assert len(workers[0]) == 2 and workers[0] == workers[1] == workers[2]
    both = zip(*(loader.stream(plans(views, 4, epoch), (8,), 7) for epoch in (0, 1)), strict=True)
    for number, batches in enumerate(both):
        assert all(torch.equal(batch.inputs[8], expected[epoch][number]) for epoch, batch in enumerate(batches))
    del loader, both, batches, batch
    gc.collect()
    assert not {process.pid for process in multiprocessing.active_children()} - before


def test_an_image_is_decoded_once_a_batch(files):
    """Several views of it are the crops that plans of one view each show."""
    read = []

    class Counted(ImageFiles):
        def read(self, row: int) -> np.ndarray:
            read.append(row)
            return super().read(row)

    views, rows, numbers = ViewConfig(), np.array([3, 3, 3, 5, 0, 5]), np.array([0, 1, 2, 0, 4, 1])
    loader = FileLoader(make(Counted(files.source.paths, 3)), views, CPU, 0)
    (batch,) = loader.stream([BatchPlan(rows, numbers)], (8,), 7)
    assert read == [3, 5, 0]
    singles = loader.stream([BatchPlan(rows[i : i + 1], numbers[i : i + 1]) for i in range(6)], (8,), 7)
    assert torch.equal(batch.inputs[8], torch.cat([single.inputs[8] for single in singles]))


def test_files_of_many_sizes(tmp_path):
    paths = []
    for i, shape in enumerate([(5, 40), (40, 5), (16, 16)]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(np.full((*shape, 3), 10 * i, dtype=np.uint8)).save(paths[-1])
    loader = make_loader(make(ImageFiles(tuple(paths), 3)), ViewConfig(), CPU)
    assert isinstance(loader, FileLoader)
    (batch,) = loader.stream([BatchPlan(np.arange(3), np.zeros(3, dtype=np.int64))], (8,), 0)
    for i in range(3):
        assert (batch.inputs[8][i] * 255).round().unique().tolist() == [10 * i]


def test_two_sizes_show_the_same_crop():
    ramp = np.zeros((N, 64, 64, 1), dtype=np.uint8)
    ramp[..., 0] = np.arange(64)[None, :] * 2 + np.arange(64)[:, None] * 2
    loader = MemoryLoader(make(PixelArray(ramp)), ViewConfig(scale=(0.5, 1)), CPU)
    (batch,) = loader.stream([BatchPlan(ROWS, ROWS)], (8, 16), 0)
    halved = torch.nn.functional.avg_pool2d(batch.inputs[16], 2)
    torch.testing.assert_close(halved[..., 1:-1, 1:-1], batch.inputs[8][..., 1:-1, 1:-1], atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_targets_are_shares_of_the_pixels(kind):
    views = ViewConfig(**{kind: 1.0})
    flat = np.zeros((N, SIDE, SIDE, 1), dtype=np.uint8)
    flat[:] = (np.arange(N) * 20)[:, None, None, None]  # one grey level each, so that pixels tell their origin
    loader = MemoryLoader(make(PixelArray(flat)), views, CPU)
    seen_mix = False
    for batch in loader.stream(plans(views), (16,), 0):
        one_hot = torch.nn.functional.one_hot(torch.arange(len(batch)), len(batch)).float()
        mixed = batch.mixed(one_hot)
        torch.testing.assert_close(mixed.sum(1), torch.ones(len(batch)))
        level = torch.from_numpy(batch.rows * 20.0 / 255).float()
        torch.testing.assert_close(batch.inputs[16].mean((1, 2, 3)), mixed @ level, atol=1e-5, rtol=0)
        seen_mix |= bool((mixed.amax(1) < 0.99).any())
        partner = batch.mix.partner
        assert torch.equal(partner[partner], torch.arange(len(batch)))
    assert seen_mix


def test_unmixed_targets_stay():
    (batch,) = memory(ViewConfig()).stream([BatchPlan(ROWS, ROWS)], (8,), 0)
    target = torch.rand(N, 3)
    assert batch.mixed(target) is target


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 20])
def test_parts_of_a_batch_weigh_their_samples(parts):
    views = ViewConfig(mixup=1.0)
    plan = plan_training(ROWS, N, views, 0, 0, Shard())[0]
    (batch,) = memory(views).stream([plan], (8,), 0)
    pieces: list[Batch] = batch.split(parts)
    assert len(pieces) == min(parts, N // 2) and min(map(len, pieces)) >= 2
    assert sum(p.weight for p in pieces) == pytest.approx(len(pieces))
    assert torch.equal(torch.cat([p.inputs[8] for p in pieces]), batch.inputs[8])
    value = torch.rand(N)
    values = value[torch.from_numpy(np.concatenate([np.flatnonzero(np.isin(batch.rows, p.rows)) for p in pieces]))]
    edges = np.cumsum([0, *map(len, pieces)])
    mean = sum(p.weight * values[a:b].mean() for p, a, b in zip(pieces, edges, edges[1:], strict=False)) / len(pieces)
    assert mean == pytest.approx(value.mean().item(), rel=1e-5)
    target = torch.rand(N, 3)
    mixed = torch.cat([p.mixed(target[a:b]) for p, a, b in zip(pieces, edges, edges[1:], strict=False)])
    torch.testing.assert_close(mixed, batch.mixed(target))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options", [{"rand_augment_ops": 2}, {"erasing": 1.0}, {"rand_augment_ops": 1, "erasing": 0.5}]
)
def test_augmentation_keeps_shape_and_range_and_replays(channels, options):
    views = ViewConfig(**options)
    keys, numbers = np.arange(40, dtype=np.uint64), np.full(40, 3)
    x = torch.rand(40, channels, 12, 12)
    before = x.clone()
    out = augment(x, views, 0, keys, numbers)
    assert torch.equal(x, before)
    assert out.shape == x.shape and out.min() >= 0 and out.max() <= 1 and torch.isfinite(out).all()
    changed = (out != x).flatten(1).any(1).float().mean()
    assert changed > 0.4
    order = np.random.default_rng(0).permutation(40)
    again = augment(x[torch.from_numpy(order)], views, 0, keys[order], numbers[order])
    torch.testing.assert_close(again, out[torch.from_numpy(order)], atol=1e-6, rtol=0)
    assert (augment(x, views, 1, keys, numbers) != out).any()


def test_erasing_takes_the_same_part_at_two_sizes():
    views = ViewConfig(erasing=0.6)
    keys, numbers = np.arange(60, dtype=np.uint64), np.zeros(60, dtype=np.int64)
    marks = {}
    for size in (16, 32):
        x = torch.arange(size * size).float().view(1, 1, size, size).expand(60, 1, -1, -1) / size**2
        marks[size] = (augment(x, views, 0, keys, numbers) != x).float()
    erased = marks[32].flatten(1).any(1)
    assert torch.equal(erased, marks[16].flatten(1).any(1)) and 0.3 < erased.float().mean() < 0.9
    coarse = torch.nn.functional.avg_pool2d(marks[32], 2)
    assert ((coarse - marks[16]).abs() > 0.8).float().mean() < 0.01
    share = marks[32].mean((1, 2, 3))[erased]
    assert share.min() > 0.005 and share.max() < 0.4


def test_rand_augment_does_the_same_at_two_sizes():
    views = ViewConfig(rand_augment_ops=2)
    keys, numbers = np.arange(60, dtype=np.uint64), np.zeros(60, dtype=np.int64)
    grid = torch.linspace(0, 1, 32)
    large = (grid[:, None] * 0.5 + grid[None, :] * 0.4).expand(60, 3, 32, 32).clone()
    large *= torch.tensor([1.0, 0.7, 0.4])[None, :, None, None]
    small = torch.nn.functional.avg_pool2d(large, 2)
    a = torch.nn.functional.avg_pool2d(augment(large, views, 0, keys, numbers), 2)
    b = augment(small, views, 0, keys, numbers)
    difference = (a - b).abs().mean((1, 2, 3))
    assert difference.quantile(0.9) < 0.05 and difference.max() < 0.2  # equalize magnifies an edge of the rotation
    assert (b - small).abs().mean((1, 2, 3)).median() > 0.03


def test_operations_number_fourteen_and_grow_with_strength():
    assert len(_operations(3)) == 14
    assert len(_operations(1)) == 13  # grey has no saturation
    x = torch.rand(4, 3, 8, 8)
    for operation in _operations(3):
        for strength in (-1.0, -0.3, 0.3, 1.0):
            out = operation(x, strength)
            assert out.shape == x.shape and torch.isfinite(out).all()


def test_evaluation_views_are_never_augmented_or_mixed():
    views = ViewConfig(mixup=1.0, erasing=1.0, rand_augment_ops=2)
    (plain,) = memory(ViewConfig()).stream([BatchPlan(ROWS)], (8,), 0)
    (batch,) = memory(views).stream([BatchPlan(ROWS)], (8,), 99)
    assert torch.equal(plain.inputs[8], batch.inputs[8]) and batch.mix is None and not batch.boxes.flip.any()
