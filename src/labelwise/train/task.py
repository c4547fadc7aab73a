"""One step's mathematics: a model, a batch, a labeller, a loss. The loop calls a task and never knows the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
        """What ``Output.sums`` holds, the loss first."""
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


class SoftLabelTask:
    """Minimise CE(q, p), which is KL(q || p) up to a constant, with q from a labeller (arXiv 1805.02641).

    Parameters
    ----------
    labeller : gives q for every view
    size : the model's input size
    class_weight : (K,), optional; scaled so that its mean over the given labels is one
    """

    names = ("ce", "kl", "entropy", "top1")

    def __init__(self, labeller: Labeller, size: int, class_weight: Tensor | None = None) -> None:
        self._labeller, self._size, self._class_weight = labeller, size, class_weight

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(sorted({self._size, *self._labeller.sizes}))

    def __call__(self, model: nn.Module, batch: Batch) -> Output:
        target = self._labeller(batch)
        logits = model(batch.inputs[self._size])
        ce = soft_cross_entropy(logits, target, self._class_weight)
        with torch.no_grad():
            h = entropy(target)
            plain = ce if self._class_weight is None else soft_cross_entropy(logits, target)
            correct = logits.argmax(1) == batch.given
            sums = torch.stack([plain.sum(), (plain - h).sum(), h.sum(), correct.sum().float()])
        return Output(ce.mean(), sums)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to take up."""
