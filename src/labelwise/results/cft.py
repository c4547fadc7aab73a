"""``results.json`` of ``labelwise cft`` and ``labelwise ensemble``."""

from __future__ import annotations

from typing import Literal

from labelwise.config import Metric
from labelwise.results.features import FeaturesResults
from labelwise.results.record import Count, Interval, Number, Record, Seconds, Split, Splits

Status = Literal["improved", "unchanged", "not_fitted"]


class MeanScore(Record):
    """A mean over the categories that can be scored, with the old head and with the new one."""

    before: Number
    after: Number
    scored: Count
    gain_interval: Interval | None = None


class SplitMeans(Record):
    """Means on ``select`` and, where the data have one, on ``test``."""

    select: MeanScore
    test: MeanScore | None = None


class OtherMeans(SplitMeans):
    """The same of the metric that was not the objective."""

    metric: Metric


class LabelCounts(Record):
    """Labels of a split; ``known`` is their share."""

    known: Number
    positive: Count
    negative: Count
    unknown: Count
    uncertain: Count


class CalibrationErrors(Record):
    """Calibration error (mean over categories) and log loss (nats a label) before and after."""

    ece_before: Number
    ece_after: Number
    log_loss_before: Number
    log_loss_after: Number


class Calibration(Record):
    """Calibration on test."""

    test: CalibrationErrors


class Bin(Record):
    """One bin of a reliability diagram: mean ``probability`` and share of ``positive`` labels of ``count`` labels."""

    low: Number
    high: Number
    count: Count
    probability: Number
    positive: Number


class Reliability(Record):
    """Reliability diagrams of all labels of a split, with the old head and with the new one."""

    split: Split
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]


class Counts(Record):
    """Categories by status."""

    improved: Count
    unchanged: Count
    not_fitted: Count


class CategoryScores(Record):
    """The objective of one category on one split, and the known labels behind it.

    ``gain_interval`` is null where there are too few positives or negatives to tell. ``clear`` names the categories
    whose gain or loss is real at a false discovery rate of 5% over all categories.
    """

    before: Number
    after: Number
    positives: Count
    negatives: Count
    gain_interval: Interval | None = None
    clear: Literal["better", "worse"] | None = None

    @property
    def gain(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before


class CategoryCalibration(Record):
    """Calibration error of one category on test."""

    before: Number
    after: Number


class Threshold(Record):
    """A decision threshold on the logit (``value``) and what it gives on the split that it was found on."""

    rule: str
    value: Number
    probability: Number
    precision: Number
    recall: Number
    specificity: Number
    f1: Number
    positives: Count
    split: Split


class Candidate(Record):
    """A candidate head: its objective on ``select`` and its share in the head that was adopted."""

    candidate: str
    select: Number
    share: Number


class Category(Record):
    """One category. ``threshold`` is in the file where a rule was given, and null where the rule finds none."""

    name: str
    status: Status
    reason: str
    method: str
    known_positive: Count
    known_negative: Count
    unknown: Count
    uncertain: Count
    select: CategoryScores
    test: CategoryScores | None = None
    ece: CategoryCalibration | None = None
    threshold: Threshold | None = None
    evidence: tuple[Candidate, ...]


class CftResults(Record):
    """A run of ``labelwise cft``. ``features`` is what labelwise knows of where the features come from."""

    kind: Literal["cft"]
    name: str
    objective: Metric
    method: str
    preset: str | None
    base: str
    uncertain: str
    seed: Count
    seconds: Seconds
    stages: dict[str, Seconds]
    peak_memory_mb: Count | None
    dim: Count
    features: FeaturesResults | None
    warnings: tuple[str, ...]
    expected_gain: Number
    splits: Splits
    labels: dict[Split, LabelCounts]
    mean: SplitMeans
    other: OtherMeans
    calibration: Calibration | None = None
    reliability: Reliability | None = None
    counts: Counts
    categories: tuple[Category, ...]


class EnsembleScores(Record):
    """A mean over categories, and the score of each."""

    mean: Number
    scored: Count
    categories: tuple[Number, ...]


class EnsembleGain(Record):
    """The gain on test over the member that is best on ``select``."""

    over: str
    points: Number
    interval: Interval


class EnsembleRow(Record):
    """A member, or the mean of all, which has a ``gain``."""

    name: str
    select: EnsembleScores | None
    test: EnsembleScores | None
    gain: EnsembleGain | None = None


class EnsembleResults(Record):
    """A run of ``labelwise ensemble``: its members, then their mean."""

    kind: Literal["ensemble"]
    how: Literal["logit", "probability", "rank"]
    objective: Metric
    rows: tuple[EnsembleRow, ...]
    categories: tuple[str, ...]
