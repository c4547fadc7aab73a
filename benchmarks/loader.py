"""Views of image files per second: labelwise's loader beside those of torchvision and timm, in one run.

    LABELWISE_DATA=DIR python benchmarks/loader.py --out loader.json       # about 8 minutes on two cores

JPEGs of 256 to 500 px (quality 90) are made on the spot: patches of UC Merced, enlarged, with the noise of a camera.
Every loader has the same number of worker processes and ends with float32 crops in the main process. Crops (.08-1) and
flips are the same, bilinear and antialiased. Every round runs one epoch of each, in turn; the ratio is taken within a
round, and the table gives the median over rounds and the range. CPU is that of the main process and the workers
together, which says more than the clock where the machine has other work. Workers persist from epoch to epoch.

- labelwise: one view of an image in a batch, and four (``views.repeats``)
- torchvision: a DataLoader with ``v2.RandomResizedCrop`` and ``v2.RandomHorizontalFlip`` on uint8 tensors, decoded by
  Pillow or by ``torchvision.io.decode_jpeg``
- timm: ``create_loader`` as its training script calls it, without colour and erasing
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_dataset, create_loader
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from labelwise.config import ViewConfig
from labelwise.data.dataset import Dataset, ImageFiles
from labelwise.data.loaders import make_loader
from labelwise.data.sampling import Shard, plan_training
from labelwise.runs import environment, write_json

CPU = torch.device("cpu")
PEERS = ("torchvision, Pillow", "torchvision, decode_jpeg", "timm")
OURS = ("labelwise", "labelwise, 4 views a decode")
Epoch = Callable[[int], Iterable[Tensor]]


@dataclass(frozen=True)
class Work:
    """What every loader does."""

    folder: Path
    side: int
    batch: int
    workers: int

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images."""
        return tuple(sorted(self.folder.rglob("*.jpg")))


def make_images(folder: Path, count: int) -> None:
    """``count`` JPEGs in two class folders."""
    with np.load(Path(os.environ["LABELWISE_DATA"]) / "ucm_multilabel_128.npz") as file:
        blob, offset = file["blob"], file["offset"]
    rng = np.random.default_rng(0)
    for i in range(count):
        row = i % (len(offset) - 1)
        patch = Image.open(io.BytesIO(blob[offset[row] : offset[row + 1]].tobytes())).convert("RGB")
        width, height = rng.integers(256, 501, 2).tolist()
        pixels = np.asarray(patch.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
        noisy = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
        path = folder / "ab"[i % 2] / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)


class Decoded(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Files as a user of torchvision reads them."""

    def __init__(self, work: Work, by_pillow: bool) -> None:
        self._paths, self._by_pillow = work.paths, by_pillow
        self._transform = v2.Compose([v2.RandomResizedCrop(work.side, antialias=True), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self._by_pillow:
            image: Tensor = tv.pil_to_tensor(Image.open(self._paths[index]).convert("RGB"))
        else:
            image = decode_jpeg(read_file(str(self._paths[index])), ImageReadMode.RGB)
        return self._transform(image), 0


def of_torchvision(work: Work, by_pillow: bool) -> Epoch:
    loader = torch.utils.data.DataLoader(
        Decoded(work, by_pillow),
        work.batch,
        shuffle=True,
        num_workers=work.workers,
        persistent_workers=work.workers > 0,
    )
    return lambda _: (images * (1 / 255) for images, _ in loader)


def of_timm(work: Work) -> Epoch:
    loader = create_loader(
        create_dataset("", root=str(work.folder), is_training=True),
        input_size=(3, work.side, work.side),
        batch_size=work.batch,
        is_training=True,
        color_jitter=None,
        interpolation="bilinear",
        mean=(0, 0, 0),
        std=(1, 1, 1),
        num_workers=work.workers,
        persistent_workers=work.workers > 0,
        device=CPU,
    )
    return lambda _: (images for images, _ in loader)


def of_labelwise(work: Work, repeats: int) -> Epoch:
    paths = work.paths
    ids, n = np.array([path.name for path in paths]), len(paths)
    dataset = Dataset("files", ("a",), ids, ids, np.zeros(n, np.int64), np.full(n, "fit"), ImageFiles(paths, 3))
    views = ViewConfig(repeats=repeats)
    loader, rows = make_loader(dataset, views, CPU, work.workers), np.arange(n)

    def epoch(number: int) -> Iterable[Tensor]:
        plans = plan_training(rows, work.batch, views, 0, number, Shard())
        return (batch.inputs[work.side] for batch in loader.stream(plans, (work.side,), 0))

    return epoch


def cpu_seconds() -> float:
    """Of this process, its children that have ended, and those that live."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    alive = 0.0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        alive += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return sum(one.ru_utime + one.ru_stime for one in used) + alive


def timed(epoch: Epoch, number: int) -> tuple[float, float]:
    """Views per second, by the clock and of CPU."""
    started, used, seen = time.perf_counter(), cpu_seconds(), 0
    for images in epoch(number):
        assert images.dtype == torch.float32
        seen += len(images)
    return seen / (time.perf_counter() - started), seen / (cpu_seconds() - used)


def measure(work: Work, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Rates (rounds, 2) of every loader."""
    epochs = {
        PEERS[0]: of_torchvision(work, by_pillow=True),
        PEERS[1]: of_torchvision(work, by_pillow=False),
        PEERS[2]: of_timm(work),
        OURS[0]: of_labelwise(work, 1),
        OURS[1]: of_labelwise(work, 4),
    }
    for epoch in epochs.values():
        timed(epoch, 0)  # workers start, files come into the cache
    found = {name: [timed(epoch, 1)] for name, epoch in epochs.items()}
    for number in range(2, rounds + 1):
        for name, epoch in epochs.items():
            found[name].append(timed(epoch, number))
    return {name: np.array(rates) for name, rates in found.items()}


def table(side: int, rates: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Print one side; ratios are to labelwise with one view of an image in a batch."""
    rows = []
    print(f"\n| loader, {side} px | views/s | views per CPU second | ratio (range) | ratio of CPU (range) |")
    print("|---|---:|---:|---:|---:|")
    for name, own in rates.items():
        row: dict[str, Any] = {"side": side, "loader": name, "views_per_second": own.tolist()}
        cells = [f"{statistics.median(own[:, i]):,.0f}" for i in (0, 1)]
        for i, kind in enumerate(("ratio", "cpu_ratio")):
            ratio = own[:, i] / rates[OURS[0]][:, i]
            row[kind] = [float(np.median(ratio)), float(ratio.min()), float(ratio.max())]
            cells.append("{:.2f} ({:.2f} to {:.2f})".format(*row[kind]))
        print(f"| {name} | {' | '.join(cells)} |")
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        make_images(Path(name), options.images)
        for side in options.sides:
            rows += table(side, measure(Work(Path(name), side, options.batch, options.workers), options.rounds))
    if options.out is not None:
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        write_json(options.out, {"environment": environment(), "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
