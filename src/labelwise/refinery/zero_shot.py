"""A network of images and texts as one more refinery of unknown labels, where known labels show that it helps.

Its head is made of the categories' texts (:mod:`labelwise.models.of_open_clip`). Scale and bias of every category are
fitted to the known labels of ``fit``. A category is adopted only if, on the known labels of ``select``, the mean answer
of the refineries and this network is clearly likelier than the refineries' own, and than their mean with a constant:
else any network would be adopted that only makes overconfident refineries less sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit, stdtrit
from torch import Tensor

from labelwise.data.loaders import Batch
from labelwise.labels.table import LabelTable
from labelwise.metrics.choosing import known_likelihood, mean_and_error, scale_and_bias
from labelwise.metrics.few import FEWEST, Support
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier, check_input
from labelwise.models.of_open_clip import WHERE, ImageTower, zero_shot_classifier
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.labellers import FrozenNetwork, RefineryLabels
from labelwise.results.refine import ZeroShotCategory
from labelwise.training.runtime import predict_logits
from labelwise.training.task import Labeller

NAME = "zero-shot"

FALSE = 0.05
"""Probability that any category at all adopts a network that says nothing, at most."""

_EDGE = 1e-6
"""Probabilities are kept this far from 0 and 1 where their logits are compared."""

Floats = NDArray[np.float64]


def open_zero_shot(context: TrainingContext) -> Path:
    """The checkpoint of the recipe's zero-shot network, calibrated on the known labels of ``fit``; made once a run.

    Raises
    ------
    ModelError
        If its library is missing, its weights cannot be had, or it cannot take the images.
    """
    options, dataset, runtime = context.recipe.chain.unknown.zero_shot, context.dataset, context.runtime
    assert options is not None and dataset.table is not None
    folder = context.folder.parent / "refineries" / NAME
    if (folder / checkpoint.CARD).exists():
        return folder
    model = zero_shot_classifier(options, dataset.classes).to(runtime.device)
    check_input(WHERE, model.spec, context.input_spec)
    rows = dataset.rows("fit")
    rows = rows[dataset.table.known[rows].any(1)]
    labels = dataset.table.take(rows).given()
    logits = predict_logits(model, context.loader, rows, runtime).numpy().astype(np.float64)
    _calibrate(model, logits, labels)
    if runtime.is_main:
        card = {
            "task": "multi-label",
            "labels": f"texts, calibrated on {int((~np.isnan(labels)).sum()):,} known labels",
            "eval_crop": context.recipe.views.eval_crop,
            "data": dataset.name,
            "zero_shot": options.model_dump(mode="json"),
        }
        checkpoint.save(folder, model, card)
    runtime.accelerator.wait_for_everyone()
    return folder


@torch.no_grad()
def _calibrate(model: Classifier, logits: Floats, labels: NDArray[np.float32]) -> None:
    """Give every category of the head its scale and bias; without known labels only standardised."""
    assert isinstance(model.net, ImageTower)
    head = model.net.head
    for c, z in enumerate(logits.T):
        mean, spread = z.mean(), max(z.std(), _EDGE)
        scale, bias = scale_and_bias((z[:, None] - mean) / spread, labels[:, c : c + 1])
        head.weight[c] *= scale / spread
        head.bias[c] = bias[0] - scale * mean / spread


class WithZeroShot:
    """Answers of refineries, and in some categories their weighted mean with those of the zero-shot network.

    Parameters
    ----------
    refinery, zero_shot : the labellers
    share : (C,) weight of the zero-shot network
    """

    def __init__(self, refinery: RefineryLabels, zero_shot: RefineryLabels, share: Tensor) -> None:
        self._refinery, self._zero_shot, self._share = refinery, zero_shot, share
        self.sizes = tuple(sorted({*refinery.sizes, *zero_shot.sizes}))

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Probabilities (B, C) of the views of a batch."""
        return torch.lerp(self._refinery(batch), self._zero_shot(batch), self._share)

    @property
    def names(self) -> str:
        """Who labels, for tables."""
        return f"{self._refinery.names}, {NAME} in {int((self._share > 0).sum())} of {len(self._share)} categories"

    def describe(self) -> str:
        """What the labels are called, for tables."""
        return f"refinery soft dynamic ({self.names})"

    def assert_unchanged(self) -> None:
        """Prove that labelling has changed no network, see :meth:`RefineryLabels.assert_unchanged`."""
        self._refinery.assert_unchanged()
        self._zero_shot.assert_unchanged()


