"""What a data set holds: counts per class and split, sizes, groups, unreadable files, differing labels, warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from labelwise.data.dataset import SPLITS, Dataset, Features, ImageSource
from labelwise.data.files import without_group
from labelwise.data.memory import image_sizes
from labelwise.labels.missingness import label_warnings
from labelwise.labels.table import CategoryCounts, LabelTable


def dataset_stats(dataset: Dataset, workers: int = 2) -> dict[str, Any]:
    """Facts about a data set, ready for JSON. Decodes every image that is not in memory.

    Parameters
    ----------
    dataset : a data set with its splits
    workers : threads that decode

    Returns
    -------
    ``name``; ``kind`` (images or features); ``splits`` {split: samples}; ``classes``, a list of {name, fit, select,
    test}, or None for multi-label data; their ``categories``, a list of {name, trainable: whether fit has a known
    positive and a known negative, fit, select, test: {positive, negative, unknown, uncertain}}, else None;
    ``unlabelled`` samples of single-label data; ``images`` {height, width: [min, max], most_frequent: [height, width],
    sizes: how many differ, channels, value_range: [black, white] of images of more than 8 bits, or None} or None;
    ``dimension`` of features or None; ``unreadable``, messages; ``left_out`` {kind: files that are no images};
    ``groups`` {number, largest, single: whether every sample is its own}; ``label_differs`` {split: {samples, share}}
    between given and true labels, or None; ``warnings``, sentences about partly known labels (`data.missingness`)
    """
    images, dimension, broken = None, None, []
    if isinstance(dataset.source, Features):
        dimension = int(dataset.source.values.shape[1])
    else:
        sizes, failed = image_sizes(dataset.source, workers)
        broken = [f"{dataset.ids[row]}: {message}" for row, message in failed]
        images = _image_stats(dataset.source, sizes[sizes[:, 0] > 0])
        images = images and images | {"value_range": dataset.value_range and list(dataset.value_range)}
    group_sizes = np.unique(dataset.groups, return_counts=True)[1]
    return {
        "name": dataset.name,
        "kind": "features" if dataset.is_features else "images",
        "splits": dataset.sizes(),
        "classes": _class_counts(dataset) if dataset.table is None else None,
        "categories": None if dataset.table is None else _category_counts(dataset, dataset.table),
        "unlabelled": int((dataset.label < 0).sum()) if dataset.table is None else 0,
        "images": images,
        "dimension": dimension,
        "unreadable": [*dataset.unreadable, *broken],
        "left_out": dict(dataset.left_out),
        "groups": {
            "number": len(group_sizes),
            "largest": int(group_sizes.max(initial=0)),
            "single": len(group_sizes) == len(dataset),
            "missing": without_group(dataset.groups),
        },
        "label_differs": _label_differs(dataset),
        "warnings": [] if dataset.table is None else label_warnings(dataset.table, dataset.split),
    }


LISTED = 500
"""Rows of a table on the terminal; rich needs minutes for those of 100,000 categories."""


def render_stats(stats: dict[str, Any]) -> Group:
    """The same facts for a terminal."""
    facts = Table(title=escape(stats["name"]), show_header=False, title_justify="left")
    for name, value in _facts(stats):
        facts.add_row(name, value)
    parts: list[Any] = [facts, _class_table(stats) if stats["categories"] is None else _category_table(stats)]
    if (more := len(stats["classes"] if stats["categories"] is None else stats["categories"]) - LISTED) > 0:
        parts.append(Text(f"and {more:,} more; --json lists all"))
    if stats["unreadable"]:
        unreadable = Table("unreadable images", title_justify="left")
        for message in stats["unreadable"][:LISTED]:
            unreadable.add_row(escape(message))
        parts.append(unreadable)
        if (more := len(stats["unreadable"]) - LISTED) > 0:
            parts.append(Text(f"and {more:,} more; --json lists all"))
    parts += [Text(f"Warning: {' '.join(warning.split())}", style="yellow") for warning in stats["warnings"]]
    return Group(*parts)


def _class_counts(dataset: Dataset) -> list[dict[str, Any]]:
    label = {split: dataset.label[dataset.rows(split)] for split in SPLITS}
    counts = {s: np.bincount(found[found >= 0], minlength=dataset.num_classes) for s, found in label.items()}
    return [
        {"name": name, **{split: int(counts[split][index]) for split in SPLITS}}
        for index, name in enumerate(dataset.classes)
    ]


def _category_counts(dataset: Dataset, table: LabelTable) -> list[dict[str, Any]]:
    tables = {split: table.take(dataset.rows(split)) for split in SPLITS}
    counts = {split: part.counts() for split, part in tables.items()}
    trainable = tables["fit"].trainable()
    return [
        {"name": name, "trainable": bool(trainable[c]), **{s: _kinds(counts[s][c]) for s in SPLITS}}
        for c, name in enumerate(dataset.classes)
    ]


def _kinds(counts: CategoryCounts) -> dict[str, int]:
    return {
        "positive": counts["positive"],
        "negative": counts["negative"],
        "unknown": counts["unknown"],
        "uncertain": counts["uncertain"],
    }


def _class_table(stats: dict[str, Any]) -> Table:
    classes = Table("class", *SPLITS, title="samples per class", title_justify="left")
    for row in stats["classes"][:LISTED]:
        classes.add_row(escape(row["name"]), *(f"{row[split]:,}" for split in SPLITS))
    return classes


def _category_table(stats: dict[str, Any]) -> Table:
    """Labels by kind; select and test only by what can be scored."""
    title = "known labels per category, positive/negative"
    table = Table(
        Column("category", overflow="fold"),
        *SPLITS,
        "unknown",
        "uncertain",
        "trainable",
        title=title,
        title_justify="left",
    )
    for row in stats["categories"][:LISTED]:
        known = (f"{row[split]['positive']:,}/{row[split]['negative']:,}" for split in SPLITS)
        rest = (f"{sum(row[split][kind] for split in SPLITS):,}" for kind in ("unknown", "uncertain"))
        table.add_row(escape(row["name"]), *known, *rest, "yes" if row["trainable"] else "no")
    return table


def _image_stats(source: ImageSource, sizes: NDArray[np.int64]) -> dict[str, Any] | None:
    """Of the readable images; None where there is none."""
    if len(sizes) == 0:
        return None
    different, times = np.unique(sizes, axis=0, return_counts=True)
    return {
        "height": [int(sizes[:, 0].min()), int(sizes[:, 0].max())],
        "width": [int(sizes[:, 1].min()), int(sizes[:, 1].max())],
        "most_frequent": different[times.argmax()].tolist(),
        "sizes": len(different),
        "channels": source.channels,
    }


def _label_differs(dataset: Dataset) -> dict[str, Any] | None:
    if dataset.true_label is None:
        return None
    differs = dataset.label != dataset.true_label
    return {
        split: {"samples": int(differs[rows].sum()), "share": float(differs[rows].mean())}
        for split in SPLITS
        if len(rows := dataset.rows(split))
    }


def _facts(stats: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("samples", ", ".join(f"{split} {n:,}" for split, n in stats["splits"].items()))]
    if stats["categories"] is None:
        facts.append(("classes", f"{len(stats['classes']):,}"))
    else:
        trainable = sum(row["trainable"] for row in stats["categories"])
        facts.append(("categories", f"{len(stats['categories']):,}, {trainable:,} of them trainable"))
    if stats["unlabelled"]:
        facts.append(("unlabelled", f"{stats['unlabelled']:,}"))
    if stats["dimension"] is not None:
        facts.append(("features", f"{stats['dimension']:,} a sample"))
    if stats["images"] is not None:
        images = stats["images"]
        (low, high), (narrow, wide), (height, width) = images["height"], images["width"], images["most_frequent"]
        size = f"{width} x {height}" if images["sizes"] == 1 else f"width {narrow} to {wide}, height {low} to {high}"
        often = "" if images["sizes"] == 1 else f", most often {width} x {height}"
        facts.append(("images", f"{size}{often}, {images['channels']} channel{'s' if images['channels'] > 1 else ''}"))
        if images["value_range"] is not None:
            low, high = images["value_range"]
            facts.append(("black and white", f"values {low:g} and {high:g} of 16-bit or floating point images"))
    if not stats["groups"]["single"]:
        facts.append(
            ("groups", f"{stats['groups']['number']:,}, the largest of {stats['groups']['largest']:,} samples")
        )
    if missing := stats["groups"]["missing"]:
        facts.append(("samples without a group", f"{missing:,}, each a group of its own"))
    if stats["label_differs"] is not None:
        shares = (f"{split} {entry['share']:.1%}" for split, entry in stats["label_differs"].items())
        facts.append(("given label is not the true one", ", ".join(shares)))
    facts.append(("unreadable", f"{len(stats['unreadable']):,}"))
    return facts
