"""Seconds and memory of every reader on a large table: a million images in 14 categories.

    python benchmarks/readers.py --folder build/readers --out build/readers.json
    python benchmarks/readers.py --folder build/readers --only table,coco --rows 100000

All data are made up: images are hard links to a few small JPEGs, in folders of their own for each layout. Each reader
runs in a fresh process, `read_samples` alone: labels, ids, parts, groups and the path of every image, which must be
there, and the headers of 512 images. Memory is the peak over that of the process after its imports. The files have just
been written, so they are in the cache of the file system. A million images take about 8 GB of disk, which are freed at
the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from labelwise.config import load_recipe
from labelwise.data.readers import read_samples
from labelwise.data.readers.chexpert import OBSERVATIONS
from labelwise.data.readers.nih import FINDINGS
from labelwise.runs import environment, write_json

CATEGORIES = tuple(f"category {c}" for c in range(14))
CELLS = np.array(["1.0", "0.0", "", "-1.0"])
LINKS = 60_000  # that a file may have, less than the least limit of a common file system
STUDY = 10  # images


class Pool:
    """Made-up labels, and images that are links to a few small files."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.codes = np.random.default_rng(0).integers(0, 4, (rows, 14))
        self._made = 0

    def links(self, paths: Iterator[str]) -> None:
        """Images, by paths below the folder."""
        seen: set[str] = set()
        for path in paths:
            parent = path.rpartition("/")[0]
            if parent not in seen:
                (self.folder / parent).mkdir(parents=True, exist_ok=True)
                seen.add(parent)
            source = f"{self.folder}/source-{self._made // LINKS}.jpg"
            if self._made % LINKS == 0:
                Image.new("L", (8, 8), 99).save(source)
            os.link(source, f"{self.folder}/{path}")
            self._made += 1

    def names(self) -> list[str]:
        return [f"{i:07d}" for i in range(self.rows)]

    def flat(self) -> Path:
        """All images in one folder, once for all layouts that have them so."""
        folder = self.folder / "flat"
        if not folder.exists():
            self.links(f"flat/{name}.jpg" for name in self.names())
        return folder

    def positive(self) -> list[NDArray[np.int64]]:
        """The categories of every image that are positive."""
        return np.split(np.nonzero(self.codes == 0)[1], np.cumsum((self.codes == 0).sum(axis=1))[:-1])


def image_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 99).save(buffer, "JPEG")
    return buffer.getvalue()


def write_csv(path: Path, header: list[str], columns: list[Any]) -> None:
    pd.DataFrame(dict(zip(header, columns, strict=True))).to_csv(path, index=False)


def table(pool: Pool) -> dict[str, Any]:
    pool.flat()
    names = [f"flat/{name}.jpg" for name in pool.names()]
    write_csv(pool.folder / "list.csv", ["path", *CATEGORIES], [names, *CELLS[pool.codes].T])
    return {"source": "list.csv", "label_columns": ["*"]}


def table_parquet(pool: Pool) -> dict[str, Any]:
    pool.flat()
    labels = np.array([1, 0, np.nan, -1], dtype=np.float32)[pool.codes]
    frame = pd.DataFrame({"path": [f"flat/{name}.jpg" for name in pool.names()]})
    frame.join(pd.DataFrame(labels, columns=CATEGORIES)).to_parquet(pool.folder / "list.parquet")
    return {"source": "list.parquet", "label_columns": ["*"]}


def table_of_lists(pool: Pool) -> dict[str, Any]:
    pool.flat()
    lists = [str([CATEGORIES[c] for c in found.tolist()]) for found in pool.positive()]
    write_csv(pool.folder / "lists.csv", ["path", "label"], [[f"flat/{name}" for name in pool.names()], lists])
    return {"source": "lists.csv"}


def table_of_classes(pool: Pool) -> dict[str, Any]:
    pool.flat()
    classes = np.array(CATEGORIES)[np.arange(pool.rows) % 14]
    write_csv(pool.folder / "classes.csv", ["path", "label"], [[f"{name}.jpg" for name in pool.names()], classes])
    return {"source": "classes.csv", "root": "flat"}


def table_of_lines(pool: Pool) -> dict[str, Any]:
    pool.flat()
    with (pool.folder / "metadata.jsonl").open("w") as file:
        for i, name in enumerate(pool.names()):
            file.write(json.dumps({"file_name": f"flat/{name}.jpg", "label": CATEGORIES[i % 14]}) + "\n")
    return {"source": "metadata.jsonl", "image_column": "file_name"}


