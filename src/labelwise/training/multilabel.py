"""One step's mathematics for multi-label data: a sigmoid per category, and only labels that have a value count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelwise.config import PseudoConfig
from labelwise.data.loaders import Batch
from labelwise.labels.strategies import require_labels, train_targets
from labelwise.labels.table import UNKNOWN, LabelTable
from labelwise.losses import binary_cross_entropy
from labelwise.losses.partial import closeness, on_one_side
from labelwise.metrics.multilabel import hard_labels
from labelwise.metrics.ranking import Ranking, mean_over_categories, ranking
from labelwise.training.partial_losses import PartialLoss, PermanentCorrection, PlainLoss
from labelwise.training.task import Labeller, Output


@dataclass(frozen=True)
class PseudoLabeller:
    """Who answers for unknown labels, and how: ``labeller`` gives probabilities (B, C) of the very view.

    ``others`` (V, N, C) are its answers to V other views of every sample of the data set, made beforehand.
    """

    labeller: Labeller
    options: PseudoConfig
    others: Tensor | None = None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What takes the place of unknown labels (B, C) on this batch's views, and what share of its weight each has.

        A label is NaN where the refinery is too unsure.
        """
        answer = self.labeller(batch)
        if self.others is None:
            return pseudo_labels(answer, self.options), torch.ones_like(answer)
        rows = torch.from_numpy(batch.rows).to(self.others.device)
        views = [answer, *(batch.mixed(other[rows]) for other in self.others)]
        probability, share = joint_answer(torch.stack(views), self.options)
        return pseudo_labels(probability, self.options), share


class MultiLabelTask:
    """Minimise a loss per label over given and inferred labels; those without a value count nothing.

    "Assume negative" and its like are strategies that fill the table in beforehand (``labelwise.labels.strategies``);
    ``pseudo_labeller`` fills in per view what is still without a value.
    The loss is a sum over labels, divided by the number of samples and by the mean weight that a sample's labels have
    over all of ``rows``. That divisor is the same for every batch, so that parts of a batch, on several ranks or one
    after the other, have together the gradient of the whole, however many of their labels are known. (A loss that
    ranks the losses of a batch sees the part.)

    Parameters
    ----------
    table : labels of all samples of the data set, by row
    rows : (n,) the samples that are trained on
    size : the model's input size
    device : of the batches
    partial_loss : the loss, and how far it trusts labels that are not given
    pseudo_labeller : answers for labels without a value; None leaves them out
    unknown : (N, C) bool, labels that ``partial_loss`` may doubt; default: those without a value
    smoothing : labels y become y (1 - s) + s / 2

    Raises
    ------
    DataError
        If no label of ``rows`` has a value.
    """

    names = ("loss",)

    def __init__(
        self,
        table: LabelTable,
        rows: NDArray[np.int64],
        size: int,
        device: torch.device,
        *,
        partial_loss: PartialLoss | None = None,
        pseudo_labeller: PseudoLabeller | None = None,
        unknown: NDArray[np.bool_] | None = None,
        smoothing: float = 0.0,
    ) -> None:
        targets, weight = train_targets(table)
        require_labels(weight[rows])
        missing = weight == 0
        # Unknown labels are NaN to the loss, which gives them exactly no gradient; 0 x infinity would be NaN.
        targets = np.where(missing, np.float32(np.nan), targets * np.float32(1 - smoothing) + np.float32(smoothing / 2))
        if pseudo_labeller is not None:
            weight = np.where(missing, np.float32(pseudo_labeller.options.weight), weight)
        self._per_sample = float(weight[rows].sum(dtype=np.float64) / len(rows))
        self._targets, self._weight = (torch.from_numpy(array).to(device) for array in (targets, weight))
        doubted = table.source == UNKNOWN if unknown is None else unknown
        self._unknown = torch.from_numpy(doubted).to(device)
        self._partial_loss = PlainLoss(binary_cross_entropy) if partial_loss is None else partial_loss
        self._pseudo_labeller = pseudo_labeller
        self.sizes = tuple(sorted({size, *(pseudo_labeller.labeller.sizes if pseudo_labeller else ())}))
        self._size = size

    def __call__(self, model: nn.Module, batch: Batch) -> Output:
        rows = torch.from_numpy(batch.rows).to(self._targets.device)
        target, weight = (labels.index_select(0, rows) for labels in (self._targets, self._weight))
        unknown = self._unknown.index_select(0, rows)
        # A mixed view's label is known where both of its parts' are.
        target, weight = batch.mixed(target), batch.mixed(weight)
        if batch.mix is not None:
            unknown = unknown | unknown[batch.mix.partner]
        if self._pseudo_labeller is not None:
            missing = target.isnan()
            answer, share = self._pseudo_labeller(batch)
            target, weight = torch.where(missing, answer, target), torch.where(missing, weight * share, weight)
        logits = model(batch.inputs[self._size])
        loss = self._partial_loss(logits, target, weight, unknown, rows, batch.epoch)
        total = loss.sum() / self._per_sample
        return Output(total / len(batch), total.detach()[None])

    def state_dict(self) -> dict[str, Tensor]:
        return self._partial_loss.state_dict() if isinstance(self._partial_loss, PermanentCorrection) else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if isinstance(self._partial_loss, PermanentCorrection):
            self._partial_loss.load_state_dict(state)


