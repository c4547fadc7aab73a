"""One step's mathematics: a model, a batch, a labeller, a loss. The loop calls a task and never knows the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from labelwise.data.loaders import Batch
from labelwise.losses import entropy, soft_cross_entropy
from labelwise.train.labeller import Labeller


@dataclass(frozen=True)
class Output:
    """``loss`` is the scalar to minimise; ``sums`` (M,) are sums over the batch of what ``Task.names`` says."""

    loss: Tensor
    sums: Tensor


class Task(Protocol):
    """What :func:`labelwise.train.fit.fit` minimises."""

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


@dataclass(frozen=True)
class Jitter:
    """Views are moved by ``move``, which tells the KL (2, B) before and after, and labelled anew.

    ``policy`` and ``share`` as in :class:`labelwise.config.JitterConfig`.
    """

    move: Callable[[Batch], tuple[Batch, Tensor]]
    policy: Literal["views", "batches", "beside"]
    share: float


class SoftLabelTask:
    """Minimise a loss against the labeller's answer q for the view, by default CE(q, p), which is KL(q || p) up to a
    constant (arXiv 1805.02641).

    Parameters
    ----------
    labeller : gives q for every view
    size : the model's input size
    class_weight : (K,), optional; weights the terms of the cross-entropies, of the default loss and of the given label
    loss : another one than the default
    given : who tells the given label, and the weight of the cross-entropy with it; the loss has the rest
    jitter : moves views where student and refinery differ more
    """

    def __init__(
        self,
        labeller: Labeller,
        size: int,
        class_weight: Tensor | None = None,
        *,
        loss: Loss | None = None,
        given: tuple[Labeller, float] | None = None,
        jitter: Jitter | None = None,
    ) -> None:
        self._labeller, self._size, self._class_weight = labeller, size, class_weight
        self._loss, self._given, self._jitter = loss, given, jitter
        # `rose` is the share of all views that were moved and whose KL rose.
        moved = () if jitter is None else ("moved", "rose", "kl_before", "kl_after")
        self.names = ("ce", "kl", "entropy", "top1", "loss", *moved)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(sorted({self._size, *self._labeller.sizes}))

    def __call__(self, model: nn.Module, batch: Batch) -> Output:
        if self._jitter is None:
            loss, sums = self._learn(model, batch)
            return Output(loss.mean(), sums)
        views, divergence, beside = self._moved(self._jitter, batch)
        loss, sums = self._learn(model, views)
        if beside is not None:
            loss = loss + self._learn(model, beside)[0]
        before, after = divergence
        told = torch.stack([torch.ones_like(before), (after > before).float(), before, after]).sum(1)
        return Output(loss.mean(), torch.cat([sums, told]))

    def _learn(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss (B,) and the sums of what is told of it."""
        target = self._labeller(batch)
        logits = model(batch.inputs[self._size])
        ce = soft_cross_entropy(logits, target, self._class_weight)
        loss = ce if self._loss is None else self._loss(logits, target)
        if self._given is not None:
            given, weight = self._given
            own = soft_cross_entropy(logits, given(batch), self._class_weight)
            loss = (1 - weight) * loss + weight * own
        with torch.no_grad():
            h = entropy(target)
            plain = ce if self._class_weight is None else soft_cross_entropy(logits, target)
            correct = logits.argmax(1) == batch.given
            told = [plain.sum(), (plain - h).sum(), h.sum(), correct.sum().float(), loss.sum()]
        return loss, torch.stack(told)

    def _moved(self, jitter: Jitter, batch: Batch) -> tuple[Batch, Tensor, Batch | None]:
        """What is learnt, KL (2, M) of the M views that were moved, and what is learnt besides."""
        if jitter.policy == "beside":
            moved, divergence = jitter.move(batch)
            return batch, divergence, moved
        if jitter.policy == "batches":  # the step's own randomness decides
            count = len(batch) if torch.rand(()).item() < jitter.share else 0
        else:  # the order within a batch is random, so its first views are any
            count = min(len(batch), 2 * round(jitter.share * len(batch) / 2))  # mixed pairs stay together
        if count == 0:
            return batch, batch.inputs[self._size].new_zeros(2, 0), None
        moved, divergence = jitter.move(batch.first(count))
        inputs = {size: torch.cat([moved.inputs[size], x[count:]]) for size, x in batch.inputs.items()}
        return replace(batch, inputs=inputs), divergence, None

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to take up."""