def folder(pool: Pool) -> dict[str, Any]:
    pool.links(f"folder/train/{CATEGORIES[i % 14]}/{i}.jpg" for i in range(pool.rows))
    return {"source": "folder"}


def chexpert(pool: Pool) -> dict[str, Any]:
    paths = [f"train/patient{i // STUDY:06d}/study1/view{i % STUDY}_frontal.jpg" for i in range(pool.rows)]
    pool.links(f"chexpert/{path}" for path in paths)
    header = ["Path", "Frontal/Lateral", *OBSERVATIONS]
    whole = [f"CheXpert-v1.0-small/{path}" for path in paths]
    write_csv(pool.folder / "chexpert" / "train.csv", header, [whole, "Frontal", *CELLS[pool.codes].T])
    return {"source": "chexpert"}


def mimic(pool: Pool) -> dict[str, Any]:
    rows = np.arange(pool.rows)
    subject, study = 10_000_000 + rows // STUDY, 50_000_000 + rows // STUDY
    pool.links(
        f"mimic/files/p{s // 1_000_000}/p{s}/s{t}/{i:08x}-a.jpg"
        for i, s, t in zip(rows.tolist(), subject.tolist(), study.tolist(), strict=True)
    )
    dicom = [f"{i:08x}-a" for i in rows.tolist()]
    split = np.array(["train", "validate", "test"])[(subject % 10 > 7).astype(int) + (subject % 10 > 8)]
    first, ids = slice(None, None, STUDY), ["dicom_id", "subject_id", "study_id"]
    start = pool.folder / "mimic" / "mimic-cxr-2.0.0-"
    labels = [subject[first], study[first], *CELLS[pool.codes[first]].T]
    write_csv(Path(f"{start}chexpert.csv"), ["subject_id", "study_id", *OBSERVATIONS], labels)
    write_csv(Path(f"{start}metadata.csv"), [*ids, "ViewPosition"], [dicom, subject, study, "PA"])
    write_csv(Path(f"{start}split.csv"), [*ids, "split"], [dicom, subject, study, split])
    return {"source": "mimic"}


