"""The audit of partly known multi-label data: what is judged, what is suggested, and what the list says."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from labelwise.audit.answers import Answer, Answers
from labelwise.audit.category_answers import EmbeddedCells
from labelwise.audit.multi_label import (
    answer_cells,
    cell_health,
    cell_table,
    cell_warnings,
    doubt_of_cells,
    judge_cells,
)
from labelwise.audit.samples import LabelledSamples

CLASSES = ("tree", "road", "sea")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """600 samples of three categories, each a direction; one label in twelve wrong, two thirds of the labels known."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 6)).astype(np.float32)
    right = x[:, :3] + 0.1 * x[:, 3:] > 0.3
    given = (right ^ (rng.random((600, 3)) < 1 / 12)).astype(np.float32)
    given[rng.random((600, 3)) < 1 / 3] = np.nan
    ids = np.array([f"i{k}" for k in range(600)])
    cells = EmbeddedCells(given, np.arange(600) % 5, ids, x)
    blank = np.full(600, "")
    samples = LabelledSamples("made", CLASSES, ids, blank, np.full(600, "fit"), ids, np.zeros(600, np.int64))
    folder = tmp_path_factory.mktemp("audit")
    calls: list[int] = []
    answers = Answers(tuple(answer_cells(cells, folder, 0, lambda: calls.append(1))))
    assert len(calls) == len(answers.parts) == 2 and len(list((folder / "answers").iterdir())) == 2
    return cells, right, samples, answers, judge_cells(cells, answers)


def test_wrong_labels_come_first(case):
    cells, right, _, _, judged = case
    known = ~np.isnan(cells.values)
    wrong = (cells.values != right)[known]
    assert average_precision_score(wrong, judged.score[known]) > 0.75
    assert np.isnan(judged.score[~known]).all()
    assert judged.score[known].mean() == pytest.approx(wrong.mean(), abs=0.03)


def test_unknown_labels_have_calibrated_probabilities(case):
    cells, right, _, _, judged = case
    unknown = np.isnan(cells.values)
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 1.01)):
        inside = unknown & (judged.positive >= low) & (judged.positive < high)
        assert judged.positive[inside].mean() == pytest.approx(right[inside].mean(), abs=0.12)


def test_the_list_has_every_known_cell_and_positive_suggestions(case):
    cells, _, samples, _, judged = case
    frame, order = cell_table(samples, judged)
    known = ~np.isnan(cells.values)
    head, tail = frame[: known.sum()], frame[known.sum() :]
    assert len(order) == known.sum() and frame["rank"].tolist() == list(range(1, len(frame) + 1))
    assert set(tail.verdict) == {"suggestion"} and "suggestion" not in set(head.verdict)
    assert (tail.given == "").all() and tail.score.isna().all() and (tail.suggested == "1").all()
    assert tail.p_suggested.is_monotonic_decreasing and tail.p_suggested.min() >= 0.5
    assert len(tail) == (~known & (judged.positive >= 0.5)).sum()
    assert head.score.is_monotonic_decreasing
    for _, row in frame.iloc[:: len(frame) // 40].iterrows():
        i, c = int(row.id[1:]), CLASSES.index(row.category)
        given = cells.values[i, c]
        assert row.given == ("" if np.isnan(given) else f"{given:.0f}")
        assert row.p_suggested == pytest.approx(max(judged.positive[i, c], 1 - judged.positive[i, c]))
        if row.given:
            assert row.p_given == pytest.approx(1 - row.score)
            kind = "correct" if row.score < 0.5 else "missing positive" if row.given == "0" else "false positive"
            assert row.verdict == kind and (row.suggested == row.given) == (kind == "correct")


def test_agreement_is_the_share_of_answers_that_say_so(case):
    _, _, _, answers, judged = case
    first, second = (one.values for one in answers.parts)
    says = judged.positive >= 0.5
    np.testing.assert_allclose(judged.agreement, ((first > 0) == says) / 2 + ((second > 0) == says) / 2)


def test_health_sums_the_scores_of_each_category(case):
    cells, _, _, _, judged = case
    health = cell_health(CLASSES, judged)
    for c, one in enumerate(health):
        known = ~np.isnan(cells.values[:, c])
        assert one.name == CLASSES[c] and one.given == known.sum() and one.unknown == (~known).sum()
        assert one.missing_positives == pytest.approx(judged.score[cells.values[:, c] == 0, c].sum())
        assert one.false_positives == pytest.approx(judged.score[cells.values[:, c] == 1, c].sum())
        assert one.wrong == pytest.approx(one.missing_positives + one.false_positives)


def test_the_doubt_is_that_of_drawing_samples_again(case):
    cells, right, _, _, judged = case
    score, doubt = doubt_of_cells(cells, judged, 0)
    true = (cells.values != right)[~np.isnan(cells.values)].mean()
    assert 0.001 < doubt.error < 0.03
    assert abs(score.mean() - true) < 3 * doubt.error + 0.01


def test_categories_of_which_little_is_known_have_no_suggestions(case):
    cells, _, samples, answers, _ = case
    values = cells.values.copy()
    values[4:, 2] = np.nan
    few = EmbeddedCells(values, cells.fold, cells.groups, cells.x)
    frame, _ = cell_table(samples, judge_cells(few, answers))
    assert "sea" not in set(frame.category[frame.verdict == "suggestion"])
    assert cell_warnings(CLASSES, values) == ("1 category has fewer than 5 known positive or negative labels: sea",)
    assert cell_warnings(CLASSES, cells.values) == ()


def test_networks_of_one_kind_count_once_together():
    one, two, other = (np.full((2, 3), value, np.float32) for value in (1.0, 3.0, -4.0))
    answers = Answers((Answer("net 1", "network", one), Answer("net 2", "network", two), Answer("near", "near", other)))
    assert (answers.mean() == -1).all()  # (2 - 4) / 2
    assert (answers.agreement_of_cells(np.ones((2, 3), dtype=bool)) == 2 / 3).all()


def test_reviewed_cells_are_certain_and_the_rest_is_estimated_from_what_was_first_given(case):
    cells, right, _, answers, judged = case
    known = ~np.isnan(cells.values)
    reviewed = known & (judged.score >= 0.5)
    values = np.where(reviewed, right, cells.values).astype(np.float32)
    corrected = EmbeddedCells(values, cells.fold, cells.groups, cells.x, first=cells.values, reviewed=reviewed)
    again = judge_cells(corrected, answers)
    assert (again.score[reviewed] == 0).all() and (again.positive[reviewed] == right[reviewed]).all()
    rest = known & ~reviewed
    true = (values != right)[rest].mean()
    assert again.score[rest].mean() == pytest.approx(true, abs=0.01)
    untold = judge_cells(EmbeddedCells(values, cells.fold, cells.groups, cells.x), answers)
    assert untold.score[rest].mean() < true / 2  # the labels that look wrong are gone, so nothing seems to be