def pseudo_labels(probability: Tensor, options: PseudoConfig) -> Tensor:
    """Soft labels as they are; hard ones 1 above ``high``, 0 at or below ``low``, and NaN between.

    Hard labels by thresholds are curriculum labelling by score (Durand et al. 2019, arXiv 1902.09720); the rule of
    ``share`` looks at all samples at once, see :func:`labelwise.losses.partial.most_confident`.
    """
    if options.kind == "soft":
        return probability
    negative = torch.full_like(probability, torch.nan if options.positive_only else 0.0)
    hard = torch.where(probability <= options.low, negative, torch.nan)
    return torch.where(probability > options.high, 1.0, hard)


def joint_answer(answers: Tensor, options: PseudoConfig) -> tuple[Tensor, Tensor]:
    """One answer out of those to several views: their mean, and the share of its weight that it has.

    Parameters
    ----------
    answers : (V, B, C) probabilities
    options : by ``agreement`` the mean is NaN where the answers do not lie on one side, or the share is 1 less their
        range

    Returns
    -------
    two of (B, C) float32
    """
    mean = answers.mean(0)
    if options.agreement == "decide":
        mean = torch.where(on_one_side(answers, options.low, options.high), mean, torch.nan)
    return mean, closeness(answers) if options.agreement == "weigh" else torch.ones_like(mean)


def ranking_scores(logits: Tensor, table: LabelTable) -> dict[str, float]:
    """How logits rank the known labels, and how sure they are.

    Parameters
    ----------
    logits : (N, C)
    table : labels of the same N samples; soft ones are left out of the ranking

    Returns
    -------
    ``map`` and ``mauc``, means over the categories where they are defined (NaN if that is none), and ``nll``, the mean
    binary cross-entropy of a known label
    """
    return scores_of(rank_known(logits, table), logits, table)


def rank_known(logits: Tensor, table: LabelTable) -> Ranking:
    """AP and AUC (C,) of logits (N, C) over the known hard labels of the same N samples."""
    return ranking(logits.T.contiguous(), np.ascontiguousarray(hard_labels(table).T))


def scores_of(ranks: Ranking, logits: Tensor, table: LabelTable) -> dict[str, float]:
    """What :func:`ranking_scores` returns, from what :func:`rank_known` has found."""
    labels = torch.from_numpy(table.given())
    known = ~torch.isnan(labels)
    return {
        "map": float(mean_over_categories(ranks.ap)[0]),
        "mauc": float(mean_over_categories(ranks.auc)[0]),
        "nll": float(binary_cross_entropy(logits, labels)[known].double().mean()),
    }
