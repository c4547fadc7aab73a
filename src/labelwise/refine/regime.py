"""Will refinement help here? What generation 1 tells about it, in one line.

The thresholds come from the measurements in docs/results: refinement hurts while generation 1 underfits its own crops
and helps where it has begun to memorise labels that are wrong or partial.
"""

from __future__ import annotations

from typing import Any

UNDERFIT_GAP, OVERFIT_GAP = 0.10, 0.25


def judge(crop_top1: float, select_top1: float) -> dict[str, Any]:
    """State and advice from generation 1.

    Parameters
    ----------
    crop_top1 : accuracy on random crops of its training images, against the given labels, in eval mode
    select_top1 : accuracy on the held-out select split

    Returns
    -------
    ``state`` (underfit, balanced, overfit), ``gap`` and ``advice``
    """
    gap = crop_top1 - select_top1
    measured = f"generation 1 is right on {crop_top1:.1%} of its training crops and {select_top1:.1%} of select"
    if not gap >= UNDERFIT_GAP:
        state = "underfit"
        advice = (
            f"underfit: {measured}, so it has memorised little and refining itself will probably cost accuracy; "
            "train longer, use milder crops (views.scale), or let a stronger network label (chain.refinery)."
        )
    elif gap < OVERFIT_GAP:
        state = "balanced"
        advice = (
            f"balanced: {measured}; expect little from refining the same network, watch select, and try a stronger "
            "refinery (chain.refinery or chain.networks) first."
        )
    else:
        state = "overfit"
        advice = (
            f"overfit: {measured}, so it memorises its labels and refinement should help, most where they are wrong; "
            "compare with early stopping (--baselines), or start from it (chain.first=early_stop)."
        )
    return {"state": state, "gap": gap, "advice": advice}
