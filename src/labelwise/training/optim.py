"""Optimisers, learning rates and averaged weights."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from labelwise.config import TrainConfig, parse_lr_steps


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
    """Exponentially averaged weights, buffers copied; None where ``decay`` is 0."""
    if decay == 0:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)
