"""Samples that are nearly the same.

Everything is a cosine of vectors. Those of images are the bits of a perceptual hash, as 1 and -1: their cosine is
1 - 2 h / 256 for two hashes that differ in h of 256 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from torch import Tensor

from labelwise.audit.neighbours import centred, unit_rows
from labelwise.results.audit import Duplicates

BLOCK = 1024
"""Rows that are compared with all others at a time: it bounds the memory."""

PARTNERS = 10
"""A sample is listed with its nearest duplicates alone, at most so many of the samples behind it: n copies of one
image are 10 n pairs, not n^2 / 2."""

EXACT = 100_000
"""Samples up to which all pairs are compared."""

RECALL = 0.999
"""Share of the pairs just at the similarity that are found where there are more samples."""

OVERHEAD = 5_000
"""Opening a set of samples costs as much as so many comparisons."""

HASH, GRID = 16, 64
"""A hash is made of the 16 x 16 lowest frequencies of an image of 64 x 64 pixels."""

SAME_IMAGE = 0.7
"""Cosine of hashes from which two images are near duplicates: up to 38 of 256 bits differ. At least 98% of copies that
were halved, doubled, made brighter, or saved as JPEG of quality 50 are found (CIFAR-10, UC Merced). All 12 pairs that
it finds among 10,000 images of CIFAR-10 are copies; of its 202 among 10,000 of Fashion-MNIST most are lookalikes."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of samples that are nearly the same, the most similar first.

    Attributes
    ----------
    rows : (P, 2) int64, the smaller number first
    similarity : (P,) float32 cosine
    exact : whether all pairs were compared
    """

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]
    exact: bool


def perceptual_hashes(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Hashes (n, 256) of 1 and -1 that survive another size, compression, brightness and contrast.

    The signs of the lowest frequencies of the grey image, from their median (pHash, Zauner 2010, with 256 bits).

    Parameters
    ----------
    images : (H, W), (H, W, 1) or (H, W, 3) each
    """
    return np.stack([_hash(image) for image in images])


def _hash(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = Image.fromarray(image.squeeze(2) if image.shape[2:] == (1,) else image).convert("L")
    pixels = np.asarray(grey.resize((GRID, GRID), Image.Resampling.LANCZOS), np.float64)
    lowest = dctn(pixels)[:HASH, :HASH].ravel().round(6)  # zeros of an even image are zeros, not rounding errors
    return np.where(lowest > np.median(lowest[1:]), 1, -1).astype(np.float32)


def duplicates_of_embeddings(embeddings: NDArray[np.floating], similarity: float, seed: int = 0) -> Pairs:
    """Pairs of embeddings (n, D), less their mean, whose cosine is at least ``similarity``."""
    return _near_duplicates(centred(embeddings), similarity, seed)


def duplicates_of_images(images: Iterable[NDArray[np.uint8]], seed: int = 0) -> Pairs:
    """Pairs of images whose perceptual hashes have a cosine of at least `SAME_IMAGE`."""
    return _near_duplicates(torch.from_numpy(perceptual_hashes(images)), SAME_IMAGE, seed)


def duplicate_table(pairs: Pairs, ids: NDArray[np.str_], split: NDArray[np.str_], given: list[str]) -> pd.DataFrame:
    """Rows of ``duplicates.csv``. ``given`` (n,) is the label in words, blank where there is none."""
    a, b = pairs.rows.T
    label = np.array(given, dtype=object)
    both = {"id": np.asarray(ids, object), "split": np.asarray(split, object), "given": label}
    columns = {f"{name}_{side}": values[rows] for name, values in both.items() for side, rows in (("a", a), ("b", b))}
    frame = pd.DataFrame(columns | {"similarity": pairs.similarity})
    return frame[["id_a", "id_b", "similarity", "split_a", "split_b", "given_a", "given_b"]]


def count_duplicates(table: pd.DataFrame, method: str) -> Duplicates:
    """The counts of results.json; labels differ where both are given."""
    labelled = (table.given_a != "") & (table.given_b != "")
    return Duplicates(
        found=len(table),
        across_splits=int((table.split_a != table.split_b).sum()),
        labels_differ=int((labelled & (table.given_a != table.given_b)).sum()),
        method=method,
    )


def _near_duplicates(vectors: Tensor, similarity: float, seed: int) -> Pairs:
    unit = unit_rows(vectors)
    exact = len(unit) <= EXACT
    buckets = iter([torch.arange(len(unit))]) if exact else _buckets(unit, similarity, seed)
    parts = [part for bucket in buckets for part in _within(unit, bucket, similarity)]
    rows = torch.cat([part[0] for part in parts]) if parts else torch.zeros(0, 2, dtype=torch.int64)
    cosine = torch.cat([part[1] for part in parts]) if parts else torch.zeros(0)
    each, once = np.unique(rows.numpy(), axis=0, return_index=True)
    found = cosine.numpy()[once]
    order = np.argsort(-found, kind="stable")
    return Pairs(each[order], found[order].clip(max=1), exact)


def _within(unit: Tensor, bucket: Tensor, similarity: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (p, 2) of the samples (m,) of a bucket, in ascending order, and their cosines (p,)."""
    for start in range(0, len(bucket), BLOCK):
        others = bucket[start:]
        own = others[:BLOCK]
        cosine = (unit[own] @ unit[others].T).triu_(1)
        rows = torch.nonzero(cosine.amax(1) >= similarity)[:, 0]
        if not len(rows):
            continue
        best = cosine[rows].topk(min(PARTNERS, len(others)))
        row, rank = torch.nonzero(best.values >= similarity, as_tuple=True)
        partner = others[best.indices[row, rank]]
        yield torch.stack([own[rows[row]], partner], dim=1), best.values[row, rank]


def _buckets(unit: Tensor, similarity: float, seed: int) -> Iterator[Tensor]:
    """Sets of samples on the same side of some random hyperplanes, drawn anew so often that `RECALL` is reached.

    Two vectors of angle t are on the same side of one with probability 1 - t / pi (Charikar 2002).
    """
    n, choices, side = len(unit), range(1, 24), 1 - math.acos(similarity) / math.pi
    draws = {p: math.ceil(math.log(1 - RECALL) / math.log(1 - min(side**p, RECALL))) for p in choices}
    planes = min(choices, key=lambda p: draws[p] * (n * p + n * n / 2**p + OVERHEAD * 2**p))
    random = torch.Generator().manual_seed(seed)
    for _ in range(draws[planes]):
        normal = torch.randn(unit.shape[1], planes, generator=random)
        code = (torch.cat([part @ normal for part in unit.split(BLOCK)]) > 0).long() @ (1 << torch.arange(planes))
        order = code.argsort(stable=True)
        sizes = torch.unique_consecutive(code[order], return_counts=True)[1]
        yield from (bucket for bucket in order.split(sizes.tolist()) if len(bucket) > 1)
