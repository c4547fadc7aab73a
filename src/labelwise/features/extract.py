"""``labelwise features``: run every sample through the backbone once, and write features and labels to a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import FeaturePrecision, Recipe, check_choice
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import Shard, plan_evaluation
from labelwise.data.value_range import as_trained
from labelwise.errors import ConfigError, DataError, RunError
from labelwise.features.file import MARKER, UNFINISHED, finish_folder, write_arrays
from labelwise.features.network import Network, open_network
from labelwise.labels.table import INFERRED, LabelTable
from labelwise.models.backbone import ModelSource
from labelwise.progress import Progress
from labelwise.results import FeaturesResults, Splits, read_results_as
from labelwise.runs import read_json, start_run, write_json
from labelwise.training.runtime import Runtime, start_runtime

BATCH = 128
SAVE_SECONDS = 10.0
"""Least time between two saved states. A killed extraction continues from the last one."""

_DTYPES: dict[str, np.dtype[Any]] = {"fp16": np.dtype(np.float16), "fp32": np.dtype(np.float32)}


def extract_features(
    source: ModelSource,
    recipe: Recipe,
    out: Path,
    *,
    keep_head: bool = False,
    precision: FeaturePrecision = "fp16",
    quiet: bool = False,
) -> FeaturesResults:
    """Write the features of every sample of ``recipe.data`` to the folder ``out``, or continue a killed run.

    Centre views, eval mode. Under torchrun each rank writes its part of the samples to a numbered folder inside.

    Parameters
    ----------
    source : the network
    recipe : its data, views, model.args and train.precision are used
    keep_head : the outputs of a network by name are the data's categories, in this order
    precision : of the features in the file, ``fp16`` or ``fp32``

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        If network and data do not fit, the folder holds other features, or a feature does not fit into ``precision``.
    """
    check_choice("precision", precision, FeaturePrecision)
    if out.suffix == ".npz":
        raise ConfigError(f"--out {out}: features are written to a folder, name one without .npz")
    runtime = start_runtime(recipe)
    dataset = load_dataset(recipe.data, partial=True)
    network = open_network(source, recipe, dataset, keep_head)
    if (seen := as_trained(recipe.data, network.classifier.spec.value_range)) != recipe.data:
        dataset = load_dataset(seen, partial=True)
    identity = _identity(network, dataset, recipe, precision) | {"shards": runtime.shard.world}
    run = start_run(out, "features", identity, writes=runtime.is_main)
    if run.finished:
        return read_results_as(out, FeaturesResults)
    identity = run.facts["identity"]  # as it is read again
    runtime.accelerator.wait_for_everyone()  # every rank has seen the folder as it was
    part = _Part(out, runtime.shard, len(dataset), network.dim, _DTYPES[precision], identity)
    if runtime.is_main and part.folder != out:
        write_json(out / UNFINISHED, identity, sealed=True)
    seconds = _fill(part, dataset, network, recipe, runtime, quiet)
    rows, common = _row_arrays(dataset, part.rows), _common_arrays(dataset, network)
    if part.folder == out:
        write_arrays(out, rows | common)
    else:
        write_arrays(part.folder, rows)
        finish_folder(part.folder, part.state())
    lost = runtime.gather(torch.tensor([part.lost], device=runtime.device))  # and every rank has finished
    results = FeaturesResults(
        kind="features",
        name=dataset.name,
        **identity,
        splits=Splits(**dataset.sizes()),
        rows=len(dataset),
        dim=network.dim,
        categories=len(dataset.classes),
        largest_logit_difference=None if network.head is None else float(lost.max()),
        seconds=seconds,
        images_per_second=part.computed / seconds * runtime.shard.world,
    )
    if runtime.is_main:
        if part.folder != out:
            write_arrays(out, common)
        finish_folder(out, part.state() | {"rows": len(dataset), "dim": network.dim})
    run.finish(results)
    runtime.accelerator.wait_for_everyone()
    return results


def _identity(network: Network, dataset: Dataset, recipe: Recipe, precision: FeaturePrecision) -> dict[str, Any]:
    """All that the features depend on."""
    return {
        "model": network.classifier.name,
        "args": network.classifier.args,
        "weights_hash": network.weights_hash,
        "data": dataset.fingerprint(),
        "input": network.classifier.spec.to_json(),
        "eval_crop": network.views.eval_crop,
        "head": network.head is not None,
        "precision": precision,
        "autocast": recipe.train.precision,
    }


class _Part:
    """The features of one rank: a .npy file that grows batch by batch, and a note of how many rows are on the disk."""

    def __init__(
        self, out: Path, shard: Shard, count: int, dim: int, dtype: np.dtype[Any], identity: dict[str, Any]
    ) -> None:
        self.folder = out if shard.world == 1 else out / f"{shard.rank:05d}"
        self.rows = np.arange(count)[shard.part(count)]
        self.done = self.computed = 0
        self.lost = 0.0
        self._dim, self._dtype, self._identity = dim, dtype, identity
        self._file = self.folder / "features.npy"
        # A rank that was ready when another was killed has the marker of a finished folder.
        note = next((file for file in (self.folder / UNFINISHED, self.folder / MARKER) if file.exists()), None)
        if note is not None and self._file.exists():
            before = read_json(note)
            if all(before.get(key) == value for key, value in identity.items()):
                self.done, self.lost = before["done"], before["lost"]

    def state(self) -> dict[str, Any]:
        """How many rows are done, and of what: enough to continue."""
        return {**self._identity, "rows": len(self.rows), "done": self.done, "lost": self.lost}

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file, positioned after the rows that are done. The rest is cut off, for it may be half a row."""
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (len(self.rows), self._dim)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self._file, "r+b" if self.done else "wb") as file:
                np.lib.format.write_array_header_2_0(file, header)
                file.truncate(file.tell() + self.done * self._dim * self._dtype.itemsize)
                file.seek(0, os.SEEK_END)
                self.save(file)  # from now on, readers see that the folder is unfinished
                yield file
                self.save(file)
        except OSError as error:
            raise RunError(
                f"{self._file}: cannot be written ({error}); run the same command again to continue"
            ) from None

    def save(self, file: IO[bytes]) -> None:
        """Flush the written rows to the disk, then note their number."""
        file.flush()
        os.fsync(file.fileno())
        write_json(self.folder / UNFINISHED, self.state(), sealed=True)

    def append(self, file: IO[bytes], exact: NDArray[np.float32], ids: NDArray[np.str_]) -> NDArray[Any]:
        """Write features (B, D), and return them as they are stored."""
        with np.errstate(over="ignore"):
            stored = exact.astype(self._dtype)
        bad = ~np.isfinite(stored).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            largest = float(np.abs(exact[row]).max())
            why = f"a feature of {largest:.3g} does not fit into fp16; use --precision fp32"
            if not np.isfinite(largest):
                why = "its features are NaN or infinite; check the network and its normalisation"
            raise DataError(f"sample {str(ids[row])!r}: {why}")
        file.write(stored.tobytes())
        self.done += len(stored)
        self.computed += len(stored)
        return stored


