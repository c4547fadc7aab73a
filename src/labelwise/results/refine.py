"""``results.json`` of ``labelwise refine`` and ``labelwise train``: a row for every network, and means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from labelwise.results.record import Count, InnerPath, Interval, Number, Record, Seconds, Splits, Stat, Task

Metric = Literal["top1", "map"]
METRICS: dict[Task, Metric] = {"single-label": "top1", "multi-label": "map"}
"""The metric that networks are compared and chosen by."""

Role = Literal["generation", "member", "control", "candidate", "network"]


class FitScores(Record):
    """How a network sees its own training images; which numbers there are depends on what is known of the data."""

    top1: Number = None
    map: Number = None
    ece: Number = None
    entropy: Number = None
    human_ce: Number = None
    human_kl: Number = None
    noise_auroc: Number = None
    wrong_labels: Number = None
    wrong_found: Number = None
    hidden_map: Number = None
    refined_label_accuracy: Number = None


class ClassScore(Record):
    """One class of single-label data: ``n`` samples and the share of them that is right."""

    name: str = Field(validation_alias="class", serialization_alias="class")
    n: Count
    top1: Number


class CategoryScore(Record):
    """One category of multi-label data, with the known labels that it is scored on."""

    category: str
    ap: Number
    auc: Number
    positives: Count
    negatives: Count


class Scores(Record):
    """Scores on a held-out split: ``top1`` of single-label data, ``map``, ``mauc`` and ``scored`` of multi-label."""

    top1: Number = None
    top5: Number = None
    map: Number = None
    mauc: Number = None
    nll: Number
    ece: Number
    human_ce: Number = None
    human_kl: Number = None
    scored: Count | None = None
    per_class: tuple[ClassScore, ...] | None = None
    per_category: tuple[CategoryScore, ...] | None = None


class Epoch(Record):
    """A line of ``metrics.jsonl``. ``train`` and ``select`` are scores by name."""

    epoch: Count
    lr: Number
    train: dict[str, Number]
    select: dict[str, Number] | None = None
    seconds: Seconds


class UnlabelledImages(Record):
    """Unlabelled samples: how many a network learnt from, and how many its refinery found foreign."""

    used: Count
    foreign: Count


class ZeroShotCategory(Record):
    """Whether the zero-shot network labels a category beside the refineries, and what that rests on.

    ``fit`` and ``select`` are the known positives or negatives there, whichever are fewer, in groups. ``difference`` is
    the mean log-likelihood of a known label of select with it minus that without it, in nats, and ``error`` its
    standard error; ``needed`` is how many errors the difference must be above zero.
    """

    category: str
    adopted: bool
    reason: str
    fit: Count
    select: Count
    difference: Number
    error: Number
    needed: Number


class Row(Record):
    """One network. It is also the content of its ``row.json``.

    ``chosen`` is the candidate that a control is; ``to_the_end`` is the last epoch of the longest schedule that early
    stopping tried.
    """

    name: str
    role: Role
    generation: Count | None
    seed: Count
    model: str
    network: dict[str, Any]
    labels: str
    refineries: tuple[str, ...]
    epochs: Count
    kept_epoch: Count
    unlabelled: UnlabelledImages | None = None
    zero_shot: tuple[ZeroShotCategory, ...] | None = None
    fit: FitScores
    select: Scores | None = None
    test: Scores | None = None
    test_samples: str | None = None
    seconds: Seconds
    images_per_second: Seconds
    path: InnerPath
    weights_hash: str
    chosen: str | None = None
    to_the_end: Epoch | None = None

    def on_select(self, metric: Metric) -> float | None:
        """The score that choices are made by; None where there is none."""
        return None if self.select is None else getattr(self.select, metric)


class Summary(Record):
    """One network over all seeds; each statistic is None where no seed has the number."""

    name: str
    role: Role
    seeds: Count
    fit_top1: Stat | None
    select_top1: Stat | None
    test_top1: Stat | None
    fit_map: Stat | None
    select_map: Stat | None
    test_map: Stat | None
    test_mauc: Stat | None
    test_nll: Stat | None
    test_ece: Stat | None
    test_human_kl: Stat | None
    fit_entropy: Stat | None
    fit_ece: Stat | None
    noise_auroc: Stat | None
    hidden_map: Stat | None
    refined_label_accuracy: Stat | None
    seconds: Stat | None

    def on_select(self, metric: Metric) -> float | None:
        """The mean score that choices are made by; None where there is none."""
        stat: Stat | None = getattr(self, f"select_{metric}")
        return None if stat is None else stat.mean


class Comparison(Record):
    """The best generation against the best control, both chosen on ``select``, compared on test."""

    chain: str
    control: str
    chosen_on: str
    metric: str
    difference: Number
    interval: Interval
    seeds: Count
    sentence: str


class AgainstControl(Record):
    """The best of all minus the best control on test, with its 95% interval; zero where it is that control."""

    name: str
    difference: Number
    interval: Interval


class Best(Record):
    """The product of a run, in its folder ``best``: what the choice prefers over everything trained, and why.

    ``seed`` and ``path`` are those of the network that was copied there. ``seconds`` is the training time of one seed
    of the network and of all networks that it learnt from; ``control_seconds`` is that of the best control.
    """

    name: str
    role: Role
    seed: Count
    path: InnerPath
    why: str
    seconds: Seconds
    control_seconds: Seconds | None = None
    against_control: AgainstControl | None = None


class Regime(Record):
    """What the training of generation 1 says about refinement on these data."""

    state: Literal["underfit", "balanced", "overfit"]
    gap: Number
    advice: str


class RefineResults(Record):
    """A run of ``labelwise refine`` or ``labelwise train``."""

    kind: Literal["refine", "train"]
    task: Task
    splits: Splits
    rows: tuple[Row, ...]
    summary: tuple[Summary, ...]
    best: Best | None = None
    comparison: Comparison | None
    regime: Regime | None

    @property
    def metric(self) -> Metric:
        """The metric that networks are compared by."""
        return METRICS[self.task]

    @property
    def last_generation(self) -> Row:
        """The network that the chain ends with, of the last seed."""
        return [row for row in self.rows if row.role == "generation"][-1]

    def refineries_of(self, row: Row) -> list[Row]:
        """The networks of the run that labelled a row of the same seed."""
        return [one for one in self.rows if one.seed == row.seed and one.name in row.refineries]


_SUMMARISED = [name for name in Summary.model_fields if name not in ("name", "role", "seeds")]


def summarise(rows: Sequence[Row]) -> tuple[Summary, ...]:
    """Mean and sample standard deviation over seeds of every network, in order of first appearance."""
    names = dict.fromkeys((row.name, row.role) for row in rows)
    found = []
    for name, role in names:
        own = [row for row in rows if (row.name, row.role) == (name, role)]
        stats = {key: Stat.over(number_of(row, key) for row in own) for key in _SUMMARISED}
        found.append(Summary(name=name, role=role, seeds=len(own), **stats))
    return tuple(found)


def number_of(row: Row, key: str) -> float | None:
    """A number of a row by its name in the summary; a name without a split is of ``fit``, but for the seconds."""
    if key == "seconds":
        return row.seconds
    split, _, metric = key.partition("_")
    if key in FitScores.model_fields:
        split, metric = "fit", key
    scores = getattr(row, split)
    value: float | None = None if scores is None else getattr(scores, metric)
    return value
