"""cleanlab's scores and found sets of wrong labels: ``python audit_cleanlab.py IN.npz OUT.npz``.

IN holds ``x`` (n, D) embeddings, ``label`` (n,), ``p`` (n, K) the out-of-sample probabilities of somebody else, and
``seed``. OUT holds for each kind of answers A (``own``: logistic regression over 5 stratified folds, as cleanlab's
tutorials do it; ``given``: ``p``) arrays ``A|score|NAME`` (n,), higher for labels more likely wrong, and
``A|found|NAME`` (n,) bool. It knows nothing of labelwise.
"""

from __future__ import annotations

import sys

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given")


def main() -> None:
    job = np.load(sys.argv[1])
    x, label, found = job["x"], job["label"], {}
    folds = StratifiedKFold(5, shuffle=True, random_state=int(job["seed"]))
    model = LogisticRegression(C=0.1, max_iter=300)
    own = cross_val_predict(model, x / np.sqrt((x**2).mean()), label, cv=folds, method="predict_proba")
    for name, p in (("own", own), ("given", job["p"].astype(np.float64))):
        for method in SCORES:
            for adjusted in (False, True) if method != "confidence_weighted_entropy" else (False,):
                quality = get_label_quality_scores(label, p, method=method, adjust_pred_probs=adjusted)
                found[f"{name}|score|{method}{' adjusted' if adjusted else ''}"] = -quality
        for method in FILTERS:
            found[f"{name}|found|{method}"] = find_label_issues(label, p, filter_by=method, n_jobs=1)
    np.savez(sys.argv[2], **found)


if __name__ == "__main__":
    main()
