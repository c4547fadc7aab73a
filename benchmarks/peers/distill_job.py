"""What the workers of `distill.py` share: the job, the images, the networks, the clock. Knows neither peer.

    python WORKER.py                    # reads lines "JOB.json<tab>OUT.npz", answers "done" to each

JOB.json has the fields of `Job`. OUT.npz receives prediction (T,) int64 of the test images in order, select (top-1 on
the held-out images), seconds (wall time of the training steps with their data loading), cpu_seconds (of the whole job:
reading, training, scoring, loader processes), and versions: one JSON string.

Of labelwise a peer sees one file, that of its small networks, so that all engines train the same `nn.Module`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import nn

SPLITS = ("fit", "select", "test")
_SCORED_AT_ONCE = 512


@dataclass(frozen=True)
class Job:
    """One training of a student.

    ``problem`` is an .npz with images (N, S, S, 3) uint8, label (N,), split (N,) of fit, select and test, classes (K,).
    The loss is ``given`` x cross-entropy (smoothed) + ``refined`` x temperature^2 x KL(refinery || student) with both
    answers at the temperature; without ``refined`` no refinery is asked. ``mean`` and ``std`` normalise values in
    [0, 1]. Networks are functions of the file ``networks``, their weights .safetensors files.
    """

    problem: str
    networks: str
    student: str
    student_weights: str
    refinery: str
    refinery_weights: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    given: float
    refined: float
    temperature: float
    smoothing: float
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    warmup_epochs: float
    scale: tuple[float, float]
    ratio: tuple[float, float]
    seed: int
    workers: int
    refinery_training: bool = False

    @staticmethod
    def read(path: Path) -> Job:
        return Job(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    def network(self, name: str, weights: str, num_classes: int) -> nn.Module:
        """The network of that name with saved weights."""
        spec = importlib.util.spec_from_file_location("networks", self.networks)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        net: nn.Module = getattr(module, name)(num_classes, 3)
        net.load_state_dict(load_file(weights))
        return net

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of 0-based ``step`` as a share of ``lr``: linear warm-up, cosine to 0."""
        warmup, total = round(self.warmup_epochs * steps_per_epoch), self.epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - warmup) / max(1, total - warmup)))))


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Decoded images in memory, as torchvision's own CIFAR10 keeps them: array to PIL image to transform."""

    def __init__(self, images: NDArray[np.uint8], label: NDArray[np.int64]) -> None:
        self.images, self.label = images, label.tolist()
        self.transform: Callable[[Image.Image], Any] | None = None

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), self.label[index]


@dataclass(frozen=True)
class Problem:
    """Images (n, S, S, 3) uint8 and labels (n,) by split."""

    images: dict[str, NDArray[np.uint8]]
    label: dict[str, NDArray[np.int64]]
    num_classes: int

    @staticmethod
    def read(path: Path) -> Problem:
        with np.load(path, allow_pickle=False) as file:
            images, label, split = file["images"], file["label"], file["split"]
            classes = len(file["classes"])
        rows = {name: split == name for name in SPLITS}
        return Problem({n: images[r] for n, r in rows.items()}, {n: label[r] for n, r in rows.items()}, classes)


@torch.no_grad()
def predict(job: Job, net: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Likeliest class (n,) of whole images."""
    net.eval()
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (job.mean, job.std))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    parts = [net((part.float() / 255 - shift) / scale).argmax(1) for part in pixels.split(_SCORED_AT_ONCE)]
    return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Trained:
    """What a worker returns of a job: likeliest classes (T,) on test, top-1 on select, wall seconds of training."""

    prediction: NDArray[np.int64]
    select: float
    seconds: float


def train_and_score(job: Job, problem: Problem, student: nn.Module, epoch: Callable[[], None]) -> Trained:
    """Call ``epoch`` as often as asked, then score the student: the last weights are the result."""
    started = time.perf_counter()
    for _ in range(job.epochs):
        epoch()
    seconds = time.perf_counter() - started
    right = predict(job, student, problem.images["select"]) == problem.label["select"]
    return Trained(predict(job, student, problem.images["test"]), float(right.mean()), seconds)


def serve(train: Callable[[Job], Trained], packages: tuple[str, ...]) -> None:
    """Do jobs until there are no more lines; one thread each. Whatever a peer prints goes to stderr."""
    torch.set_num_threads(1)
    versions = {name: version(name) for name in (*packages, "torch", "numpy")} | {"python": platform.python_version()}
    for line in sys.stdin:
        source, target = line.rstrip("\n").split("\t")
        job = Job.read(Path(source))
        torch.manual_seed(job.seed)
        np.random.seed(job.seed)  # noqa: NPY002 - what a peer may draw from
        before = cpu_seconds()
        with contextlib.redirect_stdout(sys.stderr):
            found = train(job)
        gc.collect()  # loader processes count when they have ended
        spent = cpu_seconds() - before
        np.savez(target, **vars(found), cpu_seconds=spent, versions=json.dumps(versions))
        print("done", flush=True)


def cpu_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
