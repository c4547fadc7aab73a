"""The refinery as a labeller: a frozen network says what each crop shows (arXiv 1805.02641)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelwise.data.loaders import Batch
from labelwise.errors import ModelError
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier, class_order


class FrozenNetwork(nn.Module):
    """A classifier that stays in eval mode whatever is called on it, and has nothing to train.

    The official code leaves its refinery in train mode, so that a crop's label depends on the rest of the batch and
    the refinery's statistics drift; here neither can happen. ``batch_statistics`` brings the first of the two back, for
    comparison: batch norms take the mean and variance of the batch.
    """

    def __init__(self, model: Classifier, batch_statistics: bool = False) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.eval()
        if batch_statistics:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    # A norm without statistics of its own takes the batch's, in eval mode too; none are updated.
                    module.running_mean = module.running_var = module.num_batches_tracked = None

    def train(self, mode: bool = True) -> Self:
        """Locked: always eval."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K), float32."""
        return self.model(x).float()


def softmax(logits: Tensor) -> Tensor:
    """Probabilities (B, K) of classes of which a sample has one."""
    return torch.softmax(logits, dim=1)


class RefineryLabels:
    """Soft, dynamic labels: what the frozen network makes of exactly this crop, temperature 1, no ground truth.

    Parameters
    ----------
    models : one refinery, or several whose mean probability is the label
    classes : of the data; a refinery with the same classes in another order is re-ordered
    names : what the refineries are called in tables
    device : where they run
    autocast : makes the context of mixed precision, such as ``accelerator.autocast``
    probability : from logits (B, K) to labels: :func:`softmax`, or ``torch.sigmoid`` for multi-label data
    unseen : (N,) by row of the data set the number of the one refinery that answers for it, which has not seen it; None
        lets all of them answer for all
    batch_statistics : see :class:`FrozenNetwork`

    Raises
    ------
    ModelError
        If a refinery has other classes.
    """

    def __init__(
        self,
        models: Sequence[Classifier],
        classes: tuple[str, ...],
        names: Sequence[str],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        probability: Callable[[Tensor], Tensor] = softmax,
        unseen: NDArray[np.int64] | None = None,
        batch_statistics: bool = False,
    ) -> None:
        self._orders = [class_order(m, classes, n) for m, n in zip(models, names, strict=True)]
        self._refineries = [FrozenNetwork(m, batch_statistics).to(device) for m in models]
        self._unseen, self.batch_statistics = unseen, batch_statistics
        self._names = tuple(names)
        self._device, self._autocast, self._probability = device, autocast, probability
        self.sizes = tuple(sorted({m.spec.size for m in models}))
        self._before = self.hashes()

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """(B, K) float32: the mean probability of the refineries on this batch's views, or that of the unseen one."""
        return self.answer(batch)

    def answer(self, batch: Batch) -> Tensor:
        """The same with the graph back to the batch's views, along which jitter moves them."""
        if self._unseen is None:
            total = torch.zeros((), device=self._device)
            for number in range(len(self._refineries)):
                total = total + self._ask(number, batch.inputs)
            return total / len(self._refineries)
        asked = self._unseen[batch.rows]
        parts, places = [], []
        for number in np.unique(asked):
            place = torch.from_numpy(np.flatnonzero(asked == number)).to(self._device)
            places.append(place)
            parts.append(self._ask(int(number), {size: x[place] for size, x in batch.inputs.items()}))
        return torch.cat(parts)[torch.argsort(torch.cat(places))]

    def _ask(self, number: int, inputs: dict[int, Tensor]) -> Tensor:
        refinery, order = self._refineries[number], self._orders[number]
        with self._autocast():
            q = self._probability(refinery(inputs[refinery.model.spec.size]))
        return q if order is None else q[:, order.to(q.device)]

    @property
    def names(self) -> str:
        """Who labels, for tables."""
        if len(self._names) == 1:
            return self._names[0]
        return f"{'mean' if self._unseen is None else 'the unseen one'} of {', '.join(self._names)}"

    def describe(self) -> str:
        return f"refinery soft dynamic ({self.names})"

    def hashes(self) -> tuple[str, ...]:
        """A hash of each refinery's parameters and buffers."""
        return tuple(weights_hash(refinery.model.net) for refinery in self._refineries)

    def assert_unchanged(self) -> None:
        """Prove that labelling has not touched a parameter or a buffer.

        Raises
        ------
        ModelError
            If it has; the labels of this generation were then not those of one refinery.
        """
        for name, before, after in zip(self._names, self._before, self.hashes(), strict=True):
            if before != after:
                raise ModelError(f"refinery {name} changed while it labelled (hash {before} became {after})")
