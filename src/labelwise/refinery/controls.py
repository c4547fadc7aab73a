"""The controls that make a gain honest: networks that learn from the given labels with the same care.

Nothing here needs torch, so that controls can be checked before torch is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labelwise.config import CLOSED_FORM, ModelConfig, Recipe, TrainConfig, merge_train, merge_views
from labelwise.data.dataset import Dataset
from labelwise.refinery.generations import Generation, NetworkSpec, generations_of
from labelwise.runs import fingerprint
from labelwise.settings import changed


def early_stop_networks(recipe: Recipe, generation: Generation) -> list[NetworkSpec]:
    """The network of ``generation`` on given labels, with whole schedules of several lengths.

    Lengths are ``baselines.early_stop_epochs``, or train.epochs and its half, quarter and eighth.
    """
    model, train = generation.model, generation.train
    lengths = recipe.baselines.early_stop_epochs
    lengths = lengths or tuple(sorted({max(1, train.epochs // divisor) for divisor in (1, 2, 4, 8)}))
    # In a chain of several networks both the first and the last may be stopped early.
    kind = fingerprint([changed(one) for one in (model, shortened(train, 1), generation.views)])[:6]
    suffix = f"-{model.name.replace('/', '_')}-{kind}" if recipe.chain.networks else ""
    return [_candidate(f"given-{n}-epochs{suffix}", generation, shortened(train, n)) for n in lengths]


def smoothing_networks(recipe: Recipe, generation: Generation) -> list[NetworkSpec]:
    """The network of ``generation`` on given labels, smoothed with several strengths."""
    changes = {"taxonomy": None, "keep": "best"}
    return [
        _candidate(
            f"smoothing-{strength:g}",
            generation,
            merge_train(generation.train, changes | {"label_smoothing": strength}),
        )
        for strength in recipe.baselines.smoothing
    ]


def mixup_networks(recipe: Recipe, generation: Generation) -> list[NetworkSpec]:
    """The network of ``generation`` on given labels, its views mixed in pairs with several strengths."""
    train = merge_train(generation.train, {"keep": "best"})
    return [
        replace(
            _candidate(f"mixup-{strength:g}", generation, train),
            views=merge_views(generation.views, {"mixup": strength}),
        )
        for strength in recipe.baselines.mixup
    ]


def ema_networks(recipe: Recipe, generation: Generation) -> list[NetworkSpec]:
    """The network of ``generation`` on given labels, its weights averaged with several decays."""
    return [
        _candidate(f"ema-{decay:g}", generation, merge_train(generation.train, {"keep": "best", "ema": decay}))
        for decay in recipe.baselines.ema
    ]


def long_network(generation: Generation, epochs: int) -> NetworkSpec:
    """The network of ``generation`` on given labels, trained for ``epochs``."""
    return _candidate(f"long-{epochs}-epochs", generation, _with_epochs(generation.train, epochs, {}))


def closed_form_networks() -> list[NetworkSpec]:
    """Classifiers of embeddings in closed form, on given labels."""
    return [
        NetworkSpec(name.replace("_", "-"), "control", ModelConfig(name=name), TrainConfig()) for name in CLOSED_FORM
    ]


def control_kinds(recipe: Recipe, data: Dataset) -> set[str]:
    """The kinds of controls that make sense: a last network without epochs has none of its own, and classifiers in
    closed form are for embeddings with one class per sample."""
    kinds = set[str](recipe.baselines.kinds)
    if generations_of(recipe)[-1].model.name in CLOSED_FORM:
        kinds -= {"long", "early_stop", "smoothing", "mixup", "ema"}
    return kinds if data.is_features and data.table is None else kinds - {"closed_form"}


def control_networks(recipe: Recipe, data: Dataset) -> list[NetworkSpec]:
    """Every network that the controls of ``recipe`` may train."""
    return networks_of_kinds(recipe, control_kinds(recipe, data))


def networks_of_kinds(recipe: Recipe, kinds: set[str]) -> list[NetworkSpec]:
    """Every network that controls of these kinds may train."""
    generations, found = generations_of(recipe), list[NetworkSpec]()
    if "long" in kinds:
        found.append(long_network(generations[-1], sum(generation.train.epochs for generation in generations)))
    if "early_stop" in kinds:
        found += early_stop_networks(recipe, generations[-1])
    if "smoothing" in kinds:
        found += smoothing_networks(recipe, generations[-1])
    if "mixup" in kinds:
        found += mixup_networks(recipe, generations[-1])
    if "ema" in kinds:
        found += ema_networks(recipe, generations[-1])
    if "closed_form" in kinds:
        found += closed_form_networks()
    return found


def _candidate(name: str, generation: Generation, train: TrainConfig) -> NetworkSpec:
    return NetworkSpec(name, "candidate", generation.model, train, views=generation.views)


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
