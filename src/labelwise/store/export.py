"""A store for other programs: one Parquet file, or one small file for each image."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelwise.errors import DataError, RunError
from labelwise.runs import atomic_write
from labelwise.store.header import StoreHeader
from labelwise.store.reader import Store, StoredCrops

TableFormat = Literal["npz", "csv"]

SAMPLES = 1024
"""Samples that are decoded at once."""

BOX = ("top", "left", "height", "width", "flip")


def export_parquet(store: Store, out: Path) -> None:
    """Write one row a crop: id, view, box, and lists of classes and of their log-probabilities.

    The columns ``top``, ``left``, ``height``, ``width`` and ``flip`` are there where the store has boxes. ``classes``
    are numbers of the classes that the metadata of the file names under ``labelwise_store``. Multi-label data have
    ``log_odds`` in place of ``log_probabilities``.

    Raises
    ------
    RunError
        If ``out`` is there already, or cannot be written.
    """
    if out.exists():
        raise RunError(f"--out {out}: exists, and nothing is overwritten; give another --out")
    header = store.header

    def write(file: Any) -> None:
        writer = None
        for ids, crops in _parts(store):
            table = pa.table(_columns(ids, _arrays(crops, header), header.views_per_sample))
            table = table.replace_schema_metadata({"labelwise_store": json.dumps(header.to_dict())})
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()

    atomic_write(out, write)


def export_tables(store: Store, out: Path, kind: TableFormat) -> int:
    """Write a file for each image under the folder ``out``, named by its id; returns their number.

    ``npz`` has ``view`` (V,), ``boxes`` (V, 5): top, left, height, width, flip, where the store has boxes, and
    ``classes`` and ``log_probabilities`` (or ``log_odds``), both (V, k). ``csv`` has a row for each class of each view.

    Raises
    ------
    RunError
        If ``out`` holds anything, or cannot be written.
    DataError
        If an id leads out of the folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"--out {out}: exists and is not empty; give another --out")
    views = store.header.views_per_sample
    for ids, crops in _parts(store):
        arrays = _arrays(crops, store.header)
        for place, name in enumerate(ids.tolist()):
            own = {key: value[place * views : (place + 1) * views] for key, value in arrays.items()}
            atomic_write(_file(out, name, kind), _as_npz(own) if kind == "npz" else _as_csv(own))
    return len(store)


def _parts(store: Store) -> Iterator[tuple[NDArray[np.str_], StoredCrops]]:
    """Ids (n,) of consecutive samples, and all their crops."""
    views, start = store.header.views_per_sample, 0
    for shard in store.shards:
        ids = shard.ids()
        for low in range(0, len(ids), SAMPLES):
            own = ids[low : low + SAMPLES]
            places = np.arange(start + low, start + low + len(own), dtype=np.int64)
            yield own, store.read(places.repeat(views), np.tile(np.arange(views, dtype=np.int64), len(own)))
        start += len(ids)


def _arrays(crops: StoredCrops, header: StoreHeader) -> dict[str, NDArray[Any]]:
    """What is told of B crops: arrays (B, ...); a class that a crop does not have is -1 with -inf."""
    labels = crops.labels
    ids = np.broadcast_to(np.arange(header.k), labels.values.shape) if labels.ids is None else labels.ids
    views = header.views_per_sample
    arrays: dict[str, NDArray[Any]] = {"view": np.arange(len(crops), dtype=np.int32) % views}
    if crops.boxes is not None:
        box = crops.boxes
        arrays["boxes"] = np.stack([box.top, box.left, box.height, box.width, box.flip], axis=1).astype(np.int32)
    arrays["classes"] = np.where(np.isneginf(labels.values), -1, ids).astype(np.int32)
    arrays["log_odds" if header.task == "multi-label" else "log_probabilities"] = labels.values
    return arrays


def _columns(ids: NDArray[np.str_], arrays: dict[str, NDArray[Any]], views: int) -> dict[str, pa.Array]:
    columns = {"id": pa.array(ids.repeat(views).tolist(), pa.string())}
    there = arrays["classes"] >= 0
    ends = pa.array(np.r_[0, np.cumsum(there.sum(1))].astype(np.int32))
    for name, values in arrays.items():
        if name == "boxes":
            columns |= {key: pa.array(values[:, place]) for place, key in enumerate(BOX[:-1])}
            columns[BOX[-1]] = pa.array(values[:, -1].astype(bool))
        else:
            columns[name] = pa.array(values) if values.ndim == 1 else pa.ListArray.from_arrays(ends, values[there])
    return columns


def _file(out: Path, name: str, kind: TableFormat) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or name in ("", "."):
        raise DataError(f"the id {name!r} leads out of the folder; export to a .parquet file")
    return out / f"{name}.{kind}"


def _as_npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _as_csv(arrays: dict[str, NDArray[Any]]) -> bytes:
    *others, value = arrays
    boxes = arrays.get("boxes", np.zeros((len(arrays["view"]), 0)))
    lines = [",".join(["view", *(BOX if "boxes" in others else ()), "class", value])]
    for view, box, classes, values in zip(arrays["view"], boxes, arrays["classes"], arrays[value], strict=True):
        start = ",".join(map(str, [view, *box]))
        lines += [f"{start},{c},{v:.6g}" for c, v in zip(classes, values, strict=True) if c >= 0]
    return ("\n".join(lines) + "\n").encode()
