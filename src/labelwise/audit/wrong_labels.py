"""How likely each given label is wrong, from out-of-sample answers alone.

The answers p_i are of models that learnt the given labels, so they say which label a sample would be *given*. Between
the right class and the given label lies a transition matrix T: row k says how samples of class k are labelled. Both
parts of p(given_i) = (softmax(a log p_i + b) T)[given_i] are found together, as the likeliest (forward correction,
Patrini et al. 2017, with the classifier reduced to its scale a and biases b). Bayes' rule then gives the right class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.counter_rng import generator

PRIOR = 10.0
"""Pulls the logits of T towards ``KEPT`` on the diagonal, in units of one sample's log-likelihood."""

KEPT = 0.69
"""What T says before any sample was seen: this share of the labels is right, the others are spread evenly."""

FITTED = 100_000
"""Samples that the few numbers of the noise model are fitted to, at most."""


@dataclass(frozen=True)
class NoiseModel:
    """How right classes became given labels: ``scale`` a, ``bias`` b (K,) and ``transition`` T (K, K)."""

    scale: float
    bias: NDArray[np.float64]
    transition: NDArray[np.float64]

    def right_class(self, log_p: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, K): the probability of each class to be the right one, the given label known."""
        z = self.scale * log_p + self.bias.astype(np.float32)
        z += np.log(self.transition.T.astype(np.float32))[label]
        z -= z.max(1, keepdims=True)
        q: NDArray[np.float32] = np.exp(z)
        return q / q.sum(1, keepdims=True)


def fit_noise_model(log_p: NDArray[np.float32], label: NDArray[np.int64], seed: int = 0) -> NoiseModel:
    """The likeliest noise model.

    Parameters
    ----------
    log_p : (n, K) out-of-sample log-probabilities
    label : (n,) given labels
    seed : draws the samples that it is fitted to, where there are many
    """
    if len(label) > FITTED:
        rows = generator(seed, "noise-model").permutation(len(label))[:FITTED]
        log_p, label = log_p[rows], label[rows]
    answers, given = torch.from_numpy(log_p).double(), torch.from_numpy(label)
    classes = log_p.shape[1]
    start = torch.eye(classes).double() * math.log(KEPT * (classes - 1) / (1 - KEPT))
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([scale, bias, logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        p = torch.softmax(scale.exp() * answers + bias, 1)
        likelihood = (p * torch.softmax(logits, 1).T[given]).sum(1).clamp(min=1e-12).log().sum()
        value = (PRIOR * (logits - start).square().sum() + bias.square().sum() - likelihood) / len(given)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[arg-type]
    transition = torch.softmax(logits.detach(), 1)
    return NoiseModel(float(scale.detach().exp()), bias.detach().numpy(), transition.numpy())
