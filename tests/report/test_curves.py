"""Precision against recall of a cft page, beside scikit-learn."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from helpers.cft_run_factory import UCM, make_cft_run
from helpers.pages import page_of
from labelwise.report.curves import MOST_POINTS, precision_recall, read_curves


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=50))
def test_points_are_those_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    score, truth = np.array([s for s, _ in pairs], dtype=np.float32), np.array([t for _, t in pairs])
    truth[0] = True
    recall, precision = precision_recall(score, truth)
    expected_precision, expected_recall, _ = precision_recall_curve(truth, score)
    np.testing.assert_allclose(recall, expected_recall[-2::-1])
    np.testing.assert_allclose(precision, expected_precision[-2::-1])


def test_curves_of_known_labels_before_and_after(tmp_path: Path) -> None:
    run = make_cft_run(tmp_path / "run", categories=UCM)
    found = read_curves(run, "test", ["cars", "nothing"])
    assert list(found) == ["cars"] and list(found["cars"]) == ["before", "after"]
    with np.load(run / "predictions.npz") as kept:
        truth, after = kept["labels"][:, UCM.index("cars")], kept["logits"][:, UCM.index("cars")]
    known = ~np.isnan(truth)
    recall, precision = found["cars"]["after"]
    assert len(recall) == MOST_POINTS and recall[-1] == 1.0
    assert precision[-1] == np.mean(truth[known])
    assert precision[0] == truth[known][after[known].argmax()]
    source = page_of(run)
    assert source.count('aria-label="Precision against recall of') == 8
    assert read_curves(run, "select", ["cars"]) == {}
    (run / "predictions.npz").write_bytes(b"damaged")
    assert "Precision against recall" not in page_of(run)
