"""One step's mathematics where the labels of the views come out of a store."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelwise.config import RefinedLabelsConfig
from labelwise.data.loaders import Batch
from labelwise.data.replay import ViewLabels
from labelwise.losses import soft_cross_entropy
from labelwise.losses.sparse import Rest, SparseTarget, sparse_target
from labelwise.training.task import LABELLED, GivenShare, Output


class StoredLabelTask:
    """Minimise KL(q || p) up to a constant against the label q that came with each view, of which k classes are known.

    It is :class:`labelwise.training.task.SoftLabelTask` without a dense target. Mixed views have the mixed labels of
    their parts.

    Parameters
    ----------
    size : the model's input size
    classes : K
    options : ``kind`` and ``temperature`` of the labels, and whether ``loss`` is kl or kd
    rest : what becomes of the probability of the classes that a label does not name
    class_weight : (K,), optional; weights the terms of kl, and of the cross-entropy with the given label
    given : the weight of the cross-entropy with the given label, as in ``SoftLabelTask``
    unlabelled : whether some samples have no given label (-1)
    """

    def __init__(
        self,
        size: int,
        classes: int,
        options: RefinedLabelsConfig | None = None,
        *,
        rest: Rest = "spread",
        class_weight: Tensor | None = None,
        given: GivenShare | None = None,
        unlabelled: bool = False,
    ) -> None:
        self.sizes = (size,)
        self._size, self._classes, self._rest = size, classes, rest
        self._options = options or RefinedLabelsConfig()
        self._class_weight, self._given, self._unlabelled = class_weight, given, unlabelled
        self.names = ("ce", "kl", "entropy", "top1", "loss", *((LABELLED,) if unlabelled else ()))

    def __call__(self, model: nn.Module, batch: Batch) -> Output:
        target = self.target(batch)
        logits = model(batch.inputs[self._size])
        ce = target.cross_entropy(logits)
        with torch.no_grad():
            h = target.entropy(self._classes)
        if self._options.loss == "kd":
            t = self._options.temperature
            loss = t**2 * (target.cross_entropy(logits.float() / t) - h)
        else:
            loss = ce if self._class_weight is None else target.cross_entropy(logits, self._class_weight)
        if self._given is not None:
            own, weight = self._given(batch)
            loss = (1 - weight) * loss + soft_cross_entropy(logits, own, self._class_weight)
        with torch.no_grad():
            correct = logits.argmax(1) == batch.given
            told = [ce.sum(), (ce - h).sum(), h.sum(), correct.sum().float(), loss.sum()]
            told += [(batch.given >= 0).sum().float()] if self._unlabelled else []
        return Output(loss.mean(), torch.stack(told).detach())

    def target(self, batch: Batch) -> SparseTarget:
        """What is learnt of the views of a batch."""
        labels = _labels(batch)
        options = self._options
        target = sparse_target(
            labels.ids, labels.values, self._classes, temperature=options.temperature, rest=self._rest
        )
        if options.kind != "soft":
            target = target.hard() if options.kind == "hard" else target.halved()
        return target if batch.mix is None else target.mixed(batch.mix.partner, batch.mix.share)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to take up."""


class StoredAnswers:
    """A labeller of multi-label data: the stored probabilities (B, C) of the views. ``words`` is what they are called
    in tables."""

    sizes: tuple[int, ...] = ()

    def __init__(self, words: str) -> None:
        self._words = words

    def __call__(self, batch: Batch) -> Tensor:
        return batch.mixed(torch.sigmoid(_labels(batch).values))

    def describe(self) -> str:
        return self._words


def _labels(batch: Batch) -> ViewLabels:
    assert batch.labels is not None, "the loader of such a task reads a store"
    return batch.labels