def nih(pool: Pool) -> dict[str, Any]:
    (pool.folder / "nih").mkdir()
    (pool.folder / "nih" / "images").symlink_to(pool.flat().resolve())
    found = ["|".join(FINDINGS[c] for c in places.tolist()) or "No Finding" for places in pool.positive()]
    columns = [[f"{name}.jpg" for name in pool.names()], found, np.arange(pool.rows) // STUDY]
    write_csv(pool.folder / "nih" / "Data_Entry_2017.csv", ["Image Index", "Finding Labels", "Patient ID"], columns)
    return {"source": "nih"}


def coco(pool: Pool) -> dict[str, Any]:
    (pool.folder / "coco" / "annotations").mkdir(parents=True)
    (pool.folder / "coco" / "train2017").symlink_to(pool.flat().resolve())
    pairs = zip(*(places.tolist() for places in np.nonzero(pool.codes == 0)), strict=True)
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.jpg", "height": 8, "width": 8} for i, name in enumerate(pool.names())
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [1, 2, 3, 4]} for n, (i, c) in enumerate(pairs)
        ],
        "categories": [{"id": c, "name": name} for c, name in enumerate(CATEGORIES)],
    }
    (pool.folder / "coco" / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return {"source": "coco"}


def voc(pool: Pool) -> dict[str, Any]:
    sets = pool.folder / "voc" / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (pool.folder / "voc" / "JPEGImages").symlink_to(pool.flat().resolve())
    names, codes = pool.names(), np.array([" 1", "-1", "-1", " 0"])[pool.codes]
    (sets / "train.txt").write_text("\n".join(names))
    for c, name in enumerate(CATEGORIES):
        lines = (f"{image} {code}\n" for image, code in zip(names, codes[:, c].tolist(), strict=True))
        (sets / f"{name}_train.txt").write_text("".join(lines))
    return {"source": "voc"}


def open_images(pool: Pool) -> dict[str, Any]:
    """Of 14 labels of an image, half were verified."""
    root = pool.folder / "open_images"
    root.mkdir()
    (root / "train").symlink_to(pool.flat().resolve())
    (root / "classes-trainable.txt").write_text("".join(f"/m/{c}\n" for c in range(14)))
    row, category = np.nonzero(pool.codes < 2)
    columns = [np.array(pool.names())[row], "verification", [f"/m/{c}" for c in category.tolist()]]
    header = ["ImageID", "Source", "LabelName", "Confidence"]
    write_csv(root / "train-annotations-human-imagelabels.csv", header, [*columns, 1 - pool.codes[row, category]])
    return {"source": "open_images"}


def npz(pool: Pool) -> dict[str, Any]:
    labels = np.array([1, 0, np.nan, -1], dtype=np.float32)[pool.codes]
    features = np.zeros((pool.rows, 8), dtype=np.float32)
    np.savez(pool.folder / "f.npz", features=features, label=labels, ids=np.array(pool.names()))
    return {"source": "f.npz"}


def webdataset(pool: Pool) -> dict[str, Any]:
    (pool.folder / "tars").mkdir()
    image, positive, names = image_bytes(), pool.positive(), pool.names()
    for first in range(0, pool.rows, 10_000):
        with tarfile.open(pool.folder / "tars" / f"train-{first // 10_000:05d}.tar", "w") as tar:
            for i in range(first, min(first + 10_000, pool.rows)):
                label = json.dumps({"label": [CATEGORIES[c] for c in positive[i].tolist()]}).encode()
                for ending, data in (("jpg", image), ("json", label)):
                    member = tarfile.TarInfo(f"{names[i]}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return {"source": "tars"}


def hf(pool: Pool) -> dict[str, Any]:
    """A folder of Parquet files as the hub has them, ten of them for a million images."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    image = {"bytes": image_bytes(), "path": None}
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(CATEGORIES))})
    for first in range(0, pool.rows, 100_000):
        rows = range(first, min(first + 100_000, pool.rows))
        columns = {"image": [image] * len(rows), "label": [i % 14 for i in rows]}
        Dataset.from_dict(columns, features).to_parquet(pool.folder / "hub" / f"train-{first // 100_000:05d}.parquet")
    return {"source": "hf:hub"}


LAYOUTS: dict[str, Callable[[Pool], dict[str, Any]]] = {
    "table, a column a category (CSV)": table,
    "table, a column a category (Parquet)": table_parquet,
    "table, lists as Python writes them (CSV), no endings": table_of_lists,
    "table, one class a row (CSV)": table_of_classes,
    "table, one class a row (JSON lines)": table_of_lines,
    "folder of class folders": folder,
    "chexpert": chexpert,
    "mimic": mimic,
    "nih": nih,
    "coco": coco,
    "voc, lists of categories": voc,
    "open_images, 7 verified labels an image": open_images,
    "npz, embeddings": npz,
    "webdataset, tars of 10,000": webdataset,
    "hf, Parquet": hf,
}


def peak_memory() -> float:
    """Of this process, in GB; not ``ru_maxrss``, which Linux hands on to what a process starts."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e9


def measure(options: list[str]) -> None:
    """What one reader takes, in this process, as JSON on stdout."""
    config = load_recipe(None, options).data
    before = peak_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    samples = read_samples(config)
    found = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    found["gigabytes"] = peak_memory() - before
    print(json.dumps(found | {"rows": len(samples), "categories": len(samples.classes)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/readers"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="words; layouts that begin with one of them")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.measure)
        return
    asked.folder.mkdir(parents=True)
    pool = Pool(asked.folder, asked.rows)
    found: dict[str, Any] = {}
    own = os.environ | {
        "HF_HOME": str(asked.folder / "cache")
    }  # a copy that datasets makes is part of what is measured
    print("| reader | seconds | of them CPU | peak memory, GB |\n|---|---:|---:|---:|")
    try:
        for name, make in LAYOUTS.items():
            if not name.startswith(tuple(asked.only.split(","))):
                continue
            if make is hf and find_spec("datasets") is None:
                print(f"| {name}: left out, it needs the extra hf |")
                continue
            values = make(pool)
            for key in {"source", "root"} & values.keys():
                kind, path = re.fullmatch("(hf:)?(.*)", values[key]).groups(default="")
                values[key] = f"{kind}{asked.folder / path}"
            options = [f"data.{key}={json.dumps(value)}" for key, value in values.items()]
            command = [sys.executable, __file__, "--measure", *options]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)
            found[name] = one = json.loads(done.stdout)
            assert one["rows"] > 0.99 * asked.rows and one["categories"] == 14, one  # Open Images leaves out a few
            print(f"| {name} | {one['seconds']:.1f} | {one['cpu_seconds']:.1f} | {one['gigabytes']:.2f} |", flush=True)
    finally:
        shutil.rmtree(asked.folder)
    if asked.out:
        write_json(asked.out, {"environment": environment(), "rows": asked.rows, "found": found})


if __name__ == "__main__":
    main()
