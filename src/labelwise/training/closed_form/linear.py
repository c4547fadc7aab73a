"""Linear classifiers of embeddings: discriminant analysis and logistic regression, on hard or soft labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.models.closed_form import LinearClassifier
from labelwise.training.closed_form.candidates import Candidate, Samples, location, set_layer

SHRINKAGE = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""lda: share of the spherical covariance."""

INVERSE_RIDGE = tuple(10.0 ** (j / 2) for j in range(-10, 5))
"""logistic: C, the weight of the data against half the squared norm of the weights."""


def lda(fit: Samples, asked: Tensor | None, args: dict[str, Any], seed: int) -> Iterator[Candidate]:
    """Linear discriminant analysis; a sample counts for each class as much as its label says.

    Discriminants x' S^-1 m_k - m_k' S^-1 m_k / 2 + log p_k with the covariance S within classes, shrunk towards a
    sphere of the same trace (Friedman 1989).
    """
    assert asked is not None
    centre, spread = location(fit.x)
    z = (fit.x - centre) / spread
    count, features = fit.y.sum(0), z.shape[1]
    seen = count > 0
    mean = (fit.y.T @ z)[seen] / count[seen, None]
    within = (z.T @ z - mean.T @ (count[seen, None] * mean)) / len(z)
    sphere = torch.eye(features, dtype=z.dtype, device=z.device) * (torch.trace(within) / features)
    for shrinkage in SHRINKAGE:
        covariance = (1 - shrinkage) * within + shrinkage * sphere
        weight = torch.linalg.lstsq(covariance.cpu(), mean.T.cpu(), driver="gelsd").solution.T.to(z.device)
        bias = torch.log(count[seen] / len(z)) - (weight * mean).sum(1) / 2
        yield _linear(f"shrinkage {shrinkage:g}", *_unseen(weight, bias, count), (centre, spread), asked)


def logistic(fit: Samples, asked: Tensor | None, args: dict[str, Any], seed: int) -> Iterator[Candidate]:
    """Multinomial logistic regression with a ridge, by L-BFGS; each strength starts from the one before."""
    assert asked is not None
    centre, spread = location(fit.x)
    z = (fit.x - centre) / spread
    count = fit.y.sum(0)
    seen = count > 0
    y, n = fit.y[:, seen], len(z)
    weight = z.new_zeros(int(seen.sum()), z.shape[1], requires_grad=True)
    bias = torch.log(count[seen] / n).requires_grad_()
    for strength in INVERSE_RIDGE:

        def loss(strength: float = strength) -> Tensor:
            cross_entropy = -(y * torch.log_softmax(z @ weight.T + bias, 1)).sum() / n
            return cross_entropy + weight.square().sum() / (2 * strength * n)

        _minimise(loss, [weight, bias])
        solution = _unseen(weight.detach().clone(), bias.detach().clone(), count)
        yield _linear(f"C {strength:.3g}", *solution, (centre, spread), asked)


@torch.enable_grad()
def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """The minimum of a convex function, by L-BFGS."""
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=200, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type]


def _linear(words: str, weight: Tensor, bias: Tensor, location: tuple[Tensor, float], asked: Tensor) -> Candidate:
    """A linear classifier of standardised embeddings as one of the embeddings themselves."""
    centre, spread = location
    weight = weight / spread
    bias = bias - weight @ centre
    return Candidate(words, partial(_network, weight, bias), asked @ weight.T + bias)


def _network(weight: Tensor, bias: Tensor) -> nn.Module:
    made = LinearClassifier(*weight.shape).double()
    set_layer(made.classifier, weight, bias)
    return made


def _unseen(weight: Tensor, bias: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Rows for the classes without a sample too: always less likely than the commonest class, by a factor of 2 N."""
    seen = count > 0
    commonest = int(count[seen].argmax())
    weights = weight[commonest].expand(len(count), -1).clone()
    biases = (bias[commonest] - torch.log(2 * count.sum())).expand(len(count)).clone()
    weights[seen], biases[seen] = weight, bias
    return weights, biases
