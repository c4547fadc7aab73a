"""How fast training and refinement are, and the in-memory loader beside torchvision's, in one run.

    python benchmarks/refine.py --out refine.json          # about two minutes on two cores
    LABELWISE_DATA=DIR python benchmarks/refine.py         # real CIFAR-10 images instead of random ones
    python benchmarks/refine.py --resnet 32 --batch 512 --precision bf16 --compile inductor     # for a GPU

Everything is measured in this process, interleaved, and compared as a ratio within each repetition; the table gives
the median ratio over the repetitions and its range. Images are 32 x 32, crops (.25-1) and flips are the same.

- plain: train the wide small network (with --resnet a small ResNet of that width) on given labels; with mixup; with
  torch.compile where --compile names its backend; refined: the same with a live refinery of the same network (a
  forward more), and with one of about 4 times the multiply-adds (twice the widths).
- loading alone: `labelwise`'s in-memory loader against a torchvision DataLoader as users write it: PIL images,
  RandomResizedCrop, flip, to tensor, normalise; two persistent workers. Both may use every thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from labelwise.config import ModelConfig, ViewConfig, load_recipe
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import MemoryLoader, ViewLoader
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import Shard, plan_training
from labelwise.models import zoo
from labelwise.models.classifier import InputSpec
from labelwise.models.small import SmallConvNet
from labelwise.refinery.labellers import FrozenNetwork, GivenLabels, RefineryLabels
from labelwise.runs import environment, write_json
from labelwise.training.task import Labeller, SoftLabelTask

VIEWS = ViewConfig(scale=(0.25, 1.0))
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
WORKERS = 2
PLAIN, COMPILED, TORCHVISION = "plain training", "compiled", f"torchvision DataLoader, {WORKERS} workers"
Timed = Callable[[], float]


def images(n: int) -> Dataset:
    """``n`` images of CIFAR-10 where ``LABELWISE_DATA`` has them, otherwise random ones."""
    folder = os.environ.get("LABELWISE_DATA")
    if folder:
        overrides = [f"data.source={json.dumps(str(Path(folder) / 'cifar10_jpeg.npz'))}", "data.select_share=0"]
        return load_dataset(load_recipe(None, [*overrides, f"data.train_limit={n}", "data.test_limit=10"]).data)
    rng = np.random.default_rng(0)
    ids = np.arange(n).astype(str)
    pixels = PixelArray(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8))
    classes = tuple(str(k) for k in range(10))
    return Dataset("random", classes, ids, ids, rng.integers(0, 10, n), np.full(n, "fit"), pixels)


def double_width(num_classes: int, in_channels: int) -> SmallConvNet:
    """small-wide with twice the channels, about four times the multiply-adds."""
    return SmallConvNet(num_classes, in_channels, (64, 128, 256, 256), (2, 2, 2, 1))


def multiply_adds(net: nn.Module) -> int:
    """Of the convolutions and linear layers, for one image of 32 x 32."""
    total = 0

    def count(module: nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        total += module.weight[0].numel() * out[0].numel()  # type: ignore[operator,index]

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total


def classifier(dataset: Dataset, config: ModelConfig, device: torch.device) -> Any:
    spec = InputSpec("image", 32, 3, MEAN, STD)
    model = zoo.build(config, dataset.classes, spec).to(device)
    model.use_channels_last()
    return model


@dataclass(frozen=True)
class Training:
    """What is trained, and how; ``refineries`` label every view, without any the given labels do."""

    student: ModelConfig
    refineries: tuple[ModelConfig, ...] = ()
    views: ViewConfig = VIEWS
    batch: int = 128
    precision: str = "no"
    backend: str | None = None

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """What networks run in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


def trainer(dataset: Dataset, loader: ViewLoader, training: Training, device: torch.device) -> Timed:
    """Seconds of one epoch of training."""
    model = classifier(dataset, training.student, device)
    if training.backend is not None:
        model.net.compile(backend=training.backend)
    labeller: Labeller = GivenLabels(dataset.num_classes)
    if training.refineries:
        frozen = [
            FrozenNetwork(classifier(dataset, one, device), autocast=lambda: training.autocast(device))
            for one in training.refineries
        ]
        labeller = RefineryLabels(frozen, dataset.classes)
    task = SoftLabelTask(labeller, 32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    jobs = plan_training(dataset.rows("fit"), training.batch, training.views, 0, 0, Shard())

    def epoch() -> float:
        model.train()
        started = time.perf_counter()
        for batch in loader.stream(jobs, task.sizes, 0):
            with training.autocast(device):
                output = task(model, batch)
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        finish(device)
        return time.perf_counter() - started

    return epoch


def in_memory(dataset: Dataset, loader: ViewLoader, batch_size: int, device: torch.device) -> Timed:
    """Seconds to make every view of one epoch."""
    jobs = plan_training(dataset.rows("fit"), batch_size, VIEWS, 0, 0, Shard())
    mean, std = (torch.tensor(x, device=device).view(1, 3, 1, 1) for x in (MEAN, STD))

    def epoch() -> float:
        started = time.perf_counter()
        for batch in loader.stream(jobs, (32,), 0):
            (batch.inputs[32] - mean) / std
        finish(device)
        return time.perf_counter() - started

    return epoch


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Arrays to PIL images to a transform, as torchvision's own CIFAR10 does it."""

    def __init__(self, pixels: NDArray[np.uint8], label: NDArray[np.int64]) -> None:
        self.pixels, self.label = pixels, label.tolist()
        crop = v2.RandomResizedCrop(32, scale=VIEWS.scale)
        to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(), *to_tensor])

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.label[index]


