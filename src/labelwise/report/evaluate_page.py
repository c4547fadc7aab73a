"""The page of `labelwise evaluate`: its scores, what they mean, and every class or category, the lowest first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from labelwise.report.formats import DASH, count, decimal, percent, percent2, several, shorten
from labelwise.report.page import Tile, write_page
from labelwise.report.plots import Line, rate_plot
from labelwise.report.scores import decided
from labelwise.report.table import Column, Row, Table
from labelwise.results import MultiLabelEvaluation, SingleLabelEvaluation
from labelwise.results.evaluate import Decisions, EvaluatedCategory

NLL = "negative log-likelihood in nats; lower is better"
ECE = "expected calibration error: mean gap between probability and truth; lower is better"
RATES = ("CP", "CR", "CF1", "macro F1", "OP", "OR", "OF1")


def write_evaluation(scores: SingleLabelEvaluation | MultiLabelEvaluation, path: Path) -> Path:
    """Write the page of these scores and return its path.

    Raises
    ------
    RunError
        The page cannot be written.
    """
    found = _multi_label(scores) if isinstance(scores, MultiLabelEvaluation) else _single_label(scores)
    return write_page(path, "evaluate.html.j2", {"title": f"{scores.data}, {scores.split}", **found})


def _single_label(scores: SingleLabelEvaluation) -> dict[str, Any]:
    samples = sum(entry.n for entry in scores.per_class)
    known = [entry.top1 for entry in scores.per_class if entry.n and entry.top1 is not None]
    mean = sum(known) / len(known) if known else None
    of = f"mean of top-1 over {several(len(known), 'class', 'classes')}, each counted alike"
    tiles = [Tile("Top-1, in %", percent2(scores.top1), "", "images whose most probable class is the given one")]
    if scores.top5 is not None:
        said = "images whose given class is among the five most probable"
        tiles.append(Tile("Top-5, in %", percent2(scores.top5), "", said))
    tiles += [Tile("Mean over classes, in %", percent2(mean), "", of), *_calibration(scores.nll, scores.ece)]
    columns = [Column("class", right=False), Column("images", count), Column("top-1, %", percent)]
    listed = sorted(scores.per_class, key=lambda entry: _lowest_first(entry.top1 if entry.n else None))
    rows = [Row([entry.name, entry.n, entry.top1 if entry.n else None]) for entry in listed]
    return {
        "curves": [],
        "facts": [f"checkpoint {scores.model}", several(samples, "image"), several(len(rows), "class", "classes")],
        "tiles": tiles,
        "sections": [
            (
                "Every class",
                Table(columns, rows, after="The lowest first. A class without images has no score and comes last."),
            )
        ],
    }


def _multi_label(scores: MultiLabelEvaluation) -> dict[str, Any]:
    over = f"over {scores.scored:,} of {several(len(scores.categories), 'category', 'categories')}"
    tiles = [
        Tile("mAP, in %", percent2(scores.map), "", f"mean average precision {over}"),
        Tile("Mean AUC, in %", percent2(scores.mauc), "", f"a positive ranks before a negative; mean {over}"),
        Tile("CF1, in %", percent2(scores.decisions.cf1), "", f"precision and recall in one; {decided(scores)}"),
    ]
    if scores.tuned is not None:
        tiles.append(Tile("Tuned CF1, in %", percent2(scores.tuned.cf1), "", "at thresholds found on select"))
    left_out = [f"{n:,} {kind}, not scored" for kind, n in scores.left_out.model_dump().items() if n]
    known = f"{scores.known.positive:,} positive and {scores.known.negative:,} negative labels known"
    sections = [
        ("Means", _means(scores)),
        ("Decisions over all categories", _decisions(scores)),
        ("Ranking and calibration of every category", _ranking(scores, scores.categories)),
        ("Decisions for every category", _thresholds(scores)),
    ]
    if scores.studies is not None:
        sections.append(("Every category by study", _ranking(scores, scores.studies.categories)))
    return {
        "curves": _curves(scores),
        "facts": [f"checkpoint {scores.model}", several(scores.samples, "sample"), known, *left_out],
        "tiles": [*tiles, *_calibration(scores.nll, scores.ece)],
        "sections": sections,
    }


def _curves(scores: MultiLabelEvaluation) -> list[tuple[str, str, str]]:
    """Of each category whose curves were kept its heading, and precision against recall and the ROC as pictures."""
    found, scored = [], {one.name: one for one in scores.categories}
    for place, one in enumerate(scores.curves or ()):
        ap, auc = percent(scored[one.name].ap), percent(scored[one.name].auc)
        precise = rate_plot(
            f"pr-{place}",
            f"Precision against recall of {one.name}: AP {ap} percent.",
            [Line("", "test", one.recall, one.precision)],
            up="precision",
        )
        roc = rate_plot(
            f"roc-{place}",
            f"ROC of {one.name}: AUC {auc} percent.",
            [Line("", "test", (0.0, *one.false_positive_rate), (0.0, *one.recall))],
            "false positive rate",
            "recall",
            chance=True,
        )
        found.append((f"{shorten(one.name, 24)}: AP {ap}, AUC {auc}", precise, roc))
    return found


def _calibration(nll: float | None, ece: float | None) -> list[Tile]:
    return [Tile("NLL", decimal(nll, 4), "", NLL), Tile("ECE, in %", percent2(ece), "", ECE)]


def _means(scores: MultiLabelEvaluation) -> Table:
    """AP and AUC of categories taken together in every way."""
    columns = [Column("over", right=False), Column("AP, %", percent2), Column("AUC, %", percent2)]
    columns += [Column("categories scored")]
    total = len(scores.categories)
    scored = f"{scores.scored:,} of {total:,}"
    rows = [
        Row(["categories, each counted alike", scores.map, scores.mauc, scored]),
        Row(["categories, weighted by their positives", scores.weighted.ap, scores.weighted.auc, scored]),
        Row(["all labels in one ranking (micro)", scores.micro.ap, scores.micro.auc, DASH]),
    ]
    for group in scores.groups:
        rows.append(Row([group.name, group.map, group.mauc, f"{group.scored:,} of {group.categories:,}"]))
    if (by := scores.studies) is not None:
        rows.append(Row([f"{by.number:,} studies", by.map, by.mauc, f"{by.scored:,} of {total:,}"]))
        rows.append(Row(["studies, the competition's five categories", None, by.competition_mauc, DASH]))
    after = "A category is scored where a positive and a negative are known."
    return Table(columns, rows, after=after)


def _decisions(scores: MultiLabelEvaluation) -> Table:
    columns = [Column("thresholds", right=False), *(Column(f"{rate}, %", percent2) for rate in RATES)]
    rows = [_rates(decided(scores), scores.decisions)]
    rows += [_rates("found on select, for the best F1 of a category", scores.tuned)] if scores.tuned is not None else []
    after = (
        "CP, CR: mean precision and recall over the scored categories. OP, OR: of all known labels together. CF1 and"
        " OF1 are their harmonic means; macro F1 is the mean F1 of the categories."
    )
    return Table(columns, rows, after=after)


def _rates(name: str, found: Decisions) -> Row:
    values = (found.cp, found.cr, found.cf1, found.macro_f1, found.op, found.overall_recall, found.of1)
    return Row([name, *values])


def _ranking(scores: MultiLabelEvaluation, categories: Sequence[EvaluatedCategory]) -> Table:
    sens, spec = scores.sensitivity_at_specificity.at, scores.specificity_at_sensitivity.at
    columns = [Column("category", right=False), Column("positive", count), Column("negative", count)]
    columns += [Column("AP, %", percent), Column("AUC, %", percent)]
    columns += [Column(f"sens. at spec. {sens:.2g}, %", percent), Column(f"spec. at sens. {spec:.2g}, %", percent)]
    columns += [Column("NLL", partial(decimal, digits=4), hint=NLL), Column("ECE, %", percent, hint=ECE)]
    rows = []
    for of in sorted(categories, key=lambda entry: _lowest_first(entry.ap)):
        rates = (of.sensitivity_at_specificity, of.specificity_at_sensitivity)
        rows.append(Row([of.name, of.positives, of.negatives, of.ap, of.auc, *rates, of.nll, of.ece]))
    return Table(columns, rows, after="The lowest AP first. Positive and negative: known labels.")


def _thresholds(scores: MultiLabelEvaluation) -> Table:
    """Each category at its threshold, and beside that at the tuned one."""
    columns, rows = [Column("category", right=False)], []
    for tuned in ("", "tuned ")[: 1 + (scores.tuned is not None)]:
        columns += [Column(f"{tuned}threshold", partial(decimal, digits=3))]
        columns += [Column(f"{tuned}{rate}, %", percent) for rate in ("P", "R", "F1")]
    for entry in sorted(scores.categories, key=lambda entry: _lowest_first(entry.f1)):
        values: list[Any] = [entry.name]
        for at in (entry, entry.tuned)[: 1 + (scores.tuned is not None)]:
            values += [None] * 4 if at is None else [at.threshold, at.precision, at.recall, at.f1]
        rows.append(Row(values))
    best = " Tuned: at the threshold with the best F1 on select." if scores.tuned is not None else ""
    return Table(columns, rows, after=f"The lowest F1 first. A label is {decided(scores)}.{best}")


def _lowest_first(score: float | None) -> tuple[bool, float]:
    """Sort what has no score to the end."""
    return score is None, score or 0.0
