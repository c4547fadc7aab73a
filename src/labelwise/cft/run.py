"""``labelwise cft``: read a feature file, fit a new head, and write it with its evidence to a run folder."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from labelwise.cft.arguments import choose_device
from labelwise.cft.ensemble import PREDICTIONS
from labelwise.cft.evaluate import Measured, measure, measured_fields
from labelwise.cft.finetuner import CategoryWiseFineTuner
from labelwise.cft.first_head import fit_first_head
from labelwise.cft.solvers.inputs import SolverInput, Split, blank_uncertain, hold_out_rows
from labelwise.config import CftConfig, SplitName
from labelwise.data.dataset import sample_keys
from labelwise.data.files import without_group
from labelwise.errors import ConfigError, DataError
from labelwise.features.file import MARKER, FeatureSet, read_features
from labelwise.features.shards import Rows
from labelwise.labels import strategies
from labelwise.labels.table import LabelTable
from labelwise.metrics.operating import parse_rule
from labelwise.progress import Progress
from labelwise.results import CftResults, FeaturesResults, read_results_as
from labelwise.runs import RESULTS, atomic_write, start_run

HEAD = "head.safetensors"


def run_cft(config: CftConfig, out: Path, *, quiet: bool = False) -> CftResults:
    """Fine-tune, evaluate, and write the run folder. A finished run of the same settings is only read.

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        In one line.
    """
    started = time.monotonic()
    if config.threshold is not None:
        parse_rule(config.threshold)  # refuses a bad rule now, before the work
    clock = _Clock()
    with clock("read"):
        data = _with_select(read_features(Path(config.features)), config)
        facts = {"name": data.name, "fingerprint": data.fingerprint(), "sizes": data.sizes()}
        identity = config.model_dump(mode="json", exclude={"features"}) | {"data": facts["fingerprint"]}
        run = start_run(out, "cft", identity, config, facts={"data": facts})
        if run.finished:
            return read_results_as(out, CftResults)
        fit, select = _split(data, "fit", config), _split(data, "select", config)
    weight, bias = _head(config, data, fit, select, clock)
    tuner = CategoryWiseFineTuner(
        config.objective,
        config.method,
        preset=config.preset,
        loss=config.loss,
        calibrate=config.calibrate,
        device=config.device,
        memory_gb=config.memory_gb,
        random_state=config.seed,
    )
    with clock("solve"), Progress(config.method, "categories", quiet) as progress:
        tuner.fit(
            fit.features,
            fit.labels,
            head_weight=weight,
            head_bias=bias,
            select=(select.features, select.labels, select.groups),
            label_weight=fit.weight,
            groups=fit.groups,
            categories=data.categories,
            progress=progress.reach,
        )
    del fit, select  # their labels are copies, and large where there are many categories
    with clock("evaluate"):
        measured = measure(data, (weight, bias), (tuner.weight_, tuner.bias_))
        found = measured_fields(data, measured, tuner.report_, config)
    tensors = {"weight": torch.from_numpy(tuner.weight_), "bias": torch.from_numpy(tuner.bias_)}
    atomic_write(out / HEAD, safetensors.torch.save(tensors))
    if config.predictions:
        _write_predictions(out / PREDICTIONS, data, measured)
    results = CftResults(
        kind="cft",
        name=data.name,
        objective=config.objective,
        method=config.method,
        preset=config.preset,
        base="given" if config.base is None else config.base,
        uncertain=config.uncertain,
        seed=config.seed,
        seconds=round(time.monotonic() - started, 3),
        stages=clock.seconds,
        peak_memory_mb=_peak_memory_mb(),
        dim=data.dim,
        features=_source(Path(config.features)),
        warnings=(*_group_warnings(data), *tuner.warnings_),
        expected_gain=tuner.expected_gain_,
        **found,
    )
    run.finish(results)
    return results


def _with_select(data: FeatureSet, config: CftConfig) -> FeatureSet:
    """The features with a ``select`` split. Where the file has none, whole groups of ``fit`` are held out."""
    if not len(data.rows("fit")):
        raise DataError(f"{config.features}: the fit split is empty")
    if len(data.rows("select")):
        return data
    rows = data.rows("fit")
    _, held = hold_out_rows(data.groups[rows], config.select_share, config.seed)
    split = data.split.astype("<U6")
    split[rows[held]] = "select"
    return dataclasses.replace(data, split=split)


def _split(data: FeatureSet, name: SplitName, config: CftConfig) -> Split:
    rows = data.rows(name)
    labels = torch.from_numpy(data.labels[rows])  # a copy: it is written to
    if name == "fit" and config.uncertain != "unknown":
        table = LabelTable.from_wire(labels.numpy(), data.categories)
        found = strategies.uncertain(table, config.uncertain, config.seed, sample_keys(data.ids[rows]))
        labels = torch.from_numpy(found.to_wire())
    blank_uncertain(labels)
    weight = None if data.label_weight is None else torch.from_numpy(data.label_weight[rows])
    return Split(Rows(data.features, rows), labels, weight, data.groups[rows])


def _head(
    config: CftConfig, data: FeatureSet, fit: Split, select: Split, clock: _Clock
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The trained head of the file, or a first one."""
    if data.head_weight is not None and data.head_bias is not None:
        if config.base is not None:
            raise ConfigError(f"--base {config.base}: {config.features} already has a head; leave --base out")
        return data.head_weight, data.head_bias
    if config.base is None:
        raise ConfigError(f"{config.features}: no head in it; add --base assume-negative or --base ignore to fit one")
    with clock("base"):
        device = choose_device(config.device)
        shape = len(data.categories), data.dim
        nothing = torch.zeros(shape, device=device), torch.zeros(shape[0], device=device)
        budget = int(config.memory_gb * 2**28)
        inputs = SolverInput(fit.to(device), select.to(device), *nothing, config.seed, config.objective, budget)
        weight, bias = fit_first_head(inputs, config.base)
    return weight.cpu().numpy(), bias.cpu().numpy()


def _group_warnings(data: FeatureSet) -> list[str]:
    count = without_group(data.groups)
    return [f"groups: {count} of {len(data)} rows have none; each is a group of its own"] if count else []


def _write_predictions(path: Path, data: FeatureSet, measured: Mapping[SplitName, Measured]) -> None:
    """Logits of the new head and of the one before on ``select`` and ``test``, in the order of the rows."""
    rows = np.flatnonzero(data.split != "fit").astype(np.int64)
    before, logits, labels = (np.empty((len(rows), len(data.categories)), np.float32) for _ in range(3))
    for split, found in measured.items():
        own = data.split[rows] == split
        before[own], logits[own], labels[own] = *found.logits, found.labels
    arrays: dict[str, Any] = {
        "logits": logits,
        "before": before,
        "labels": labels,
        "ids": data.ids[rows],
        "groups": data.groups[rows],
        "split": data.split[rows],
        "categories": np.array(data.categories),
    }
    atomic_write(path, lambda file: np.savez(file, **arrays))


def _source(path: Path) -> FeaturesResults | None:
    """The network and data that the features come from, if labelwise computed them."""
    if not (path / MARKER).exists() or not (path / RESULTS).exists():
        return None
    return read_results_as(path, FeaturesResults)


def _peak_memory_mb() -> int | None:
    """Peak resident memory of this process, mapped pages included; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Any:
        started = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - started, 3)
