"""From what a reader found to fit / select / test, the same on every machine.

Every choice follows the order of a hash of (split_seed, purpose, group), dealt evenly over the classes. A prefix of
that order is a stratified draw, so a smaller limit is a subset of a larger one and no group is ever parted.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from labelwise.config import DataConfig, KnownConfig, NoiseConfig
from labelwise.data.dataset import SPLITS, UNLABELLED, Dataset, Samples, sample_keys
from labelwise.data.files import own_groups, refuse_repeated
from labelwise.data.memory import find_unreadable
from labelwise.data.notes import assume
from labelwise.data.relabel import replace_labels
from labelwise.errors import DataError
from labelwise.labels import protocols
from labelwise.labels.table import LabelTable

Rows = NDArray[np.int64]


def prepare(samples: Samples, config: DataConfig, *, partial: bool = False) -> Dataset:
    """Replace labels, drop unreadable images, split, limit, and simulate noise; in this order.

    - ``train`` and ``fit`` learn. ``val`` is the test split, or ``select`` where the data also has a ``test``.
    - Without a test part, ``test_share`` of the training part is held out; without a select part, ``select_share`` of
      what is left. A group's stratum is its most frequent label.
    - ``classes`` keeps the samples whose given and true labels are among the first so many classes.
    - ``test`` keeps true labels where they are known; noise is simulated on ``fit`` and ``select`` together.
    - The stratum of a multi-label sample is its rarest positive category. These data are neither relabelled nor made
      noisy; ``categories`` keeps some of them, and ``known`` hides labels of ``fit``. What is hidden is drawn over the
      whole training part in its own order, as the published protocols do, so it does not depend on the held-out shares.
    - Training samples of single-label data without a label become the split ``unlabelled``, but for those of a group
      that is in ``select`` or ``test``. ``labelled`` keeps the labels of so many samples of ``fit``; the others become
      ``unlabelled`` too. Limits and shares count labelled samples alone.
    - ``partial`` takes unlabelled samples as members of the other splits (a stratum of their own), and classes without
      a sample to learn from.

    Raises
    ------
    DataError
        For repeated ids, a group in two splits, or a split that cannot be made; of single-label data, unless
        ``partial``, for unlabelled samples that are not training ones, or a class without a sample to learn from.
    """
    split = _split_of_parts(samples)
    refuse_repeated(samples.ids.tolist(), f"{samples.name}: id")
    samples = _with_options(samples, config, split)
    if not partial and samples.table is None:
        split = _set_unlabelled_apart(samples, split)
    rows, unreadable = _readable(samples, config)
    groups = samples.ids if samples.groups is None else own_groups(samples.groups, samples.ids)
    _refuse_parted_groups(samples.name, groups[rows], np.where(split[rows] == UNLABELLED, "fit", split[rows]))
    training = rows[split[rows] == "fit"]
    if len(training) == 0 and not partial:
        present = ", ".join(sorted(set(samples.part.tolist()) - {""})) or "no labels"
        raise DataError(f"{samples.name}: has {present}, but no training samples (evaluate takes it by --split all)")
    parts = _split(samples, groups, [rows[split[rows] == name] for name in SPLITS], config)
    labelled = _limit(parts[0], _strata(samples), groups, config.labelled, config.split_seed, "labelled")
    unlabelled = np.concatenate([np.setdiff1d(parts[0], labelled), rows[split[rows] == UNLABELLED]])
    unlabelled = unlabelled[~np.isin(groups[unlabelled], groups[np.concatenate(parts[1:])])]
    parts[0] = labelled

    classes, label = samples.classes[: config.classes], samples.label
    if not partial and samples.table is None:
        _refuse_empty_classes(samples.name, classes, label[labelled])
    kept = np.sort(np.concatenate([*parts, unlabelled]))
    final = np.full(len(samples), "", dtype="<U10")
    for name, chosen in zip((*SPLITS, "fit" if partial else UNLABELLED), (*parts, unlabelled), strict=True):
        final[chosen] = name
    label = label.copy()
    label[unlabelled] = -1
    true_label = samples.true_label
    if true_label is not None:  # replaced labels reach held-out test samples of data without a split of its own
        label = np.where(final == "test", true_label, label)
    true_table = None if samples.table is None else samples.table.take(kept)
    table = true_table
    if samples.table is not None and table is not None and (config.known.protocol != "all" or len(unlabelled)):
        keep = np.ones(table.values.shape, dtype=bool)
        keep[np.searchsorted(kept, unlabelled)] = False
        if config.known.protocol != "all":
            keep[np.searchsorted(kept, labelled)] = _known_labels(samples.table, training, labelled, config.known)
        table = table.hide(keep)
    dataset = Dataset(
        name=samples.name,
        classes=classes,
        ids=samples.ids[kept],
        groups=groups[kept],
        label=label[kept],
        split=final[kept],
        source=samples.source.take(kept),
        true_label=None if true_label is None else true_label[kept],
        unreadable=(*samples.unreadable, *unreadable),
        left_out=samples.left_out,
        table=table,
        true_table=None if table is true_table else true_table,
    )
    return _add_noise(dataset, config.noise) if config.noise.rate > 0 else dataset


def _with_options(samples: Samples, config: DataConfig, split: NDArray[np.str_]) -> Samples:
    """The samples with the categories and labels that the options ask for. Options of other data are refused."""
    if samples.table is not None:
        _refuse_single_label_options(samples.name, config)
        return _keep_categories(samples, samples.table, config.categories)
    if config.categories or config.known.protocol != "all":
        option = "categories" if config.categories else "known"
        raise DataError(f"{samples.name}: one class per sample; data.{option} is for multi-label data, leave it out")
    if config.labels is None:
        return samples
    return replace_labels(samples, config.labels, np.flatnonzero(split != "test"))


def _readable(samples: Samples, config: DataConfig) -> tuple[Rows, list[str]]:
    """Rows of the classes that are kept, and messages about unreadable images that are left out."""
    rows = _rows_of_classes(samples, config.classes)
    if config.unreadable == "fail":
        return rows, []
    broken = find_unreadable(samples.take(rows), config.decoders)
    messages = [f"{samples.ids[rows[row]]}: {message}" for row, message in broken]
    return np.delete(rows, [row for row, _ in broken]), messages


def _split(samples: Samples, groups: NDArray[np.str_], parts: list[Rows], config: DataConfig) -> list[Rows]:
    """Rows of fit, select and test, from those that the data itself has. What is missing is held out of fit."""
    fit, select, test = parts
    seed, strata = config.split_seed, _strata(samples)
    if len(test) == 0 and len(fit):
        test, fit = _hold_out(fit, strata, groups, config.test_share, seed, "test")
        assume(f"{samples.name}: no test part, so {config.test_share:.0%} of all samples are test (data.test_share)")
    fit = _limit(fit, strata, groups, config.train_limit, seed, "train")
    test = _limit(test, strata, groups, config.test_limit, seed, "test")
    if len(select) == 0 and len(fit):
        select, fit = _hold_out(fit, strata, groups, config.select_share, seed, "select")
        assume(
            f"{samples.name}: no select part, so {config.select_share:.0%} of the training samples are select"
            " (data.select_share)"
        )
    return [fit, _limit(select, strata, groups, config.select_limit, seed, "select"), test]


def _strata(samples: Samples) -> NDArray[np.int64]:
    return samples.label if samples.table is None else rarest_positive(samples.table)


def stratified_order(label: NDArray[np.int64], groups: NDArray[np.str_], seed: int, purpose: str) -> list[Rows]:
    """Groups in an order whose every prefix is a stratified draw.

    Within a stratum, groups follow their hash; each stands at the share of the stratum that lies before its middle,
    and all strata are merged by that share.

    Parameters
    ----------
    label, groups : (N,) of the samples to order
    seed, purpose : another one gives an unrelated order

    Returns
    -------
    the rows of one group after the other
    """
    names, member = np.unique(groups, return_inverse=True)
    size = np.bincount(member)
    stratum = _most_frequent(label, member) + 1  # what has no class is a stratum too
    key = sample_keys([f"{seed}:{purpose}:{name}" for name in names.tolist()])
    order = np.lexsort((key, stratum))
    before = np.cumsum(size[order]) - size[order] / 2
    first = np.searchsorted(stratum[order], stratum[order])  # where the own stratum begins
    start = (np.cumsum(size[order]) - size[order])[first]
    total = np.bincount(stratum, weights=size)[stratum[order]]
    merged = order[np.lexsort((key[order], (before - start) / total))]
    rows_by_group = np.split(np.argsort(member, kind="stable"), np.cumsum(size)[:-1])
    return [rows_by_group[group] for group in merged]


def _most_frequent(label: NDArray[np.int64], member: NDArray[np.int64]) -> NDArray[np.int64]:
    """Most frequent label of every group; the smaller one of two equally frequent."""
    pairs, times = np.unique(np.stack([member, label]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -times, pairs[0]))
    first = np.unique(pairs[0][order], return_index=True)[1]
    most_frequent: NDArray[np.int64] = pairs[1][order][first]
    return most_frequent


def rarest_positive(table: LabelTable) -> NDArray[np.int64]:
    """Of the known positive categories of every sample the one with the fewest (N,), -1 where there is none."""
    rarest_first = np.argsort(table.known_positive, kind="stable")
    positive = (table.known & (table.values >= 0.5))[:, rarest_first]
    return np.where(positive.any(axis=1), rarest_first[positive.argmax(axis=1)], -1)


def _hold_out(
    rows: Rows, label: NDArray[np.int64], groups: NDArray[np.str_], share: float, seed: int, purpose: str
) -> tuple[Rows, Rows]:
    """A stratified share of ``rows``, at least one group and to the nearest group, and the rest."""
    if share == 0:
        return rows[:0], rows
    ordered = stratified_order(label[rows], groups[rows], seed, f"hold out {purpose}")
    size = np.array([len(group) for group in ordered])
    count = max(1, int(((np.cumsum(size) - size / 2) < round(share * len(rows))).sum()))
    if count >= len(ordered):
        raise DataError(
            f"data.{purpose}_share: {share:g} of {len(rows)} samples in {len(ordered)} groups leaves none to learn from"
        )
    return np.sort(rows[np.concatenate(ordered[:count])]), np.sort(rows[np.concatenate(ordered[count:])])


def _limit(
    rows: Rows, label: NDArray[np.int64], groups: NDArray[np.str_], limit: int | None, seed: int, part: str
) -> Rows:
    """At most ``limit`` of ``rows`` in whole groups: a prefix, so that a smaller limit is a subset of a larger one."""
    if limit is None or limit >= len(rows):
        return rows
    ordered = stratified_order(label[rows], groups[rows], seed, f"limit {part}")
    count = int(np.searchsorted(np.cumsum([len(group) for group in ordered]), limit, side="right"))
    if count == 0:
        option = part if part == "labelled" else f"{part}_limit"
        raise DataError(f"data.{option}: {limit} is less than one group of samples ({len(ordered[0])})")
    return np.sort(rows[np.concatenate(ordered[:count])])


def _split_of_parts(samples: Samples) -> NDArray[np.str_]:
    """What each part of the data becomes before anything is held out (N,)."""
    known = {"train": "fit", "fit": "fit", "select": "select", "val": "test", "test": "test", "": "fit"}
    parts = set(samples.part.tolist())
    if "test" in parts:
        known["val"] = "select"
    if "val" in parts:
        assume(f"{samples.name}: its part val is {'select, to choose on' if 'test' in parts else 'test'}")
    if "" in parts and len(parts) > 1:
        count = int((samples.part == "").sum())
        first = samples.ids[np.flatnonzero(samples.part == "")[0]]
        raise DataError(f"{samples.name}: {count} samples have no split and others have one, first {first}")
    return np.array([known[part] for part in samples.part.tolist()], dtype="<U6")


def _rows_of_classes(samples: Samples, classes: int | None) -> Rows:
    if classes is None:
        return np.arange(len(samples))
    if classes > len(samples.classes):
        raise DataError(
            f"data.classes: expected at most {len(samples.classes)}, the classes of {samples.name}, got {classes}"
        )
    inside = samples.label < classes
    if samples.true_label is not None:
        inside &= samples.true_label < classes
    return np.flatnonzero(inside)


def _add_noise(dataset: Dataset, noise: NoiseConfig) -> Dataset:
    rows = np.flatnonzero((dataset.split != "test") & (dataset.label >= 0))
    corrupt = protocols.uniform_noise if noise.kind == "uniform" else protocols.pair_noise
    label = dataset.label.copy()
    label[rows] = corrupt(dataset.label[rows], dataset.num_classes, noise.rate, noise.seed, dataset.keys[rows])
    true_label = dataset.label if dataset.true_label is None else dataset.true_label
    return dataclasses.replace(dataset, label=label, true_label=true_label)


def _keep_categories(samples: Samples, table: LabelTable, categories: tuple[str, ...]) -> Samples:
    return (
        dataclasses.replace(samples, table=table.with_categories(categories), classes=categories)
        if categories
        else samples
    )


def _known_labels(table: LabelTable, training: Rows, fit: Rows, known: KnownConfig) -> NDArray[np.bool_]:
    """Which labels of the rows ``fit`` a protocol keeps, (len(fit), C), drawn over the rows ``training``."""
    own = table.take(training)
    seed = known.seed + 526
    match known.protocol:
        case "uniform":
            keep = protocols.keep_uniform(own, known.share, seed)
        case "cells":
            keep = protocols.keep_uniform_by_cell(own, known.share, known.seed)
        case "hcp":
            keep = protocols.keep_hcp(own.values.shape, known.share, known.seed)
        case "single_positive":
            keep = protocols.keep_single_positive(own, seed)
        case "fixed":
            keep = protocols.keep_fixed_per_category(own, known.count, seed)
        case "balanced":
            keep = protocols.keep_balanced_per_category(own, known.count, seed)
        case "positives":
            keep = protocols.keep_positives(own, known.share, seed)
        case _:
            raise AssertionError(known.protocol)
    return keep[np.isin(training, fit)]


def _refuse_single_label_options(name: str, config: DataConfig) -> None:
    if config.labels is not None:
        raise DataError(
            f"{name}: multi-label data; data.labels.file {config.labels.file!r} has no provenance columns, as the table"
            " of `labelwise audit apply` has"
        )
    options = {"classes": config.classes is not None, "noise": config.noise.rate}
    asked = [option for option, given in options.items() if given]
    if asked:
        raise DataError(f"{name}: multi-label data; data.{asked[0]} is for single-label data, leave it out")


def _set_unlabelled_apart(samples: Samples, split: NDArray[np.str_]) -> NDArray[np.str_]:
    """``split`` with training samples that have no label in a split of their own; others without one are refused."""
    bare = samples.label < 0
    rows = np.flatnonzero(bare & (split != "fit"))
    if len(rows):
        parts = ", ".join(sorted(set(samples.part[rows].tolist())))
        raise DataError(
            f"{samples.name}: {len(rows)} samples of {parts} are unlabelled, first {samples.ids[rows[0]]}; label them"
            " or leave them out"
        )
    return np.where(bare, UNLABELLED, split)


def _refuse_parted_groups(name: str, groups: NDArray[np.str_], split: NDArray[np.str_]) -> None:
    pairs = sorted(set(zip(groups.tolist(), split.tolist(), strict=True)))
    for (group, one), (other, two) in pairwise(pairs):
        if group == other:
            raise DataError(
                f"{name}: group {group!r} is in {one} and in {two}; a group must lie in one split"
                " (--set 'data.split_column=\"\"' leaves an .npz file's own split aside)"
            )


def _refuse_empty_classes(name: str, classes: tuple[str, ...], label: NDArray[np.int64]) -> None:
    empty = np.flatnonzero(np.bincount(label, minlength=len(classes)) == 0)
    if len(empty):
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise DataError(
            f"{name}: empty class {classes[empty[0]]!r}{more}: no sample to learn it from; leave it out, or add"
            " some to the training part"
        )
