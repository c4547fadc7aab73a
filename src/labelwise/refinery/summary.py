"""results.json of a refine run: rows, means over seeds, the one comparison that counts, and the best of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labelwise.metrics.choosing import Choice
from labelwise.refinery.choice import Judgement
from labelwise.refinery.compare import gain_on_test
from labelwise.results import METRICS, RefineResults, Row, Splits, Stat, summarise
from labelwise.results.record import Task
from labelwise.results.refine import AgainstControl, Best, Comparison, Regime

TITLES = {"top1": "top-1", "map": "mAP"}

FIRST = "kernel-ridge"
"""The control that comes before all in the stated order, where it was trained."""


@dataclass(frozen=True)
class Found:
    """The preferred generation and control, and the preferred of the two; each is the rows of one network by seed.

    ``choice`` is between the last two, or among generations where there is no control; ``rival`` is who was not chosen.
    """

    generation: list[Row]
    control: list[Row] | None
    best: list[Row]
    choice: Choice | None
    rival: str | None


def results(
    kind: Literal["refine", "train"], rows: Sequence[Row], regime: Regime | None, judgement: Judgement
) -> RefineResults:
    """The content of ``results.json``.

    Parameters
    ----------
    kind : the command
    rows : of all networks
    regime : what generation 1 says about refinement; None for multi-label data
    judgement : knows the data and the folder of the run
    """
    dataset = judgement.dataset
    found = preferred(rows, judgement)
    return RefineResults(
        kind=kind,
        task=_task(judgement),
        splits=Splits.model_validate(dataset.sizes()),
        rows=tuple(rows),
        summary=summarise(rows),
        best=best_of_all(rows, found, judgement),
        comparison=compare(found, _candidates(rows, "generation"), judgement),
        regime=regime,
    )


def preferred(rows: Sequence[Row], judgement: Judgement) -> Found:
    """What is preferred among the networks of a run.

    Among generations a later one comes before an earlier one, and a generation before a control; the first in this
    order is preferred unless another is clearly better. Controls have no order: the likeliest is preferred. Only
    kernel ridge regression comes before everything: on embeddings it takes seconds, and no chain was ahead of it.
    """
    generations = _candidates(rows, "generation")[::-1]
    chosen = judgement.choose(generations)
    generation = generations[0 if chosen is None else chosen.chosen]
    controls = _candidates(rows, "control")
    if not controls:
        rival = None if chosen is None or chosen.rival is None else generations[chosen.rival][0].name
        return Found(generation, None, generation, chosen, rival)
    likeliest = judgement.most_likely(controls)
    control = controls[-1 if likeliest is None else likeliest]
    first = [one for one in controls if one[0].name == FIRST]
    if first and (found := judgement.choose([first[0], control])) and not found.chosen:
        control = first[0]
    order = [control, generation] if control in first else [generation, control]
    last = judgement.choose(order)
    best, other = order if last is None or not last.chosen else order[::-1]
    return Found(generation, control, best, last, other[0].name)


def _candidates(rows: Sequence[Row], role: str) -> list[list[Row]]:
    """The networks of a role, each with its rows by seed.

    In a chain of several networks only the one that is kept at its end competes, not its larger refineries; and a
    generation that only some seeds reached (chain.min_gain) is not compared with what all of them have.
    """
    own = [row for row in rows if row.role == role]
    if role == "generation":
        own = [row for row in own if row.network == own[-1].network]
    found = [[row for row in own if row.name == name] for name in dict.fromkeys(row.name for row in own)]
    return [one for one in found if len(one) == len({row.seed for row in rows})]


def best_of_all(rows: Sequence[Row], found: Found, judgement: Judgement) -> Best:
    """The product: which network it is, why, what it cost, and how it does beside the best control."""
    rows_of_best = found.best
    index = judgement.most_likely([[row] for row in rows_of_best]) or 0
    best = rows_of_best[index]
    against = None
    if found.control is not None and len(judgement.dataset.rows("test")):
        difference, interval = _gain(judgement, found.control, rows_of_best)
        against = AgainstControl(name=found.control[0].name, difference=difference, interval=interval)
    cost = Stat.over(_cost(row, rows) for row in rows_of_best)
    control_cost = None if found.control is None else Stat.over(row.seconds for row in found.control)
    return Best(
        name=best.name,
        role=best.role,
        seed=best.seed,
        path=best.path,
        why=_why(found),
        seconds=(cost and cost.mean) or 0.0,
        control_seconds=control_cost and control_cost.mean,
        against_control=against,
    )


def _cost(row: Row, rows: Sequence[Row]) -> float:
    """Seconds of training of ``row`` and of all networks of its seed that it learnt from, directly or not."""
    seconds, open_names, seen = 0.0, [row.name], set[str]()
    by_name = {one.name: one for one in rows if one.seed == row.seed}
    while open_names:
        name = open_names.pop()
        if name in by_name and name not in seen:
            seen.add(name)
            seconds += by_name[name].seconds
            open_names += by_name[name].refineries
    return round(seconds, 3)


def _why(found: Found) -> str:
    choice, best = found.choice, found.best[0].name
    if choice is None:
        return f"{best} comes first in the stated order; no label is held out to choose with"
    rival = found.rival
    if rival is None:
        return f"{best} is the only candidate"
    size = f"{choice.difference:+.3f} nats a label, standard error {choice.error:.3f}, {choice.samples:,} labels"
    if choice.clear:
        return f"{best} is clearly better than {rival} on held-out labels ({size})"
    return f"{best} comes first in the stated order, and {rival} is not clearly better on held-out labels ({size})"


def compare(found: Found, generations: Sequence[list[Row]], judgement: Judgement) -> Comparison | None:
    """Preferred generation against preferred control on test.

    The interval is a paired bootstrap over groups of test samples and over seeds. Without controls the preferred
    generation is compared with the first.
    """
    if not len(judgement.dataset.rows("test")) or (found.control is None and len(generations) < 2):
        return None
    ours, theirs = found.generation, found.control or generations[0]
    if found.control is None:
        later = generations[:0:-1]
        chosen = judgement.choose(later)
        ours = later[0 if chosen is None else chosen.chosen]
    mean, (low, high) = _gain(judgement, theirs, ours)
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    label = "the first generation" if found.control is None else "the best control"
    chosen_on = "select" if judgement.folds == 1 else "folds"
    metric = METRICS[_task(judgement)]
    sentence = (
        f"{ours[0].name} is {verdict} {label} ({theirs[0].name}) on test: {100 * mean:+.2f} points of "
        f"{TITLES[metric]}, 95% interval {100 * low:+.2f} to {100 * high:+.2f}, {len(ours)} "
        f"seed{'s' if len(ours) > 1 else ''}; both were chosen on {chosen_on}."
    )
    return Comparison(
        chain=ours[0].name,
        control=theirs[0].name,
        chosen_on=chosen_on,
        metric=f"test {metric}",
        difference=mean,
        interval=(low, high),
        seeds=len(ours),
        sentence=sentence,
    )


def _gain(judgement: Judgement, before: Sequence[Row], after: Sequence[Row]) -> tuple[float, tuple[float, float]]:
    folders = ([judgement.run / row.path for row in sorted(side, key=lambda r: r.seed)] for side in (before, after))
    return gain_on_test(judgement.dataset, *folders)


def _task(judgement: Judgement) -> Task:
    return "single-label" if judgement.dataset.table is None else "multi-label"
