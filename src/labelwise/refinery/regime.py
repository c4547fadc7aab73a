"""Does refinement help here? In one line: what held-out labels say of generation 2, and, where they say nothing, what
the training of generation 1 tells.

Refinement mostly hurts while a network underfits its crops and helps where it has begun to memorise labels that are
wrong; docs/results/refine.md has the measurements behind the thresholds, and how often each of the two was right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from labelwise.metrics.choosing import Choice
from labelwise.refinery.choice import Judgement
from labelwise.refinery.generations import Generation
from labelwise.results import Row
from labelwise.results.refine import Regime

UNDERFIT_GAP, OVERFIT_GAP = 0.10, 0.20


def regime_of(chain: Sequence[Row], first: Generation, judgement: Judgement) -> Regime | None:
    """State and advice for one seed of a chain whose generation 1 is ``first``; None without ``select``."""
    one = chain[0]
    if one.select is None:
        return None
    two = [row for row in chain if row.generation == 2 and row.role == "generation" and row.network == one.network]
    second = judgement.choose([two, [one]]) if two else None
    mixed = first.views.mixup > 0 or first.views.cutmix > 0  # then accuracy while training is of mixed labels
    end = None if mixed else one.to_the_end
    if end is not None and end.select is not None:
        return judge_stopped(_defined(end.train["top1"]), _defined(end.select["top1"]), second)
    return judge(_defined(one.fit.top1), _defined(one.select.top1), second)


def _defined(score: float | None) -> float:
    return math.nan if score is None else score


def judge(crop_top1: float, select_top1: float, second: Choice | None = None) -> Regime:
    """State and advice from generation 1, trained on the given labels to the end.

    Parameters
    ----------
    crop_top1 : accuracy on random crops of its training images, against the given labels
    select_top1 : accuracy on the held-out select split
    second : the choice between generation 2 and generation 1, in this order
    """
    seen = f"Generation 1 is right on {crop_top1:.1%} of its training crops and {select_top1:.1%} of select"
    advice = {
        "underfit": f"{seen}, so it has memorised little and refining itself will probably cost accuracy; train "
        "longer, use milder crops (views.scale), or let a stronger network label (chain.refinery).",
        "balanced": f"{seen}; refining the same network costs a point or two about as often as not, so watch select, "
        "and try a stronger refinery (chain.refinery or chain.networks) first.",
        "overfit": f"{seen}, so it memorises its labels; refinement should help where they are wrong, and may not "
        "where they are clean. Compare with the controls (--baselines), or start from early stopping "
        "(chain.first=early_stop).",
    }
    return _judgement(crop_top1, select_top1, advice, second)


def judge_stopped(crop_top1: float, select_top1: float, second: Choice | None = None) -> Regime:
    """As :func:`judge`, where generation 1 was stopped early: from the longest schedule that was tried instead."""
    seen = f"trained to the end it is right on {crop_top1:.1%} of its training crops and {select_top1:.1%} of select"
    start = "Generation 1 was stopped early on select;"
    advice = {
        "underfit": f"{start} {seen}, so there was little to stop and refining it will probably cost accuracy; train "
        "longer, or let a stronger network label (chain.refinery).",
        "balanced": f"{start} {seen}; expect little more from refinement than from stopping, and watch select.",
        "overfit": f"{start} {seen}, so it memorises its labels; refining the stopped network should add a little to "
        "what stopping alone gains, several of them more (chain.members).",
    }
    return _judgement(crop_top1, select_top1, advice, second)


def _judgement(crop_top1: float, select_top1: float, advice: dict[str, str], second: Choice | None) -> Regime:
    gap = crop_top1 - select_top1
    state: Literal["underfit", "balanced", "overfit"]
    state = "overfit" if gap >= OVERFIT_GAP else "balanced" if gap >= UNDERFIT_GAP else "underfit"
    return Regime(state=state, gap=gap, advice=_measured(second) or advice[state])


def _measured(second: Choice | None) -> str | None:
    if second is None or not second.clear:
        return None
    size = f"on held-out labels ({second.difference:+.3f} nats a label, standard error {second.error:.3f})"
    if second.chosen == 0:
        return f"Generation 2 is clearly better than generation 1 {size}: refining helps here."
    return (
        f"Generation 1 is clearly better than generation 2 {size}: refining itself costs accuracy here; train longer, "
        "use milder crops (views.scale), or let a stronger network label (chain.refinery)."
    )
