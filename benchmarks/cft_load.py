"""`cft.py load`: seconds and memory on data of the shape of MS-COCO and Open Images, all made here.

Features are ReLU of a linear map of latent factors whose loudness falls off, labels thresholds of a linear function of
the same factors plus noise; the head is a ridge regression on unknown labels as negatives. They are written as a
memory-mapped feature folder, which is in the page cache when it is read, and each run is a fresh process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cft_common import OURS, Cache, Doubles, Floats, code_mark, run_peer, say, table, write_result
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from labelwise.cft.run import run_cft
from labelwise.config import CftConfig
from labelwise.features.file import write_arrays
from labelwise.runs import read_json, write_json

COCO_HELD, COCO_ROWS = 20_252, 82_081
COCO_POSITIVES = 2.9
"""Positive labels of an image; prevalences run from 0.2 to 50 %."""
OPEN_FULL = (9_000_000, 2_048)
"""Rows and width that the slice of Open Images is projected to."""
OPEN_KNOWN, OPEN_KNOWN_HELD, OPEN_HELD, OPEN_PREVALENCE = 2.3, 12.0, 10_000, 0.4
"""Known labels of a row in fit and in the others, rows of each of the others, share of positives among the known."""

WHOLE, SLOW = ("fast", "auto"), ("backprop-bce", "genetic", "genetic-paper")
SPLITS = ("fit", "select", "test")
STAGES = ("read", "solve", "evaluate")
_FACTORS, _NOISE, _CHUNK, _HEAD_ROWS = 256, 0.3, 4096, 20_480


@dataclass(frozen=True)
class Shape:
    """What decides a made data set."""

    kind: str
    rows: int
    held: int
    categories: int
    width: int

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.width:,}, {self.categories:,} categories"


PATIENCE = 300
"""Steps that mlcpl takes at the least."""


def coco(rows: int, categories: int, width: int) -> Shape:
    return Shape("coco", rows, max(200, round(rows * COCO_HELD / COCO_ROWS)), categories, width)


def load(options: argparse.Namespace) -> None:
    cache = Cache(options.cache)
    base = coco(options.rows, options.categories, options.width)
    found: dict[str, Any] = {}
    if options.scaling:
        found["scaling"] = _scaling(base, cache)
    elif options.open_images:
        shape = Shape("open-images", options.open_rows, OPEN_HELD, options.open_categories, options.open_width)
        found["open_images"] = _open_images(shape, cache)
    else:
        found["coco"] = _whole(base, cache, options)
    write_result(options.out, "load", found)


# What is measured


def _whole(shape: Shape, cache: Cache, options: argparse.Namespace) -> dict[str, Any]:
    """fast and auto on everything; the slow methods and the peer on a few categories, extrapolated."""
    few = np.linspace(0, shape.categories - 1, options.few).astype(int).tolist()
    entries: dict[str, Any] = {}
    with Made(shape, options.device) as made:
        for name in WHOLE:
            runs = [_run(made, cache, name, repeat=i) for i in range(options.repeats)]
            entries[name] = min(runs, key=lambda run: run["seconds"]) | {"all_seconds": [r["seconds"] for r in runs]}
        for name in filter(None, options.slow):
            entries[name] = _run(made, cache, name, categories=few)
        for method in ("mlcpl bp-bce", "mlcpl ga") if options.peer_python else ():
            settings = {"cell": f"load-{method.replace(' ', '-')}", "shape": asdict(shape), "categories": few}
            settings |= {"threads": torch.get_num_threads(), "steps": options.peer_steps}
            entries[method] = cache.get(settings, lambda m=method: _peer(made, m, few, options))
    _print_runs(f"COCO's shape: {shape}", {name: entries[name] for name in WHOLE})
    seconds = statistics.median(entries["auto"]["all_seconds"])
    print(f"auto: median {seconds:.1f} s of {options.repeats} whole runs (aim: under 60 s on two cores)")
    rows: list[list[str]] = []
    for name in (name for name in entries if name not in WHOLE):
        taken = entries[name]["stages"]["solve"] if name in OURS else sum(entries[name]["seconds"])
        whole = taken * shape.categories / len(few)
        entries[name]["extrapolated_seconds"] = whole
        ratios = [f"{whole / entries[own]['stages']['solve']:.0f}x" for own in WHOLE]
        rows.append([name, f"{taken:.1f}", f"{whole:,.0f}", *ratios])
    if rows:
        heads = ["row", f"s for {len(few)}", f"s for {shape.categories}*", "of fast's", "of auto's"]
        table("The solver alone, on a few categories", heads, rows)
        print("* extrapolated linearly from the categories that were run, not measured")
    if options.peer_steps is not None:
        print(f"  mlcpl: from {options.peer_steps} steps to the {PATIENCE} that it takes at the least")
    return {"shape": asdict(shape), "device": options.device, "few": few, "rows": entries}


def _scaling(base: Shape, cache: Cache) -> list[dict[str, Any]]:
    shapes = {"as it is": base}
    for factor, word in ((0.5, "half"), (2, "twice")):
        shapes[f"{word} the rows"] = coco(int(base.rows * factor), base.categories, base.width)
        shapes[f"{word} the categories"] = replace(base, categories=int(base.categories * factor))
        shapes[f"{word} the width"] = replace(base, width=int(base.width * factor))
    entries, rows = [], []
    for title, shape in shapes.items():
        with Made(shape) as made:
            runs = {name: _run(made, cache, name) for name in WHOLE}
        entries.append({"title": title, "shape": asdict(shape), "runs": runs})
        first = entries[0]["runs"]
        row = [title]
        for name, run in runs.items():
            row += [f"{run['seconds']:.1f}", f"{run['seconds'] / first[name]['seconds']:.2f}x"]
            row += [
                f"{run['peak_anonymous_mb']:,.0f}",
                f"{run['peak_anonymous_mb'] / first[name]['peak_anonymous_mb']:.2f}x",
            ]
        rows.append(row)
    heads = ["shape", *(f"{name}{what}" for name in WHOLE for what in (" s", "", " MB", ""))]
    table(f"Scaling from {base}: whole runs and peak memory without mapped files", heads, rows)
    return entries


def _open_images(shape: Shape, cache: Cache) -> dict[str, Any]:
    """The slice, and what the full set would take: seconds and memory fitted as a + b N + c N D on three shapes."""
    shapes = (shape, replace(shape, rows=shape.rows // 2), replace(shape, width=shape.width // 2))
    runs = []
    for one in shapes:
        with Made(one) as made:
            runs.append(_run(made, cache, "fast"))
    _print_runs("Open Images' shape, preset fast", {str(one): run for one, run in zip(shapes, runs, strict=True)})
    design = np.array([[1.0, one.rows, one.rows * one.width] for one in shapes])
    rows, width = OPEN_FULL
    projected = {}
    for what in ("seconds", "peak_anonymous_mb"):
        factors = np.linalg.solve(design, [run[what] for run in runs]).clip(
            min=0
        )  # noise may turn a small one negative
        projected[what] = float(factors @ [1.0, rows, rows * width])
    hours, memory = projected["seconds"] / 3600, projected["peak_anonymous_mb"] / 1024
    print(f"projected to {rows:,} x {width:,}: {hours:.1f} h, {memory:,.0f} GB (linear in rows and rows x width)")
    labels = 4 * rows * shape.categories / 2**30
    print(f"of it {labels:,.0f} GB would be one copy of the dense float32 labels alone")
    return {"runs": [{"shape": asdict(s)} | r for s, r in zip(shapes, runs, strict=True)], "projected": projected}


def _print_runs(title: str, runs: dict[str, dict[str, Any]]) -> None:
    rows = []
    for name, run in runs.items():
        stages = [f"{run['stages'].get(stage, 0):.1f}" for stage in STAGES]
        memory = [
            f"{run[key]:,.0f}" for key in ("peak_anonymous_mb", "start_anonymous_mb", "peak_mapped_mb", "peak_mb")
        ]
        means = [
            f"{100 * run['mean'][s]['before']:.1f} -> {100 * run['mean'][s]['after']:.1f}" for s in ("select", "test")
        ]
        rows.append([name, f"{run['seconds']:.1f}", *stages, *memory, *means])
    heads = ["row", "s", *STAGES, "anonymous MB", "at start", "mapped files", "max RSS", "select mAP", "test mAP"]
    table(title, heads, rows)


def _run(
    made: Made, cache: Cache, name: str, categories: Sequence[int] | None = None, repeat: int = 0
) -> dict[str, Any]:
    """A method in a fresh process."""
    settings = {"cell": f"load-{name}", "shape": asdict(made.shape), "categories": categories, "repeat": repeat}
    settings |= {"threads": torch.get_num_threads(), "device": made.device, "code": code_mark()}

    def compute() -> dict[str, Any]:
        folder = made.folder() if categories is None else made.narrowed(categories)
        with tempfile.TemporaryDirectory() as out:
            asked = {"features": str(folder), "out": f"{out}/run", "result": f"{out}/found.json", "name": name}
            asked |= {"threads": torch.get_num_threads(), "device": made.device}
            subprocess.run([sys.executable, Path(__file__).with_name("cft.py"), "work", json.dumps(asked)], check=True)
            return read_json(Path(out) / "found.json")

    return cache.get(settings, compute)


def work(options: argparse.Namespace) -> None:
    """In the measured process: one whole run of ``labelwise cft``."""
    asked = json.loads(options.settings)
    torch.set_num_threads(asked["threads"])
    config = CftConfig(features=asked["features"], device=asked["device"], **OURS[asked["name"]])
    with Memory() as memory:
        results = run_cft(config, Path(asked["out"]), quiet=True).to_json()
    found = {key: results[key] for key in ("seconds", "stages", "mean", "counts", "warnings")}
    found |= {"peak_anonymous_mb": memory.peak["RssAnon"], "start_anonymous_mb": memory.start["RssAnon"]}
    found |= {"peak_mapped_mb": memory.peak["RssFile"], "memory_gb": config.memory_gb}
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_json(Path(asked["result"]), found)


class Memory:
    """Resident memory in MB while a block runs, looked at every 10 ms: anonymous, and pages of mapped files."""

    def __enter__(self) -> Memory:
        self.start = self.peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            now = self._now()
            self.peak = {key: max(value, now[key]) for key, value in self.peak.items()}

    @staticmethod
    def _now() -> dict[str, float]:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return {line[0][:-1]: int(line[1]) / 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:")}


def _peer(made: Made, method: str, few: Sequence[int], options: argparse.Namespace) -> dict[str, Any]:
    folder = made.narrowed(few)
    arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in ("features", "labels", "split")}
    parts = {}
    for name in ("fit", "select"):
        rows = np.flatnonzero(arrays["split"] == name)
        parts[f"features_{name}"] = arrays["features"][rows[0] : rows[-1] + 1].astype(np.float32)
        parts[f"labels_{name}"] = arrays["labels"][rows]
    head = {key: np.load(folder / f"{key}.npy") for key in ("head_weight", "head_bias")}
    with tempfile.TemporaryDirectory() as temporary:
        np.savez(Path(temporary) / "problem.npz", **parts, **head)
        threads = torch.get_num_threads()
        steps = options.peer_steps
        result = run_peer(options.peer_python, Path(temporary) / "problem.npz", method, 0, threads, steps=steps)
    factor = 1.0 if steps is None else PATIENCE / steps
    return {
        "seconds": (result.seconds * factor).tolist(),
        "steps_run": steps,
        "select": result.select.tolist(),
        "settings": result.settings,
    }


# The data


class Made:
    """A feature folder, made in a temporary place when it is first asked for, and the device of the runs on it."""

    def __init__(self, shape: Shape, device: str = "cpu") -> None:
        self.shape, self.device = shape, device
        self._root = contextlib.ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Made:
        return self

    def __exit__(self, *_: Any) -> None:
        self._root.close()

    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(self._root.enter_context(tempfile.TemporaryDirectory()))
            say(f"making {self.shape}")
            _make(self.shape, self._folder)
        return self._folder

    def narrowed(self, categories: Sequence[int]) -> Path:
        """The same features with some of the categories."""
        folder = self.folder() / ("c" + "-".join(map(str, categories)))
        if not folder.exists():
            folder.mkdir()
            (folder / "features.npy").symlink_to(self.folder() / "features.npy")
            arrays = {key: np.load(self.folder() / f"{key}.npy") for key in ("categories", "head_weight", "head_bias")}
            chosen = {key: array[list(categories)] for key, array in arrays.items()}
            chosen["labels"] = np.load(self.folder() / "labels.npy", mmap_mode="r")[:, list(categories)]
            write_arrays(folder, chosen | {"split": np.load(self.folder() / "split.npy")})
        return folder


def _make(shape: Shape, folder: Path) -> None:
    rng = np.random.default_rng(526)
    prevalence, known = _labels_of(shape, rng)
    counts = (shape.rows, shape.held, shape.held)
    split = np.repeat(SPLITS, counts)
    loud = (1.0 / np.arange(1, _FACTORS + 1)).astype(np.float32)
    mix = loud[:, None] * rng.standard_normal((_FACTORS, shape.width), dtype=np.float32)
    truth = loud[:, None] * rng.standard_normal((_FACTORS, shape.categories), dtype=np.float32)
    truth /= np.linalg.norm(truth, axis=0)
    threshold = (norm.isf(prevalence) * np.hypot(1.0, _NOISE)).astype(np.float32)
    features = open_memmap(folder / "features.npy", "w+", np.float16, (len(split), shape.width))
    labels = open_memmap(folder / "labels.npy", "w+", np.float32, (len(split), shape.categories))
    for start, stop, kind in _chunks(counts):
        latent = rng.standard_normal((stop - start, _FACTORS), dtype=np.float32)
        # Noise of the features' own: no classifier of them is perfect.
        own = rng.standard_normal((stop - start, shape.width), dtype=np.float32)
        features[start:stop] = np.maximum(latent @ mix + 0.3 * own, 0)
        score = latent @ truth + _NOISE * rng.standard_normal((stop - start, shape.categories), dtype=np.float32)
        unknown = rng.random(score.shape, dtype=np.float32) >= known[kind]
        labels[start:stop] = np.where(unknown, np.float32(np.nan), score > threshold)
    weight, bias = _ridge(features[: min(_HEAD_ROWS, shape.rows)], labels[: min(_HEAD_ROWS, shape.rows)])
    features.flush()
    labels.flush()
    names = np.array([f"category {c}" for c in range(shape.categories)])
    write_arrays(folder, {"categories": names, "split": split, "head_weight": weight, "head_bias": bias})


def _chunks(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """First and last row and split of consecutive pieces, none in two splits."""
    first = 0
    for kind, count in enumerate(counts):
        for start in range(first, first + count, _CHUNK):
            yield start, min(start + _CHUNK, first + count), kind
        first += count


def _labels_of(shape: Shape, rng: np.random.Generator) -> tuple[Doubles, NDArray[np.float32]]:
    """Prevalence (C,) and known share (3, C) in fit, select and test."""
    places = (np.arange(shape.categories) + 0.5) / shape.categories
    if shape.kind == "coco":

        def prevalences(power: float) -> Doubles:
            return 0.002 * (0.5 / 0.002) ** (places**power)

        # 80 categories with 2.9 positives an image in all; other numbers of categories keep the mean prevalence.
        mean = COCO_POSITIVES / 80
        power = brentq(lambda p: float(prevalences(p).mean()) - mean, 0.1, 20)
        shares = np.array([0.1, 1.0, 1.0])
        return prevalences(power), np.repeat(shares[:, None], shape.categories, 1).astype(np.float32)
    order = rng.permutation(shape.categories) + 1.0
    density = order**-0.7 / (order**-0.7).mean()  # a few categories have most of the labels
    shares = np.array([OPEN_KNOWN, OPEN_KNOWN_HELD, OPEN_KNOWN_HELD])[:, None] / shape.categories
    return np.full(shape.categories, OPEN_PREVALENCE), np.minimum(1, shares * density).astype(np.float32)


def _ridge(features: NDArray[np.float16], labels: Floats) -> tuple[Floats, Floats]:
    """A trained head: least squares on unknown labels as negatives, brought to the size of logits."""
    z = torch.from_numpy(features.astype(np.float32))
    y = torch.from_numpy(np.nan_to_num(labels))
    centre = z.mean(0)
    z = z - centre
    gram = z.T @ z
    gram.diagonal().add_(0.1 * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, z.T @ (y - y.mean(0))).T
    weight = weight * (2.0 / (z @ weight.T).std(0).clamp_min(1e-6))[:, None]
    bias = torch.logit(y.mean(0).clamp(1e-4, 0.99)) - weight @ centre
    return weight.numpy(), bias.numpy()
