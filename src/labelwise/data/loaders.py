"""From batch plans to batches of views: of images in memory, of image files (by worker processes), of embeddings.

All three draw a view from (seed, sample id, view number) alone, so any view can be made again. A store of views that
were made before brings its own seed and numbers, its crops, and their labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise import interrupts
from labelwise.config import ViewConfig
from labelwise.data.augment import augment, mix_inputs
from labelwise.data.dataset import Dataset, Features, ImageSource, PixelArray
from labelwise.data.replay import Replay, StoredViews, ViewLabels
from labelwise.data.sampling import BatchPlan
from labelwise.data.views import Boxes, centre_boxes, draw_boxes, feature_masks, render, resized_crop
from labelwise.errors import DataError


@dataclass(frozen=True)
class Mix:
    """Partner (B,) of each view within the batch and the share (B,) of the view itself."""

    partner: Tensor
    share: Tensor


@dataclass(frozen=True)
class Batch:
    """B views on the device.

    ``inputs`` holds the same views once per input size that some network wants: (B, C, size, size) float32 in [0, 1]
    under the side of the image, or (B, D) under the length of a feature vector. ``boxes`` are the crops, where there
    are any; ``numbers`` (B,) the view numbers, None for centre views; ``epoch`` that of training, 0-based.
    ``labels`` are those of the unmixed views, where they come out of a store.
    """

    rows: NDArray[np.int64]
    inputs: dict[int, Tensor]
    given: Tensor
    boxes: Boxes | None = None
    numbers: NDArray[np.int64] | None = None
    mix: Mix | None = None
    weight: float = 1.0
    epoch: int = 0
    labels: ViewLabels | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labelled(self) -> Tensor:
        """Whether all samples that a view shows have a given label (B,), which is -1 for unlabelled ones."""
        own = self.given >= 0
        return own if self.mix is None else own & own[self.mix.partner]

    def mixed(self, target: Tensor) -> Tensor:
        """Targets (B, K) of the unmixed samples to those of the mixed views."""
        if self.mix is None:
            return target
        share = self.mix.share[:, None].to(target.dtype)
        return share * target + (1 - share) * target[self.mix.partner]

    def split(self, parts: int) -> list[Batch]:
        """Consecutive parts of equal size up to a pair; their weights sum to ``parts`` x this batch's.

        Of an odd number the last part has three: batch normalisation cannot train on one sample.
        """
        pairs = max(1, len(self) // 2)
        edges = [2 * (pairs * i // parts) for i in range(parts)] + [len(self)]
        slices = [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]
        return [self._part(s, self.weight * (s.stop - s.start) * len(slices) / len(self)) for s in slices]

    def first(self, count: int) -> Batch:
        """The first ``count`` views, an even number where views are mixed."""
        return self._part(slice(0, count), self.weight)

    def _part(self, part: slice, weight: float) -> Batch:
        mix = self.mix and Mix(self.mix.partner[part] - part.start, self.mix.share[part])
        return replace(
            self,
            rows=self.rows[part],
            inputs={size: x[part] for size, x in self.inputs.items()},
            given=self.given[part],
            boxes=self.boxes and self.boxes[part],
            numbers=None if self.numbers is None else self.numbers[part],
            mix=mix,
            weight=weight,
            labels=self.labels and self.labels[part],
        )


class ViewLoader(Protocol):
    """Anything that turns plans into batches, in order."""

    def stream(self, plans: Sequence[BatchPlan], sizes: Sequence[int], seed: int) -> Iterator[Batch]:
        """Batches in the order of ``plans``, each view rendered at every one of ``sizes``, drawn by ``seed``."""
        ...

    def replaying(self, stored: StoredViews) -> ViewLoader:
        """The same loader, which shares what it holds; its random views come out of a store, whatever the seed.

        Its options of views must be those that the store was made with.
        """
        ...


def make_loader(dataset: Dataset, views: ViewConfig, device: torch.device, workers: int = 0) -> ViewLoader:
    """The loader that fits where the data lies; ``workers`` decode what is not in memory."""
    if isinstance(dataset.source, Features):
        return FeatureLoader(dataset, views, device)
    if isinstance(dataset.source, PixelArray):
        return MemoryLoader(dataset, views, device)
    return FileLoader(dataset, views, device, workers)


class _Replaying:
    """A loader whose random views are drawn, until it is given some that were made before."""

    _stored: StoredViews | None = None

    def replaying(self, stored: StoredViews) -> Self:
        other = copy(self)
        other._stored = stored
        return other


class MemoryLoader(_Replaying):
    """Images of one size, as uint8 on the device; a batch is cropped at once, each sample by its own box."""

    def __init__(self, dataset: Dataset, views: ViewConfig, device: torch.device) -> None:
        assert isinstance(dataset.source, PixelArray)
        # (N, H, C, W): both resampling products then read contiguous rows.
        pixels = torch.from_numpy(np.ascontiguousarray(dataset.source.pixels.transpose(0, 1, 3, 2)))
        self._pixels = pixels.to(device)
        self._given = torch.from_numpy(dataset.label).to(device)
        self._keys = dataset.keys
        self._views, self._device = views, device

    def stream(self, plans: Sequence[BatchPlan], sizes: Sequence[int], seed: int) -> Iterator[Batch]:
        for asked in plans:
            plan, own_seed, replay = _replayed(asked, seed, self._stored)
            index = torch.from_numpy(plan.rows).to(self._device, non_blocking=True)
            shape = self._pixels.shape
            heights, widths = (np.full(len(plan.rows), n, dtype=np.int64) for n in (shape[1], shape[3]))
            boxes = _boxes(self._views, own_seed, self._keys, plan, replay, heights, widths)
            pixels = self._pixels.index_select(0, index)
            inputs = {size: render(pixels, boxes, size, self._views.interpolation) for size in sizes}
            given = self._given.index_select(0, index)
            yield _finish(Batch(plan.rows, inputs, given, boxes), plan, self._views, own_seed, self._keys, replay)


class FeatureLoader(_Replaying):
    """Embeddings on the device; a view drops a random part of the features."""

    def __init__(self, dataset: Dataset, views: ViewConfig, device: torch.device) -> None:
        assert isinstance(dataset.source, Features)
        self._values = torch.from_numpy(np.ascontiguousarray(dataset.source.values, dtype=np.float32)).to(device)
        self._given = torch.from_numpy(dataset.label).to(device)
        self._keys = dataset.keys
        self._drop, self._device = views.feature_dropout, device

    def stream(self, plans: Sequence[BatchPlan], sizes: Sequence[int], seed: int) -> Iterator[Batch]:
        dim = self._values.shape[1]
        for asked in plans:
            plan, own_seed, replay = _replayed(asked, seed, self._stored)
            index = torch.from_numpy(plan.rows).to(self._device, non_blocking=True)
            values = self._values.index_select(0, index)
            if plan.numbers is not None and self._drop > 0:
                mask = feature_masks(self._drop, own_seed, self._keys[plan.rows], plan.numbers, dim)
                values = values * torch.from_numpy(mask).to(self._device, non_blocking=True)
            given = self._given.index_select(0, index)
            mix = _mix_of(plan, self._device)
            if mix is not None:
                share = mix.share[:, None]
                values = share * values + (1 - share) * values[mix.partner]
            labels = _labels(replay, self._device)
            yield Batch(plan.rows, {dim: values}, given, None, plan.numbers, mix, plan.weight, plan.epoch, labels)


class FileLoader(_Replaying):
    """Images decoded by worker processes, each once a batch, then cropped for every view and size.

    The processes live as long as the loader. A stream that begins before another one has ended has its own.
    """

    def __init__(self, dataset: Dataset, views: ViewConfig, device: torch.device, workers: int) -> None:
        assert not isinstance(dataset.source, Features)
        self._source: ImageSource = dataset.source
        self._given = torch.from_numpy(dataset.label).to(device)
        self._keys = dataset.keys
        self._views, self._device, self._workers = views, device, workers
        self._helpers: _Helpers | None = None

    def stream(self, plans: Sequence[BatchPlan], sizes: Sequence[int], seed: int) -> Iterator[Batch]:
        helpers = self._helpers
        if helpers is None or helpers.decoded.stored is not self._stored:
            decoded = _DecodedBatches(self._source, self._keys, self._views, self._stored)
            helpers = _Helpers(decoded, self._workers, self._device)
        self._helpers = None  # they are this stream's until it ends
        try:
            yield from self._batches(helpers.decode(plans, tuple(sizes), seed), plans, seed)
        finally:
            self._helpers = helpers

    def _batches(self, items: Iterator[_Item], plans: Sequence[BatchPlan], seed: int) -> Iterator[Batch]:
        for asked, item in zip(plans, items, strict=True):
            interrupts.check()
            if isinstance(item, DataError):
                raise item
            crops, packed, replay = item
            plan, own_seed = _as_stored(asked, seed, self._stored, replay)
            inputs = {size: crop.to(self._device, non_blocking=True) * (1 / 255) for size, crop in crops.items()}
            top, left, height, width, flip = packed.numpy().T
            boxes = Boxes(top, left, height, width, flip.astype(bool))
            given = self._given[torch.from_numpy(plan.rows).to(self._device)]
            yield _finish(Batch(plan.rows, inputs, given, boxes), plan, self._views, own_seed, self._keys, replay)


_Asked = tuple[BatchPlan, tuple[int, ...], int]
_Item = tuple[dict[int, Tensor], Tensor, Replay | None] | DataError


class _Helpers:
    """Worker processes, started once, that decode the batches of one stream after the other."""

    def __init__(self, decoded: _DecodedBatches, workers: int, device: torch.device) -> None:
        self.decoded = decoded
        self._asked: list[_Asked] = []
        self._loader = torch.utils.data.DataLoader(
            decoded,
            batch_size=None,
            sampler=self._asked,  # the loader walks through it anew for every stream
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=interrupts.terminable,
        )

    def decode(self, plans: Sequence[BatchPlan], sizes: tuple[int, ...], seed: int) -> Iterator[_Item]:
        """What ``_DecodedBatches`` makes of each plan, in order."""
        self._asked[:] = [(plan, sizes, seed) for plan in plans]
        with interrupts.held_back():
            return iter(self._loader)  # starts the workers, the first time


class _DecodedBatches(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Of a plan, crops by size as uint8 (B, C, size, size), the boxes as int32 (B, 5), and what a store says of them,
    if there is one; or what is wrong."""

    def __init__(
        self, source: ImageSource, keys: NDArray[np.uint64], views: ViewConfig, stored: StoredViews | None
    ) -> None:
        self._source, self._keys, self._views, self.stored = source, keys, views, stored

    def __getitem__(self, asked: _Asked) -> _Item:
        try:
            return self._crops(*asked)
        except DataError as error:
            return error  # raised by the main process; a worker would put its traceback into the message

    def _crops(
        self, asked: BatchPlan, sizes: tuple[int, ...], own_seed: int
    ) -> tuple[dict[int, Tensor], Tensor, Replay | None]:
        plan, seed, replay = _replayed(asked, own_seed, self.stored)
        rows = plan.rows.tolist()
        decoded = {row: self._source.read(row) for row in dict.fromkeys(rows)}
        images = [decoded[row] for row in rows]  # several views of one image share it
        heights, widths = np.array([image.shape[:2] for image in images], dtype=np.int64).T
        boxes = _boxes(self._views, seed, self._keys, plan, replay, heights, widths)
        packed = np.stack([boxes.top, boxes.left, boxes.height, boxes.width, boxes.flip], axis=1).astype(np.int32)
        shape = (len(rows), self._source.channels)
        crops = {size: torch.empty((*shape, size, size), dtype=torch.uint8) for size in sizes}
        for i, (image, (*box, flip)) in enumerate(zip(images, packed.tolist(), strict=True)):
            for size in sizes:
                crop = resized_crop(image, box, size, self._views.interpolation)
                crops[size][i] = crop.flip(-1) if flip else crop
        return crops, torch.from_numpy(packed), replay and replace(replay, boxes=None)


