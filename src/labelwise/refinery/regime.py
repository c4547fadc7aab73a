"""Will refinement help here? What the given labels' own training tells about it, in one line.

Refinement hurts while a network underfits its crops and helps where it has begun to memorise labels that are wrong;
docs/results/refine.md has the measurements behind the thresholds, and where they failed.
"""

from __future__ import annotations

from typing import Literal

from labelwise.results.refine import Regime

UNDERFIT_GAP, OVERFIT_GAP = 0.10, 0.20


def judge(crop_top1: float, select_top1: float) -> Regime:
    """State and advice from generation 1, trained on the given labels to the end.

    Parameters
    ----------
    crop_top1 : accuracy on random crops of its training images, against the given labels
    select_top1 : accuracy on the held-out select split
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
    return _judgement(crop_top1, select_top1, advice)


def judge_stopped(crop_top1: float, select_top1: float) -> Regime:
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
    return _judgement(crop_top1, select_top1, advice)


def _judgement(crop_top1: float, select_top1: float, advice: dict[str, str]) -> Regime:
    gap = crop_top1 - select_top1
    state: Literal["underfit", "balanced", "overfit"]
    state = "overfit" if gap >= OVERFIT_GAP else "balanced" if gap >= UNDERFIT_GAP else "underfit"
    return Regime(state=state, gap=gap, advice=advice[state])
