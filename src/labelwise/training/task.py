"""One step's mathematics: a model, a batch, a labeller, a loss. The loop calls a task and never knows the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from labelwise.data.loaders import Batch
from labelwise.losses import entropy, soft_cross_entropy


@dataclass(frozen=True)
class Output:
    """``loss`` is the scalar to minimise; ``sums`` (M,) are sums over the batch of what ``Task.names`` says."""

    loss: Tensor
    sums: Tensor


class Task(Protocol):
    """What :func:`labelwise.training.fit.fit` minimises."""

    @property
    def names(self) -> tuple[str, ...]:
        """What ``Output.sums`` holds; one of them is ``loss``, what is minimised."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes at which each view must be rendered."""
        ...

    def __call__(self, model: nn.Module, batch: Batch) -> Output: ...

    def state_dict(self) -> dict[str, Tensor]:
        """What the task remembers between steps, for a checkpoint; most remember nothing."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of logits (B, K) and targets (B, K), per sample (B,)."""


class Mover(Protocol):
    """Moves views to where student and refinery differ more, as
    :class:`labelwise.refinery.jitter.AdversarialJitter`."""

    def __call__(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The moved views, and KL (B,) of the refinery's answer from the student's before they were moved."""
        ...

    def divergence(self, batch: Batch, answer: Tensor) -> Tensor:
        """The same KL (B,) for views that the refinery has given its ``answer`` (B, K) to."""
        ...


@dataclass(frozen=True)
class Jitter:
    """Views are moved and labelled anew; ``policy`` and ``share`` as in :class:`labelwise.config.JitterConfig`."""

    mover: Mover
    policy: Literal["views", "batches", "beside"]
    share: float


class Labeller(Protocol):
    """Gives every view of a batch its target.

    A labeller may look at the pixels (a refinery), at the given labels, at rows and view numbers (stored labels), or
    at the crop boxes. It never trains. Some take the answer of another one and change it.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes that it needs rendered besides the student's."""
        ...

    def __call__(self, batch: Batch, /) -> Tensor:
        """(B, K) float32, rows sum to one, without graph."""
        ...

    def describe(self) -> str:
        """For tables and lineage."""
        ...


@dataclass(frozen=True)
class GivenShare:
    """How much of what is learnt of a sample is its given label.

    Parameters
    ----------
    labeller : tells the given label
    weight : of the given label of a sample
    reviewed : (N,) by row of the data set: samples that a person has looked at, of which nothing else is learnt
    """

    labeller: Labeller
    weight: float
    reviewed: Tensor | None = None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The given labels times their weights (B, K), and these weights (B,). Mixed views have those of their parts.

        A view with an unlabelled part has the weight 0.
        """
        weight = torch.full(batch.given.shape, self.weight, device=batch.given.device)
        if self.reviewed is not None:
            weight[self.reviewed[batch.rows].to(weight.device)] = 1
        # What stands for the label of an unlabelled sample does not count.
        own = self.labeller(replace(batch, given=batch.given.clamp(min=0), mix=None))
        weight = weight[:, None]
        labelled = batch.labelled[:, None]
        return batch.mixed(weight * own) * labelled, (batch.mixed(weight) * labelled)[:, 0]


LABELLED = "labelled"
"""Name of the share of the views whose sample has a given label, where some have none."""


class SoftLabelTask:
    """Minimise a loss against the labeller's answer q for the view, by default CE(q, p), which is KL(q || p) up to a
    constant (arXiv 1805.02641).

    Parameters
    ----------
    labeller : gives q for every view, once
    size : the model's input size
    class_weight : (K,), optional; weights the terms of the cross-entropies, of the default loss and of the given label
    form : makes of q, the answer for the view itself, what is learnt in its place, as :func:`hardened`
    loss : another one than the default
    given : the weight of the cross-entropy with the given label; the loss has the rest. An unlabelled sample, also as a
        part of a mixed view, has the loss alone
    jitter : moves views where student and refinery differ more
    unlabelled : whether some samples have no given label (-1)
    """

    def __init__(
        self,
        labeller: Labeller,
        size: int,
        class_weight: Tensor | None = None,
        *,
        form: Callable[[Tensor], Tensor] | None = None,
        loss: Loss | None = None,
        given: GivenShare | None = None,
        jitter: Jitter | None = None,
        unlabelled: bool = False,
    ) -> None:
        self._labeller, self._size, self._class_weight = labeller, size, class_weight
        self._form, self._loss, self._given, self._jitter = form, loss, given, jitter
        self._unlabelled = unlabelled
        # `rose` is the share of all views that were moved and whose KL rose.
        moved = () if jitter is None else ("moved", "rose", "kl_before", "kl_after")
        self.names = ("ce", "kl", "entropy", "top1", "loss", *((LABELLED,) if unlabelled else ()), *moved)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(sorted({self._size, *self._labeller.sizes}))

    def __call__(self, model: nn.Module, batch: Batch) -> Output:
        if self._jitter is not None and (count := _count(self._jitter, len(batch))) > 0:
            return self._learn_moved(self._jitter, model, batch, count)
        loss, sums = self._learn(model, batch, self._labeller(batch))
        return Output(loss.mean(), torch.cat([sums, sums.new_zeros(len(self.names) - len(sums))]))

    def target(self, batch: Batch) -> Tensor:
        """(B, K): what minimises the default loss, without jitter or weights of classes."""
        answer = self._labeller(batch)
        target = answer if self._form is None else self._form(answer)
        if self._given is None:
            return target
        own, weight = self._given(batch)
        return (1 - weight)[:, None] * target + own

    def _learn_moved(self, jitter: Jitter, model: nn.Module, batch: Batch, count: int) -> Output:
        """The first ``count`` views are moved: the order within a batch is random, so they are any."""
        moved, before = jitter.mover(batch.first(count))
        inputs = {size: torch.cat([moved.inputs[size], x[count:]]) for size, x in batch.inputs.items()}
        views = replace(batch, inputs=inputs)
        answer = self._labeller(views)
        after = jitter.mover.divergence(moved, answer[:count])
        told = torch.stack([torch.ones_like(before), (after > before).float(), before, after]).sum(1)
        if jitter.policy == "beside":
            loss, sums = self._learn(model, batch, self._labeller(batch))
            loss = loss + self._learn(model, views, answer)[0]
        else:
            loss, sums = self._learn(model, views, answer)
        return Output(loss.mean(), torch.cat([sums, told]))

    def _learn(self, model: nn.Module, batch: Batch, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (B,) and the sums of what is told of it."""
        target = answer if self._form is None else self._form(answer)
        logits = model(batch.inputs[self._size])
        ce = soft_cross_entropy(logits, target, self._class_weight)
        loss = ce if self._loss is None else self._loss(logits, target)
        if self._given is not None:
            own, weight = self._given(batch)
            loss = (1 - weight) * loss + soft_cross_entropy(logits, own, self._class_weight)
        with torch.no_grad():
            h = entropy(target)
            plain = ce if self._class_weight is None else soft_cross_entropy(logits, target)
            correct = logits.argmax(1) == batch.given
            told = [plain.sum(), (plain - h).sum(), h.sum(), correct.sum().float(), loss.sum()]
            told += [(batch.given >= 0).sum().float()] if self._unlabelled else []
        return loss, torch.stack(told)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to take up."""


def hardened(answer: Tensor) -> Tensor:
    """One-hot (B, K) at the likeliest class of an answer (B, K); the first of equals."""
    return torch.nn.functional.one_hot(answer.argmax(1), answer.shape[1]).float()


def halved(answer: Tensor) -> Tensor:
    """One half (B, K) for each of the two likeliest classes of an answer (B, K), of which there are at least two."""
    return torch.zeros_like(answer).scatter_(1, answer.topk(2, dim=1).indices, 0.5)


def _count(jitter: Jitter, views: int) -> int:
    """How many of a batch's views are moved."""
    if jitter.policy == "beside" or jitter.share == 1:
        return views
    if jitter.policy == "batches":  # the step's own randomness decides
        return views if torch.rand(()).item() < jitter.share else 0
    pairs = jitter.share * views / 2  # mixed ones stay together; a part of a pair is a chance of one
    if pairs != int(pairs):
        pairs = int(pairs) + (torch.rand(()).item() < pairs - int(pairs))
    return min(views, 2 * int(pairs))
