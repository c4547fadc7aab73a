"""THE training loop. It knows tasks and loaders, not methods: labels, refineries and jitter live behind the task.

Everything random is a function of (seed, epoch, step, rank), so a run that was killed goes on with the same numbers.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import TrainConfig, ViewConfig
from labelwise.data.counter_rng import derive_seed
from labelwise.data.loaders import ViewLoader
from labelwise.data.sampling import plan_training, steps_per_epoch
from labelwise.errors import ModelError, RunError
from labelwise.models.classifier import Classifier
from labelwise.progress import Progress
from labelwise.runs import METRICS, RESUME, append_line, atomic_write, read_lines, write_lines
from labelwise.training.optim import learning_rate, make_average, make_optimizer, set_learning_rate
from labelwise.training.runtime import Runtime
from labelwise.training.task import Task

Scores = dict[str, float]

_HEADLINES = {"top1": "top-1", "map": "mAP", "loss": "loss"}
"""What is shown of an epoch's scores: the first of these that they have."""

ASK_STEPS = 20
"""Of several processes, all agree in every so many steps on whether a checkpoint is due."""


@dataclass(frozen=True)
class FitInput:
    """What is trained on: ``rows`` (N,) of the loader's data set, and a sampling weight for each, if any."""

    loader: ViewLoader
    rows: NDArray[np.int64]
    views: ViewConfig
    sample_weight: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class FitResult:
    """How training went. ``seconds`` counts training alone, over all its interrupted parts."""

    kept_epoch: int
    seconds: float
    images_per_second: float


@dataclass
class _State:
    """All that changes while training; what a checkpoint holds besides model, optimiser and average."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: list[float] = field(default_factory=list)
    best: tuple[float, float] | None = None
    best_epoch: int = 0
    best_weights: dict[str, Tensor] | None = None


def fit(
    model: Classifier,
    task: Task,
    data: FitInput,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path,
    runtime: Runtime,
    select: Callable[[Classifier], Scores] | None,
    progress: Progress,
) -> FitResult:
    """Train ``model`` in place; it ends with the kept epoch's weights (averaged ones, with ``config.ema``).

    Parameters
    ----------
    select : scores that choose the kept epoch (``top1``, or ``map`` of multi-label data, and ``nll``); None where
        nothing is held out
    folder : gets ``metrics.jsonl``, and ``resume.pt`` until training has ended

    Raises
    ------
    ModelError
        If the loss is no longer finite.
    RunError
        If the disk is full, or ``resume.pt`` cannot be read.
    """
    accelerator, shard = runtime.accelerator, runtime.shard
    model.to(runtime.device)
    if config.channels_last:
        model.use_channels_last()
    if config.compile:
        model.net.compile()
    if config.only:
        model.train_only(config.only)
    average = make_average(model, config.ema)
    wrapped, optimizer = accelerator.prepare(model, make_optimizer(model, config))
    evaluated = model if average is None else cast(Classifier, average.module)
    steps = steps_per_epoch(len(data.rows), config.batch_size, shard)
    state = _State()
    if (folder / RESUME).exists():
        _restore(folder / RESUME, state, model, task, optimizer, average, accelerator.scaler)
    if runtime.is_main:
        write_lines(folder / METRICS, [r for r in read_lines(folder / METRICS) if r["epoch"] <= state.epoch])
    progress.start(steps * config.epochs, before=state.epoch * steps + state.step)
    progress.advance(state.epoch * steps + state.step, worked=False)
    saved = time.monotonic()
    model.train()
    for epoch in range(state.epoch, config.epochs):
        plans = plan_training(data.rows, config.batch_size, data.views, seed, epoch, shard, data.sample_weight)
        sums = torch.zeros(len(task.names), device=runtime.device, dtype=torch.float64)
        if state.step and runtime.is_main:  # a checkpoint holds the sums of all ranks
            sums += torch.tensor(state.sums, device=runtime.device, dtype=torch.float64)
        started = time.monotonic()
        for batch in data.loader.stream(plans[state.step :], task.sizes, seed):
            _seed_step(derive_seed(seed, "dropout", epoch, state.step, shard.rank), runtime.device)
            rate = learning_rate(config, epoch * steps + state.step, steps)
            set_learning_rate(optimizer, rate)
            parts = batch.split(config.micro_batches)
            for i, part in enumerate(parts):
                last = i == len(parts) - 1
                with _synchronised(accelerator, wrapped, last):
                    output = task(wrapped, part)
                    accelerator.backward(output.loss * (part.weight / len(parts)))
                sums += output.sums
            if config.clip_grad > 0:
                accelerator.clip_grad_norm_(model.parameters(), config.clip_grad)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.update_parameters(model)
            state.step += 1
            progress.advance()
            if state.step < len(plans) and _due(time.monotonic() - saved, state.step, config, runtime):
                mid = copy.copy(state)
                mid.sums = runtime.gather(sums[None]).sum(0).tolist()
                mid.seconds = state.seconds + time.monotonic() - started
                if runtime.is_main:
                    _store(folder / RESUME, mid, model, task, optimizer, average, accelerator.scaler)
                saved = time.monotonic()
        runtime.share_buffers(evaluated)  # what is scored and kept is one network
        state.seconds += time.monotonic() - started
        seen = min(len(data.rows), len(plans) * config.batch_size)
        train_scores = dict(zip(task.names, (runtime.gather(sums[None]).sum(0) / seen).tolist(), strict=True))
        if not np.isfinite(train_scores["loss"]):
            raise ModelError(
                f"{folder.name}: the loss is not finite in epoch {epoch + 1}; lower train.lr ({config.lr})"
            )
        record: dict[str, Any] = {"epoch": epoch + 1, "lr": rate, "train": train_scores}
        if select is not None:
            record["select"] = select(evaluated)
            _choose(state, evaluated, record["select"], epoch + 1, config.keep)
        record["seconds"] = round(state.seconds, 3)
        progress.show(_note(record, config.epochs))
        accelerator.log(_flat(record, f"{folder.parent.name}/{folder.name}"), step=epoch + 1)
        state.epoch, state.step, state.sums = epoch + 1, 0, []
        if runtime.is_main:
            append_line(folder / METRICS, record)
            if time.monotonic() - saved >= config.checkpoint_seconds and state.epoch < config.epochs:
                _store(folder / RESUME, state, model, task, optimizer, average, accelerator.scaler)
                saved = time.monotonic()
    _keep(model, evaluated, state, config.keep)
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    accelerator.free_memory()
    kept = config.epochs if config.keep == "last" else state.best_epoch
    images = len(data.rows) * config.epochs
    return FitResult(kept, state.seconds, images / max(state.seconds, 1e-9))


def _note(record: dict[str, Any], epochs: int) -> str:
    """The record of an epoch in a few words."""
    parts = [f"epoch {record['epoch']}/{epochs}"]
    for part in ("train", "select"):
        for name, title in _HEADLINES.items():
            if name in record.get(part, {}):
                parts.append(f"{part} {title} {record[part][name]:.3f}")
                break
    return "  ".join(parts)


def _due(seconds: float, step: int, config: TrainConfig, runtime: Runtime) -> bool:
    """Whether to write a checkpoint within an epoch; ranks follow the clock of the main one, asked now and then."""
    due = seconds >= config.checkpoint_seconds
    if runtime.shard.world == 1:
        return due
    if step % ASK_STEPS:
        return False
    return bool(runtime.gather(torch.tensor([due], dtype=torch.uint8, device=runtime.device))[0])


def _seed_step(seed: int, device: torch.device) -> None:
    """Dropout's randomness of one step. (torch.manual_seed would queue a call per step where CUDA is not in use.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _synchronised(accelerator: Any, model: torch.nn.Module, last: bool) -> Any:
    """Gradients cross ranks only with the last part of a batch."""
    return contextlib.nullcontext() if last else accelerator.no_sync(model)


