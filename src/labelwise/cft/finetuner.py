"""Category-wise fine-tuning as an estimator: re-fit every category's logistic regression on its known labels.

Start at :meth:`CategoryWiseFineTuner.fit`. It checks its input, hands a
:class:`~labelwise.cft.solvers.inputs.SolverInput` to one solver for all categories at once, decides per category on
``select`` whether the new head stays, and re-fits the scale and the bias of the heads that stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from labelwise.cft.adoption import keep_better, objective_of
from labelwise.cft.arguments import RandomState, choose_device, head_of, names_of, seed_of, split_of
from labelwise.cft.evidence import NewHeads, category_reports, heads_of_grid, heads_of_steps, warnings_of
from labelwise.cft.first_head import fit_first_head
from labelwise.cft.solvers import backprop, genetic, genetic_paper
from labelwise.cft.solvers.coordinates import Features, linear_logits
from labelwise.cft.solvers.cross_fitting import FAST_FOLDS, FOLDS, cross_fitted_search
from labelwise.cft.solvers.greedy import fit_greedy
from labelwise.cft.solvers.inputs import (
    Progress,
    SolverInput,
    check_features,
    check_labels,
    grouped,
    hold_out,
    no_progress,
)
from labelwise.cft.solvers.logistic import COARSE, FAST, THOROUGH, grid_search
from labelwise.cft.solvers.robust import prepare
from labelwise.config import BaseHead, CftMethod, CftPreset, Metric, check_choice
from labelwise.errors import ConfigError, InputError
from labelwise.metrics.operating import parse_rule, threshold_for

Loss = Literal["bce", "asl"]
PRESET_METHODS = {"fast": ("auto", "logistic"), "paper-2024": ("auto", "backprop", "genetic")}


class CategoryWiseFineTuner(BaseEstimator):  # type: ignore[misc]
    """Re-fit each row of a multi-label head on the known labels of its category.

    Chong et al., "Category-wise fine-tuning" (arXiv 2401.16991), with better solvers; see docs/how-it-works.md.

    Parameters
    ----------
    objective : ``ap`` or ``auc``
        Average precision or ROC AUC, judged on ``select``.
    method : ``auto``, ``logistic``, ``backprop`` or ``genetic``
        ``logistic``: the convex problem for a grid of priors, best candidate on ``select``. ``auto``: the same
        problem, averaged by answers to labels that the heads have not seen. ``backprop``, ``genetic``: the paper's
        solvers.
    preset : None, ``fast`` or ``paper-2024``
        ``fast``: a small grid (auto, logistic). ``paper-2024``: the published settings (backprop: ASL; genetic;
        auto: the best of both per category).
    base : ``ignore`` or ``assume-negative``
        How the first head is fitted where ``fit`` is given none: unknown labels are left out, or taken for negative.
    threshold : None, ``max-f1``, ``precision=X``, ``recall=X`` (``sensitivity=X``) or ``specificity=X``
        Rule of ``predict``, found per category on ``select``. None: a probability of at least 0.5.
    loss : ``bce`` or ``asl``
        Of ``backprop``: binary cross-entropy or the asymmetric loss.
    calibrate : bool
        Re-fit scale and bias of the new heads on the known labels of ``select``.
    device : ``auto``, ``cpu``, ``cuda``, ...
        ``auto`` takes an accelerator if there is one.
    memory_gb : float
        Bound of the working arrays in GiB. The coordinates of the features, N x 512 float32, come on top.
    random_state : int, RandomState, Generator or None
        The same integer gives the same result on the same machine.

    Attributes
    ----------
    weight_, bias_ : (C, D) and (C,) float32
        The new head.
    head_weight_, head_bias_ : (C, D) and (C,) float32
        The head before, given or fitted.
    threshold_ : (C,) float64
        Logits from which ``predict`` says 1.
    report_ : list of C :class:`~labelwise.cft.evidence.CategoryReport`
        What happened to each category.
    expected_gain_ : float or None
        Of ``auto``: the mean gain of the new heads on parts of ``select`` that did not choose them. None for others.
    trust_ : float or None
        Of ``auto``: how much of every head is new, the probability that new heads are better. From below 0.05 all old
        heads stay.
    warnings_ : list of str
    n_features_in_ : int
        D.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(1000, 8)).astype("float32")
    >>> truth = (features[:, :3] + rng.normal(size=(1000, 3)) > 0).astype("float32")
    >>> labels = np.where(rng.random(truth.shape) < 0.5, truth, np.nan)  # half of the labels are unknown
    >>> head = {"head_weight": np.eye(3, 8) + 0.5, "head_bias": np.zeros(3)}
    >>> tuner = CategoryWiseFineTuner(objective="ap").fit(features[:600], labels[:600], **head)
    >>> [report.status for report in tuner.report_]
    ['improved', 'improved', 'improved']
    >>> round(tuner.score(features[600:], truth[600:]), 2)
    0.84
    """

    def __init__(
        self,
        objective: Metric = "ap",
        method: CftMethod = "auto",
        *,
        preset: CftPreset | None = None,
        base: BaseHead = "ignore",
        threshold: str | None = None,
        loss: Loss = "bce",
        calibrate: bool = True,
        device: str = "auto",
        memory_gb: float = 1.0,
        random_state: RandomState = 0,
    ) -> None:
        self.objective = objective
        self.method = method
        self.preset = preset
        self.base = base
        self.threshold = threshold
        self.loss = loss
        self.calibrate = calibrate
        self.device = device
        self.memory_gb = memory_gb
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        """Multi-label. The estimator type stays open, for scikit-learn's splitters refuse NaN labels of classifiers."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags = ClassifierTags(multi_class=False, multi_label=True)
        tags.target_tags.required = True
        tags.target_tags.two_d_labels = tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.input_tags.three_d_array = True
        return tags

    def fit(
        self,
        features: ArrayLike | Features,
        labels: ArrayLike,
        *,
        head_weight: ArrayLike | None = None,
        head_bias: ArrayLike | None = None,
        select: tuple[Any, ...] | None = None,
        label_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        categories: Sequence[str] | None = None,
        progress: Progress = no_progress,
    ) -> Self:
        """Find the new head.

        Parameters
        ----------
        features : (N, D), or (N, C, D) where each category has features of its own
        labels : (N, C): 1, 0, NaN (unknown), -1 (uncertain, treated as unknown). Soft labels are possible for
            ``auto``, ``logistic`` and ``backprop``
        head_weight, head_bias : (C, D) and (C,), the trained head; without one, a first head is fitted (see ``base``)
        select : features and labels of other samples, on which heads are chosen, and their groups if there are any;
            None holds out a quarter of the rows
        label_weight : (N, C), how much each label counts; finite, at least 0
        groups : (N,); rows of a group (a patient) stay together where rows are held out
        categories : C names for ``report_``; default: the columns of a data frame, else the numbers from 0
        progress : called with (categories done, categories) now and then

        Raises
        ------
        InputError
            For arrays that cannot be used; also a ``ValueError``.
        DataError, ConfigError
            For labels that no head can be chosen on, and for options that are not allowed.
        """
        self._check_options()
        inputs = self._inputs(features, labels, head_weight, head_bias, select, label_weight)
        names = names_of(categories, labels, len(inputs.bias))
        inputs = replace(inputs, fit=grouped(inputs.fit, groups, "groups"))
        if select is None:
            fit_split, select_split = hold_out(inputs.fit, inputs.seed)
            check_labels(select_split.labels, len(select_split), "labels held out to select", hard=True)
            inputs = replace(inputs, fit=fit_split, select=select_split)
        if head_weight is None:
            weight, bias = fit_first_head(inputs, self.base)
            inputs = replace(inputs, weight=weight, bias=bias)
        self._check_columns(features, reset=True)
        self.n_features_in_ = inputs.weight.shape[1]
        prepared = prepare(replace(inputs, progress=progress))
        new = self._solve(prepared.inputs)
        adopted = keep_better(prepared.inputs, new.weight, new.bias, calibrate=self.calibrate, decided=new.decided)
        weight, bias = prepared.to_features(adopted.weight, adopted.bias)
        # An old head that stays is the same to the bit.
        weight = torch.where(adopted.new[:, None], weight, inputs.weight)
        bias = torch.where(adopted.new, bias, inputs.bias)
        self.weight_, self.bias_ = weight.cpu().numpy(), bias.cpu().numpy()
        self.head_weight_, self.head_bias_ = inputs.weight.cpu().numpy(), inputs.bias.cpu().numpy()
        self.expected_gain_, self.trust_ = new.expected_gain, new.trust
        paper = self.preset == "paper-2024"
        self.report_ = category_reports(names, inputs, new, adopted, pooled=self.method == "auto" and not paper)
        self.warnings_ = [*prepared.notes, *warnings_of(inputs, new, paper=paper)]
        self.threshold_ = self._thresholds(inputs)
        return self

    def decision_function(self, features: ArrayLike | Features) -> NDArray[np.float32]:
        """Logits of every category.

        Parameters
        ----------
        features : (N, D), or (N, C, D) where each category has features of its own

        Returns
        -------
        (N, C) float32

        Raises
        ------
        InputError
            For features of another shape, or that are not finite.
        """
        check_is_fitted(self, "weight_")
        values = check_features(features, "features", categories=len(self.bias_))
        self._check_columns(features, reset=False)
        if values.shape[-1] != self.n_features_in_:
            raise InputError(f"features: {values.shape[-1]} features a row, expected {self.n_features_in_}")
        weight, bias = torch.from_numpy(self.weight_), torch.from_numpy(self.bias_)
        return linear_logits(values, weight, bias).numpy()

    def predict_proba(self, features: ArrayLike | Features) -> NDArray[np.float32]:
        """Probabilities of every category: the sigmoid of the logits.

        Parameters
        ----------
        features : as in :meth:`decision_function`

        Returns
        -------
        (N, C) float32 in [0, 1]; rows do not sum to one
        """
        return torch.sigmoid(torch.from_numpy(self.decision_function(features))).numpy()

    def predict(self, features: ArrayLike | Features) -> NDArray[np.int64]:
        """Labels, 1 where the logit is at least the category's ``threshold_``, else 0.

        Parameters
        ----------
        features : as in :meth:`decision_function`

        Returns
        -------
        (N, C) int64
        """
        return (self.decision_function(features) >= self.threshold_).astype(np.int64)

    def score(self, features: ArrayLike | Features, labels: ArrayLike) -> float:
        """Mean of the objective over the categories that know a positive and a negative label.

        Parameters
        ----------
        features : as in :meth:`decision_function`
        labels : (N, C): 1, 0, NaN (unknown) or -1 (uncertain)

        Returns
        -------
        in [0, 1]; NaN where no category can be scored
        """
        logits = torch.from_numpy(self.decision_function(features))
        known = check_labels(labels, len(logits), "labels", hard=True)
        if known.shape != logits.shape:
            raise InputError(f"labels: {known.shape[1]} categories, the head has {logits.shape[1]}")
        return float(objective_of(logits, known, self.objective).nanmean())

    def _check_options(self) -> None:
        choices = {"objective": Metric, "method": CftMethod, "base": BaseHead, "loss": Loss}
        for name, allowed in (choices | ({} if self.preset is None else {"preset": CftPreset})).items():
            check_choice(name, getattr(self, name), allowed)
        if self.preset is not None and self.method not in PRESET_METHODS[self.preset]:
            raise ConfigError(f"preset {self.preset} belongs to method {' or '.join(PRESET_METHODS[self.preset])}")
        if self.threshold is not None:
            parse_rule(self.threshold)

    def _check_columns(self, features: Any, *, reset: bool) -> None:
        """Set or compare the number of features and, of a data frame, their names."""
        try:
            validate_data(self, features, skip_check_array=True, reset=reset, ensure_2d=np.ndim(features) == 2)
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from None

    def _inputs(
        self, features: Any, labels: Any, head_weight: Any, head_bias: Any, select: Any, label_weight: Any
    ) -> SolverInput:
        """Checked input. Without ``select``, its split is the fit split; without a head, it is all zeros."""
        device = choose_device(self.device)
        hard = self.method == "genetic" or self.preset == "paper-2024"
        shape = None
        if head_weight is not None or head_bias is not None:
            weight, bias = head_of(head_weight, head_bias, device)
            shape = (len(weight), weight.shape[1])
        fit = split_of(features, labels, label_weight, "fit", shape, hard=hard).to(device)
        if shape is None:
            shape = (fit.labels.shape[1], fit.features.shape[-1])
            weight, bias = torch.zeros(shape, device=device), torch.zeros(shape[0], device=device)
        chosen = fit
        if select is not None:
            values, known, *groups = select
            chosen = split_of(values, known, None, "select", shape, hard=True).to(device)
            chosen = grouped(chosen, groups[0] if groups else None, "groups of select")
        budget = int(self.memory_gb * 2**30 / 4)
        return SolverInput(fit, chosen, weight, bias, seed_of(self.random_state), self.objective, budget)

    def _solve(self, inputs: SolverInput) -> NewHeads:
        paper = self.preset == "paper-2024"
        if self.method == "auto" and paper:
            return fit_greedy(inputs)
        fast = self.preset == "fast"
        if self.method == "auto":
            return heads_of_grid(cross_fitted_search(inputs, *((FAST, FAST_FOLDS) if fast else (COARSE, FOLDS))))
        if self.method == "logistic":
            return heads_of_grid(grid_search(inputs, FAST if fast else THOROUGH))
        if self.method == "backprop":
            result = backprop.fit_backprop(inputs, loss="asl" if paper else self.loss)
        else:
            result = genetic_paper.fit_genetic_paper(inputs) if paper else genetic.fit_genetic(inputs)
        return heads_of_steps(self.method, result)

    def _thresholds(self, inputs: SolverInput) -> NDArray[np.float64]:
        """Logits (C,) at the rule's operating points on ``select``; 0, a probability of 0.5, where there is none."""
        if self.threshold is None:
            return np.zeros(len(self.bias_))
        weight, bias = (torch.from_numpy(values).to(inputs.device) for values in (self.weight_, self.bias_))
        logits = linear_logits(inputs.select.features, weight, bias).cpu().numpy()
        found = threshold_for(logits, inputs.select.labels.cpu().numpy(), parse_rule(self.threshold)).threshold
        if missing := int(np.isnan(found).sum()):
            self.warnings_.append(
                f"{missing} of {len(found)} categories have no threshold for {self.threshold} on select; predict uses a"
                " probability of 0.5 there"
            )
        return np.nan_to_num(found, nan=0.0)
