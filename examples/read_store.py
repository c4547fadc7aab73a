"""Read a store of crop labels with Python's standard library alone, as a model for readers in other languages.

    python examples/read_store.py runs/store     # one line a crop: id, view, box, classes with their probability

The format is described in docs/file-formats.md. For work in Python, labelwise.store.reader is a thousand times faster.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

HEAD = struct.Struct("<8s16s5Q")  # letters, hash of store.json, samples, views, bytes a record, entries, bytes of ids
PROBES = 8 * struct.calcsize("<3I2Q")
Crop = tuple[str, int, tuple[int, int, int, int, bool] | None, dict[str, float]]


def read_crops(store: Path) -> Iterator[Crop]:
    """Id, view, box (top, left, height, width, flip), and the value of each class: log p, or log-odds."""
    header = json.loads((store / "store.json").read_text(encoding="utf-8"))
    classes, k, multi_label = header["classes"], header["k"], header["task"] == "multi-label"
    box, ids = "4H" if header["boxes"] else "", ("I" if len(classes) > 65536 else "H") if k < len(classes) else ""
    value, varies = "e" if header["precision"] == "fp16" else "B", header["mass"] is not None
    entry = struct.Struct(f"<{ids}{value}")
    record = struct.Struct(f"<{box}" + ("IH" if varies else f"{k}{ids}" * bool(ids) + f"{k}{value}"))

    def number(stored: float) -> float:
        share = stored / 255
        return stored if value == "e" else 32 * share - 16 if multi_label else -16 * share**2

    for shard in range(header["shards"]):
        data = (store / f"{shard:05d}.bin").read_bytes()
        letters, _, samples, views, size, entries, length = HEAD.unpack_from(data)
        if letters != b"LWSHARD1" or size != record.size or hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise SystemExit(f"{shard:05d}.bin is damaged")
        first = HEAD.size + 8 * samples  # after the keys of the samples
        more = first + samples * views * size
        names = data[more + entries * entry.size + PROBES :][:length].decode().split("\0")
        for crop in range(samples * views):
            fields = list(record.unpack_from(data, first + crop * size))
            top, left, height, width = [fields.pop(0) for _ in range(4)] if box else (0, 0, 0, 0)
            if varies:
                pairs = [entry.unpack_from(data, more + (fields[0] + i) * entry.size) for i in range(fields[1])]
            else:
                pairs = list(zip(fields[:k] if ids else range(k), fields[-k:], strict=True))
            place = (top, left, height, width & 32767, width > 32767) if box else None
            yield names[crop // views], crop % views, place, {classes[c]: number(x) for c, x in pairs}


if __name__ == "__main__":
    for name, view, place, values in read_crops(Path(sys.argv[1])):
        print(name, view, place, {label: round(math.exp(x), 4) for label, x in values.items()})