def _choose(state: _State, model: Classifier, scores: Scores, epoch: int, keep: str) -> None:
    """Remember the epoch that is best on select: top-1 (or mAP) then NLL, or NLL then top-1."""
    if keep == "last":
        return
    score = scores["map"] if "map" in scores else scores["top1"]
    rank = (score, -scores["nll"]) if keep == "best" else (-scores["nll"], score)
    if state.best is None or rank > state.best:
        state.best, state.best_epoch = rank, epoch
        state.best_weights = {k: v.detach().cpu().clone() for k, v in model.net.state_dict().items()}


def _keep(model: Classifier, evaluated: Classifier, state: _State, keep: str) -> None:
    """End with the weights that were chosen."""
    if keep != "last" and state.best_weights is not None:
        model.net.load_state_dict(state.best_weights)
    elif evaluated is not model:
        model.net.load_state_dict(evaluated.net.state_dict())


def _store(path: Path, state: _State, model: Classifier, task: Task, optimizer: Any, average: Any, scaler: Any) -> None:
    content = {
        "state": vars(state),
        "model": model.net.state_dict(),
        "task": task.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": None if average is None else average.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    atomic_write(path, lambda file: torch.save(content, file))


def _restore(
    path: Path, state: _State, model: Classifier, task: Task, optimizer: Any, average: Any, scaler: Any
) -> None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        vars(state).update(content["state"])
        model.net.load_state_dict(content["model"])
        task.load_state_dict(content["task"])
        optimizer.load_state_dict(content["optimizer"])
        if average is not None:
            average.load_state_dict(content["average"])
        if scaler is not None and content["scaler"] is not None:
            scaler.load_state_dict(content["scaler"])
    except Exception as error:  # torch raises many unrelated types for a damaged file
        raise RunError(f"{path}: cannot be resumed from ({type(error).__name__}); delete it to start again") from None


def _flat(record: dict[str, Any], name: str) -> dict[str, float]:
    """``{"train": {"ce": 1}}`` to ``{"NAME/train/ce": 1}``, as trackers want it."""
    flat: dict[str, float] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}/{key}/{score}": number for score, number in value.items()}
        elif key != "epoch":
            flat[f"{name}/{key}"] = value
    return flat