def _replayed(plan: BatchPlan, seed: int, stored: StoredViews | None) -> tuple[BatchPlan, int, Replay | None]:
    """A plan of random views as a store has them: the plan with its numbers, its seed, and what it says of them."""
    if stored is None or plan.numbers is None:
        return plan, seed, None
    replay = stored.replay(plan.rows, plan.numbers)
    return *_as_stored(plan, seed, stored, replay), replay


def _as_stored(plan: BatchPlan, seed: int, stored: StoredViews | None, replay: Replay | None) -> tuple[BatchPlan, int]:
    if stored is None or replay is None:
        return plan, seed
    return replace(plan, numbers=replay.numbers), stored.seed


def _labels(replay: Replay | None, device: torch.device) -> ViewLabels | None:
    if replay is None:
        return None
    ids = None if replay.ids is None else torch.from_numpy(replay.ids).to(device, non_blocking=True)
    return ViewLabels(ids, torch.from_numpy(replay.values).to(device, non_blocking=True))


def _boxes(
    views: ViewConfig,
    seed: int,
    keys: NDArray[np.uint64],
    plan: BatchPlan,
    replay: Replay | None,
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
) -> Boxes:
    if plan.numbers is None:
        return centre_boxes(views.eval_crop, heights, widths)
    if replay is not None and replay.boxes is not None:
        return replay.boxes
    return draw_boxes(views, seed, keys[plan.rows], plan.numbers, heights, widths)


