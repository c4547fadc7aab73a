"""Measure a head before and after fine-tuning: ranking, calibration, thresholds, and the number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.cft.evidence import CategoryReport
from labelwise.cft.solvers.coordinates import linear_logits
from labelwise.config import CftConfig, Metric, SplitName
from labelwise.data.dataset import SPLITS
from labelwise.features.file import FeatureSet
from labelwise.features.shards import LABEL_BYTES, Rows, chunks
from labelwise.metrics.bootstrap import RankingGains, ranking_gain_intervals
from labelwise.metrics.calibration import binary_calibration_error, reliability
from labelwise.metrics.few import discoveries
from labelwise.metrics.operating import parse_rule, threshold_for
from labelwise.metrics.ranking import Ranking, mean_over_categories, ranking
from labelwise.results import Splits
from labelwise.results import cft as record

Floats = NDArray[np.float32]
Head = tuple[Floats, Floats]


@dataclass(frozen=True)
class Measured:
    """One split: labels (N, C) with NaN for unknown; logits (N, C) and ranks of the old head, then of the new one."""

    labels: Floats
    logits: tuple[Floats, Floats]
    ranks: tuple[Ranking, Ranking]

    def mean(self, metric: Metric) -> record.MeanScore:
        """Means over the categories that can be scored."""
        (before, scored), (after, _) = (mean_over_categories(ranks.of(metric)) for ranks in self.ranks)
        return record.MeanScore(before=float(before), after=float(after), scored=int(scored))

    def categories(self, metric: Metric) -> list[dict[str, Any]]:
        """Fields of `labelwise.results.cft.CategoryScores` of each category."""
        names = ("before", "after", "positives", "negatives")
        columns = [ranks.of(metric).tolist() for ranks in self.ranks]
        columns += [self.ranks[0].positives.tolist(), self.ranks[0].negatives.tolist()]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def measure(data: FeatureSet, old: Head, new: Head) -> dict[SplitName, Measured]:
    """Score both heads, weight (C, D) and bias (C,), on ``select`` and, where the data have one, on ``test``.

    Labels that are uncertain or soft count as unknown.
    """
    splits: tuple[SplitName, ...] = ("select", "test")
    return {split: _measure(data, split, old, new) for split in splits if len(data.rows(split))}


def measured_fields(
    data: FeatureSet, measured: Mapping[SplitName, Measured], reports: Sequence[CategoryReport], config: CftConfig
) -> dict[str, Any]:
    """The fields of `labelwise.results.CftResults` that are measured. Thresholds are found on ``select``."""
    metric: Metric = config.objective
    other: Metric = "auc" if metric == "ap" else "ap"
    mean = {split: part.mean(metric) for split, part in measured.items()}
    counts = {split: _counts(data, split) for split in SPLITS}
    more: list[dict[str, Any]] = [
        {"unknown": unknown, "uncertain": uncertain, "select": scores}
        for unknown, uncertain, scores in zip(
            counts["fit"]["unknown"].tolist(),
            counts["fit"]["uncertain"].tolist(),
            measured["select"].categories(metric),
            strict=True,
        )
    ]
    found: dict[str, Any] = {}
    if (test := measured.get("test")) is not None:
        gains = _gains(data, test, config)
        interval = None if gains is None or np.isnan(gains.mean_interval[0]) else gains.mean_interval
        mean["test"] = mean["test"].model_copy(update={"gain_interval": interval})
        errors = [binary_calibration_error(_sigmoid(logits), test.labels) for logits in test.logits]
        found = _calibration(test, errors)
        for fields, scores, told, before, after in zip(
            more, test.categories(metric), _told(gains, len(reports)), *(e.tolist() for e in errors), strict=True
        ):
            fields["test"] = scores | told
            fields["ece"] = record.CategoryCalibration(before=before, after=after)
    if config.threshold is not None:
        for fields, threshold in zip(more, _thresholds(measured["select"], config.threshold), strict=True):
            fields["threshold"] = threshold
    statuses: list[str] = [report.status for report in reports]
    return found | {
        "splits": Splits(**data.sizes()),
        "labels": {split: _label_counts(of_kinds) for split, of_kinds in counts.items()},
        "mean": record.SplitMeans(**mean),
        "other": record.OtherMeans(metric=other, **{split: part.mean(other) for split, part in measured.items()}),
        "counts": record.Counts(**{name: statuses.count(name) for name in record.Counts.model_fields}),
        "categories": [_category(report, fields) for report, fields in zip(reports, more, strict=True)],
    }


def hard_labels(labels: Floats) -> Floats:
    """Only 1 and 0 can be scored: what is uncertain or soft becomes unknown (NaN)."""
    return np.where((labels == 0) | (labels == 1), labels, np.float32(np.nan))


def _measure(data: FeatureSet, split: SplitName, old: Head, new: Head) -> Measured:
    rows = data.rows(split)
    labels, features = hard_labels(data.labels[rows]), Rows(data.features, rows)
    columns = torch.from_numpy(np.ascontiguousarray(labels.T))
    before, after = (linear_logits(features, *map(torch.from_numpy, head)).numpy() for head in (old, new))
    first, second = (ranking(np.ascontiguousarray(logits.T), columns) for logits in (before, after))
    return Measured(labels, (before, after), (first, second))


def _gains(data: FeatureSet, test: Measured, config: CftConfig) -> RankingGains | None:
    """Gains on test with intervals over its groups; None where no category can be scored."""
    if not test.ranks[0].scored:
        return None
    return ranking_gain_intervals(
        *test.logits,
        test.labels,
        metric=config.objective,
        groups=data.groups[data.rows("test")],
        draws=config.draws,
        seed=config.seed,
    )


def _counts(data: FeatureSet, split: SplitName) -> dict[str, NDArray[np.int64]]:
    """(C,) labels of each kind, counted a few rows at a time to save memory."""
    kinds: dict[str, Callable[[Floats], NDArray[np.bool_]]] = {
        "positive": lambda part: part >= 0.5,
        "negative": lambda part: (part >= 0) & (part < 0.5),
        "unknown": np.isnan,
        "uncertain": lambda part: part == -1,
    }
    found = {kind: np.zeros(len(data.categories), np.int64) for kind in kinds}
    labels = Rows(data.labels, data.rows(split))
    for chunk in chunks(labels, LABEL_BYTES):
        part = labels[chunk]
        for kind, wanted in kinds.items():
            found[kind] += wanted(part).sum(0)
    return found


def _label_counts(of_kinds: Mapping[str, NDArray[np.int64]]) -> record.LabelCounts:
    total = {kind: int(count.sum()) for kind, count in of_kinds.items()}
    size = sum(total.values())
    return record.LabelCounts(known=(total["positive"] + total["negative"]) / size if size else None, **total)


def _told(gains: RankingGains | None, categories: int) -> list[dict[str, Any]]:
    """What `labelwise.results.cft.CategoryScores` has on the gain of each category."""
    if gains is None:
        return [{"gain_interval": None}] * categories
    real = discoveries(gains.p_value).tolist()
    return [
        {
            "gain_interval": None if np.isnan(low) else (low, high),
            "clear": ("better" if gain > 0 else "worse") if clear else None,
        }
        for gain, (low, high), clear in zip(gains.gain, gains.interval.tolist(), real, strict=True)
    ]


def _category(report: CategoryReport, measured: Mapping[str, Any]) -> record.Category:
    return record.Category(
        name=report.name,
        status=report.status,
        reason=report.reason,
        method=report.method,
        known_positive=report.positives,
        known_negative=report.negatives,
        evidence=tuple(
            record.Candidate(candidate=of, select=score, share=share) for of, score, share in report.evidence
        ),
        **measured,
    )


def _thresholds(select: Measured, rule: str) -> list[record.Threshold | None]:
    """The threshold of every category on its logit, and its rates; None where the rule finds none."""
    parsed = parse_rule(rule)
    points = threshold_for(select.logits[1], select.labels, parsed)
    probability, positives = _sigmoid(points.threshold), select.ranks[0].positives
    return [
        None
        if np.isnan(value)
        else record.Threshold(
            rule=str(parsed),
            split="select",
            value=float(value),
            probability=float(probability[c]),
            precision=float(points.precision[c]),
            recall=float(points.recall[c]),
            specificity=float(points.specificity[c]),
            f1=float(points.f1[c]),
            positives=int(positives[c]),
        )
        for c, value in enumerate(points.threshold)
    ]


def _calibration(test: Measured, errors: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """The fields ``calibration`` and ``reliability`` of the results; ``errors`` (C,) with the old and the new head."""
    losses = [_log_loss(logits, test.labels) for logits in test.logits]
    means = [float(np.nanmean(values)) if np.isfinite(values).any() else None for values in errors]
    found = record.CalibrationErrors(
        ece_before=means[0], ece_after=means[1], log_loss_before=losses[0], log_loss_after=losses[1]
    )
    before, after = (_bins(logits, test.labels) for logits in test.logits)
    diagrams = record.Reliability(split="test", before=before, after=after)
    return {"calibration": record.Calibration(test=found), "reliability": diagrams}


def _bins(logits: Floats, labels: Floats) -> tuple[record.Bin, ...]:
    """The reliability diagram of all categories together."""
    found = reliability(_sigmoid(logits), labels)
    names = ("low", "high", "count", "probability", "positive")
    columns = (found.edges[:-1], found.edges[1:], found.count, found.probability, found.positive)
    values = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(record.Bin(**dict(zip(names, bin_values, strict=True))) for bin_values in values)


def _log_loss(logits: Floats, labels: Floats) -> float | None:
    """Mean over all known labels, in nats a label."""
    known = ~np.isnan(labels)
    if not known.any():
        return None
    z = logits[known].astype(np.float64)
    return float((np.logaddexp(0.0, z) - labels[known] * z).mean())


def _sigmoid(values: Any) -> Any:
    return torch.sigmoid(torch.as_tensor(values, dtype=torch.float64)).numpy()
