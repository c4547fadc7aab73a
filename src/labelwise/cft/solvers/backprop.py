"""Gradient descent on every category's head at once: CFT_BP of category-wise fine-tuning (arXiv 2401.16991).

Full batches of the known labels, Adam without decay or schedule, a copy of each head whenever it is strictly better on
``select``. All categories are rows of one product forth and one back per step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from labelwise.cft.solvers.coordinates import as_float
from labelwise.cft.solvers.inputs import Block, SolverInput, blocks
from labelwise.cft.solvers.iterate import IterativeResult, keep_best, subset, weight_and_bias
from labelwise.losses import asymmetric_loss, binary_cross_entropy

LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Loss per label (c, n) of logits, targets and weights (c, n)."""

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


def fit_backprop(
    inputs: SolverInput,
    *,
    loss: Literal["bce", "asl"] = "bce",
    learning_rate: float = 1e-4,
    steps: int = 5000,
    patience: int = 300,
) -> IterativeResult:
    """Minimise a loss on the known ``fit`` labels by Adam from the trained head, with early stopping on ``select``.

    The defaults are the paper's. Features are held in memory as float32; besides them, a block of categories at a time.

    Parameters
    ----------
    loss : ``bce`` binary cross-entropy, or ``asl`` the asymmetric loss; summed over the known labels, times their
        weights. Labels may be soft
    learning_rate : of Adam
    steps, patience : as in `labelwise.cft.solvers.iterate.keep_best`

    Raises
    ------
    ConfigError
        For fewer than one step or patience.
    """
    function: LossFunction = binary_cross_entropy if loss == "bce" else asymmetric_loss
    fit_x, select_x = (as_float(split.features, inputs.device) for split in (inputs.fit, inputs.select))
    origin = torch.cat([inputs.weight, inputs.bias[:, None]], dim=1)
    fittable = inputs.fittable.nonzero()[:, 0]
    known = blocks(fit_x, inputs.fit.labels, inputs.fit.weight, fittable, 1, inputs.budget)
    optimisers = (GradientDescent(block, origin[block.categories], function, learning_rate) for block in known)
    return keep_best(inputs, optimisers, origin, select_x, weight_and_bias, steps=steps, patience=patience)


class GradientDescent:
    """Adam (Kingma and Ba 2015, algorithm 1) on the heads (c, D + 1) of a block, the bias last."""

    def __init__(self, block: Block, heads: Tensor, loss: LossFunction, learning_rate: float):
        self.categories = block.categories
        self._block = block
        self._loss, self._learning_rate = loss, learning_rate
        self._heads = heads.clone()
        self._mean, self._square = torch.zeros_like(heads), torch.zeros_like(heads)
        self._steps = 0

    def advance(self, count: int) -> Tensor:
        """The heads (c, count, D + 1) after each of the next steps."""
        out = self._heads.new_empty(len(self._heads), count, self._heads.shape[1])
        for column in range(count):
            self._adam(self._gradient())
            out[:, column] = self._heads
        return out

    def narrow(self, keep: Tensor) -> None:
        """Go on with the categories in these places alone."""
        self._block = subset(self._block, keep)
        self.categories, self._heads = self._block.categories, self._heads[keep]
        self._mean, self._square = self._mean[keep], self._square[keep]

    def _gradient(self) -> Tensor:
        """Gradient (c, D + 1) of the summed loss: autograd through the loss, products by hand.

        Row vectors times matrices: BLAS runs them several times faster than the same products as columns.
        """
        weight, bias = self._heads[:, :-1], self._heads[:, -1:]
        x, own = self._block.x, self._block.x.ndim == 3
        product = torch.bmm(weight[:, None], x.transpose(1, 2))[:, 0] if own else weight @ x.T
        with torch.enable_grad():
            logits = (product + bias).requires_grad_()
            (residual,) = torch.autograd.grad(self._loss(logits, self._block.label, self._block.weight).sum(), logits)
        slope = torch.bmm(residual[:, None], x)[:, 0] if own else residual @ x
        return torch.cat([slope, residual.sum(1, keepdim=True)], dim=1)

    def _adam(self, gradient: Tensor) -> None:
        self._steps += 1
        first, second = _BETAS
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = (self._square / (1 - second**self._steps)).sqrt_().add_(_EPSILON)
        self._heads.addcdiv_(self._mean, size, value=-self._learning_rate / (1 - first**self._steps))
