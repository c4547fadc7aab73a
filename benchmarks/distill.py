"""labelwise beside timm's and torchdistill's logit distillation: one student, refinery, data set, schedule and crop.

    uv venv .venv-peers && uv pip install --python .venv-peers/bin/python -r benchmarks/peers/requirements-distill.txt
    python benchmarks/distill.py --data ../shared/data --peer-python .venv-peers/bin/python --out distill
    python benchmarks/distill.py --data ../shared/data --fast           # labelwise alone, a minute

CIFAR-10 (JPEG): some training images to learn from, 2,000 others to choose with, the test set to report. One wide
network is trained on the given labels; it is the refinery of all. Of every seed, the narrow student starts from the
same weights everywhere, sees the same crops' distribution and flips, batch size, SGD, warm-up and cosine, and its last
weights count. Every engine is a process of its own with one thread; they take turns, and who begins changes with the
seed. Finished trainings are not repeated.

Seconds are those of training with data loading. CPU seconds are of reading, training and scoring: for labelwise they
also hold a look at the held-out images after every epoch and whatever else `labelwise refine` writes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distill_rows import ENGINES, OURS, Row, Run, contenders, markdown, summarise
from peers.distill_job import SPLITS, Job
from safetensors.torch import save_file

import labelwise
from labelwise.config import load_recipe
from labelwise.data.readers import load_dataset
from labelwise.models import small
from labelwise.refinery.chain import train
from labelwise.runs import environment, read_json, write_json

HERE = Path(__file__).parent

WORKERS = {
    "labelwise": HERE / "distill_labelwise.py",
    "timm": HERE / "peers" / "distill_timm.py",
    "torchdistill": HERE / "peers" / "distill_torchdistill.py",
}
STUDENT, REFINERY = "small_narrow", "small_wide"
BATCH, LR, SCALE = 64, 0.05, (0.25, 1.0)


# What all engines are given


def export(source: Path, target: Path, fit: int, select: int, test: int | None) -> None:
    """Pixels, labels and split of some images of a data file, drawn with seed 0."""
    limits = {"train_limit": fit + select, "select_share": select / (fit + select), "test_limit": test}
    overrides = [f"data.{key}={json.dumps(value)}" for key, value in limits.items()]
    data = load_dataset(load_recipe(None, [f"data.source={json.dumps(str(source))}", *overrides]).data)
    rows = {name: data.rows(name) for name in SPLITS}
    every = np.concatenate(list(rows.values()))
    images = np.stack([data.source.read(int(row)) for row in every])
    split = np.repeat(SPLITS, [len(r) for r in rows.values()])
    np.savez(target, images=images, label=data.label[every], split=split, classes=np.array(data.classes))


def train_refinery(problem: Path, folder: Path, options: argparse.Namespace) -> Path:
    """The weights of a wide network trained on the given labels; its card lies beside them."""
    overrides = [f"data.source={json.dumps(str(problem))}", "model.name=small-wide", "threads=1"]
    overrides += [f"views.scale={list(SCALE)}", f"train.epochs={options.refinery_epochs}", f"train.lr={LR}"]
    row = train(load_recipe(None, [*overrides, f"train.batch_size={BATCH}"]), folder, quiet=True).to_json()["rows"][0]
    return folder / row["path"] / "model.safetensors"


def first_weights(folder: Path, seed: int, num_classes: int) -> Path:
    """The weights that every student of a seed starts from."""
    path = folder / f"student-{seed}.safetensors"
    if not path.exists():
        torch.manual_seed(seed)
        save_file(getattr(small, STUDENT)(num_classes, 3).state_dict(), path)
    return path


def make_job(row: Row, seed: int, folder: Path, refinery: Path, epochs: int) -> Job:
    card = read_json(refinery.parent / "model.json")
    return Job(
        problem=str(folder / "problem.npz"),
        networks=small.__file__,
        student=STUDENT,
        student_weights=str(first_weights(folder, seed, len(card["classes"]))),
        refinery=REFINERY,
        refinery_weights=str(refinery),
        mean=tuple(card["input"]["mean"]),
        std=tuple(card["input"]["std"]),
        given=row.given,
        refined=row.refined,
        temperature=row.temperature,
        smoothing=row.smoothing,
        epochs=epochs,
        batch_size=BATCH,
        lr=LR,
        momentum=0.9,
        weight_decay=5e-4,
        warmup_epochs=1.0,
        scale=SCALE,
        ratio=(3 / 4, 4 / 3),
        seed=seed,
        workers=row.workers,
        refinery_training=row.refinery_training,
    )


# The runs


class Worker:
    """The process of one engine, which does one job after the other: it starts, and imports, when it gets the first."""

    def __init__(self, engine: str, python: Path, core: int | None) -> None:
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        self._command = [*pinned, str(python), str(WORKERS[engine])]
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, source: Path, target: Path) -> None:
        if self._process is None:
            variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(labelwise.__file__).parents[1])}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen(self._command, env=variables, text=True, **pipes)
        assert self._process.stdin is not None and self._process.stdout is not None
        print(source, target, sep="\t", file=self._process.stdin, flush=True)
        if self._process.stdout.readline() != "done\n":
            raise SystemExit(f"{' '.join(self._command)} failed at {source}")

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its input, so that it ends


def run(row: Row, job: Job, folder: Path, worker: Worker) -> Run:
    """One training, or what was found before; which test images were right, beside it."""
    path = row.path(folder, job.seed)
    settings = json.loads(json.dumps(asdict(job)))
    result, target = path.with_suffix(".json"), path.with_suffix(".npz")
    if result.exists() and read_json(result)["settings"] == settings:
        return read_json(result)
    print(f"{time.strftime('%H:%M:%S')} {row.name}, seed {job.seed}", file=sys.stderr, flush=True)
    source = path.with_suffix(".job")
    job.write(source)
    worker(source, target)
    with np.load(target) as file, np.load(job.problem) as problem:
        right = file["prediction"] == problem["label"][problem["split"] == "test"]
        found = {
            "row": row.name,
            "seed": job.seed,
            "select": 100 * float(file["select"]),
            "test": 100 * float(right.mean()),
            "seconds": float(file["seconds"]),
            "cpu_seconds": float(file["cpu_seconds"]),
            "versions": json.loads(str(file["versions"])),
            "settings": settings,
        }
    np.savez_compressed(target, right=right)
    write_json(result, found)
    return found


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, seed by seed, and ``distill.json`` after each; the engines take turns."""
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    problem = folder / "problem.npz"
    if not problem.exists():
        export(options.data / "cifar10_jpeg.npz", problem, options.images, options.select, options.test)
    refinery = train_refinery(problem, folder / "refinery", options)
    rows = contenders(options.peer_python is not None, options.more)
    runs: dict[Row, list[Run]] = {row: [] for row in rows}
    workers = {
        engine: Worker(engine, Path(sys.executable) if engine == OURS else options.peer_python, options.core)
        for engine in dict.fromkeys(row.engine for row in rows)
    }
    facts = {
        "refinery": _refinery_scores(refinery),
        "options": {"epochs": options.epochs, "batch": BATCH, "lr": LR, "scale": SCALE},
        "environment": environment(),
    }
    with np.load(problem) as file:
        facts["splits"] = {name: int((file["split"] == name).sum()) for name in SPLITS}
    for seed in options.seeds:
        turn = {engine: (i + seed) % len(ENGINES) for i, engine in enumerate(ENGINES)}
        for row in sorted(rows, key=lambda row: (row.labels, turn[row.engine])):
            job = make_job(row, seed, folder, refinery, options.epochs)
            runs[row].append(run(row, job, folder, workers[row.engine]))
        versions = {row.engine: runs[row][0]["versions"] for row in rows}
        found = summarise(rows, runs, folder) | facts | {"versions": versions}
        write_json(folder / "distill.json", {"benchmark": "distill"} | found)
    for worker in workers.values():
        worker.close()
    return found


