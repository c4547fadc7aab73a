"""What a new head is worth: ranking, calibration and thresholds before and after, with the counts behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.cft.evidence import CategoryReport
from labelwise.cft.solvers.coordinates import linear_logits
from labelwise.cft.solvers.inputs import Rows
from labelwise.config import Metric, SplitName
from labelwise.data.dataset import SPLITS
from labelwise.features.file import FeatureSet
from labelwise.features.shards import LABEL_BYTES, chunks
from labelwise.metrics.bootstrap import RankingGains, ranking_gain_intervals
from labelwise.metrics.calibration import Reliability, binary_calibration_error, reliability
from labelwise.metrics.operating import ThresholdRule, threshold_for
from labelwise.metrics.ranking import Ranking, mean_over_categories, ranking

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """``weight`` (C, D) and ``bias`` (C,)."""

    weight: Floats
    bias: Floats

    def logits(self, data: FeatureSet, rows: NDArray[np.int64]) -> Floats:
        """(len(rows), C)."""
        features = Rows(data.features, rows)
        return linear_logits(features, torch.from_numpy(self.weight), torch.from_numpy(self.bias)).numpy()


@dataclass(frozen=True)
class Measured:
    """One split: labels with NaN for unknown, logits and ranks before and after."""

    labels: Floats
    before: Floats
    after: Floats
    ranks: tuple[Ranking, Ranking]

    def values(self, metric: Metric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, second = (r.of(metric).numpy() for r in self.ranks)
        return first, second

    def means(self, metric: Metric) -> dict[str, Any]:
        first, second = self.values(metric)
        before, scored = mean_over_categories(first)
        after, _ = mean_over_categories(second)
        return {"before": float(before), "after": float(after), "scored": int(scored)}


def measure(data: FeatureSet, old: Head, new: Head) -> dict[str, Measured]:
    """What both heads do on ``select`` and on ``test``, where the data have one.

    Labels that are uncertain or soft count as unknown.
    """
    return {split: _measure(data, split, old, new) for split in ("select", "test") if len(data.rows(split))}


def summarise(
    data: FeatureSet,
    measured: Mapping[str, Measured],
    reports: list[CategoryReport],
    objective: Metric,
    rule: ThresholdRule | None,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """The part of ``results.json`` that is measured: splits, labels, means, calibration, categories.

    Thresholds are found on ``select``.
    """
    select, test = measured["select"], measured.get("test")
    gains = None
    if test is not None and test.ranks[0].scored:
        groups = data.groups[data.rows("test")]
        gains = ranking_gain_intervals(
            test.before, test.after, test.labels, metric=objective, groups=groups, draws=draws, seed=seed
        )
    other: Metric = "auc" if objective == "ap" else "ap"
    counts = {split: _counts(data, split) for split in SPLITS}
    found: dict[str, Any] = {
        "splits": data.sizes(),
        "labels": {split: _label_counts(of_kinds) for split, of_kinds in counts.items()},
        "mean": {"select": select.means(objective)},
        "other": {"metric": other, "select": select.means(other)},
        "counts": {
            status: sum(r.status == status for r in reports) for status in ("improved", "unchanged", "not_fitted")
        },
    }
    if test is not None:
        interval = list(gains.mean_interval) if gains is not None else None
        found["mean"]["test"] = test.means(objective) | {"gain_interval": interval}
        found["other"]["test"] = test.means(other)
        calibration, errors = _calibration(test)
        found |= calibration
    blanks = [{kind: int(counts["fit"][kind][c]) for kind in ("unknown", "uncertain")} for c in range(len(reports))]
    found["categories"] = [
        {"name": data.categories[c]} | _category(c, report, blanks[c], select, test, gains, objective)
        for c, report in enumerate(reports)
    ]
    if rule is not None:
        for entry, threshold in zip(found["categories"], _thresholds(select, rule), strict=True):
            entry["threshold"] = threshold
    if test is not None:
        for entry, before, after in zip(found["categories"], *errors, strict=True):
            entry["ece"] = {"before": before, "after": after}
    return found


def hard_labels(labels: Floats) -> Floats:
    """Only 1 and 0 can be scored: what is uncertain or soft becomes unknown (NaN)."""
    return np.where((labels == 0) | (labels == 1), labels, np.float32(np.nan))


def _measure(data: FeatureSet, split: SplitName, old: Head, new: Head) -> Measured:
    rows = data.rows(split)
    labels = hard_labels(data.labels[rows])
    before, after = old.logits(data, rows), new.logits(data, rows)
    columns = torch.from_numpy(np.ascontiguousarray(labels.T))
    first, second = (ranking(np.ascontiguousarray(logits.T), columns) for logits in (before, after))
    return Measured(labels, before, after, (first, second))


def _counts(data: FeatureSet, split: SplitName) -> dict[str, NDArray[np.int64]]:
    """(C,) labels of each kind, counted a few rows at a time, so that nothing of the size of all labels is made."""
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


def _label_counts(of_kinds: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    total = {kind: int(count.sum()) for kind, count in of_kinds.items()}
    size = sum(total.values())
    return {"known": (total["positive"] + total["negative"]) / size if size else None, **total}


def _category(
    c: int,
    report: CategoryReport,
    blanks: dict[str, int],
    select: Measured,
    test: Measured | None,
    gains: RankingGains | None,
    objective: Metric,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "status": report.status,
        "reason": report.reason,
        "method": report.method,
        "known_positive": report.positives,
        "known_negative": report.negatives,
        **blanks,
        "select": _scores(select, c, objective),
        "evidence": [{"candidate": name, "select": score, "share": share} for name, score, share in report.evidence],
    }
    if test is not None:
        interval = None if gains is None or np.isnan(gains.gain[c]) else gains.interval[c].tolist()
        entry["test"] = _scores(test, c, objective) | {"gain_interval": interval}
    return entry


def _scores(measured: Measured, c: int, objective: Metric) -> dict[str, Any]:
    before, after = measured.values(objective)
    ranks = measured.ranks[0]
    return {
        "before": float(before[c]),
        "after": float(after[c]),
        "positives": int(ranks.positives[c]),
        "negatives": int(ranks.negatives[c]),
    }


def _thresholds(select: Measured, rule: ThresholdRule) -> list[dict[str, Any] | None]:
    """The threshold of every category on its logit, and what it gives; None where the rule has none."""
    points = threshold_for(select.after, select.labels, rule)
    probability, positives = _sigmoid(points.threshold), select.ranks[0].positives
    return [
        {
            "rule": str(rule),
            "probability": float(probability[c]),
            "split": "select",
            "value": float(value),
            "precision": float(points.precision[c]),
            "recall": float(points.recall[c]),
            "specificity": float(points.specificity[c]),
            "f1": float(points.f1[c]),
            "positives": int(positives[c]),
        }
        if not np.isnan(value)
        else None
        for c, value in enumerate(points.threshold)
    ]


def _calibration(test: Measured) -> tuple[dict[str, Any], tuple[list[float], list[float]]]:
    """Calibration and reliability as ``results.json`` has them, and the errors of the categories before and after."""
    (before, first), (after, second) = (_reliability(logits, test.labels) for logits in (test.before, test.after))
    found = {
        "calibration": {
            "test": {
                "ece_before": float(np.nanmean(before)) if np.isfinite(before).any() else None,
                "ece_after": float(np.nanmean(after)) if np.isfinite(after).any() else None,
                "log_loss_before": _log_loss(test.before, test.labels),
                "log_loss_after": _log_loss(test.after, test.labels),
            }
        },
        "reliability": {"split": "test", "before": _bins(first), "after": _bins(second)},
    }
    return found, (before, after)


def _reliability(logits: Floats, labels: Floats) -> tuple[list[float], Reliability]:
    """Calibration error of each category, and the diagram of all of them."""
    probability = _sigmoid(logits)
    return binary_calibration_error(probability, labels).tolist(), reliability(probability, labels)


def _bins(diagram: Reliability) -> list[dict[str, Any]]:
    return [
        {
            "low": float(diagram.edges[i]),
            "high": float(diagram.edges[i + 1]),
            "count": int(diagram.count[i]),
            "probability": float(diagram.probability[i]),
            "positive": float(diagram.positive[i]),
        }
        for i in range(len(diagram.count))
    ]


def _log_loss(logits: Floats, labels: Floats) -> float | None:
    """Mean over all known labels, in nats a label."""
    known = ~np.isnan(labels)
    if not known.any():
        return None
    z = logits[known].astype(np.float64)
    return float((np.logaddexp(0.0, z) - labels[known] * z).mean())


def _sigmoid(values: Any) -> Any:
    return torch.sigmoid(torch.as_tensor(values, dtype=torch.float64)).numpy()
