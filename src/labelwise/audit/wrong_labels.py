"""How likely each given label is wrong, from out-of-sample answers alone.

The answers p_i are of models that learnt the given labels, so they say which label a sample would be *given*. Between
the right class and the given label lies a transition matrix T: row k says how samples of class k are labelled. Both
parts of p(given_i) = (softmax(a log p_i + b) T)[given_i] are found together, as the likeliest (forward correction,
Patrini et al. 2017, with the classifier reduced to its scale a and biases b). Bayes' rule then gives the right class.

Two things no answer can tell, and each is set by one number for all data. A label that follows what an image looks
like, and not what it shows, agrees with the classifiers and cannot be seen: `FOLLOW`. And classifiers have errors that
their confidence does not show: `UNSHOWN`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.counter_rng import generator

PRIOR = 3.0
"""Pulls the logits of T towards ``KEPT`` on the diagonal, in units of one sample's log-likelihood."""

KEPT = 0.69
"""What T says before any sample was seen: this share of the labels is right, the others are spread evenly."""

FITTED = 100_000
"""Samples that the few numbers of the noise model are fitted to, at most."""


FOLLOW = 0.75
"""Labels that follow the look of a sample, as a share of the wrong labels that can be seen; intervals go from 0 to 1.

With a share c of labels drawn from p itself, T = (1 - c) T' + c 1 for the transition T' of all others; T stays as it
is found, and c alone decides how much of its diagonal is right."""

UNSHOWN = 0.045
"""Errors of the answers that their confidence does not show, as a share of those that it shows; intervals go from 0 to
twice as many."""


@dataclass(frozen=True)
class GivenLabels:
    """n labels, and what became of them.

    A person looks at the labels that seem wrong, so neither the others nor the corrected ones are a fair sample of how
    labels were given. What was first given is one, with the right class beside it where somebody has looked.

    Parameters
    ----------
    label : (n,) as they are now
    first : (n,) before any correction, -1 where that is not known
    reviewed : (n,) a person has looked: the label is right
    """

    label: NDArray[np.int64]
    first: NDArray[np.int64]
    reviewed: NDArray[np.bool_]

    @staticmethod
    def plain(label: NDArray[np.int64]) -> GivenLabels:
        """Labels that nobody has corrected."""
        return GivenLabels(label, label, np.zeros(len(label), dtype=bool))

    def take(self, rows: NDArray[np.int64]) -> GivenLabels:
        return GivenLabels(self.label[rows], self.first[rows], self.reviewed[rows])


@dataclass(frozen=True)
class NoiseModel:
    """How right classes became given labels.

    Parameters
    ----------
    scale, bias : a, and b (K,)
    transition : T (K, K)
    visible : share of the labels that are wrong if none follows the look of its sample
    unsure : mean of 1 - max p
    """

    scale: float
    bias: NDArray[np.float64]
    transition: NDArray[np.float64]
    visible: float = 0.0
    unsure: float = 0.0

    def answers(self, log_p: NDArray[np.float32]) -> NDArray[np.float32]:
        """p (n, K): the probability of each class to be the right one, the given label not known."""
        z = self.scale * log_p + self.bias.astype(np.float32)
        p = np.exp(z - z.max(1, keepdims=True))
        normed: NDArray[np.float32] = p / p.sum(1, keepdims=True)
        return normed

    def right_class(
        self,
        log_p: NDArray[np.float32],
        given: GivenLabels,
        follow: float = FOLLOW,
        unshown: float = UNSHOWN,
    ) -> NDArray[np.float32]:
        """(n, K): the probability of each class to be the right one, the label that was first given known; certain
        where a person has looked."""
        p, rows, label = self.answers(log_p), np.arange(len(log_p)), given.first
        chosen, looks = p[rows, label], np.float32(follow * self.visible)
        q = p * (self.transition.T.astype(np.float32)[label] + looks * chosen[:, None])
        kept = self.transition.diagonal().astype(np.float32)[label] - looks
        q[rows, label] = chosen * (np.maximum(kept, 0) + looks * chosen)
        wrong = q.sum(1) - q[rows, label]
        odds = unshown * self.unsure * (1 - self.visible) / max(self.visible, 1e-9)
        q[rows, label] += np.float32(odds) * wrong
        q[label < 0] = p[label < 0]
        q[given.reviewed] = 0
        q[given.reviewed, given.label[given.reviewed]] = 1
        return q / q.sum(1, keepdims=True)


def fit_noise_model(log_p: NDArray[np.float32], given: GivenLabels, seed: int = 0) -> NoiseModel:
    """The likeliest noise model.

    Parameters
    ----------
    log_p : (n, K) out-of-sample log-probabilities
    given : n labels, of which those that a person has looked at tell the right class, too
    seed : draws the samples that it is fitted to, where there are many
    """
    if len(log_p) > FITTED:
        rows = generator(seed, "noise-model").permutation(len(log_p))[:FITTED]
        log_p, given = log_p[rows], given.take(rows)
    answers, first = torch.from_numpy(log_p).double(), torch.from_numpy(given.first)
    right, reviewed = torch.from_numpy(given.label)[:, None], torch.from_numpy(given.reviewed)
    classes = log_p.shape[1]
    anything = torch.ones(1, classes).double()  # what a first label of -1 says of the right class: nothing
    start = torch.eye(classes).double() * math.log(KEPT * (classes - 1) / (1 - KEPT))
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([scale, bias, logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        p = torch.softmax(scale.exp() * answers + bias, 1)
        joint = p * torch.cat([torch.softmax(logits, 1).T, anything])[first]
        found = torch.where(reviewed, joint.gather(1, right)[:, 0], joint.sum(1))
        likelihood = found.clamp(min=1e-12).log().sum()
        value = (PRIOR * (logits - start).square().sum() + bias.square().sum() - likelihood) / len(first)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[arg-type]
    transition = torch.softmax(logits.detach(), 1).numpy()
    found = NoiseModel(float(scale.detach().exp()), bias.detach().numpy(), transition)
    p, known = found.answers(log_p), given.first >= 0
    label = given.first[known]
    visible = 1 - found.right_class(log_p[known], GivenLabels.plain(label), 0, 0)[np.arange(len(label)), label]
    return replace(found, visible=float(visible.mean()), unsure=float(1 - p.max(1).mean()))