def _refinery_scores(weights: Path) -> dict[str, float]:
    """Points of top-1 of the refinery: on crops of its own images, on held-out ones and on test."""
    row = read_json(weights.parent / "row.json")
    return {name: 100 * row[name]["top1"] for name in SPLITS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10_jpeg.npz")
    parser.add_argument("--peer-python", type=Path, help="python of the peers' environment; default: labelwise alone")
    parser.add_argument("--out", type=Path, default=Path("benchmark-distill"), help="folder of data, weights and runs")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=40 * BATCH, help="whole batches: timm drops the rest of an epoch")
    parser.add_argument("--select", type=int, default=2000)
    parser.add_argument("--test", type=int, help="test images; default: all")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--refinery-epochs", type=int, default=16)
    parser.add_argument("--more", action="store_true", help="also loader processes, and another mode of the refinery")
    parser.add_argument("--core", type=int, help="core that every engine is pinned to; default: any")
    parser.add_argument("--fast", action="store_true", help="a few images and epochs, to see that it runs")
    options = parser.parse_args()
    if options.fast:
        options.images, options.select, options.test = 4 * BATCH, 100, 200
        options.epochs, options.refinery_epochs, options.seeds = 2, 2, options.seeds[:1]
    print(markdown(benchmark(options)))


if __name__ == "__main__":
    main()
