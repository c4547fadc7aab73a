"""How far to trust the given label of each sample, from what a refinery answers to the image. Pure functions of arrays.

The refinery should not have been trained on the sample: a network that has learnt a wrong label repeats it.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

Trust = Literal["consensus", "graded", "mixture"]

LEAST = 0.1
"""Share of a class that stays, whatever the refinery says, and share of the mean weight that a class has at least."""


def trust_weights(answer: NDArray[np.float32], given: NDArray[np.int64], rule: Trust) -> NDArray[np.float64]:
    """A weight for every sample, of which only the ratios count; :func:`keep_every_class` is applied to them.

    Parameters
    ----------
    answer : (n, K) probabilities
    given : (n,) class that each sample was given
    rule : ``consensus``: 1 where the likeliest class is the given one (the first of equals), 0 elsewhere; retraining on
        such samples alone is the rule of Das et al. 2024 (arXiv 2406.11206). ``graded``: the probability of the
        given class. ``mixture``: :func:`low_loss_probability` of its negative logarithm

    Returns
    -------
    (n,) at least 0, some above 0

    Examples
    --------
    >>> answer = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=np.float32)
    >>> trust_weights(answer, np.array([0, 1, 1]), "consensus")
    array([1., 0., 1.])
    """
    likelihood = answer[np.arange(len(given)), given].astype(np.float64)
    if rule == "consensus":
        weight = (answer.argmax(1) == given).astype(np.float64)
    elif rule == "graded":
        weight = likelihood
    else:
        weight = low_loss_probability(-np.log(likelihood.clip(np.finfo(np.float32).tiny)))
    return keep_every_class(weight, likelihood, given)


def low_loss_probability(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability that each loss comes from the lower of two Gaussians that are fitted to all of them.

    As in DivideMix (Li et al. 2020, arXiv 2002.07394), with one difference. Between the two means the probability falls
    with the loss. Outside it need not: the tail of the wider Gaussian is above that of the other on both sides. There
    it stays what it is at the nearer mean, so that a smaller loss is never trusted less.

    Parameters
    ----------
    loss : (n,) finite

    Returns
    -------
    (n,) in [0, 1]; 1 where all losses are alike
    """
    low, high = loss.min(), loss.max()
    if high - low < 1e-6:
        return np.ones_like(loss)
    scaled = (loss - low) / (high - low)
    mixture = GaussianMixture(2, reg_covar=1e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different losses than Gaussians, or slow steps
        mixture.fit(scaled[:, None])
    means = mixture.means_.ravel()
    between = scaled.clip(means.min(), means.max())
    found: NDArray[np.float64] = mixture.predict_proba(between[:, None])[:, means.argmin()]
    return found


def keep_every_class(
    weight: NDArray[np.float64], likelihood: NDArray[np.float64], given: NDArray[np.int64], least: float = LEAST
) -> NDArray[np.float64]:
    """``weight`` without classes that are as good as lost.

    Where the mean weight of the samples of a given class is below ``least`` times the mean over all samples, the
    likeliest ones of the class, a share of ``least`` and at least one, weigh no less than the mean sample.

    Parameters
    ----------
    weight : (n,) at least 0
    likelihood : (n,) probability of the given class; of equals the first are taken
    given : (n,)
    least : in (0, 1]
    """
    found = weight.copy()
    mean = weight.mean() if weight.any() else 1.0
    for k in np.unique(given):
        rows = np.flatnonzero(given == k)
        if weight[rows].mean() < least * mean:
            likeliest = rows[np.argsort(-likelihood[rows], kind="stable")[: int(np.ceil(least * len(rows)))]]
            found[likeliest] = np.maximum(found[likeliest], mean)
    return found
