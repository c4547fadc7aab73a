"""Data and rates for ``gpu.py``: images that are unpacked once, the networks that a table trains, and how many images
per second each kind of training takes."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGES, LABELS = ("cifar10_jpeg.npz", "tiny_imagenet32_100.npz"), "cifar10n.npz"


def stand_in(options: argparse.Namespace) -> None:
    """Random images and labels in files like the real ones, for a dry run where those are not at hand."""
    import io

    import numpy as np
    from PIL import Image

    rng, count = np.random.default_rng(0), 600
    options.out.mkdir(parents=True)
    for name, classes in zip(IMAGES, (10, 100), strict=True):
        images = []
        for _ in range(count):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "JPEG")
            images.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
        arrays = {"jpeg": np.concatenate(images), "offset": np.cumsum([0, *map(len, images)])}
        label, names = np.arange(count) % classes, np.array([f"class {k}" for k in range(classes)])
        np.savez(options.out / name, **arrays, label=label, n_train=np.array(400), classes=names)
    noisy = {key: rng.integers(0, 10, 400) for key in ("worse_label", "random_label1")}
    np.savez(options.out / LABELS, **noisy)


def unpack(source: Path, target: Path, most: int | None) -> None:
    """Packed images as raw ones, so that no cell has to decode them; of each part ``most``, evenly spaced."""
    import io

    import numpy as np
    from PIL import Image

    with np.load(source) as file:
        arrays = {key: file[key] for key in file.files}
    packed, offset, n_train = arrays.pop("jpeg"), arrays.pop("offset"), int(arrays["n_train"])
    count = len(offset) - 1
    parts = [np.arange(n_train), np.arange(n_train, count)]
    train, test = (part[:: max(1, -(-len(part) // (most or len(part))))] for part in parts)
    rows = np.concatenate([train, test])

    def decode(row: int) -> Any:
        return np.asarray(Image.open(io.BytesIO(packed[offset[row] : offset[row + 1]].tobytes())).convert("RGB"))

    with ThreadPoolExecutor() as pool:
        arrays["images"] = np.stack(list(pool.map(decode, rows.tolist(), chunksize=256)))
    arrays |= {"label": arrays["label"][rows], "n_train": np.array(len(train))}
    np.savez(target / source.name, **arrays)
    if source.name == IMAGES[0]:
        with np.load(source.with_name(LABELS)) as file:
            np.savez(target / LABELS, **{key: file[key][train] for key in file.files})


@dataclass(frozen=True)
class Needed:
    """A network that a table trains: its kind, and how many images it sees in its epochs for each of the fit split."""

    kind: str
    passes: float


def networks_of(table: Path) -> Iterator[tuple[str, Needed, Any, Any]]:
    """Every network of a table once, under the name of its kind, with its recipe and specification."""
    from labelwise.experiment.config import all_cells, cell_recipe, load_experiment
    from labelwise.refinery.generations import chain_networks
    from labelwise.runs import fingerprint
    from labelwise.settings import changed

    config = load_experiment(table)
    seen: set[str] = set()
    for cell in all_cells(config):
        recipe = cell_recipe(config, cell)
        marks: dict[str, str] = {}
        models: dict[str, Any] = {}
        for network in chain_networks(recipe):
            own = [network.name, cell.column, cell.seed, changed(network.model), changed(network.train)]
            own += [changed(network.views or recipe.views), [marks[one.name] for one in network.refineries]]
            if network.refineries:
                own.append(changed(network.refined_labels))
            mark = marks[network.name] = fingerprint(own)
            models[network.name] = network.model
            if mark in seen:
                continue
            seen.add(mark)
            share = 1.0 if network.without_fold is None else 1 - 1 / recipe.chain.folds
            labelled_by = [models[one.name] for one in network.refineries]
            kind = " <- ".join([_words(network.model), *map(_words, labelled_by)])
            share *= 1 - recipe.data.select_share
            yield kind, Needed(kind, share * network.train.epochs), recipe, (network, labelled_by)


def _words(model: Any) -> str:
    return " ".join([model.name, *(f"{key} {value:g}" for key, value in sorted(model.args.items()))])


def rates(options: argparse.Namespace) -> None:
    from labelwise.runs import environment, write_json

    options.data.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        unpack(Path(os.environ["LABELWISE_DATA"]) / name, options.data, options.most)
    os.environ["LABELWISE_DATA"] = str(options.data)
    spawn = multiprocessing.get_context("spawn")
    barrier, queue = spawn.Barrier(options.jobs), spawn.Queue()
    workers = [spawn.Process(target=_measure, args=(options, barrier, queue)) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    each = [queue.get(timeout=options.seconds) for _ in workers]
    for worker in workers:
        worker.join()
    together = {kind: round(sum(found[kind] for found in each), 1) for kind in each[0]}
    facts = {"jobs": options.jobs, "images_per_second": together, "environment": environment()}
    write_json(options.out, {"benchmark": "gpu rates", **facts})
    for kind, rate in together.items():
        print(f"{rate:10,.0f} images/s  {kind}")


def _measure(options: argparse.Namespace, barrier: Any, queue: Any) -> None:
    """In a process: images per second of every kind, all processes at the same kind at the same time."""
    import refine
    import torch

    from labelwise.data.loaders import MemoryLoader

    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = refine.images(options.images)
    found: dict[str, float] = {}
    for table in options.tables:
        for kind, _, recipe, (network, labelled_by) in networks_of(table):
            if kind in found:
                continue
            views, train = network.views or recipe.views, network.train
            training = refine.Training(network.model, tuple(labelled_by), views, train.batch_size, train.precision)
            epoch = refine.trainer(dataset, MemoryLoader(dataset, views, device), training, device)
            epoch()
            barrier.wait(options.seconds)
            found[kind] = len(dataset.rows("fit")) / min(epoch() for _ in range(2))
    queue.put(found)
