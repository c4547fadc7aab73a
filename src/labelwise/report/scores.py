"""The tables of `labelwise evaluate` and `labelwise ensemble`."""

from __future__ import annotations

from labelwise.report.cft import METRICS
from labelwise.report.formats import DASH, count, decimal, interval, percent, percent2, points2
from labelwise.report.table import Column, Row, Table
from labelwise.results import EnsembleResults, MultiLabelEvaluation, SingleLabelEvaluation
from labelwise.results.evaluate import ApAuc, CategoryGroup, Studies


def scores_table(scores: SingleLabelEvaluation | MultiLabelEvaluation) -> Table:
    """Return overall scores, then a line a class or category, within 80 columns."""
    if isinstance(scores, MultiLabelEvaluation):
        return _category_table(scores)
    overall = [f"top-1 {_percent(scores.top1)}"]
    overall += [f"top-5 {_percent(scores.top5)}"] if scores.top5 is not None else []
    overall += [f"NLL {decimal(scores.nll, 4)}", f"ECE {_percent(scores.ece)}"]
    columns = [Column("class", right=False), Column("images", count), Column("top-1, %", percent)]
    rows = [Row([entry.name, entry.n, entry.top1 if entry.n else None]) for entry in scores.per_class]
    return Table(columns, rows, title=f"{scores.data} {scores.split}: {', '.join(overall)}")


def ensemble_table(results: EnsembleResults) -> Table:
    """Return the members, their mean, and below what it gained over the best member."""
    gain, after = results.rows[-1].gain, ""
    if gain is not None:
        low, high = gain.interval
        ends = None if low is None or high is None else (low, high)
        after = (
            f"over {gain.over}, the best on select: {points2(gain.points)} points on test"
            f" (95% interval {interval(ends, 2)})"
        )
    columns = [Column("model", right=False), Column("select", percent2), Column("test", percent2)]
    rows = [Row([row.name, row.select and row.select.mean, row.test and row.test.mean]) for row in results.rows]
    return Table(columns, rows, title=f"{METRICS[results.objective][1]} in %", after=after)


def _category_table(scores: MultiLabelEvaluation) -> Table:
    columns = [Column("category", right=False), Column("known +/−")]
    columns += [Column(title, percent) for title in ("AP", "AUC", "P", "R", "F1")]
    columns += [Column("tuned F1", percent)] if scores.tuned is not None else []
    columns += [Column(f"sens. at spec. {scores.sensitivity_at_specificity.at:.2g}", percent)]
    rows = []
    for entry in scores.categories:
        values = [entry.ap, entry.auc, entry.precision, entry.recall, entry.f1]
        values += [None if entry.tuned is None else entry.tuned.f1] if scores.tuned is not None else []
        known = f"{entry.positives:,}/{entry.negatives:,}"
        rows.append(Row([entry.name, known, *values, entry.sensitivity_at_specificity]))
    best = "; tuned: at the threshold with the best F1 on select" if scores.tuned is not None else ""
    after = f"in %; P, R, F1: {decided(scores)}{best}"
    return Table(columns, rows, title="\n".join(_overall_lines(scores)), after=after)


def decided(scores: MultiLabelEvaluation) -> str:
    """Return from which threshold on a label is decided positive."""
    if not scores.own_thresholds:
        return "positive from a probability of 0.5 on"
    number = f"{scores.own_thresholds:,} of {len(scores.categories):,} categories"
    return f"positive from the checkpoint's own threshold on ({number}; 0.5 elsewhere)"


def _overall_lines(scores: MultiLabelEvaluation) -> list[str]:
    """The numbers over all categories, and what they are over."""
    known, counts = scores.known, {kind: n for kind, n in scores.left_out.model_dump().items() if n}
    left_out = f"left out: {', '.join(f'{n:,} {kind}' for kind, n in counts.items())}" if counts else "none unknown"
    scored = f"{scores.scored:,} of {len(scores.categories):,} categories"
    lines = [
        f"{scores.data} {scores.split}: {_means(scores)} over {scored}",
        f"micro {_ranks(scores.micro)}; weighted {_ranks(scores.weighted)}",
        f"NLL {decimal(scores.nll, 4)}, ECE {_percent(scores.ece)}; {scores.samples:,} samples,"
        f" {known.positive:,} positive and {known.negative:,} negative labels known, {left_out}",
    ]
    decided_at = "at own thresholds" if scores.own_thresholds else "at 0.5"
    for name, found in ((decided_at, scores.decisions), ("tuned on select", scores.tuned)):
        if found is not None:
            values = (found.cp, found.cr, found.cf1, found.op, found.overall_recall, found.of1)
            pairs = zip(("CP", "CR", "CF1", "OP", "OR", "OF1"), values, strict=True)
            lines.append(f"{name}: {', '.join(f'{title} {_percent(value)}' for title, value in pairs)}")
    if scores.studies is not None:
        five = _percent(scores.studies.competition_mauc)
        said = f"{_means(scores.studies)}; mean AUC of the competition's five: {five}"
        lines.append(f"{scores.studies.number:,} studies: {said}")
    return lines + [
        f"{group.name}: {_means(group)} over {group.scored:,} of {group.categories:,} categories"
        for group in scores.groups
    ]


def _means(scores: MultiLabelEvaluation | Studies | CategoryGroup) -> str:
    return f"mAP {_percent(scores.map)}, mean AUC {_percent(scores.mauc)}"


def _ranks(scores: ApAuc) -> str:
    return f"AP {_percent(scores.ap)}, AUC {_percent(scores.auc)}"


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{percent2(value)}%"
