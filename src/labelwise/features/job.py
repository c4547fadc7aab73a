"""What a user asks features of, with data and network opened: work in numbered shards, each of which is a folder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from labelwise.config import FeaturePrecision, Recipe
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import ViewLoader, make_loader
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import Shard, plan_evaluation
from labelwise.data.value_range import as_trained
from labelwise.errors import DataError, RunError
from labelwise.features.file import MARKER, finish_folder, write_arrays
from labelwise.features.network import Network, open_network
from labelwise.labels.table import INFERRED, LabelTable
from labelwise.models.backbone import ModelSource
from labelwise.runs import RESULTS, RUN, finite, read_json, start_run, write_json
from labelwise.training.runtime import autocast_on, choose_device

BATCH = 128
"""Samples that the network sees at once. The last bits of features may depend on it, so it never depends on who
computes them."""

SHARD_BYTES = 2**26
"""About the most that the features of a shard take."""

SHARD_FLOPS, SHARD_PIXELS = 4e12, 2**26
"""Most operations of a shard, and pixels that a network sees: about a minute of one core, whatever the network is
slow at. An accelerator is taken for a hundred cores."""

SHARD_FILES = 2**14
"""Most images of a shard that are decoded: a minute of one core at 3 to 4 ms each."""

_DTYPES: dict[str, np.dtype[Any]] = {"fp16": np.dtype(np.float16), "fp32": np.dtype(np.float32)}


@dataclass(frozen=True)
class FeaturesRequest:
    """Of what features are wanted, by which network; every process makes the same of it.

    Parameters
    ----------
    source : the network
    recipe : its data, views, model.args, threads and train.precision are used
    keep_head : the outputs of a network by name are the data's categories, in this order
    precision : of the features in the file
    shard_samples : samples of a shard. None: what takes about a minute
    """

    source: ModelSource
    recipe: Recipe
    keep_head: bool = False
    precision: FeaturePrecision = "fp16"
    shard_samples: int | None = None

    def open(self, place: int = 0, processes: int = 1) -> FeaturesJob:
        """Open data and network.

        Parameters
        ----------
        place, processes : see :class:`labelwise.sharding.processes.Request`

        Raises
        ------
        LabelwiseError
            If network and data do not fit.
        """
        recipe, device = self.recipe, choose_device(place)
        if device.type == "cpu":
            torch.set_num_threads(recipe.threads or 1)  # sums depend on the number of threads
        dataset = load_dataset(recipe.data, partial=True)
        network = open_network(self.source, recipe, dataset, self.keep_head)
        if (seen := as_trained(recipe.data, network.classifier.spec.value_range)) != recipe.data:
            dataset = load_dataset(seen, partial=True)
        per_shard = self.shard_samples or _samples_per_shard(network, dataset, device, _DTYPES[self.precision])
        identity = {
            "model": network.classifier.name,
            "args": network.classifier.args,
            "weights_hash": network.weights_hash,
            "data": dataset.fingerprint(),
            "input": network.classifier.spec.to_json(),
            "eval_crop": network.views.eval_crop,
            "head": network.head is not None,
            "precision": self.precision,
            "autocast": recipe.train.precision,
            "shard_samples": per_shard,
        }
        network.classifier.to(device)
        if recipe.train.channels_last:
            network.classifier.use_channels_last()
        loader = make_loader(dataset, network.views, device, recipe.data.decoders // processes)
        return FeaturesJob(json.loads(json.dumps(finite(identity))), dataset, network, loader, device)


@dataclass(frozen=True)
class FeaturesJob:
    """Everything that features depend on; work in shards (:mod:`labelwise.sharding`).

    Shard n is the folder ``0000n``, with a marker that is written last and has the checksums of its files. Where there
    is one shard, the folder itself is it. Categories and head are in the first.

    Parameters
    ----------
    identity : what makes two runs the same, as JSON
    """

    identity: dict[str, Any]
    dataset: Dataset
    network: Network
    loader: ViewLoader
    device: torch.device

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.dataset) // int(self.identity["shard_samples"]))

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """The rows of one shard."""
        step = int(self.identity["shard_samples"])
        return np.arange(number * step, min((number + 1) * step, len(self.dataset)))

    def size(self, number: int) -> int:
        """Samples in a shard."""
        return len(self.rows_of(number))

    def folder_of(self, out: Path, number: int) -> Path:
        """Where a shard is."""
        return out / f"{number:05d}" if self.shards > 1 else out

    def claim(self, out: Path, *, write: bool = True) -> None:
        """Make a folder that of these features: new, empty, or the same already.

        Raises
        ------
        RunError
            If it holds anything else, or cannot be written.
        """
        run = start_run(out, "features", self.identity, writes=False)
        if run.finished or not write:
            return
        content = {path.name for path in out.glob("[!.]*")}  # another run that has made nothing yet is replaced
        write_json(out / RUN, run.facts, once=content != {RUN}, sealed=True)
        self._refuse_another(out, read_json(out / RUN)["identity"])

    def is_finished(self, out: Path, number: int) -> bool:
        """Whether a shard is there, every byte of it; that of other features is refused."""
        folder = self.folder_of(out, number)
        if (out / RESULTS).exists():
            return True
        if not (folder / MARKER).exists():
            return False
        try:
            marker = read_json(folder / MARKER)
            self._refuse_another(folder, marker)
            files = marker["files"]
            if files == _checksums(folder, files):
                return True
        except (OSError, KeyError):
            pass
        print(f"{folder}: is damaged and is computed again", file=sys.stderr)
        return False

    def make(self, out: Path, number: int, advance: Callable[[int], None] = lambda _: None) -> None:
        """Compute the features of a shard and write them with its labels.

        Parameters
        ----------
        advance : is told how many more samples are done

        Raises
        ------
        LabelwiseError
            If an image cannot be read, a feature does not fit into the precision, or the folder cannot be written.
        """
        rows, folder = self.rows_of(number), self.folder_of(out, number)
        features, lost = self._features(rows, advance)
        arrays = {"features": features, **self._labels(rows), **(self._common() if number == 0 else {})}
        write_arrays(folder, arrays)
        facts = {"rows": len(rows), "dim": self.network.dim, "lost": lost}
        finish_folder(folder, self.identity | facts | {"files": _checksums(folder, [f"{key}.npy" for key in arrays])})

    @torch.no_grad()
    def _features(self, rows: NDArray[np.int64], advance: Callable[[int], None]) -> tuple[NDArray[Any], float]:
        """Features (n, D) as they are stored, and the largest change of a logit by that."""
        size, autocast = self.network.classifier.spec.size, self.identity["autocast"]
        found = np.empty((len(rows), self.network.dim), _DTYPES[self.identity["precision"]])
        weight = None if self.network.head is None else self.network.head[0].cpu().numpy()
        lost, start = 0.0, 0
        for batch in self.loader.stream(plan_evaluation(rows, BATCH, Shard()), (size,), 0):
            with autocast_on(self.device, autocast):
                features = self.network.split.features(batch.inputs[size])
            exact = features.float().cpu().numpy()
            stored = _as_stored(exact, found.dtype, self.dataset.ids[batch.rows])
            if weight is not None and stored.dtype != exact.dtype:
                lost = max(lost, float(np.abs((exact - stored) @ weight.T).max()))
            found[start : start + len(stored)] = stored
            start += len(stored)
            advance(len(stored))
        return found, lost

    def _labels(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The other arrays with one entry per sample; a class label becomes one positive category."""
        dataset = self.dataset
        own = (dataset.table or LabelTable.from_classes(dataset.label, dataset.classes)).take(rows)
        arrays: dict[str, NDArray[Any]] = {
            "labels": own.hide(own.source != INFERRED).to_wire(),  # no head is fitted to what nobody has said
            "split": dataset.split[rows],
            "ids": dataset.ids[rows],
            "groups": dataset.groups[rows],
        }
        return arrays if own.weight is None else {**arrays, "label_weight": own.weight}

    def _common(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {"categories": np.array(self.dataset.classes, dtype=np.str_)}
        if self.network.head is None:
            return arrays
        weight, bias = (value.cpu().numpy() for value in self.network.head)
        return {**arrays, "head_weight": weight, "head_bias": bias}

    def _refuse_another(self, folder: Path, found: dict[str, Any]) -> None:
        other = next((key for key, value in self.identity.items() if found.get(key) != value), None)
        if other is not None:
            was, now = (str(values.get(other))[:80] for values in (found, self.identity))
            raise RunError(
                f"{folder}: another run, or an older version of labelwise, began these features, with another {other}"
                f" ({was}, now {now}); give another --out"
            )


def _as_stored(exact: NDArray[np.float32], dtype: np.dtype[Any], ids: NDArray[np.str_]) -> NDArray[Any]:
    """Features (B, D) in the precision of the file."""
    with np.errstate(over="ignore"):
        stored = exact.astype(dtype)
    bad = ~np.isfinite(stored).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        largest = float(np.abs(exact[row]).max())
        why = f"a feature of {largest:.3g} does not fit into fp16; use --precision fp32"
        if not np.isfinite(largest):
            why = "its features are NaN or infinite; check the network and its normalisation"
        raise DataError(f"sample {str(ids[row])!r}: {why}")
    return stored


def _samples_per_shard(network: Network, dataset: Dataset, device: torch.device, dtype: np.dtype[Any]) -> int:
    """What takes about a minute, whoever computes it: by the operations of the network, which are counted."""
    spec = network.classifier.spec
    shape = (spec.channels, spec.size, spec.size) if spec.kind == "image" else (spec.size,)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.split.features(torch.zeros(1, *shape))
    cores, pixels = 1 if device.type == "cpu" else 100, spec.size**2 if spec.kind == "image" else 1
    most = [
        SHARD_BYTES // (network.dim * dtype.itemsize),
        int(cores * SHARD_FLOPS / max(1, counter.get_total_flops())),
        cores * SHARD_PIXELS // pixels,
    ]
    samples = min([*most, SHARD_FILES] if dataset.in_files else most)
    return max(1, samples - samples % BATCH if samples > BATCH else samples)


def _checksums(folder: Path, names: Any) -> dict[str, str]:
    """SHA-256 by the name of the file."""
    found = {}
    for name in names:
        with open(folder / name, "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
