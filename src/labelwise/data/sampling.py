"""Which samples are looked at, in what order and in which view: a list of batch plans.

Plans depend on (seed, epoch) and not on the number of ranks: every rank takes its part of the same global batches.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelwise.config import ViewConfig
from labelwise.data.counter_rng import generator
from labelwise.errors import ConfigError

REPEAT_SHIFT = 20
"""A sample that weights draw again within one epoch gets another view: its number is epoch + (repetition <<
REPEAT_SHIFT), or where ``views.number`` says how many there are, the next of them."""


@dataclass(frozen=True)
class Shard:
    """This process among those that share every batch."""

    rank: int = 0
    world: int = 1

    def part(self, n: int) -> slice:
        """This rank's contiguous part of ``n`` samples; cuts fall between pairs, which may be mixed."""
        pairs = -(-n // 2)
        return slice(*(min(n, 2 * (pairs * r // self.world)) for r in (self.rank, self.rank + 1)))


@dataclass(frozen=True)
class MixPlan:
    """Mixup or CutMix of neighbours 2i and 2i + 1: ``share`` (B,) of the own sample, ``centre`` (B, 2) of the box."""

    cut: bool
    share: NDArray[np.float32]
    centre: NDArray[np.float32]


@dataclass(frozen=True)
class BatchPlan:
    """One batch: ``rows`` (B,) of the data set, the ``numbers`` (B,) of their views, or None for the centre view.

    ``weight`` makes the mean over ranks the mean over the global batch: local size x ranks / global size. ``epoch`` is
    0-based.
    """

    rows: NDArray[np.int64]
    numbers: NDArray[np.int64] | None = None
    mix: MixPlan | None = None
    weight: float = 1.0
    epoch: int = 0


@dataclass(frozen=True)
class InTars:
    """Rows (N,) that are shown tar by tar, as large files are best read: the tars in a random order, and the samples of
    ``window`` of them, one after the other, in a random order together. ``tar`` (N,) is the number of each row's."""

    rows: NDArray[np.int64]
    tar: NDArray[np.int32]
    window: int

    def __len__(self) -> int:
        return len(self.rows)

    def permuted(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows (N,) in the order of one pass."""
        numbers, member = np.unique(self.tar, return_inverse=True)
        window = rng.permutation(len(numbers))[member] // self.window
        shuffled = rng.permutation(len(self))
        return self.rows[shuffled[np.argsort(window[shuffled], kind="stable")]]


Rows = NDArray[np.int64] | InTars


@dataclass(frozen=True)
class Unlabelled:
    """Rows (M,) without a label, of which every batch has a ``share``."""

    rows: Rows
    share: float


def plan_training(
    rows: Rows,
    batch_size: int,
    views: ViewConfig,
    seed: int,
    epoch: int,
    shard: Shard,
    sample_weight: NDArray[np.float64] | None = None,
    unlabelled: Unlabelled | None = None,
) -> list[BatchPlan]:
    """The batches of one epoch (0-based): every row once in a new order, or drawn with ``sample_weight``.

    With ``unlabelled`` samples, an epoch has the same number of batches of the same size. They take the places of
    others, so that an epoch shows a part of ``rows``; the next epoch goes on where it stopped.

    With ``views.repeats`` m, a batch shows m views of each of its samples (Hoffer et al. 2020), and an epoch a part of
    ``rows``, too: all are shown m times in m epochs. Neighbours, which may be mixed, are different samples wherever a
    batch has two.

    The last batch may be smaller; it is left out if some rank would get fewer than two samples of it, which batch
    normalisation cannot train on (unless it is the only one).

    Raises
    ------
    ConfigError
        If a batch is too small for every process to get two samples of it, or does not hold ``views.repeats`` views of
        each of two samples.
    """
    check_batch_size(len(rows), batch_size, shard, views.repeats)
    if unlabelled is not None:
        order, numbers = _mixed_order(rows, batch_size, views, seed, epoch, sample_weight, unlabelled)
    else:
        order, numbers = _labelled_order(rows, len(rows), views, seed, epoch, sample_weight)
    plans: list[BatchPlan] = []
    for step, start in enumerate(range(0, len(order), batch_size)):
        size = min(batch_size, len(order) - start)
        if size < batch_size and size < 2 * shard.world and plans:
            break
        part = shard.part(size)
        mix = _mix_plan(views, size, seed, epoch, step)
        if mix is not None:
            mix = MixPlan(mix.cut, mix.share[part], mix.centre[part])
        take = np.arange(start, start + size)
        if views.repeats > 1:
            take = take[_apart(order[take])]
        weight = (part.stop - part.start) * shard.world / size
        plans.append(BatchPlan(order[take[part]], numbers[take[part]], mix, weight, epoch))
    return plans


Order = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows (n,) in the order in which they are shown, and the numbers (n,) of their views."""


def _mixed_order(
    rows: Rows,
    batch_size: int,
    views: ViewConfig,
    seed: int,
    epoch: int,
    sample_weight: NDArray[np.float64] | None,
    unlabelled: Unlabelled,
) -> Order:
    """As many crops as ``rows`` (n,), a share of each batch unlabelled, in a random order within the batch."""
    n, repeats = len(rows), views.repeats
    edges = np.minimum(np.arange(0, n + batch_size, batch_size), n)
    others = np.floor(edges * unlabelled.share / repeats).astype(np.int64) * repeats  # of the first so many crops
    labelled, count = edges - others, int(others[-1])
    own = _labelled_order(rows, n - count, views, seed, epoch, sample_weight)
    extra = _stretch(unlabelled.rows, count, views, seed, "unlabelled order", epoch)
    rng = generator(seed, "places", epoch)
    parts = zip(itertools.pairwise(labelled), itertools.pairwise(others), strict=True)
    take = np.concatenate([rng.permutation(np.r_[np.arange(*a), n - count + np.arange(*b)]) for a, b in parts])
    return np.concatenate([own[0], extra[0]])[take], np.concatenate([own[1], extra[1]])[take]


def _labelled_order(
    rows: Rows,
    count: int,
    views: ViewConfig,
    seed: int,
    epoch: int,
    sample_weight: NDArray[np.float64] | None,
) -> Order:
    if sample_weight is None:
        return _stretch(rows, count, views, seed, "order", epoch)
    if isinstance(rows, InTars):
        raise ConfigError("data.order: tars shows every sample once, train.balance: sampler does not; leave one out")
    rng, images = generator(seed, "order", epoch), -(-count // views.repeats)
    drawn = rng.choice(rows, size=images, p=sample_weight / sample_weight.sum()).repeat(views.repeats)[:count]
    again = _repetition(drawn)
    return drawn, epoch + (again << REPEAT_SHIFT) if views.number is None else (epoch + again) % views.number


def _stretch(rows: Rows, count: int, views: ViewConfig, seed: int, purpose: str, epoch: int) -> Order:
    """Stretch number ``epoch`` of ``count`` crops of an endless row: permutations of ``rows``, every entry repeated.

    A view is numbered by how often its sample was shown before. Crops of a sample that the stretch before began come
    last, so that those of all others start at multiples of ``views.repeats``.
    """
    image, repetition = np.divmod(np.arange(epoch * count, (epoch + 1) * count), views.repeats)
    first, last = (int(image[i]) // len(rows) if count else 0 for i in (0, -1))
    passes = [_permuted(rows, generator(seed, purpose, number)) for number in range(first, last + 1)]
    order = np.concatenate(passes)[image - first * len(rows)]
    numbers = image // len(rows) * views.repeats + repetition
    begun = -epoch * count % views.repeats
    return np.roll(order, -begun), np.roll(numbers if views.number is None else numbers % views.number, -begun)


def _permuted(rows: Rows, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows.permuted(rng) if isinstance(rows, InTars) else rng.permutation(rows)


def _apart(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order (B,) of the crops of a batch in which neighbours 2i and 2i + 1 are different samples, as far as that is
    possible: crop i of one half beside crop i of the other, samples one after the other in both. So the crops of a
    sample are on few ranks."""
    _, first, member = np.unique(rows, return_index=True, return_inverse=True)
    together = np.argsort(first[member], kind="stable")
    half = len(rows) // 2
    pairs = np.stack([together[:half], together[half : 2 * half]], axis=1)
    return np.r_[pairs.ravel(), together[2 * half :]]


def check_batch_size(n: int, batch_size: int, shard: Shard, repeats: int) -> None:
    """Refuse batches of ``n`` samples in all that give some process fewer than two, or that do not hold ``repeats``
    views of each of two samples or more, with a ConfigError."""
    if repeats > 1 and (batch_size % repeats or batch_size < 2 * repeats):
        raise ConfigError(
            f"train.batch_size: expected a multiple of views.repeats ({repeats}), at least {2 * repeats}, got"
            f" {batch_size}"
        )
    if shard.world > 1 and min(batch_size, n) < 2 * shard.world:
        raise ConfigError(
            f"train.batch_size: {min(batch_size, n)} samples a batch are too few for {shard.world} processes, each"
            " needs two"
        )


def steps_per_epoch(n: int, batch_size: int, shard: Shard) -> int:
    """Number of batches that :func:`plan_training` makes of ``n`` rows."""
    full, rest = divmod(n, batch_size)
    return full + (rest >= 2 * shard.world or (rest > 0 and full == 0))


def plan_evaluation(
    rows: NDArray[np.int64], batch_size: int, shard: Shard, number: int | None = None
) -> list[BatchPlan]:
    """This rank's part of ``rows`` in order: centre views, or view ``number`` of each.

    A last one alone joins the batch before, for networks that normalise by the batch.
    """
    own = rows[shard.part(len(rows))]
    starts = [start for start in range(0, len(own), batch_size) if start == 0 or len(own) - start > 1]
    parts = [own[start:end] for start, end in itertools.pairwise([*starts, len(own)])]
    return [BatchPlan(p, None if number is None else np.full(len(p), number, dtype=np.int64)) for p in parts]


def _repetition(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each entry has already occurred before it."""
    by_row = np.argsort(order, kind="stable")
    new = np.r_[True, order[by_row][1:] != order[by_row][:-1]]
    starts = np.flatnonzero(new)
    count = np.arange(len(order)) - starts[np.cumsum(new) - 1]
    out = np.empty(len(order), dtype=np.int64)
    out[by_row] = count
    return out


def _mix_plan(views: ViewConfig, size: int, seed: int, epoch: int, step: int) -> MixPlan | None:
    """Shares of mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019), one Beta draw per pair."""
    if views.mixup == 0 and views.cutmix == 0:
        return None
    rng = generator(seed, "mix", epoch, step)
    both = views.mixup > 0 and views.cutmix > 0
    cut = bool(rng.random() < 0.5) if both else views.cutmix > 0
    alpha = views.cutmix if cut else views.mixup
    pairs = -(-size // 2)
    share = rng.beta(alpha, alpha, size=pairs).repeat(2)[:size].astype(np.float32)
    centre = rng.random((pairs, 2)).repeat(2, axis=0)[:size].astype(np.float32)
    if size % 2:
        share[-1] = 1.0
    return MixPlan(cut, share, centre)