def _finish(
    batch: Batch, plan: BatchPlan, views: ViewConfig, seed: int, keys: NDArray[np.uint64], replay: Replay | None
) -> Batch:
    """Augment and mix the rendered views, alike at every size, and add what the plan and the store say of them."""
    inputs, device = batch.inputs, batch.given.device
    if plan.numbers is not None:
        inputs = {size: augment(x, views, seed, keys[plan.rows], plan.numbers) for size, x in inputs.items()}
    mix = _mix_of(plan, device)
    if mix is not None and plan.mix is not None:
        share, inputs = mix_inputs(inputs, plan.mix, mix.partner)
        mix = Mix(mix.partner, share)
    return replace(
        batch,
        inputs=inputs,
        numbers=plan.numbers,
        mix=mix,
        weight=plan.weight,
        epoch=plan.epoch,
        labels=_labels(replay, device),
    )


def _mix_of(plan: BatchPlan, device: torch.device) -> Mix | None:
    """Neighbours 2i and 2i + 1 mix with each other; a last odd one with itself."""
    if plan.mix is None:
        return None
    partner = np.arange(len(plan.rows)) ^ 1
    partner[partner >= len(plan.rows)] -= 1
    return Mix(torch.from_numpy(partner).to(device), torch.from_numpy(plan.mix.share).to(device))
