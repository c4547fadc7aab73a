"""Files that no command can use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.sealed import KEY

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LABEL = np.arange(60) % 3
SPLIT = np.repeat(["fit", "select", "test"], 20)
MANY = np.stack([k == LABEL for k in range(3)], axis=1).astype(np.float32)

TEXTS: dict[str, bytes] = {
    "nothing.yaml": b"",
    "list.yaml": b"[1, 2]\n",
    "latin.yaml": "name: café\n".encode("latin-1"),
    "tabs.yaml": b"data:\n\tsource: digits\n",
    "unknown.yaml": b"train: {epoch: 3}\n",
    "twice.yaml": b"train: {epochs: 1}\ntrain: {epochs: 2}\n",
    "type.yaml": b"train: {epochs: many}\n",
    "nested.yaml": b"train: 3\n",
    "tag.yaml": b"!!python/object/apply:os.system ['true']\n",
    "rows.yaml": b"rows: []\nrecipe: {data: {source: digits}}\n",
    "row.yaml": b"rows: {a: [train.epoch=3]}\nrecipe: {data: {source: digits}}\n",
    "heads.yaml": b"rows: {a: []}\nheads: {b: {methods: auto}}\nrecipe: {data: {source: digits}}\n",
    "axis.yaml": b"rows: {a: []}\naxis: {key: data.noise.rate, values: []}\nrecipe: {data: {source: digits}}\n",
    "zero.npz": b"",
    "text.npz": b"label,feature\n",
    "half.parquet": b"PAR1\x15\x04",
    "empty.csv": b"",
    "header.csv": b"path,label\n",
    "columns.csv": b"a,b\n1,2\n",
    "missing.csv": b"path,label\nnowhere.png,cat\nneither.png,dog\n",
    "half.json": b'{"images": [',
    "nothing.json": b"{}",
    "deep.json": b"[" * 100_000,
    "deep.jsonl": b"[" * 100_000,
    "corrections.csv": b"id,label\nnobody,3\n",
    "classes.csv": b"id,label\n0,unicorn\n",
    "bare.csv": b"0,3\n",
    "weights.pt": b"PK\x03\x04half",
    "weights.safetensors": b"\xff" * 32,
}

ARRAYS: dict[str, dict[str, Any]] = {
    "unlabelled.npz": {"features": X, "split": SPLIT},
    "alone.npz": {"label": LABEL},
    "lengths.npz": {"features": X[:50], "label": LABEL},
    "no-rows.npz": {"features": X[:0], "label": LABEL[:0]},
    "no-columns.npz": {"features": X[:, :0], "label": LABEL},
    "flat.npz": {"features": X[:, 0], "label": LABEL},
    "words.npz": {"features": X.astype(str), "label": LABEL},
    "complex.npz": {"features": X + 1j, "label": LABEL},
    "objects.npz": {"features": X, "label": LABEL.astype(object)},
    "nan.npz": {"features": np.where(X[7, 2] == X, np.nan, X), "label": LABEL},
    "huge.npz": {"features": np.where(X[7, 2] == X, np.float64(1e300), X), "label": LABEL},
    "one-class.npz": {"features": X, "label": LABEL * 0},
    "split.npz": {"features": X, "label": LABEL, "split": np.where(SPLIT == "fit", "train?", SPLIT)},
    "no-fit.npz": {"features": X, "label": LABEL, "split": np.full(60, "test")},
    "ids.npz": {"features": X, "label": LABEL, "ids": np.full(60, "same")},
    "groups.npz": {"features": X, "label": LABEL, "groups": np.arange(59)},
    "deep.npz": {"features": X, "label": MANY[:, None]},
    "fives.npz": {"features": X, "labels": MANY * 5, "categories": list("abc"), "split": SPLIT},
    "names.npz": {"features": X, "labels": MANY, "categories": list("ab"), "split": SPLIT},
    "same-names.npz": {"features": X, "labels": MANY, "categories": list("aab"), "split": SPLIT},
    "unknown.npz": {"features": X, "labels": MANY * np.nan, "categories": list("abc"), "split": SPLIT},
    "head.npz": {
        "features": X,
        "labels": MANY,
        "categories": list("abc"),
        "split": SPLIT,
        "head_weight": np.zeros((3, 5)),
        "head_bias": np.zeros(3),
    },
    "fine.npz": {"features": X, "labels": MANY, "categories": list("abc"), "split": SPLIT},
    "images.npz": {"images": np.zeros((60, 8, 8, 7), np.uint8), "label": LABEL},
    "float-images.npz": {"images": np.full((60, 8, 8), np.nan), "label": LABEL},
}


def write_bad_files(folder: Path, inputs: Path) -> None:
    """Everything, and copies of finished runs in which one thing is wrong."""
    for name, text in TEXTS.items():
        (folder / name).write_bytes(text)
    for name, arrays in ARRAYS.items():
        np.savez(folder / name, **arrays)
    (folder / "cut.npz").write_bytes((folder / "fine.npz").read_bytes()[:700])
    (folder / "empty").mkdir()
    for number in range(4):
        broken = folder / "broken" / f"class-{number % 2}" / f"{number}.png"
        broken.parent.mkdir(parents=True, exist_ok=True)
        broken.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (folder / "no-classes").mkdir()
    shutil.copy(next((inputs / "photos").rglob("*.png")), folder / "no-classes" / "a.png")
    for name, (run, file, change) in DAMAGED.items():
        shutil.copytree(inputs / run, folder / name)
        path = folder / name / file
        content = path.read_bytes()
        path.unlink()
        if (made := change(content)) is not None:
            path.write_bytes(made)


def _json(**changes: Any) -> Any:
    def change(content: bytes) -> bytes:
        return json.dumps({key: value for key, value in json.loads(content).items() if key != KEY} | changes).encode()

    return change


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 64]) + content[-8:]


def _gone(content: bytes) -> None:
    return None


DAMAGED: dict[str, tuple[str, str, Any]] = {
    "run-half": ("run", "results.json", _half),
    "run-schema": ("run", "results.json", _json(schema=99)),
    "run-kind": ("run", "results.json", _json(kind="party")),
    "run-rows": ("run", "results.json", _json(rows=3)),
    "run-gone": ("run", "results.json", _gone),
    "run-facts": ("run", "run.json", _half),
    "net-card": ("network", "model.json", _half),
    "net-other": ("network", "model.json", _json(format="theirs")),
    "net-classes": ("network", "model.json", _json(classes=["a"])),
    "net-name": ("network", "model.json", _json(network={"name": "no_such_net", "args": {}})),
    "net-code": ("network", "model.json", _json(network={"name": "os:getcwd", "args": {}})),
    "net-half": ("network", "model.safetensors", _half),
    "net-flip": ("network", "model.safetensors", _flip),
    "net-gone": ("network", "model.safetensors", _gone),
    "cft-head": ("a", "head.safetensors", _half),
    "cft-scores": ("a", "predictions.npz", _half),
    "cft-gone": ("a", "head.safetensors", _gone),
    "features-half": ("features", "features.npy", _half),
    "features-labels": ("features", "labels.npy", _gone),
    "audit-list": ("audit", "audit.csv", lambda _: b"rank,id\n1,2\n"),
    "audit-empty": ("audit", "audit.csv", lambda _: b""),
    "run-deep": ("run", "results.json", lambda _: b"[" * 100_000),
    "net-deep": ("network", "model.json", lambda _: b"[" * 100_000),
    "audit-half": ("audit", "results.json", _half),
}
"""Name: the run that is copied, the file that is changed, and how."""
