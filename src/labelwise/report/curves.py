"""Precision against recall of chosen categories, from the logits that a run of `labelwise cft` keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Curve = tuple[list[float], list[float]]

PREDICTIONS = "predictions.npz"
MOST_BYTES = 200_000_000
MOST_POINTS = 60


def read_curves(run: Path, split: str, categories: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Return (recall, precision) before and after for each category, on the known labels of a split.

    Nothing where the file is missing, larger than a report should read, or of a run that kept no logits of the old
    heads.
    """
    import numpy as np

    path = run / PREDICTIONS
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        with np.load(path, allow_pickle=False) as found:
            rows, names = found["split"] == split, found["categories"].tolist()
            labels, heads = found["labels"][rows], {"before": found["before"][rows], "after": found["logits"][rows]}
    except (OSError, ValueError, KeyError, EOFError, IndexError):
        return {}
    curves = {}
    for name in (name for name in categories if name in names):
        place = names.index(name)
        known = ~np.isnan(labels[:, place])
        truth = labels[known, place] > 0
        if not truth.any():
            continue
        curves[name] = {head: precision_recall(logits[known, place], truth) for head, logits in heads.items()}
    return curves


def precision_recall(score: NDArray[np.float32], truth: NDArray[np.bool_]) -> Curve:
    """Return recall and precision from the highest threshold down, of at most `MOST_POINTS` thresholds.

    Parameters
    ----------
    score : (n,)
    truth : (n,) with at least one True

    Notes
    -----
    As ``sklearn.metrics.precision_recall_curve``, which a report does without, in the other order and without the point
    of recall 0.
    """
    import numpy as np

    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores pass a threshold together
    hits = truth[order].cumsum()[last]
    places = np.unique(np.linspace(0, len(last) - 1, MOST_POINTS).round().astype(int))
    recall, precision = hits / hits[-1], hits / (last + 1)
    return recall[places].tolist(), precision[places].tolist()
