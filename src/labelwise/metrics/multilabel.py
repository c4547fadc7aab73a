"""Scores of a multi-label classifier on the known labels: ranking, decisions and calibration.

Only given labels of 0 or 1 count. Unknown, uncertain, inferred and soft ones are left out, of a category and not of a
sample: no sample is dropped for what is unknown of it.

Definitions, as the literature on MS-COCO, NUS-WIDE and VOC has them (Wu and Zhou, "A unified view of multi-label
performance measures", ICML 2017; Wang et al., "CNN-RNN", CVPR 2016). With TP_c, FP_c and FN_c counted on the known
labels of category c, decided positive where the probability is at or above the threshold:

- mAP, mean AUC: the mean over categories of AP and AUC as `labelwise.metrics.ranking` defines them. Micro: one ranking
  of all known labels of all categories. Weighted: the mean weighted by each category's known positives.
- CP, CR: the mean over categories of TP_c / (TP_c + FP_c) and of TP_c / (TP_c + FN_c). CF1 = 2 CP CR / (CP + CR). The
  mean of every category's own F1 is another number, ``macro_f1``.
- OP, OR: sum TP / (sum TP + sum FP) and sum TP / (sum TP + sum FN) over all categories. OF1 = 2 OP OR / (OP + OR).

A category is *scored* when it has a known positive and a known negative; every mean over categories is over these, NaN
where there is none, and says how many they were. A scored category for which nothing is decided positive has the
precision 0, as scikit-learn counts it; ``silent`` says how many these are. OP, OR and OF1 count all known labels, those
of the other categories too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import DataError
from labelwise.labels.table import LabelTable
from labelwise.metrics.calibration import binary_calibration_error
from labelwise.metrics.operating import sensitivity_at_specificity, specificity_at_sensitivity
from labelwise.metrics.ranking import Array, Ranking, ranking, to_tensor

Floats = NDArray[np.float64]

BLOCK_ELEMENTS = 1 << 22
"""Entries whose probabilities are held at once."""


@dataclass(frozen=True)
class Decisions:
    """Decisions at one threshold a category.

    Attributes
    ----------
    threshold : (C,) probabilities
    precision, recall, f1 : (C,) float64, NaN where the category is not scored
    overall : ``cp``, ``cr``, ``cf1``, ``macro_f1``, ``op``, ``or``, ``of1``, and the numbers of categories ``scored``
        and ``silent``
    """

    threshold: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    overall: dict[str, Any]


def hard_labels(table: LabelTable) -> NDArray[np.float32]:
    """(N, C) labels that can be scored: 1 or 0 where given so, NaN elsewhere."""
    hard = table.known & ((table.values == 0) | (table.values == 1))
    return np.where(hard, table.values, np.float32(np.nan))


def multilabel_scores(
    logits: Array,
    table: LabelTable,
    *,
    thresholds: ArrayLike = 0.5,
    specificity: float = 0.9,
    sensitivity: float = 0.9,
) -> dict[str, Any]:
    """All scores of a multi-label classifier, ready for JSON.

    Parameters
    ----------
    logits : (N, C); ranked as they are
    table : labels of the same N samples
    thresholds : (C,) probabilities at or above which a label is decided positive, or one for all
    specificity, sensitivity : at which the other one is told

    Returns
    -------
    ``samples``; ``known`` {positive, negative} and ``left_out`` {unknown, uncertain, inferred, soft} entries; ``map``,
    ``mauc``, and how many categories were ``scored``; ``micro`` and ``weighted`` {ap, auc}; ``nll``, the mean binary
    cross-entropy of a known label in nats; ``ece``, the mean calibration error of the categories with a known label;
    ``sensitivity_at_specificity`` {at, mean} and the reverse; ``decisions``, see `Decisions`; ``groups``, a list of
    {name, map, mauc, scored, categories}, one for each of ``table.category_groups``; ``categories``, a list of {name,
    positives, negatives, ap, auc, nll, ece, threshold, precision, recall, f1, sensitivity_at_specificity,
    specificity_at_sensitivity}. Fractions lie in [0, 1], NaN where undefined.

    Raises
    ------
    DataError
        For NaN logits, thresholds outside [0, 1], or shapes that do not fit.
    """
    labels = hard_labels(table)
    z = _checked(logits, labels)
    ranks = ranking(np.ascontiguousarray(z.T), np.ascontiguousarray(labels.T))
    known = ~np.isnan(labels)
    micro = ranking(z[known], labels[known])
    ap, auc, positives, negatives = (x.numpy() for x in (ranks.ap, ranks.auc, ranks.positives, ranks.negatives))
    nll, ece, sensitive, specific = np.concatenate(
        [_of_block(z[:, c], labels[:, c], specificity, sensitivity) for c in _blocks(z)], axis=1
    )
    decided = decision_scores(z, labels, thresholds)
    total = int(known.sum())
    return {
        "samples": len(table),
        "known": {"positive": int(positives.sum()), "negative": int(negatives.sum())},
        "left_out": _left_out(table, total),
        "map": _mean(ap),
        "mauc": _mean(auc),
        "scored": ranks.scored,
        "micro": {"ap": float(micro.ap), "auc": float(micro.auc)},
        "weighted": {"ap": _mean(ap, positives), "auc": _mean(auc, positives)},
        "nll": float(np.nansum(nll * known.sum(axis=0)) / total) if total else np.nan,
        "ece": _mean(ece),
        "sensitivity_at_specificity": {"at": specificity, "mean": _mean(sensitive)},
        "specificity_at_sensitivity": {"at": sensitivity, "mean": _mean(specific)},
        "decisions": decided.overall,
        "groups": _groups(table, ranks),
        "categories": [
            {
                "name": name,
                "positives": int(positives[c]),
                "negatives": int(negatives[c]),
                "ap": float(ap[c]),
                "auc": float(auc[c]),
                "nll": float(nll[c]),
                "ece": float(ece[c]),
                "threshold": float(decided.threshold[c]),
                "precision": float(decided.precision[c]),
                "recall": float(decided.recall[c]),
                "f1": float(decided.f1[c]),
                "sensitivity_at_specificity": float(sensitive[c]),
                "specificity_at_sensitivity": float(specific[c]),
            }
            for c, name in enumerate(table.categories)
        ],
    }


def decision_scores(logits: Array, labels: NDArray[np.floating], thresholds: ArrayLike) -> Decisions:
    """Precision, recall and F1 of every category and over all of them.

    Parameters
    ----------
    logits : (N, C)
    labels : (N, C); 1 positive, 0 negative, NaN unknown
    thresholds : (C,) probabilities, or one for all

    Raises
    ------
    DataError
        For NaN logits, thresholds outside [0, 1], or shapes that do not fit.
    """
    z = _checked(logits, labels)
    threshold = np.asarray(thresholds, dtype=np.float64)
    if threshold.shape not in ((), (z.shape[1],)):
        raise DataError(f"thresholds {threshold.shape} do not fit {z.shape[1]} categories")
    threshold = np.broadcast_to(threshold, (z.shape[1],)).copy()
    if not ((threshold >= 0) & (threshold <= 1)).all():
        raise DataError("thresholds must be probabilities between 0 and 1")
    true, taken = np.zeros(z.shape[1]), np.zeros(z.shape[1])
    for c in _blocks(z):
        decided = (probabilities(z[:, c]) >= threshold[c]) & ~np.isnan(labels[:, c])
        true[c], taken[c] = (decided & (labels[:, c] == 1)).sum(axis=0), decided.sum(axis=0)
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    scored = (positives > 0) & (negatives > 0)
    precision, recall, f1 = (
        np.where(scored, _share(true, against), np.nan) for against in (taken, positives, (taken + positives) / 2)
    )
    cp, cr = _mean(precision), _mean(recall)
    found, all_taken, all_positives = true.sum(), taken.sum(), float(positives.sum())
    any_positive = all_positives > 0
    op, overall_recall = (float(_share(found, x)) if any_positive else np.nan for x in (all_taken, all_positives))
    overall = {
        "cp": cp,
        "cr": cr,
        "cf1": _harmonic(cp, cr),
        "macro_f1": _mean(f1),
        "op": op,
        "or": overall_recall,
        "of1": _harmonic(op, overall_recall),
        "scored": int(scored.sum()),
        "silent": int((scored & (taken == 0)).sum()),
    }
    return Decisions(threshold, precision, recall, f1, overall)


def probabilities(logits: Array) -> Floats:
    """The sigmoid in float64, where distinct float32 logits up to 36 stay distinct."""
    return torch.sigmoid(to_tensor(logits).cpu().double()).numpy()


def _checked(logits: Array, labels: NDArray[np.floating]) -> NDArray[Any]:
    z: NDArray[Any] = to_tensor(logits).cpu().numpy()
    if z.ndim != 2 or z.shape != labels.shape:
        raise DataError(f"labels {labels.shape} and logits {z.shape} must have one shape (N, C)")
    if np.isnan(z).any():
        raise DataError("logits contain NaN: nothing can be scored; check the network")
    return z


def _blocks(z: NDArray[Any]) -> list[slice]:
    """Categories, so many at a time as memory allows."""
    step = max(1, BLOCK_ELEMENTS // max(1, len(z)))
    return [slice(start, start + step) for start in range(0, z.shape[1], step)]


def _of_block(z: NDArray[Any], labels: NDArray[np.float32], specificity: float, sensitivity: float) -> Floats:
    """(4, C): log loss, calibration error, sensitivity at a specificity, and the reverse."""
    known = ~np.isnan(labels)
    # The logit is turned before and not multiplied by the label after, as infinity times 0 has no value.
    loss = np.logaddexp(0.0, np.where(labels == 1, -z, z).astype(np.float64)).sum(axis=0, where=known)
    count = known.sum(axis=0)
    return np.stack(
        [
            np.divide(loss, count, out=np.full(len(count), np.nan), where=count > 0),
            binary_calibration_error(probabilities(z), labels),
            sensitivity_at_specificity(z, labels, specificity),
            specificity_at_sensitivity(z, labels, sensitivity),
        ]
    )


def _left_out(table: LabelTable, scored: int) -> dict[str, int]:
    counts = table.counts()
    unknown, uncertain, inferred = (sum(row[k] for row in counts) for k in ("unknown", "uncertain", "inferred"))
    return {
        "unknown": unknown,
        "uncertain": uncertain,
        "inferred": inferred,
        "soft": int(table.known.sum()) - scored,
    }


def _groups(table: LabelTable, ranks: Ranking) -> list[dict[str, Any]]:
    """The means over sets of categories, such as the five groups of Open Images."""
    place = {name: c for c, name in enumerate(table.categories)}
    found = []
    for group, members in (table.category_groups or {}).items():
        columns = [place[name] for name in members]
        ap, auc = ranks.ap.numpy()[columns], ranks.auc.numpy()[columns]
        scored = int((~np.isnan(ap)).sum())
        found.append(
            {"name": group, "map": _mean(ap), "mauc": _mean(auc), "scored": scored, "categories": len(columns)}
        )
    return found


def _mean(values: NDArray[np.floating], weight: NDArray[Any] | None = None) -> float:
    """Over what is not NaN; NaN where that is nothing."""
    defined = ~np.isnan(values)
    if not defined.any():
        return float("nan")
    return float(np.average(values[defined], weights=None if weight is None else weight[defined]))


def _share(part: Any, whole: Any) -> Floats:
    """``part / whole``, 0 where there is nothing."""
    return np.asarray(part / np.maximum(whole, 0.5), dtype=np.float64)  # a count is at least 1, or half of 1 in F1


def _harmonic(first: float, second: float) -> float:
    """Mean of rates; 0 of two zeros, NaN of NaN."""
    return 2 * first * second / (first + second) if first + second else 0.0
