"""THE training loop. It knows tasks and loaders, not methods: labels, refineries and jitter live behind the task.

Everything random is a function of (seed, epoch, step, rank), so a run that was killed goes on with the same numbers.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from labelwise.config import TrainConfig, ViewConfig, parse_lr_steps
from labelwise.data.counter_rng import derive_seed
from labelwise.data.loaders import Batch, ViewLoader
from labelwise.data.notes import tell
from labelwise.data.sampling import Rows, Unlabelled, plan_training, steps_per_epoch
from labelwise.errors import ModelError, RunError
from labelwise.models.checkpoint import read_tensors
from labelwise.models.classifier import Classifier
from labelwise.progress import Progress
from labelwise.runs import METRICS, RESUME, append_line, atomic_write, read_lines, write_lines
from labelwise.training.runtime import Runtime
from labelwise.training.task import LABELLED, Task

Scores = dict[str, float]

_HEADLINES = {"top1": "top-1", "map": "mAP", "loss": "loss"}
"""What is shown of an epoch's scores: the first of these that they have."""

CLEARLY = 0.01
"""By how much the score of the weights is above that of their average, to be told."""

ASK_STEPS = 20
"""Of several processes, all agree in every so many steps on whether a checkpoint is due."""


@dataclass(frozen=True)
class FitInput:
    """What is trained on: ``rows`` (N,) of the loader's data set, and a sampling weight for each, if any.

    ``seed`` decides on the order of the samples, their views, and dropout. ``unlabelled`` samples take a share of each
    batch; an epoch has as many steps as without them.
    """

    loader: ViewLoader
    rows: Rows
    views: ViewConfig
    seed: int
    sample_weight: NDArray[np.float64] | None = None
    unlabelled: Unlabelled | None = None


@dataclass(frozen=True)
class FitResult:
    """How training went. ``seconds`` counts training alone, over all its interrupted parts. ``fitted`` says what was
    chosen in a fit without epochs."""

    epochs: int
    kept_epoch: int
    seconds: float
    images_per_second: float
    fitted: str | None = None


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


