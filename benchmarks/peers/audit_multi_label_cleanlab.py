"""cleanlab's multi-label scores: ``python audit_multi_label_cleanlab.py IN.npz OUT.npz``.

IN holds ``values`` (n, C), 1, 0 or NaN where unknown, and out-of-sample probabilities of positive labels, ``p_NAME``
(n, C). cleanlab cannot say unknown, so it is asked once for each category, about the samples whose label is known: two
classes, negative and positive. OUT holds ``NAME|METHOD`` (n, C), higher for labels more likely wrong. It knows nothing
of labelwise.
"""

from __future__ import annotations

import sys

import numpy as np
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def main() -> None:
    job = np.load(sys.argv[1])
    values, found = job["values"], {}
    for key in [key for key in job if key.startswith("p_")]:
        for method in METHODS:
            for adjusted in (False, True) if method != "confidence_weighted_entropy" else (False,):
                score = np.full(values.shape, np.nan)
                for category in range(values.shape[1]):
                    known = ~np.isnan(values[:, category])
                    labels = [[0] if value else [] for value in values[known, category]]
                    p = job[key][known][:, [category]].astype(np.float64)
                    quality = get_label_quality_scores_per_class(labels, p, method=method, adjust_pred_probs=adjusted)
                    score[known, category] = -np.asarray(quality)[:, 0]
                found[f"{key[2:]}|{method}{' adjusted' if adjusted else ''}"] = score
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
