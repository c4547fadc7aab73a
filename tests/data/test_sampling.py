"""Every rank takes its part of the same global batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.config import ViewConfig
from labelwise.data.sampling import (
    REPEAT_SHIFT,
    InTars,
    Shard,
    Unlabelled,
    _apart,
    plan_evaluation,
    plan_training,
    steps_per_epoch,
)
from labelwise.errors import ConfigError

PLAIN, MIXED = ViewConfig(), ViewConfig(mixup=0.4, cutmix=1.0)


def jobs_of(n: int, batch: int, world: int, views: ViewConfig = PLAIN, epoch: int = 3, weight=None):
    return [plan_training(np.arange(n) * 2, batch, views, 1, epoch, Shard(r, world), weight) for r in range(world)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(6, 70), st.integers(6, 20))
def test_ranks_together_take_the_batches_of_one_process(world, n, batch):
    (single,) = jobs_of(n, batch, 1, MIXED)
    ranks = jobs_of(n, batch, world, MIXED)
    steps = steps_per_epoch(n, batch, Shard(0, world))
    assert {len(plans) for plans in ranks} == {steps} and len(single) - steps in (0, 1)
    values = np.random.default_rng(0).random(2 * n)
    for whole, *parts in zip(single, *ranks, strict=False):
        np.testing.assert_array_equal(np.concatenate([p.rows for p in parts]), whole.rows)
        np.testing.assert_array_equal(np.concatenate([p.numbers for p in parts]), whole.numbers)
        np.testing.assert_array_equal(np.concatenate([p.mix.share for p in parts]), whole.mix.share)
        np.testing.assert_array_equal(np.concatenate([p.mix.centre for p in parts]), whole.mix.centre)
        assert {p.mix.cut for p in parts} == {whole.mix.cut}
        assert min(len(p.rows) for p in parts) >= 2
        mean_over_ranks = np.mean([p.weight * values[p.rows].mean() for p in parts])
        assert mean_over_ranks == pytest.approx(values[whole.rows].mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12))
def test_steps_per_epoch_counts_the_batches(n, batch):
    (plans,) = jobs_of(n, batch, 1)
    assert len(plans) == steps_per_epoch(n, batch, Shard())
    seen = np.concatenate([plan.rows for plan in plans])
    assert len(np.unique(seen)) == len(seen) >= n - 1


def test_a_batch_that_is_too_small_for_the_processes_is_refused():
    with pytest.raises(ConfigError, match="batch_size"):
        jobs_of(20, 3, 2)
    with pytest.raises(ConfigError, match="batch_size"):
        jobs_of(5, 64, 3)


def test_every_row_once_in_an_order_of_the_epoch():
    (first,), (again,), (later,) = jobs_of(50, 8, 1), jobs_of(50, 8, 1), jobs_of(50, 8, 1, epoch=4)
    order = np.concatenate([plan.rows for plan in first])
    assert sorted(order) == list(range(0, 100, 2))
    np.testing.assert_array_equal(order, np.concatenate([plan.rows for plan in again]))
    assert (order != np.concatenate([plan.rows for plan in later])).any()
    assert {int(v) for plan in first for v in plan.numbers} == {3}
    assert all(plan.weight == 1 and plan.mix is None for plan in first)


def test_a_sampler_repeats_samples_in_other_views():
    weight = np.r_[np.full(10, 9.0), np.full(30, 1.0)]
    (plans,) = jobs_of(40, 8, 1, weight=weight)
    rows, numbers = (np.concatenate([getattr(j, name) for j in plans]) for name in ("rows", "numbers"))
    assert len({*zip(rows.tolist(), numbers.tolist(), strict=True)}) == 40  # no view twice
    assert ((numbers & ((1 << REPEAT_SHIFT) - 1)) == 3).all()
    for row in np.unique(rows):
        repetitions = numbers[rows == row] >> REPEAT_SHIFT
        np.testing.assert_array_equal(repetitions, np.arange(len(repetitions)))
    assert 0.5 < (rows < 20).mean() < 0.95  # 0.75 expected


def test_some_views_of_a_sample_in_turn():
    views = ViewConfig(number=3, mixup=0.4)
    epochs = [jobs_of(50, 8, 1, views, epoch)[0] for epoch in range(7)]
    for epoch, plans in enumerate(epochs):
        assert {int(n) for plan in plans for n in plan.numbers} == {epoch % 3}
        assert {plan.epoch for plan in plans} == {epoch}
    order = [np.concatenate([plan.rows for plan in plans]).tolist() for plans in epochs]
    share = [np.concatenate([plan.mix.share for plan in plans]).tolist() for plans in epochs]
    assert len({*map(tuple, order)}) == len({*map(tuple, share)}) == 7  # order, partners and shares are new
    plain = jobs_of(50, 8, 1, ViewConfig(mixup=0.4), 5)[0]  # and those of any other number of views
    for ours, other in zip(epochs[5], plain, strict=True):
        np.testing.assert_array_equal(ours.rows, other.rows)
        np.testing.assert_array_equal(ours.mix.share, other.mix.share)


def test_a_sampler_repeats_samples_in_the_next_of_their_views():
    weight = np.r_[np.full(10, 9.0), np.full(30, 1.0)]
    (plans,) = jobs_of(40, 8, 1, ViewConfig(number=2), 3, weight)
    rows, numbers = (np.concatenate([getattr(j, name) for j in plans]) for name in ("rows", "numbers"))
    for row in np.unique(rows):
        np.testing.assert_array_equal(numbers[rows == row], (3 + np.arange((rows == row).sum())) % 2)
    (plans,) = jobs_of(40, 8, 1, ViewConfig(number=1), 3, weight)
    assert not any(plan.numbers.any() for plan in plans)


def test_pairs_that_are_mixed_share_one_draw_and_stay_on_a_rank():
    for world in (1, 2, 3):
        for n in (23, 24, 25):
            for plans in jobs_of(n, 12, world, MIXED):
                for plan in plans[:-1]:
                    assert len(plan.rows) % 2 == 0
                for plan in plans:
                    assert plan.mix.centre.shape == (len(plan.rows), 2)
                    pairs = len(plan.rows) // 2 * 2
                    np.testing.assert_array_equal(plan.mix.share[:pairs:2], plan.mix.share[1:pairs:2])
                    np.testing.assert_array_equal(plan.mix.centre[:pairs:2], plan.mix.centre[1:pairs:2])
                    if len(plan.rows) % 2:
                        assert plan.mix.share[-1] == 1


def test_batches_of_a_seed_stay_the_same_in_later_versions():
    """A run that a later version continues must not show a sample twice in an epoch, nor mix other pairs."""
    views, others = ViewConfig(mixup=0.4), Unlabelled(np.arange(3) + 10, 0.5)
    plans = plan_training(np.arange(6), 4, views, 1, 1, Shard(), None, others)
    assert [plan.rows.tolist() for plan in plans] == [[1, 11, 10, 4], [2, 12]]
    assert [plan.numbers.tolist() for plan in plans] == [[0, 1, 1, 0], [0, 1]]
    assert [plan.mix.share[::2].tolist() for plan in plans] == [
        pytest.approx([0.0756, 0.0017], abs=1e-4),
        pytest.approx([0.8575], abs=1e-4),
    ]
    assert plans[0].mix.centre[0].tolist() == pytest.approx([0.8110, 0.4223], abs=1e-4)
    (drawn,) = plan_training(np.arange(6), 6, MIXED, 1, 1, Shard(), np.arange(6) + 1.0)
    assert drawn.rows.tolist() == [4, 3, 5, 2, 2, 4] and drawn.mix.cut


def test_mixup_and_cutmix_half_of_the_batches_each():
    (plans,) = jobs_of(1200, 6, 1, MIXED)
    assert 0.35 < np.mean([plan.mix.cut for plan in plans]) < 0.65
    (plans,) = jobs_of(60, 6, 1, ViewConfig(cutmix=1.0))
    assert all(plan.mix.cut for plan in plans)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_fixed_jobs_cover_rows_in_order(world):
    rows = np.array([5, 3, 9, 1, 7, 2, 8])
    plans = [plan for rank in range(world) for plan in plan_evaluation(rows, 2, Shard(rank, world))]
    np.testing.assert_array_equal(np.concatenate([plan.rows for plan in plans]), rows)
    # A last one alone joins the batch before.
    expected = {1: [2, 2, 3], 2: [2, 2, 3], 3: [2, 2, 3]}
    assert all(plan.numbers is None for plan in plans) and [len(plan.rows) for plan in plans] == expected[world]
    plans = plan_evaluation(rows, 4, Shard(), number=2**31)
    assert [plan.numbers.tolist() for plan in plans] == [[2**31] * 4, [2**31] * 3]
    assert [len(plan.rows) for plan in plan_evaluation(rows[:1], 2, Shard())] == [1]
    assert plan_evaluation(rows[:0], 2, Shard()) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(6, 70), st.integers(6, 20), st.integers(1, 90), st.floats(0.05, 0.95))
def test_unlabelled_samples_take_their_share_of_every_batch(n, batch, others, share):
    rows, unlabelled = np.arange(n), Unlabelled(np.arange(others) + 1000, share)
    epochs = [plan_training(rows, batch, PLAIN, 1, epoch, Shard(), None, unlabelled) for epoch in range(4)]
    without = plan_training(rows, batch, PLAIN, 1, 0, Shard())
    seen = []
    for plans in epochs:
        assert [len(plan.rows) for plan in plans] == [len(plan.rows) for plan in without]
        for plan in plans:
            assert abs((plan.rows >= 1000).sum() - share * len(plan.rows)) < 1
        seen += [(row, number) for plan in plans for row, number in zip(plan.rows, plan.numbers, strict=True)]
    assert len(set(seen)) == len(seen)  # no view comes twice
    if n % batch == 0:
        drawn = np.array([row for row, _ in seen])
        for counts in (np.bincount(drawn, minlength=n)[:n], np.bincount(drawn, minlength=1000 + others)[1000:]):
            assert counts.max() - counts.min() <= 1  # every sample equally often


def test_some_views_in_turn_beside_unlabelled_samples():
    """A sample that an epoch leaves out does not miss a view, and a few unlabelled ones use theirs up faster."""
    unlabelled, views = Unlabelled(np.arange(5) + 100, 0.3), ViewConfig(number=4)
    plans = [p for e in range(9) for p in plan_training(np.arange(20), 10, views, 1, e, Shard(), None, unlabelled)]
    rows, numbers = (np.concatenate([getattr(plan, name) for plan in plans]) for name in ("rows", "numbers"))
    assert (rows == 100).sum() > 9 and (rows == 0).sum() < 9
    for row in np.unique(rows):
        counts = np.bincount(numbers[rows == row], minlength=4)
        np.testing.assert_array_equal(counts, np.bincount(np.arange(counts.sum()) % 4, minlength=4))


def test_ranks_share_batches_with_unlabelled_samples():
    unlabelled = Unlabelled(np.arange(9) + 100, 0.4)
    single, *ranks = (
        plan_training(np.arange(20), 8, MIXED, 1, 2, Shard(rank, world), np.arange(20) + 1.0, unlabelled)
        for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    for whole, *parts in zip(single, *ranks, strict=True):
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)


def shown(plans) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate([getattr(plan, name) for plan in plans]) for name in ("rows", "numbers"))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(2, 4), st.integers(2, 6), st.sampled_from([None, 3, 8]))
def test_repeated_views_show_every_sample_equally_often(n, repeats, images, number):
    views, batch = ViewConfig(repeats=repeats, number=number), repeats * images
    epochs = [plan_training(np.arange(n) * 2, batch, views, 1, epoch, Shard()) for epoch in range(2 * repeats)]
    for plans in epochs:
        assert len(plans) == steps_per_epoch(n, batch, Shard())
        for plan in plans[:-2]:
            assert (np.unique(plan.rows, return_counts=True)[1] == repeats).all()
    if n % batch == 1 and n > batch:
        return  # the last crop of each epoch is left out
    for half in (epochs[:repeats], epochs[repeats:]):
        rows, numbers = map(np.concatenate, zip(*map(shown, half), strict=True))
        assert (np.bincount(rows, minlength=2 * n)[::2] == repeats).all() and len(rows) == n * repeats
    rows, numbers = map(np.concatenate, zip(*map(shown, epochs), strict=True))
    for row in np.arange(n) * 2:  # views in turn, none left out
        assert sorted(numbers[rows == row]) == sorted(np.arange(2 * repeats) % (number or 2 * repeats))


@settings(max_examples=60, deadline=None)
@given(st.integers(12, 60), st.integers(2, 4), st.integers(2, 7), st.integers(0, 3), st.booleans())
def test_views_of_one_sample_are_not_mixed_with_each_other(n, repeats, images, epoch, with_others):
    views = ViewConfig(repeats=repeats, mixup=0.4)
    unlabelled = Unlabelled(np.arange(9) + 1000, 0.4) if with_others else None
    plans = plan_training(np.arange(n), repeats * images, views, 1, epoch, Shard(), None, unlabelled)
    assert sum(len(plan.rows) for plan in plans) >= n - 1
    for plan in plans:
        half = len(plan.rows) // 2
        pairs = plan.rows[: 2 * half].reshape(half, 2)
        most = np.unique(plan.rows, return_counts=True)[1].max()
        assert (pairs[:, 0] == pairs[:, 1]).sum() <= max(0, most - half)  # 0 but for a last batch of few samples


def test_neighbours_are_taken_from_two_halves():
    for rows, expected in (
        ([7, 7, 5, 7, 5, 7], [7, 7, 7, 5, 7, 5]),  # more of one than of all others
        ([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], [1, 3, 1, 3, 1, 3, 2, 4, 2, 4, 2, 4]),
        ([1, 1, 2, 2, 3, 3, 9], [1, 2, 1, 3, 2, 3, 9]),
    ):
        assert np.array(rows)[_apart(np.array(rows))].tolist() == expected


def test_repeated_views_are_shared_by_ranks_and_drawn_by_weights():
    views, rows = ViewConfig(repeats=3, mixup=0.4), np.arange(52)
    for weight, unlabelled in ((None, None), (rows + 1.0, None), (rows + 1.0, Unlabelled(rows + 100, 0.5))):
        single, *ranks = (
            plan_training(rows, 12, views, 1, 2, Shard(rank, world), weight, unlabelled)
            for rank, world in ((0, 1), (0, 2), (1, 2))
        )
        for whole, *parts in zip(single, *ranks, strict=True):
            np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
            np.testing.assert_array_equal(np.concatenate([part.numbers for part in parts]), whole.numbers)
            assert unlabelled is None or abs((whole.rows >= 100).sum() - len(whole.rows) / 2) < 3
            assert len({*zip(whole.rows.tolist(), whole.numbers.tolist(), strict=True)}) == len(whole.rows)
    weighted = shown(plan_training(rows, 12, views, 1, 2, Shard(), np.where(rows < 10, 5.0, 1.0)))[0]
    assert 0.3 < (weighted < 10).mean() < 0.8  # 0.56 expected


@pytest.mark.parametrize("batch", [10, 4])
def test_a_batch_that_does_not_hold_all_views_is_refused(batch):
    with pytest.raises(ConfigError, match=r"train.batch_size: expected a multiple of views.repeats \(4\), at least 8"):
        plan_training(np.arange(20), batch, ViewConfig(repeats=4), 1, 0, Shard())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_tars_are_read_one_window_after_the_other(sizes, window, repeats, epoch):
    tar = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    rows, views = np.arange(len(tar)) * 3, ViewConfig(repeats=repeats)
    in_tars = InTars(rows, tar, window)
    epochs = [plan_training(in_tars, 2 * repeats, views, 1, e, Shard()) for e in (epoch, epoch, epoch + 1)]
    order, again, _ = (shown(plans)[0] for plans in epochs)
    np.testing.assert_array_equal(order, again)
    if repeats > 1:
        return
    left_out = len(rows) - len(order)
    assert len(np.unique(order)) == len(order) and left_out == (len(rows) % 2 == 1 and len(rows) > 1)
    own = tar[order // 3]
    for number in np.unique(own):  # from the first sample of a tar to its last: those of its window alone
        first, last = np.flatnonzero(own == number)[[0, -1]]
        assert len(np.unique(own[first : last + 1])) <= window


def test_tars_come_in_another_order_and_mixed_with_their_window():
    tar = np.repeat(np.arange(12), 10).astype(np.int32)
    rows = InTars(np.arange(120), tar, 3)
    orders = [tar[shown(plan_training(rows, 10, PLAIN, 1, epoch, Shard()))[0]] for epoch in range(2)]
    windows = [[set(order[i : i + 30].tolist()) for i in range(0, 120, 30)] for order in orders]
    for window, order in zip(windows, orders, strict=True):
        assert sorted(number for tars in window for number in tars) == list(range(12))
        assert all(len(tars) == 3 for tars in window)
        assert (np.diff(order[:30]) != 0).mean() > 0.4  # shuffled, not one after the other
    assert windows[0] != windows[1]
    single, *ranks = (plan_training(rows, 10, PLAIN, 1, 0, Shard(r, w)) for r, w in ((0, 1), (0, 2), (1, 2)))
    for whole, *parts in zip(single, *ranks, strict=True):
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
    with_others = plan_training(rows, 10, PLAIN, 1, 0, Shard(), None, Unlabelled(InTars(np.arange(60), tar, 2), 0.5))
    assert len(shown(with_others)[0]) == 120
    with pytest.raises(ConfigError, match=r"data.order: tars .* train.balance: sampler"):
        plan_training(rows, 10, PLAIN, 1, 0, Shard(), np.ones(120))
