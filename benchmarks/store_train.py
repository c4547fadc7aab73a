"""Training from a store of crop labels beside plain training and live refineries: speed and accuracy.

    OMP_NUM_THREADS=1 python benchmarks/store_train.py speed --out build/store-speed.json
    OMP_NUM_THREADS=1 python benchmarks/store_train.py accuracy --out build/store-accuracy.json

`speed` takes turns between ways of training a small network, a few steps each, on random pixels of 1,000
classes at 32 px: in memory, and from JPEG files of 256 px that are decoded in the same process. A store has 8 views of
each image and 10 classes of each view. CPU seconds of the process are compared within each round, so that other work
on the machine does not count; the figure is the median ratio, with the range of its middle half.

`accuracy` trains students on scikit-learn's digits with 40% wrong labels (simulated) from stores of V views and k
classes, and from the live refinery that has labelled them, all by the same loop; each seed has labels and a refinery of
its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from labelwise.config import ModelConfig, ViewConfig, load_recipe
from labelwise.data.dataset import Dataset, ImageFiles, PixelArray
from labelwise.data.loaders import ViewLoader, make_loader
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan, Shard, plan_training
from labelwise.models import zoo
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.models.small import SmallConvNet
from labelwise.refinery.labellers import FrozenNetwork, GivenLabels, RefineryLabels
from labelwise.runs import environment, write_json
from labelwise.store.bound import ENDLESS, bind
from labelwise.store.header import Refined, claim
from labelwise.store.making import Kept, LabelPass, MadeWith, make_shard, new_header
from labelwise.store.reader import Store
from labelwise.training.stored import StoredLabelTask
from labelwise.training.task import SoftLabelTask, Task

CPU = torch.device("cpu")
CLASSES, BATCH, STEPS, STORED, SIDE = 1000, 64, 8, 8, 32
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
PLAIN, FROM_STORE, SAME, LARGER = "plain", "store", "live, same size", "live, 4x size"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "accuracy"))
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    parser.add_argument("--wide", action="store_true", help="speed: small-wide in place of small-narrow")
    parser.add_argument("--rounds", type=int, default=15, help="speed: how often each way takes its turn")
    parser.add_argument("--seeds", type=int, default=3, help="accuracy: number of seeds")
    parser.add_argument("--epochs", type=int, default=40, help="accuracy: of a student")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.modules["benchmark_store_train"] = sys.modules[__name__]  # an import path, as a user's own network has
    with tempfile.TemporaryDirectory() as folder:
        if options.part == "speed":
            found = speed(Path(folder), options.rounds, "small-wide" if options.wide else "small-narrow")
        else:
            found = accuracy(Path(folder), options.seeds, options.epochs)
    write_json(options.out, {"part": options.part, **found, "environment": environment()})
    print(json.dumps(found, indent=1))


def twice_narrow(num_classes: int, in_channels: int) -> SmallConvNet:
    """small-narrow with twice the channels, about four times the multiply-adds."""
    return SmallConvNet(num_classes, in_channels, (32, 64, 128), (2, 2, 2))


def twice_wide(num_classes: int, in_channels: int) -> SmallConvNet:
    """small-wide with twice the channels."""
    return SmallConvNet(num_classes, in_channels, (64, 128, 256, 256), (2, 2, 2, 1))


@dataclass(frozen=True)
class Way:
    """One way to train: a task, and the loader that shows its views."""

    task: Task
    loader: ViewLoader
    views: ViewConfig


def speed(folder: Path, rounds: int, student: str) -> dict[str, Any]:
    """Ratios of CPU seconds, plain training of the same kind by each way."""
    found: dict[str, Any] = {"student": student, "classes": CLASSES, "batch": BATCH, "steps": STEPS, "rounds": rounds}
    for name, dataset in data_sets(folder):
        runs: dict[str, Callable[[], float]] = {}
        for repeats in (1, 4):
            views = ViewConfig(scale=(0.25, 1.0), repeats=repeats)
            for way, made in ways(dataset, views, student, folder / f"{name}-{repeats}").items():
                runs[f"{way}, {repeats} views of an image in a batch"] = trainer(dataset, student, made)
        seconds: dict[str, list[float]] = {way: [] for way in runs}
        for number in range(rounds + 1):
            order = list(runs)[number % len(runs) :] + list(runs)[: number % len(runs)]
            for way in order:
                taken = runs[way]()
                if number:  # the first round is slow
                    seconds[way].append(taken)
        base = seconds[next(iter(runs))]
        found[name] = {way: ratio(seconds[way], base) for way in runs}
        both = (seconds[f"{way}, 4 views of an image in a batch"] for way in (FROM_STORE, PLAIN))
        found[name]["store beside plain training, both with 4 views of an image"] = ratio(*both)
    return found


def ratio(seconds: list[float], base: list[float]) -> dict[str, float]:
    """Speed relative to ``base``, round by round."""
    pairs = sorted(b / s for s, b in zip(seconds, base, strict=True))
    quarter = len(pairs) // 4
    return {"median": round(statistics.median(pairs), 3), "low": pairs[quarter], "high": pairs[-1 - quarter]}


def data_sets(folder: Path) -> Iterator[tuple[str, Dataset]]:
    """Images in memory and as JPEG files."""
    n, rng = BATCH * STEPS, np.random.default_rng(0)
    classes, ids = tuple(str(k) for k in range(CLASSES)), np.arange(n).astype(str)
    split, label = np.full(n, "fit"), rng.integers(0, CLASSES, n)
    pixels = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    yield "in memory", Dataset("random", classes, ids, ids, label, split, PixelArray(pixels))
    paths = tuple(folder / f"{i}.jpg" for i in range(n))
    for image, path in zip(pixels, paths, strict=True):
        Image.fromarray(image).resize((256, 256), Image.Resampling.BICUBIC).save(path, quality=90)
    yield "JPEG files", Dataset("random", classes, ids, ids, label, split, ImageFiles(paths, 3))


def ways(dataset: Dataset, views: ViewConfig, student: str, folder: Path) -> dict[str, Way]:
    """Every way to train on the same crops."""
    loader, rows = make_loader(dataset, views, CPU), dataset.rows("fit")
    live = {
        name: RefineryLabels(FrozenNetwork(network(dataset, model)), dataset.classes)
        for name, model in ((SAME, student), (LARGER, f"benchmark_store_train:twice_{student[6:]}"))
    }
    kept = Kept(STORED, 10)
    store = write(folder, dataset, rows, live[SAME], loader, kept, views)
    endless = views.model_copy(update={"number": ENDLESS})
    return {
        PLAIN: Way(SoftLabelTask(GivenLabels(CLASSES), SIDE), loader, views),
        FROM_STORE: Way(StoredLabelTask(SIDE, CLASSES), loader.replaying(bind(store, dataset, rows)), endless),
        **{name: Way(SoftLabelTask(labels, SIDE), loader, views) for name, labels in live.items()},
    }


def write(
    folder: Path,
    dataset: Dataset,
    rows: np.ndarray[Any, Any],
    labels: RefineryLabels,
    loader: ViewLoader,
    kept: Kept,
    views: ViewConfig,
) -> Store:
    """A store of what ``labels`` say."""
    made_with = MadeWith((Refined(name="net", weights_hash=labels.hashes()[0], input={}),), "no", views, 7)
    header, edges = new_header(dataset, rows, kept, made_with)
    claim(folder, header)
    for number in range(header.shards):
        make_shard(LabelPass(header, dataset, rows, edges, labels, loader), folder, number)
    return Store(folder)


def network(dataset: Dataset, model: str) -> Classifier:
    built = zoo.build(ModelConfig(name=model), dataset.classes, InputSpec("image", SIDE, 3, MEAN, STD))
    built.use_channels_last()
    return built


def trainer(dataset: Dataset, student: str, way: Way) -> Callable[[], float]:
    """CPU seconds of the next epoch."""
    model, epoch = network(dataset, student).train(), [0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def run() -> float:
        plans = plan_training(dataset.rows("fit"), BATCH, way.views, 0, epoch[0], Shard())
        epoch[0] += 1
        started = time.process_time()
        for batch in way.loader.stream(plans, way.task.sizes, 0):
            way.task(model, batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return time.process_time() - started

    return run


def accuracy(folder: Path, seeds: int, epochs: int) -> dict[str, Any]:
    """Test top-1 of every seed, by number of views and classes; of the refinery and of a student of it, live."""
    scores: dict[str, list[float]] = {}
    crop_bytes: dict[str, int] = {}
    views = ViewConfig(scale=(0.6, 1.0), flip=False)
    for seed in range(seeds):
        config = ["data={source: digits, noise: {kind: uniform, rate: 0.4}}", f"data.noise.seed={seed}"]
        dataset = load_dataset(load_recipe(None, config).data)
        loader, rows = make_loader(dataset, views, CPU), dataset.rows("fit")
        given = SoftLabelTask(GivenLabels(dataset.num_classes), 8)
        teacher, top1 = trained(dataset, Way(given, loader, views), 1000 + seed, 10)
        scores.setdefault("refinery", []).append(top1)
        labels = RefineryLabels(FrozenNetwork(teacher), dataset.classes)
        ways = {"live": Way(SoftLabelTask(labels, 8), loader, views)}
        for k in (1, 3, "all"):
            kept = Kept(64, k)  # type: ignore[arg-type]
            store = write(folder / f"{seed}-{k}", dataset, rows, labels, loader, kept, views)
            crop_bytes[str(k)] = store.layout.bytes_per_crop()
            endless = views.model_copy(update={"number": ENDLESS})
            for number in (1, 4, 16, 64):
                replaying = loader.replaying(bind(store, dataset, rows, number, seed))
                ways[f"V {number}, k {k}"] = Way(StoredLabelTask(8, dataset.num_classes), replaying, endless)
        for name, way in ways.items():
            scores.setdefault(name, []).append(trained(dataset, way, seed, epochs)[1])
            print(name, scores[name], flush=True)
    return {"epochs": epochs, "top1": scores, "bytes of a crop": crop_bytes}


def trained(dataset: Dataset, way: Way, seed: int, epochs: int) -> tuple[Classifier, float]:
    """A network, and its test top-1 in %."""
    torch.manual_seed(seed)
    spec = InputSpec("image", 8, 1, (0.3,), (0.38,))
    model = zoo.build(ModelConfig(name="small-narrow"), dataset.classes, spec).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        plans = plan_training(dataset.rows("fit"), BATCH, way.views, seed, epoch, Shard())
        for batch in way.loader.stream(plans, way.task.sizes, seed):
            way.task(model, batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        schedule.step()
    rows = dataset.rows("test")
    with torch.no_grad():
        [centre] = way.loader.stream([BatchPlan(rows)], (8,), 0)
        right = model.eval()(centre.inputs[8]).argmax(1).numpy() == dataset.label[rows]
    return model, round(100 * float(right.mean()), 2)


if __name__ == "__main__":
    main()
