"""Classifiers of embeddings in closed form: no epochs, no learning rate, seconds instead of minutes.

Each solver takes samples and their labels, hard or soft, and gives a path of candidates, one for each strength of its
regularisation. The candidate is kept whose answers on held-out samples have the largest likelihood, each at its own
best temperature. Everything is solved in float64, in units of the spread of the embeddings, whatever their scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.data.counter_rng import generator
from labelwise.errors import DataError, ModelError
from labelwise.models.closed_form import KernelRidge, LinearClassifier, NearestNeighbours
from labelwise.training.closed_form.candidates import Candidate, Samples, Solver, Tamer
from labelwise.training.closed_form.kernel import kernel_ridge
from labelwise.training.closed_form.linear import lda, logistic
from labelwise.training.closed_form.nearest import knn

SOLVERS: dict[str, Solver] = {"lda": lda, "logistic": logistic, "kernel_ridge": kernel_ridge, "knn": knn}

FOLDS = 5
"""Parts of the samples that take turns as the held-out ones, where none are held out and there is no shorter way."""

PILOT = 500
"""kernel_ridge: centres that the bandwidth is chosen with. It costs little, and more centres choose alike."""

BISECTIONS = 50


@dataclass(frozen=True)
class ClosedForm:
    """A fitted classifier.

    Attributes
    ----------
    net : gives logits (B, K) float32 of embeddings (B, D)
    args : of its constructor, with the numbers of what it holds
    words : what was chosen, in words
    """

    net: nn.Module
    args: dict[str, Any]
    words: str


def fit_closed_form(
    name: str, args: dict[str, Any], fit: Samples, held_out: Samples | None = None, seed: int = 0
) -> ClosedForm:
    """Fit ``lda``, ``logistic``, ``kernel_ridge`` or ``knn``.

    Regularisation and temperature are those of the largest likelihood on ``held_out``. Without it, each sample of
    ``fit`` is answered without itself: exactly (kernel_ridge, knn), or by the other four of five parts.

    Parameters
    ----------
    args : of the network's constructor: ``centres`` and ``bandwidth`` of kernel_ridge, ``samples`` and ``neighbours``
        of knn
    seed : draws the centres

    Raises
    ------
    DataError
        If the labels are all of one class, or a number is not finite.
    ModelError
        If there is no such classifier.
    """
    if name not in SOLVERS:
        raise ModelError(f"closed form: expected one of {', '.join(SOLVERS)}, got {name!r}")
    for part in (fit, held_out):
        if part is not None and not (torch.isfinite(part.x).all() and torch.isfinite(part.y).all()):
            raise DataError(f"{name}: embeddings and labels must be finite numbers")
    if int((fit.y.sum(0) > 0).sum()) < 2:
        raise DataError(f"{name}: all {len(fit.y)} labels are of one class; at least two are needed")
    held_out = None if held_out is None or not len(held_out.x) else held_out
    tamer = Tamer(fit.x)
    fit = Samples(tamer(fit.x), fit.y)
    held_out = None if held_out is None else Samples(tamer(held_out.x), held_out.y)
    tamer.tell(name)
    if name == "kernel_ridge" and not args.get("bandwidth"):
        pilot, _ = _choose(name, args | {"centres": PILOT}, fit, held_out, seed)
        args = args | {"bandwidth": _args(pilot.net())["bandwidth"]}
    chosen, factor = _choose(name, args, fit, held_out, seed)
    net = chosen.net()
    assert isinstance(net, LinearClassifier)
    with torch.no_grad():
        net.classifier.weight.mul_(factor)
        net.classifier.bias.mul_(factor)
        if tamer.divisor is not None:
            net.divide_inputs(tamer.divisor)
    return ClosedForm(net.float(), _args(net), f"{chosen.words}, temperature {1 / factor:.3g}")


def _choose(
    name: str, args: dict[str, Any], fit: Samples, held_out: Samples | None, seed: int
) -> tuple[Candidate, float]:
    """The candidate whose answers are likeliest at their best temperature, and one over that temperature."""
    solve = SOLVERS[name]
    truth = (held_out or fit).y
    if held_out is not None:
        candidates = list(solve(fit, held_out.x, args, seed))
    elif name in ("kernel_ridge", "knn"):
        candidates = list(solve(fit, None, args, seed))
    else:
        candidates = _cross_fitted(solve, fit, args, seed)
    choices = [inverse_temperature(candidate.scores, truth) for candidate in candidates]
    best = min(range(len(candidates)), key=lambda i: choices[i][1])
    return candidates[best], choices[best][0]


def inverse_temperature(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """The factor b > 0 with which softmax(b scores) is likeliest, and the mean cross-entropy with it.

    The derivative by b grows with b, so it is found by bisection, between 1/1000 and 1000 of the scores' own scale.

    Parameters
    ----------
    scores, truth : (n, K); rows of ``truth`` sum to one
    """
    scores = scores - scores.mean(1, keepdim=True)
    scale = float(scores.abs().max())
    if scale == 0:
        return 1.0, float(torch.log(torch.tensor(scores.shape[1])))
    scores = scores / scale
    low, high = -3.0, 3.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        expected = (torch.softmax(10**middle * scores, 1) * scores).sum()
        low, high = (low, middle) if expected > (truth * scores).sum() else (middle, high)
    factor = 10**low
    loss = -(truth * torch.log_softmax(factor * scores, 1)).sum(1).mean()
    return factor / scale, float(loss)


def _cross_fitted(solve: Solver, fit: Samples, args: dict[str, Any], seed: int) -> list[Candidate]:
    """The candidates of all samples, with scores of those of four fifths for the other fifth."""
    fold = torch.from_numpy(generator(seed, "closed-form").permutation(len(fit.x)) % FOLDS)
    parts = []
    for number in range(FOLDS):
        rest = Samples(fit.x[fold != number], fit.y[fold != number])
        parts.append([candidate.scores for candidate in solve(rest, fit.x[fold == number], args, seed)])
    order = torch.argsort(torch.cat([torch.nonzero(fold == number)[:, 0] for number in range(FOLDS)]))
    whole = solve(fit, fit.x[:0], args, seed)
    return [
        Candidate(candidate.words, candidate.net, torch.cat(scores)[order])
        for candidate, *scores in zip(whole, *parts, strict=True)
    ]


def _args(net: nn.Module) -> dict[str, Any]:
    if isinstance(net, KernelRidge):
        return {"centres": len(net.centres), "bandwidth": net.bandwidth}
    if isinstance(net, NearestNeighbours):
        return {"samples": len(net.samples), "neighbours": net.neighbours}
    return {}