def torchvision_loader(dataset: Dataset, batch_size: int, device: torch.device) -> Timed:
    """Seconds of one epoch of a DataLoader; its workers stay alive and are warmed up before."""
    assert isinstance(dataset.source, PixelArray)
    rows = dataset.rows("fit")
    pictures = Pictures(dataset.source.pixels[rows], dataset.label[rows])
    pinned = device.type == "cuda"
    loader = torch.utils.data.DataLoader(
        pictures, batch_size, shuffle=True, num_workers=WORKERS, persistent_workers=True, pin_memory=pinned
    )

    def epoch() -> float:
        started = time.perf_counter()
        for batch, _ in loader:
            batch.to(device, non_blocking=True)
        finish(device)
        return time.perf_counter() - started

    epoch()
    return epoch


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ratios(seconds: list[float], base: list[float]) -> dict[str, float]:
    """Speed relative to ``base``, repetition by repetition."""
    found = [b / s for s, b in zip(seconds, base, strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def all_runs(options: argparse.Namespace, dataset: Dataset, device: torch.device) -> dict[str, tuple[Timed, str]]:
    """What is timed, by name, and what each is compared with."""
    loader = MemoryLoader(dataset, VIEWS, device)
    mixed = VIEWS.model_copy(update={"mixup": 1.0})
    sys.modules["benchmark_refine"] = sys.modules[__name__]  # an import path, as a user's own network has
    student, larger = ModelConfig(name="small-wide"), ModelConfig(name="benchmark_refine:double_width")
    if options.resnet:
        student, larger = (resnet(width) for width in (options.resnet, 2 * options.resnet))
    cost, larger_cost = (multiply_adds(classifier(dataset, one, torch.device("cpu")).net) for one in (student, larger))
    plain = Training(student, batch=options.batch, precision=options.precision)
    trainings = {
        PLAIN: plain,
        "with mixup": replace(plain, views=mixed),
        "refinery of the same size": replace(plain, refineries=(student,)),
        f"refinery of {larger_cost / cost:.1f}x the MACs": replace(plain, refineries=(larger,)),
    }
    if options.compile:
        trainings[COMPILED] = replace(plain, backend=options.compile)
    views = {False: loader, True: MemoryLoader(dataset, mixed, device)}
    runs = {
        name: (trainer(dataset, views[training.views is mixed], training, device), PLAIN)
        for name, training in trainings.items()
    }
    runs[TORCHVISION] = (torchvision_loader(dataset, options.batch, device), TORCHVISION)
    runs["in-memory loader"] = (in_memory(dataset, loader, options.batch, device), TORCHVISION)
    return runs


def resnet(width: int) -> ModelConfig:
    """ResNet-18 without its last stage at width 64."""
    return ModelConfig(name="small-resnet", args={"blocks": 2, "width": width})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmark-refine.json"))
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=["no", "bf16"], default="no")
    parser.add_argument("--resnet", type=int, help="width of a small ResNet, instead of the wide small network")
    parser.add_argument("--compile", help="backend of torch.compile, such as inductor")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = images(options.images)
    runs = all_runs(options, dataset, device)
    facts = {"data": dataset.name, "images": len(dataset.rows("fit")), "repeats": options.repeats}
    facts |= {"batch": options.batch, "precision": options.precision, "resnet": options.resnet}
    rows: list[dict[str, Any]] = []
    # What compiles comes last, in case that it takes longer than there is time.
    for names in ([name for name in runs if name != COMPILED], [PLAIN, COMPILED] if options.compile else []):
        own = measure({name: runs[name] for name in names}, len(dataset.rows("fit")), options.repeats)
        rows += [row for row in own if row["name"] not in {earlier["name"] for earlier in rows}]
        write_json(options.out, {"benchmark": "refine", **facts, "rows": rows, "environment": environment()})


def measure(runs: dict[str, tuple[Timed, str]], images: int, repeats: int) -> list[dict[str, Any]]:
    """A row of speed for each run; one repetition after the other, in each all runs."""
    for timed, _ in runs.values():
        timed()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (timed, base) in runs.items():
            epochs = 3 if base == TORCHVISION else 1  # loading epochs are short: the best of three
            seconds[name].append(min(timed() for _ in range(epochs)))
    rows = []
    for name, (_, base) in runs.items():
        speed = ratios(seconds[name], seconds[base])
        rows.append({"name": name, "images_per_second": images / min(seconds[name]), "ratio": speed})
        spread = f"{speed['median']:7.2f}  ({speed['min']:.2f} to {speed['max']:.2f})"
        print(f"{name:36} {rows[-1]['images_per_second']:10,.0f} images/s {spread}  of {base}", flush=True)
    return rows


if __name__ == "__main__":
    main()