@torch.no_grad()
def _fill(part: _Part, dataset: Dataset, network: Network, recipe: Recipe, runtime: Runtime, quiet: bool) -> float:
    """Compute the missing rows of this rank's part. Returns the seconds that this took."""
    classifier = network.classifier.to(runtime.device)
    if recipe.train.channels_last:
        classifier.use_channels_last()
    loader = make_loader(dataset, network.views, runtime.device, recipe.data.workers)
    plans = plan_evaluation(part.rows[part.done :], BATCH, Shard())
    weight = None if network.head is None else network.head[0].numpy()
    start = saved = time.perf_counter()
    with part.open() as file, Progress("features", quiet=quiet or not runtime.is_main) as progress:
        progress.start(len(part.rows), before=part.done)
        progress.advance(part.done, worked=False)
        for batch in loader.stream(plans, (classifier.spec.size,), 0):
            with runtime.accelerator.autocast():
                features = network.split.features(batch.inputs[classifier.spec.size])
            exact = features.float().cpu().numpy()
            stored = part.append(file, exact, dataset.ids[batch.rows])
            if weight is not None and stored.dtype != exact.dtype:
                part.lost = max(part.lost, float(np.abs((exact - stored) @ weight.T).max()))
            progress.advance(len(stored))
            progress.show()
            if time.perf_counter() - saved > SAVE_SECONDS:
                part.save(file)
                saved = time.perf_counter()
    return time.perf_counter() - start


def _row_arrays(dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The arrays of a feature file with one entry per sample; a class label becomes one positive category."""
    table = dataset.table or LabelTable.from_classes(dataset.label, dataset.classes)
    own = table.take(rows)
    arrays: dict[str, NDArray[Any]] = {
        "labels": own.hide(own.source != INFERRED).to_wire(),  # no head is fitted to what nobody has said
        "split": dataset.split[rows],
        "ids": dataset.ids[rows],
        "groups": dataset.groups[rows],
    }
    return arrays if own.weight is None else {**arrays, "label_weight": own.weight}


def _common_arrays(dataset: Dataset, network: Network) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"categories": np.array(dataset.classes, dtype=np.str_)}
    if network.head is None:
        return arrays
    weight, bias = (value.cpu().numpy() for value in network.head)
    return {**arrays, "head_weight": weight, "head_bias": bias}
