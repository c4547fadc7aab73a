"""Which of several models is best, told from their answers on few held-out samples whose labels may be wrong.

Counts of right answers say little on a hundred labels. The likelihood of the given labels says more, if every model is
calibrated first: refined models are less confident than their answers are right, others more. A model is preferred over
one that comes before it in a stated order only where the paired difference is clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax

CLEAR = 1.645
"""Standard errors that a paired difference must be above zero for the later of two models to be preferred: 95%,
one-sided."""

Floats = NDArray[np.float64]


def temperature(logits: NDArray[np.floating], label: NDArray[np.integer]) -> float:
    """The T of softmax(logits / T) under which the labels are most likely, with a weak prior around 1.

    Guo et al., "On calibration of modern neural networks" (2017). The prior, log T ~ N(0, 1), counts like one sample;
    it keeps T finite where every label is the likeliest class.

    Parameters
    ----------
    logits : (n, K), finite
    label : (n,) integers below K

    Examples
    --------
    >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    >>> temperature(logits, np.array([0, 0, 1, 1])) > 1  # three of four are right, not 98 of 100
    True
    """
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    own = np.arange(len(z)), label

    def loss(log_t: float) -> float:
        return float(0.5 * log_t**2 - log_softmax(z * np.exp(-log_t), axis=1)[own].sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded").x))


def label_likelihood(logits: NDArray[np.floating], label: NDArray[np.integer]) -> Floats:
    """(n,) log-likelihood in nats of each label, after calibration by one temperature, see :func:`temperature`."""
    z = np.asarray(logits, np.float64)
    found: Floats = log_softmax(z / temperature(z, label), axis=1)[np.arange(len(z)), label]
    return found


def scale_and_bias(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> tuple[float, Floats]:
    """The a and b (C,) under which the known labels are most likely by sigmoid(a z + b), see :func:`known_likelihood`.

    Parameters
    ----------
    logits : (n, C), finite
    labels : (n, C), 1, 0, or NaN for unknown
    """
    known = ~np.isnan(labels)
    z, sign = np.asarray(logits, np.float64), np.where(labels >= 0.5, 1.0, -1.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, bias = np.exp(parameters[0]), parameters[1:]
        margin = sign * (scale * z + bias)
        slope = np.where(known, -sign * expit(-margin), 0.0)
        value = np.where(known, np.logaddexp(0, -margin), 0.0).sum() + 0.5 * (parameters**2).sum()
        return value, parameters + np.concatenate([[(slope * z).sum() * scale], slope.sum(0)])

    found = minimize(
        loss, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=[(-6, 6), *[(None, None)] * z.shape[1]]
    ).x
    return float(np.exp(found[0])), found[1:]


def known_likelihood(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> Floats:
    """(n,) log-likelihood in nats of the known labels of each sample, divided by the mean number of known labels.

    Calibrated by one scale and a bias for each category, sigmoid(a z + b), with weak priors log a ~ N(0, 1) and
    b ~ N(0, 1) (Platt 1999). A sample without a known label has 0.

    Parameters
    ----------
    logits : (n, C), finite
    labels : (n, C), 1, 0, or NaN for unknown
    """
    known = ~np.isnan(labels)
    z, sign = np.asarray(logits, np.float64), np.where(labels >= 0.5, 1.0, -1.0)
    scale, bias = scale_and_bias(z, labels)
    margin = sign * (scale * z + bias)
    likelihood: Floats = -np.where(known, np.logaddexp(0, -margin), 0.0).sum(1)
    return likelihood / max(known.sum() / len(z), 1e-12)


@dataclass(frozen=True)
class Choice:
    """The index of the chosen model, and what stands behind it.

    Attributes
    ----------
    chosen : index of the model
    samples : number of samples that judge
    rival : index of the likeliest other model, None without another
    difference, error : mean log-likelihood of the chosen model minus that of the rival in nats a sample, and its
        standard error
    """

    chosen: int
    samples: int
    rival: int | None = None
    difference: float = 0.0
    error: float = 0.0

    @property
    def clear(self) -> bool:
        """Whether the chosen model is clearly better than its rival; if not, the stated order decided."""
        return self.difference > CLEAR * self.error


def choose(likelihoods: Sequence[Floats], groups: NDArray[np.generic] | None = None) -> Choice:
    """The first of several models in a stated order, unless a later one is clearly better.

    Each model in turn takes the place of the one chosen so far where its mean paired difference is above `CLEAR`
    standard errors.

    Parameters
    ----------
    likelihoods : of each model, in the stated order, (n,) log-likelihoods of the same samples
    groups : (n,), optional; samples of one group are one observation

    Examples
    --------
    >>> first, second = np.array([-1.0, -2.0, -1.5]), np.array([-0.5, -1.4, -1.0])
    >>> choose([first, second]).chosen
    1
    >>> choose([first, second - np.array([2.0, 0.0, 0.0])]).chosen
    0
    """
    chosen = 0
    for index in range(1, len(likelihoods)):
        mean, error = mean_and_error(likelihoods[index] - likelihoods[chosen], groups)
        chosen = index if mean > CLEAR * error else chosen
    others = [index for index in range(len(likelihoods)) if index != chosen]
    if not others:
        return Choice(chosen, len(likelihoods[0]))
    rival = max(others, key=lambda index: float(likelihoods[index].mean()))
    difference = mean_and_error(likelihoods[chosen] - likelihoods[rival], groups)
    return Choice(chosen, len(likelihoods[0]), rival, *difference)


def mean_and_error(values: Floats, groups: NDArray[np.generic] | None = None) -> tuple[float, float]:
    """Mean over samples and its standard error; infinite for a single sample.

    Parameters
    ----------
    values : (n,)
    groups : (n,), optional; samples of one group are one observation
    """
    mean = float(values.mean())
    rest: Floats = values - mean
    if groups is not None:
        rest = np.bincount(np.unique(groups, return_inverse=True)[1], weights=rest).astype(np.float64)
    count = len(rest)
    error = np.sqrt((rest**2).sum() * count / (count - 1)) / len(values) if count > 1 else np.inf
    return mean, float(error)
