"""What a new head is worth: ranking, calibration and thresholds before and after, with the counts behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.cft.calibrate import ThresholdRule, find_threshold
from labelwise.cft.evidence import CategoryReport
from labelwise.cft.features import FeatureSet
from labelwise.cft.problem import Rows, linear_logits
from labelwise.cft.search import Objective
from labelwise.data.dataset import SPLITS
from labelwise.metrics.bootstrap import RankingGains, ranking_gain_intervals
from labelwise.metrics.calibration import Reliability, binary_calibration_error, reliability
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
class _Measured:
    """One split: labels with NaN for unknown, logits and ranks before and after."""

    labels: Floats
    before: Floats
    after: Floats
    ranks: tuple[Ranking, Ranking]

    def values(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, second = ((r.ap if metric == "ap" else r.auc).numpy() for r in self.ranks)
        return first, second

    def means(self, metric: str) -> dict[str, Any]:
        first, second = self.values(metric)
        before, scored = mean_over_categories(first)
        after, _ = mean_over_categories(second)
        return {"before": float(before), "after": float(after), "scored": int(scored)}


def evaluate(
    data: FeatureSet,
    old: Head,
    new: Head,
    reports: list[CategoryReport],
    objective: Objective,
    rule: ThresholdRule | None,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """The part of ``results.json`` that is measured: splits, labels, means, calibration, categories.

    Labels of ``select`` and ``test`` that are uncertain or soft count as unknown. Thresholds are found on ``select``.
    """
    select = _measure(data, "select", old, new)
    test = _measure(data, "test", old, new) if len(data.rows("test")) else None
    gains = None
    if test is not None and test.ranks[0].scored:
        groups = data.groups[data.rows("test")]
        gains = ranking_gain_intervals(
            test.before, test.after, test.labels, metric=objective, groups=groups, draws=draws, seed=seed
        )
    other: Objective = "auc" if objective == "ap" else "ap"
    found: dict[str, Any] = {
        "splits": data.sizes(),
        "labels": {split: _label_counts(data, split) for split in SPLITS},
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
        found |= _calibration(test)
    fit = data.labels[data.rows("fit")]
    blanks = [
        {"unknown": int(u), "uncertain": int(v)} for u, v in zip(np.isnan(fit).sum(0), (fit == -1).sum(0), strict=True)
    ]
    found["categories"] = [
        {"name": data.categories[c]} | _category(c, report, blanks[c], select, test, gains, objective, rule)
        for c, report in enumerate(reports)
    ]
    if test is not None:
        for entry, before, after in zip(found["categories"], *_ece(test), strict=True):
            entry["ece"] = {"before": before, "after": after}
    return found


def hard_labels(labels: Floats) -> Floats:
    """Only 1 and 0 can be scored: what is uncertain or soft becomes unknown (NaN)."""
    return np.where((labels == 0) | (labels == 1), labels, np.float32(np.nan))


def _measure(data: FeatureSet, split: str, old: Head, new: Head) -> _Measured:
    rows = data.rows(split)
    labels = hard_labels(data.labels[rows])
    before, after = old.logits(data, rows), new.logits(data, rows)
    columns = torch.from_numpy(np.ascontiguousarray(labels.T))
    first, second = (ranking(np.ascontiguousarray(logits.T), columns) for logits in (before, after))
    return _Measured(labels, before, after, (first, second))


def _label_counts(data: FeatureSet, split: str) -> dict[str, Any]:
    labels = data.labels[data.rows(split)]
    known = labels >= 0
    return {
        "known": float(known.mean()) if known.size else None,
        "positive": int((labels >= 0.5).sum()),
        "negative": int((known & (labels < 0.5)).sum()),
        "unknown": int(np.isnan(labels).sum()),
        "uncertain": int((labels == -1).sum()),
    }


def _category(
    c: int,
    report: CategoryReport,
    blanks: dict[str, int],
    select: _Measured,
    test: _Measured | None,
    gains: RankingGains | None,
    objective: Objective,
    rule: ThresholdRule | None,
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
    if rule is not None:
        entry["threshold"] = _threshold(select, c, rule)
    return entry


def _scores(measured: _Measured, c: int, objective: Objective) -> dict[str, Any]:
    before, after = measured.values(objective)
    ranks = measured.ranks[0]
    return {
        "before": float(before[c]),
        "after": float(after[c]),
        "positives": int(ranks.positives[c]),
        "negatives": int(ranks.negatives[c]),
    }


def _threshold(select: _Measured, c: int, rule: ThresholdRule) -> dict[str, Any] | None:
    known = ~np.isnan(select.labels[:, c])
    found = find_threshold(select.after[known, c], select.labels[known, c], rule)
    if found is None:
        return None
    return {"rule": str(rule), "probability": float(_sigmoid(found["value"])), "split": "select", **found}


def _calibration(test: _Measured) -> dict[str, Any]:
    before, after = _ece(test)
    diagrams = [reliability(_sigmoid(logits), test.labels) for logits in (test.before, test.after)]
    return {
        "calibration": {
            "test": {
                "ece_before": float(np.nanmean(before)) if np.isfinite(before).any() else None,
                "ece_after": float(np.nanmean(after)) if np.isfinite(after).any() else None,
                "log_loss_before": _log_loss(test.before, test.labels),
                "log_loss_after": _log_loss(test.after, test.labels),
            }
        },
        "reliability": {"split": "test", "before": _bins(diagrams[0]), "after": _bins(diagrams[1])},
    }


def _ece(test: _Measured) -> tuple[list[float], list[float]]:
    before, after = (
        binary_calibration_error(_sigmoid(logits), test.labels).tolist() for logits in (test.before, test.after)
    )
    return before, after


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