def beside(
    context: TrainingContext, refinery: RefineryLabels, members: int
) -> tuple[RefineryLabels | WithZeroShot, tuple[ZeroShotCategory, ...]]:
    """The refineries with the zero-shot network, and what its adoption rests on; adopted nowhere, they stay alone.

    Parameters
    ----------
    members : number of refineries that label a sample
    """
    dataset, runtime = context.dataset, context.runtime
    assert dataset.table is not None
    model, _ = checkpoint.load(open_zero_shot(context), context.trust)
    frozen = FrozenNetwork(model.to(runtime.device), NAME, autocast=runtime.accelerator.autocast)
    zero_shot = RefineryLabels([frozen], dataset.classes, multi_label=True)
    fit, select = (_known(dataset.table, dataset.groups, dataset.rows(split)) for split in ("fit", "select"))
    answers = [_on_select(context, labeller) for labeller in (refinery, zero_shot)]
    found = judge(dataset.classes, fit, select, *answers, share=1 / (members + 1))
    if not any(one.adopted for one in found):
        return refinery, found
    share = torch.tensor([one.adopted / (members + 1) for one in found], device=runtime.device)
    return WithZeroShot(refinery, zero_shot, share), found


@dataclass(frozen=True)
class Known:
    """Known labels (n, C) of a split, NaN where unknown, and the group (n,) of every sample."""

    labels: NDArray[np.float32]
    groups: NDArray[np.int64]

    def support(self) -> NDArray[np.int64]:
        """(C,) groups with a known positive, or with a known negative if these are fewer."""
        return Support.of(self.labels, self.groups).groups


def _known(table: LabelTable, groups: NDArray[np.str_], rows: NDArray[np.int64]) -> Known:
    labels = table.take(rows).given()
    hard = np.where(np.isin(labels, (0, 1)), labels, np.float32(np.nan))
    return Known(hard, np.unique(groups[rows], return_inverse=True)[1])


def _on_select(context: TrainingContext, labeller: Labeller) -> Floats:
    parts = [torch.empty(0, context.dataset.num_classes, device=context.runtime.device)]
    parts += [answer for _, answer in context.answers(labeller, rows=context.dataset.rows("select"))]
    return context.runtime.gather(torch.cat(parts)).cpu().numpy().astype(np.float64)


def judge(
    categories: Sequence[str], fit: Known, select: Known, without: Floats, zero_shot: Floats, *, share: float
) -> tuple[ZeroShotCategory, ...]:
    """Which categories the zero-shot network labels, too.

    All answers are calibrated on ``select`` alike, by two numbers a category, before they are compared. How clear a
    difference must be follows Student's t with as many degrees of freedom as there are groups behind it, less one, and
    grows with the number of categories (Bonferroni).

    Parameters
    ----------
    without, zero_shot : (n, C) probabilities of the samples of ``select``
    share : weight of the zero-shot network in the mean
    """
    behind = [side.support() for side in (fit, select)]
    asked = np.minimum(*behind) >= FEWEST
    found = []
    for c, name in enumerate(categories):
        counts = {"category": name, "fit": int(behind[0][c]), "select": int(behind[1][c])}
        if not asked[c]:
            split = "fit" if behind[0][c] < FEWEST else "select"
            reason = f"fewer than {FEWEST} known positives or negatives in {split}"
            found.append(
                ZeroShotCategory(**counts, adopted=False, reason=reason, difference=None, error=None, needed=None)
            )
            continue
        here = ~np.isnan(select.labels[:, c])
        before = without[here, c]
        constant = np.full_like(before, np.nanmean(fit.labels[:, c]))
        rivals = [before, before + share * (constant - before)]
        mean, error = _gain(before + share * (zero_shot[here, c] - before), rivals, select, c)
        needed = float(stdtrit(behind[1][c] - 1, 1 - FALSE / asked.sum()))
        adopted = mean > needed * error
        reason = "" if adopted else "not clearly better on select than without it"
        found.append(
            ZeroShotCategory(
                **counts, adopted=adopted, reason=reason, difference=mean, error=error, needed=round(needed, 3)
            )
        )
    return tuple(found)


def _gain(answer: Floats, rivals: list[Floats], select: Known, category: int) -> tuple[float, float]:
    """Mean gain in log-likelihood over the rival that it is least clear against, and its standard error."""
    here = ~np.isnan(select.labels[:, category])
    labels, groups = select.labels[here, category][:, None], select.groups[here]
    own, *others = (known_likelihood(logit(np.clip(p, _EDGE, 1 - _EDGE))[:, None], labels) for p in (answer, *rivals))
    gains = [mean_and_error(own - other, groups) for other in others]
    return min(gains, key=lambda gain: gain[0] / max(gain[1], 1e-12))
