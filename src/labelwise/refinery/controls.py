"""The controls that make a gain honest: what the given labels reach when they get the same care."""

from __future__ import annotations

import math
from typing import Any

from labelwise.config import ModelConfig, TrainConfig, merge_train
from labelwise.refinery.context import NetworkSpec, TrainingContext, changed
from labelwise.refinery.network import train_network
from labelwise.runs import METRICS, fingerprint, read_lines


def early_stop(context: TrainingContext, model: ModelConfig, train: TrainConfig) -> dict[str, Any]:
    """Given labels, whole schedules of several lengths, in each the best epoch: the best of all on select.

    Lengths are ``baselines.early_stop_epochs``, or train.epochs and its half, quarter and eighth. ``to_the_end`` is the
    last record of the longest: what would have become of the network without stopping.
    """
    lengths = context.recipe.baselines.early_stop_epochs
    lengths = lengths or tuple(sorted({max(1, train.epochs // divisor) for divisor in (1, 2, 4, 8)}))
    # In a chain of several networks both the first and the last may be stopped early.
    short_hash = fingerprint([changed(one) for one in (model, shortened(train, 1), context.recipe.views)])[:6]
    suffix = f"-{model.name.replace('/', '_')}-{short_hash}" if context.recipe.chain.networks else ""
    networks = [NetworkSpec(f"given-{n}-epochs{suffix}", "candidate", model, shortened(train, n)) for n in lengths]
    best = _best(context, [train_network(context, network) for network in networks], "early-stop")
    longest = max(networks, key=lambda network: network.train.epochs)
    return best | {"to_the_end": read_lines(context.folder / longest.name / METRICS)[-1]}


def smoothing(context: TrainingContext, model: ModelConfig, train: TrainConfig) -> dict[str, Any]:
    """Label smoothing of several strengths, in each the best epoch: the best of all on select."""
    networks = []
    for strength in context.recipe.baselines.smoothing:
        smoothed = merge_train(train, {"label_smoothing": strength, "taxonomy": None, "keep": "best"})
        networks.append(NetworkSpec(f"smoothing-{strength:g}", "candidate", model, smoothed))
    return _best(context, [train_network(context, network) for network in networks], "smoothing")


def long(context: TrainingContext, model: ModelConfig, train: TrainConfig, epochs: int) -> dict[str, Any]:
    """Given labels for as many epochs as the whole chain took; a chain that is extended gets a longer one beside it."""
    network = NetworkSpec(f"long-{epochs}-epochs", "candidate", model, _with_epochs(train, epochs, {}))
    return train_network(context, network) | {"name": "long", "role": "control"}


def _best(context: TrainingContext, candidates: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The candidate that is best on select, under its role's name. Its seconds are those of all candidates."""
    if any("select" not in row for row in candidates):
        best = candidates[-1]
    else:
        best = max(candidates, key=lambda row: _rank(row["select"], context.problem.metric))
    seconds = round(sum(row["seconds"] for row in candidates), 3)
    return best | {"name": name, "role": "control", "seconds": seconds, "chosen": best["name"]}


def _rank(select: dict[str, Any], metric: str) -> tuple[float, float]:
    """Higher is better; a score that is not defined, such as the AP of a split without positives, is the lowest."""
    score, nll = select[metric], select["nll"]
    return -math.inf if score is None else score, -math.inf if nll is None else -nll


def shortened(train: TrainConfig, epochs: int) -> TrainConfig:
    """A shorter schedule, warm-up in proportion, that keeps its best epoch."""
    warmup = min(train.warmup_epochs, train.warmup_epochs * epochs / train.epochs)
    return _with_epochs(train, epochs, {"keep": "best", "warmup_epochs": warmup})


def _with_epochs(train: TrainConfig, epochs: int, changes: dict[str, Any]) -> TrainConfig:
    if train.schedule == "step":
        changes = changes | {"lr_steps": _stretched(train, epochs)}
    return merge_train(train, changes | {"epochs": epochs})


def _stretched(train: TrainConfig, epochs: int) -> dict[str, float]:
    """The same step regime over another number of epochs."""
    steps, start = {}, 1
    intervals = sorted(train.lr_steps.items(), key=lambda item: int(item[0].partition("-")[0]))
    for i, (interval, rate) in enumerate(intervals):
        last = int(interval.partition("-")[2] or interval)
        end = epochs if i == len(intervals) - 1 else round(last * epochs / train.epochs)
        if end >= start:
            steps[f"{start}-{end}"] = rate
        start = max(start, end + 1)
    return steps
