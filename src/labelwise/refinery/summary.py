"""results.json of a refine run: rows, means over seeds, and the one comparison that counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from labelwise.data.dataset import Dataset
from labelwise.refinery.compare import gain_on_test
from labelwise.results import METRICS, RefineResults, Row, Splits, Summary, best_on_select, summarise
from labelwise.results.record import Task
from labelwise.results.refine import Comparison, Regime

TITLES = {"top1": "top-1", "map": "mAP"}


def results(
    kind: Literal["refine", "train"], dataset: Dataset, rows: Sequence[Row], regime: Regime | None, run: Path
) -> RefineResults:
    """The content of ``results.json``.

    Parameters
    ----------
    kind : the command
    dataset : that all networks of the run learned from
    rows : of all networks
    regime : what generation 1 says about refinement; None for multi-label data
    run : folder of the run
    """
    summary = summarise(rows)
    return RefineResults(
        kind=kind,
        task=_task(dataset),
        splits=Splits.model_validate(dataset.sizes()),
        rows=tuple(rows),
        summary=summary,
        comparison=compare(rows, summary, dataset, run),
        regime=regime,
    )


def compare(rows: Sequence[Row], summary: Sequence[Summary], dataset: Dataset, run: Path) -> Comparison | None:
    """Best generation against best control, both chosen on select by mean top-1 (or mAP), compared on test.

    The interval is a paired bootstrap over groups of test samples and over seeds. Without controls the best
    later generation is compared with the first.
    """
    generations = [row for row in rows if row.role == "generation"]
    if not generations:
        return None
    # In a chain of several networks only the one that is kept at its end competes, not its larger refineries; and a
    # generation that only some seeds reached (chain.min_gain) is not compared with a mean over all of them.
    kept = {row.name for row in generations if row.network == generations[-1].network}
    seeds = max(entry.seeds for entry in summary)
    entries = [one for one in summary if one.role == "generation" and one.name in kept and one.seeds == seeds]
    metric = METRICS[_task(dataset)]

    def best_of(candidates: Sequence[Summary]) -> Summary | None:
        best = best_on_select(candidates, lambda one: one.on_select(metric))
        return best or next(iter(candidates[-1:]), None)

    against = best_of([one for one in summary if one.role == "control"])
    chain = best_of(entries if against is not None else entries[1:])
    against = against or next(iter(entries), None)
    if chain is None or against is None or not len(dataset.rows("test")):
        return None
    ours, theirs = ({row.seed: run / row.path for row in rows if row.name == one.name} for one in (chain, against))
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    mean, (low, high) = gain_on_test(dataset, [theirs[s] for s in shared], [ours[s] for s in shared])
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    label = "the best control" if against.role == "control" else "the first generation"
    sentence = (
        f"{chain.name} is {verdict} {label} ({against.name}) on test: {100 * mean:+.2f} points of {TITLES[metric]}, "
        f"95% interval {100 * low:+.2f} to {100 * high:+.2f}, {len(shared)} seed{'s' if len(shared) > 1 else ''}; "
        "both were chosen on select."
    )
    return Comparison(
        chain=chain.name,
        control=against.name,
        chosen_on="select",
        metric=f"test {metric}",
        difference=mean,
        interval=(low, high),
        seeds=len(shared),
        sentence=sentence,
    )


def _task(dataset: Dataset) -> Task:
    return "single-label" if dataset.table is None else "multi-label"