@dataclass
class _Loop:
    """A network while it is trained, with all that a step changes."""

    model: Classifier
    wrapped: torch.nn.Module
    task: Task
    optimizer: Any
    average: Any
    config: TrainConfig
    runtime: Runtime
    saved: float = field(default_factory=time.monotonic)

    @property
    def evaluated(self) -> Classifier:
        """What is scored and kept: the averaged weights where there are such."""
        return self.model if self.average is None else cast(Classifier, self.average.module)

    def step(self, batch: Batch, rate: float, sums: Tensor) -> None:
        """One step of the optimiser; the sums of the batch's scores are added to ``sums``."""
        accelerator, config = self.runtime.accelerator, self.config
        set_learning_rate(self.optimizer, rate)
        parts = batch.split(config.micro_batches)
        for i, part in enumerate(parts):
            with _synchronised(accelerator, self.wrapped, last=i == len(parts) - 1):
                output = self.task(self.wrapped, part)
                accelerator.backward(output.loss * (part.weight / len(parts)))
            sums += output.sums
        if config.clip_grad > 0:
            accelerator.clip_grad_norm_(self.model.parameters(), config.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def store(self, path: Path, state: _State) -> None:
        """Write a checkpoint, from the main process alone."""
        if self.runtime.is_main:
            parts = {"model": self.model.net, "task": self.task, "optimizer": self.optimizer}
            parts |= {"average": self.average, "scaler": self.runtime.accelerator.scaler}
            content = {name: None if part is None else part.state_dict() for name, part in parts.items()}
            atomic_write(path, lambda file: torch.save({"state": vars(state), **content}, file))
        self.saved = time.monotonic()

    def restore(self, path: Path, state: _State) -> None:
        """Go on from a checkpoint."""
        try:
            content = read_tensors(path)
            vars(state).update(content["state"])
            self.model.net.load_state_dict(content["model"])
            self.task.load_state_dict(content["task"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            if self.runtime.accelerator.scaler is not None and content["scaler"] is not None:
                self.runtime.accelerator.scaler.load_state_dict(content["scaler"])
        except Exception as error:  # torch raises many unrelated types for a damaged file
            reason = f"cannot be resumed from ({type(error).__name__})"
            raise RunError(f"{path}: {reason}; delete it to start again") from None


def fit(
    model: Classifier,
    task: Task,
    data: FitInput,
    config: TrainConfig,
    *,
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
    loop, state = _prepare(model, task, config, runtime), _State()
    if (folder / RESUME).exists():
        loop.restore(folder / RESUME, state)
    if runtime.is_main:
        earlier = [record for record in read_lines(folder / METRICS) if record["epoch"] <= state.epoch]
        write_lines(folder / METRICS, earlier)
        runtime.curves.begin(f"{folder.parent.name}/{folder.name}", earlier)
    steps = steps_per_epoch(len(data.rows), config.batch_size, runtime.shard)
    progress.start(steps * config.epochs, before=state.epoch * steps + state.step)
    progress.advance(state.epoch * steps + state.step, worked=False)
    loop.saved = time.monotonic()
    model.train()
    for epoch in range(state.epoch, config.epochs):
        record = _epoch(loop, data, state, steps, folder, progress)
        if select is not None:
            record["select"] = select(loop.evaluated)
            _choose(state, loop.evaluated, record["select"], epoch + 1, config.keep)
            if loop.average is not None and epoch + 1 == config.epochs:
                record["unaveraged"] = select(model)
                _compare_average(state, model, record, config.keep, folder.name)
        record["seconds"] = round(state.seconds, 3)
        progress.show(_note(record, config.epochs))
        state.epoch, state.step, state.sums = epoch + 1, 0, []
        if runtime.is_main:
            append_line(folder / METRICS, record)
            runtime.curves.log(record)
            if time.monotonic() - loop.saved >= config.checkpoint_seconds and state.epoch < config.epochs:
                loop.store(folder / RESUME, state)
    _keep(model, loop.evaluated, state)
    runtime.accelerator.unwrap_model(loop.wrapped, keep_fp32_wrapper=False)
    runtime.accelerator.free_memory()
    kept = state.best_epoch or config.epochs
    images = len(data.rows) * config.epochs
    return FitResult(config.epochs, kept, state.seconds, images / max(state.seconds, 1e-9))


def _prepare(model: Classifier, task: Task, config: TrainConfig, runtime: Runtime) -> _Loop:
    """The network on its device, with an optimiser and, if asked for, an average of its weights."""
    model.to(runtime.device)
    if config.channels_last:
        model.use_channels_last()
    if config.compile:
        model.net.compile()
    if config.only:
        model.train_only(config.only)
    average = make_average(model, config.ema)
    wrapped, optimizer = runtime.accelerator.prepare(model, make_optimizer(model, config))
    return _Loop(model, wrapped, task, optimizer, average, config, runtime)


def _epoch(loop: _Loop, data: FitInput, state: _State, steps: int, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train for the rest of an epoch; its number, learning rate and mean scores on the batches."""
    config, runtime, names = loop.config, loop.runtime, loop.task.names
    epoch, shard = state.epoch, runtime.shard
    plans = plan_training(
        data.rows, config.batch_size, data.views, data.seed, epoch, shard, data.sample_weight, data.unlabelled
    )
    sums = torch.zeros(len(names), device=runtime.device, dtype=torch.float64)
    if state.step and runtime.is_main:  # a checkpoint holds the sums of all ranks
        sums += torch.tensor(state.sums, device=runtime.device, dtype=torch.float64)
    started = time.monotonic()
    for batch in data.loader.stream(plans[state.step :], loop.task.sizes, data.seed):
        _seed_step(derive_seed(data.seed, "dropout", epoch, state.step, shard.rank), runtime.device)
        rate = learning_rate(config, epoch * steps + state.step, steps)
        loop.step(batch, rate, sums)
        state.step += 1
        progress.advance()
        if state.step < len(plans) and _due(time.monotonic() - loop.saved, state.step, config, runtime):
            mid = copy.copy(state)
            mid.sums = runtime.gather(sums[None]).sum(0).tolist()
            mid.seconds = state.seconds + time.monotonic() - started
            loop.store(folder / RESUME, mid)
    runtime.share_buffers(loop.evaluated)  # what is scored and kept is one network
    state.seconds += time.monotonic() - started
    seen = min(len(data.rows), len(plans) * config.batch_size)
    scores = dict(zip(names, (runtime.gather(sums[None]).sum(0) / seen).tolist(), strict=True))
    if LABELLED in scores:  # the others have no class to be right about
        scores["top1"] /= max(scores[LABELLED], 1 / seen)
    if not np.isfinite(scores["loss"]):
        raise ModelError(f"{folder.name}: the loss is not finite in epoch {epoch + 1}; lower train.lr ({config.lr})")
    return {"epoch": epoch + 1, "lr": rate, "train": scores}


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


def _compare_average(state: _State, model: Classifier, record: dict[str, Any], keep: str, name: str) -> None:
    """Say if the weights are clearly better on select than their average; they are kept where select chooses."""
    own, average = record["unaveraged"], record["select"]
    key = "map" if "map" in own else "top1"
    kept = average[key] if state.best is None else state.best[0 if keep == "best" else 1]
    if own[key] - kept < CLEARLY:
        return
    if keep != "last":
        state.best = None
        _choose(state, model, own, record["epoch"], keep)
    tell(
        f"warning: {name}: averaged weights have {_HEADLINES[key]} {kept:.3f} on select, the weights themselves"
        f" {own[key]:.3f}; kept is {'the average' if keep == 'last' else 'what is better'} (train.ema averages them)"
    )


def _keep(model: Classifier, evaluated: Classifier, state: _State) -> None:
    """End with the weights that were chosen; the last ones where nothing was held out to choose on."""
    if state.best_weights is not None:
        model.net.load_state_dict(state.best_weights)
    elif evaluated is not model:
        model.net.load_state_dict(evaluated.net.state_dict())


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD or AdamW; norm parameters and biases (fewer than two dimensions) are not decayed unless asked."""
    decayed = [p for p in model.parameters() if p.requires_grad and (p.ndim >= 2 or config.decay_norm_and_bias)]
    others = [p for p in model.parameters() if p.requires_grad and not (p.ndim >= 2 or config.decay_norm_and_bias)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    nesterov = config.nesterov and config.momentum > 0
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of 0-based ``step``: linear warm-up, then cosine to ``min_lr``, epoch intervals, or constant.

    The cosine ends at the last step (Loshchilov and Hutter 2017, without restarts).
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    total = config.epochs * steps_per_epoch
    if config.schedule == "step":
        rate = parse_lr_steps(config.lr_steps, config.epochs)[min(step // steps_per_epoch, config.epochs - 1)]
    elif config.schedule == "cosine":
        progress = min(1.0, max(0, step - warmup) / max(1, total - warmup))
        rate = config.min_lr + (config.lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    else:
        rate = config.lr
    return rate * (step + 1) / (warmup + 1) if step < warmup else rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Apply ``rate`` to every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def make_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """Exponentially averaged weights, buffers copied; None where ``decay`` is 0.

    The decay of update n is at most (1 + n) / (10 + n): otherwise the random first weights would stay in the average
    for 1 / (1 - decay) steps, which may be more than there are.
    """
    if decay == 0:
        return None

    @torch.no_grad()
    def update(averaged: Any, current: Any, count: Any) -> None:
        share = 1 - torch.clamp((1 + count) / (10 + count), max=decay)  # on the device: no step waits for it
        for old, new in zip(averaged, current, strict=True):
            old.lerp_(new, share.to(old.dtype))

    return AveragedModel(model, multi_avg_fn=update, use_buffers=False)
