"""Adversarial jitter (arXiv 1805.02641): a view is moved to where student and refinery differ more, and learnt there.

One step of gradient *ascent* on KL(refinery || student) in pixel space. Unlike in adversarial training the moved view
does not keep its label: the refinery answers for it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from labelwise.config import JitterConfig
from labelwise.data.loaders import Batch
from labelwise.losses import kl_divergence, tempered
from labelwise.models.classifier import Classifier
from labelwise.models.head import evaluating
from labelwise.refinery.labellers import RefineryLabels


class AdversarialJitter:
    """Moves the views of a batch.

    The student is asked in eval mode, so its norms' statistics see plain views alone and dropout is off; gradients are
    taken with respect to the pixels, so no parameter gets one; and each view follows its own gradient, so neither the
    size of the batch nor a view's neighbours matter.

    Parameters
    ----------
    student : the network in training, not its wrapper
    refinery : who labels
    options : step, norm and path
    temperature : of the refinery's answer
    autocast : makes the context of mixed precision
    """

    def __init__(
        self,
        student: Classifier,
        refinery: RefineryLabels,
        options: JitterConfig,
        temperature: float = 1.0,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._student, self._refinery, self._options = student, refinery, options
        self._temperature, self._autocast = temperature, autocast

    def __call__(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The moved views, and KL (B,) in nats of the refinery's answer from the student's before the move."""
        size, options = self._student.spec.size, self._options
        pixels = batch.inputs[size].detach().requires_grad_()
        with evaluating(self._student), torch.enable_grad():
            here = at(batch, size, pixels)
            with torch.set_grad_enabled(options.path == "both"):
                q = tempered(self._refinery.answer(here), self._temperature)
            before = self._from_student(q, pixels)
            # The sum: a mean would make the step depend on how many views there are.
            (gradient,) = torch.autograd.grad(before.sum(), pixels)
        moved = (pixels.detach() + move(gradient, options.norm, options.step / 255)).clamp(0, 1)
        return at(batch, size, moved), before.detach()

    @torch.no_grad()
    def divergence(self, batch: Batch, answer: Tensor) -> Tensor:
        """KL (B,) of the refinery's ``answer`` (B, K), at its temperature, to these views from the student's.

        An answer that depends on the rest of its batch is asked for anew, of the same views as before the move.
        """
        if self._refinery.batch_statistics:
            answer = tempered(self._refinery(batch), self._temperature)
        with evaluating(self._student):
            return self._from_student(answer, batch.inputs[self._student.spec.size])

    def _from_student(self, answer: Tensor, pixels: Tensor) -> Tensor:
        with self._autocast():
            logits = self._student(pixels)
        return kl_divergence(answer, logits)


def move(gradient: Tensor, norm: str, step: float) -> Tensor:
    """The step (B, C, S, S) of each view along its own gradient; nothing where the gradient is zero.

    Parameters
    ----------
    norm : ``linf``: the largest entry of a view moves by ``step``; ``sign``: every entry does; ``raw``: ``step`` times
        the gradient
    step : as a share of the range of pixels
    """
    if norm == "raw":
        return step * gradient
    if norm == "sign":
        return step * gradient.sign()
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    return step * gradient / largest.clamp(min=torch.finfo(gradient.dtype).tiny)


def at(batch: Batch, size: int, pixels: Tensor) -> Batch:
    """``batch`` with other pixels at ``size``; at other sizes (a refinery's) the same change, resized."""
    inputs = {size: pixels}
    for other, plain in batch.inputs.items():
        if other != size:
            change = pixels - batch.inputs[size]
            resized = torch.nn.functional.interpolate(change, (other, other), mode="bilinear", antialias=True)
            inputs[other] = (plain + resized).clamp(0, 1)
    return replace(batch, inputs=inputs)
