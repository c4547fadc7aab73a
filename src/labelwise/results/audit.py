"""``results.json`` of ``labelwise audit``, also written as ``audit.json``."""

from __future__ import annotations

from typing import Literal

from labelwise.results.record import Count, Interval, Number, Record, Seconds, Splits, Task

Verdict = Literal[
    "correct",
    "wrong",
    "ambiguous",
    "several objects",
    "outlier",
    "missing positive",
    "false positive",
    "suggestion",
]
"""What an audit says of a label. The last three are for multi-label data: ``missing positive`` is a known negative
label that looks positive, ``false positive`` the opposite, ``suggestion`` an answer to an unknown label."""


class NoiseRate(Record):
    """Share of wrong labels among the known ones, estimated from out-of-sample answers alone."""

    estimate: Number
    interval: Interval


class ClassHealth(Record):
    """One class or category: its given labels, and how many of them look wrong.

    ``wrong`` is the expected number, the sum of the scores; ``confused_with`` is the commonest suggestion among the
    labels that look wrong.
    """

    name: str
    given: Count
    wrong: Number
    confused_with: str | None
    missing_positives: Number = None
    false_positives: Number = None
    unknown: Count | None = None


class Expected(Record):
    """Expected number of wrong labels among the first ``depth`` of the list, with a 95% interval."""

    depth: Count
    wrong: Number
    interval: Interval


class Duplicates(Record):
    """Pairs of samples that are nearly the same: how many, of different splits, and with different given labels."""

    found: Count
    across_splits: Count
    labels_differ: Count
    method: str


class AuditResults(Record):
    """An audit. Row k of ``transition`` says how samples whose right class is k were labelled; None of multi-label
    data. ``answers`` names what answered out of sample. ``reviewed`` of the ``labels`` were looked at by a person."""

    kind: Literal["audit"]
    name: str
    task: Task
    labels: Count
    reviewed: Count = 0
    splits: Splits
    answers: tuple[str, ...]
    noise_rate: NoiseRate
    transition: tuple[tuple[Number, ...], ...] | None
    classes: tuple[ClassHealth, ...]
    verdicts: dict[str, Count]
    expected: tuple[Expected, ...]
    duplicates: Duplicates | None
    warnings: tuple[str, ...]
    seed: Count
    seconds: Seconds
