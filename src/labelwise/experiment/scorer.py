"""How the networks of one column are scored: on samples, studies or groups, over all categories and over some.

A score is told of several sets of categories: of all that are scored (`ALL`), of a group of them, of a single one. All
these come from one ranking of every category, on the data as they are and in the draws of a bootstrap that takes whole
groups of samples (a patient's), so that no study is parted and images of one study never count as several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import DataConfig, Metric
from labelwise.data.dataset import Dataset
from labelwise.data.readers import studies_of
from labelwise.errors import ConfigError, DataError
from labelwise.experiment.config import ExperimentConfig, ScoreConfig
from labelwise.labels.table import LabelTable
from labelwise.metrics.bootstrap import group_draws, weighted_rankings
from labelwise.metrics.few import FEWEST, Support, gain_interval, unseen_variance
from labelwise.metrics.multilabel import hard_labels
from labelwise.metrics.ranking import mean_over_categories, ranking, to_tensor
from labelwise.metrics.study import study_labels, study_scores
from labelwise.results.experiment import Gain, table_metric

ALL = "all"
DRAWS = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DrawnScore:
    """Of one network: its score over every set of categories (S,), and in the draws of the bootstrap (S, D)."""

    value: Floats
    drawn: Floats

    def over_all(self) -> DrawnScore:
        """The score over all categories alone."""
        return DrawnScore(self.value[:1], self.drawn[:1])


def mean_of(scores: Sequence[DrawnScore]) -> DrawnScore:
    """What several networks have on average."""
    return DrawnScore(np.mean([s.value for s in scores], axis=0), np.mean([s.drawn for s in scores], axis=0))


class Scorer:
    """It scores networks on the test split of one data set.

    Parameters
    ----------
    dataset : whose test split and labels these are
    data : its options, which say whether it has studies
    config : metric, unit, categories and groups

    Attributes
    ----------
    metric : ``top1``, ``map`` or ``mauc``
    sets, groups, categories : names of all sets of categories, of groups, and of single categories

    Raises
    ------
    ConfigError
        For options that the data has no use for, or a choice without a select split.
    DataError
        If the test split is empty, or the data lacks studies, groups, or a category that is asked for.
    """

    def __init__(self, dataset: Dataset, data: DataConfig, config: ExperimentConfig) -> None:
        self._name, rows = dataset.name, dataset.rows("test")
        self._ids = dataset.ids[rows]
        if not len(rows):
            raise DataError(f"{dataset.name}: the test split is empty")
        if config.best and not len(dataset.rows("select")):
            raise ConfigError(f"best: {dataset.name} holds nothing out to choose on; set data.select_share above 0")
        self._unit: NDArray[np.str_] | None = None
        self._metric: Metric = config.metric
        group = dataset.groups[rows]
        if dataset.table is None:
            _refuse_multi_label_options(dataset.name, config)
            self._columns: list[NDArray[np.int64]] = []
            self.groups: tuple[str, ...] = ()
            self.categories: tuple[str, ...] = ()
        else:
            self._labels = hard_labels(dataset.table.take(rows))
            self._unit = _units(dataset, rows, data, config.score)
            if self._unit is not None:
                group = group[np.unique(self._unit, return_index=True)[1]]
                self._labels = study_labels(self._labels, self._unit)[1]
            groups, self.categories = _parts(dataset, dataset.table, config.score)
            self.groups = tuple(groups)
            chosen = config.score.categories or dataset.classes
            place = {name: c for c, name in enumerate(dataset.classes)}
            parts = [chosen, *groups.values(), *((name,) for name in self.categories)]
            self._columns = [np.array([place[name] for name in part], dtype=np.int64) for part in parts]
            self._used = np.unique(np.concatenate(self._columns))
        self.metric = table_metric("single-label" if dataset.table is None else "multi-label", self._metric)
        self.sets = (ALL, *self.groups, *self.categories)
        self._member, weights = group_draws(group, len(group), DRAWS, seed=0)
        self._weights = list(weights)
        if dataset.table is None:
            count = self._member.max(keepdims=True) + 1.0
            self._freedom = np.where(count < FEWEST, np.nan, count - 1)
        else:
            self._support = Support.of(self._labels, self._member)
            self._freedom = np.array([self._support.take(part).of_mean() for part in self._columns])
            lone = torch.from_numpy(self._support.lone)
            self._lone = torch.cat([block[lone] for block in self._weights], dim=1).double().numpy()

    def __call__(self, prediction: NDArray[Any]) -> DrawnScore:
        """DrawnScore right answers (N,), or logits or probabilities (N, C), on the test split.

        Raises
        ------
        ConfigError
            If they are of other samples or categories.
        """
        if self.metric == "top1":
            return self._accuracy(prediction)
        samples = len(self._labels) if self._unit is None else len(self._unit)
        self._check(prediction.shape, (samples, self._labels.shape[1]))
        scores = to_tensor(prediction if self._unit is None else study_scores(prediction, self._unit)[1])
        labels = to_tensor(self._labels)
        plain = ranking(scores.T[self._used], labels.T[self._used]).of(self._metric)
        values, drawn = (torch.full((scores.shape[1], n), torch.nan, dtype=torch.float64) for n in (1, DRAWS))
        values[self._used, 0] = plain
        scored = self._used[~plain.isnan().numpy()]
        if len(scored):
            columns = [(scores[:, c], labels[:, c]) for c in scored]
            found = weighted_rankings(columns, self._member, self._weights, metric=self._metric)
            wide = self._support.take(scored).widened(
                values[scored, 0].numpy(), torch.cat(list(found), dim=1).numpy(), self._lone[scored]
            )
            drawn[scored] = torch.from_numpy(wide)
        means = [
            np.stack([mean_over_categories(table[part])[0].numpy() for part in self._columns])
            for table in (values, drawn)
        ]
        return DrawnScore(means[0][:, 0], means[1])

    def has_the_draws_of(self, other: Scorer) -> bool:
        """Whether draw by draw both take the same samples, so that their scores can be averaged."""
        same = np.array_equal(self._ids, other._ids) and np.array_equal(self._member, other._member)
        return same and self.metric == other.metric

    def _accuracy(self, right: NDArray[Any]) -> DrawnScore:
        self._check(right.shape, self._member.shape)
        by_group = torch.from_numpy(np.bincount(self._member, weights=right))
        size = torch.from_numpy(np.bincount(self._member).astype(np.float64))
        drawn = torch.cat([by_group @ weights.double() / (size @ weights.double()) for weights in self._weights])
        return DrawnScore(np.array([right.mean(dtype=np.float64)]), drawn[None].numpy())

    def gains(self, before: Sequence[DrawnScore], after: Sequence[DrawnScore], level: float = 0.95) -> list[Gain]:
        """Over every set of categories the mean gain of after over before, and its interval over groups and seeds.

        Both are in the order of the seeds; where one side has a single network, it is compared with the mean of the
        other side's, and the interval is over the test samples alone. A network beside itself has no width.
        """
        if len(before) != len(after):
            before, after = [mean_of(before)], [mean_of(after)]
        by_seed = np.stack([b.value - a.value for a, b in zip(before, after, strict=True)])
        drawn = np.stack([b.drawn - a.drawn for a, b in zip(before, after, strict=True)])
        variances = np.stack([drawn.mean(axis=0).var(axis=1), drawn.var(axis=2).mean(axis=0)])
        if self.metric == "top1" and not all(a is b for a, b in zip(after, before, strict=True)):  # but beside itself
            variances += unseen_variance(self._member.max() + 1)
        freedom = self._freedom[: drawn.shape[1]]  # scores over all categories alone are those of the first set
        ends, value = gain_interval(by_seed, variances[0], variances[1], freedom, level), by_seed.mean(axis=0)
        return [
            Gain(gain=gain, interval=interval) for gain, interval in zip(value.tolist(), ends.tolist(), strict=True)
        ]

    def _check(self, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            raise ConfigError(
                f"{self._name}: a row predicts {found} on test, the reference row {expected}: no row may change the"
                " test samples or the categories; score.categories leaves some out of the score"
            )


def _units(dataset: Dataset, rows: NDArray[np.int64], data: DataConfig, score: ScoreConfig) -> NDArray[np.str_] | None:
    """The study or group of every test sample; None where samples are scored."""
    if score.unit == "sample":
        return None
    if score.unit == "group":
        if np.array_equal(dataset.groups, dataset.ids):
            raise DataError(f"score.unit group: {dataset.name} has no groups (data.group_column); use sample")
        return dataset.groups[rows]
    studies = studies_of(data, dataset.ids[rows])
    if studies is None:
        raise DataError(
            f"score.unit study: {dataset.name} has no studies, only CheXpert and MIMIC-CXR have; use group or sample"
        )
    return studies


def _parts(
    dataset: Dataset, table: LabelTable, score: ScoreConfig
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The groups of categories, and the categories that are told one by one, both of the scored ones."""
    chosen = score.categories or table.categories
    if missing := [name for name in chosen if name not in table.categories]:
        known = ", ".join(table.categories[:20])
        raise DataError(f"score.categories: {missing[0]!r} is not a category of {dataset.name}: {known}")
    groups = dict(table.category_groups or {})
    if score.groups is not None:
        fit = table.take(dataset.rows("fit")).known.sum(axis=0)
        if score.groups > len(table.categories):
            raise DataError(f"score.groups: {score.groups} of the {len(table.categories)} categories of {dataset.name}")
        blocks = np.array_split(np.argsort(fit, kind="stable"), score.groups)
        groups = {f"group-{i}": tuple(table.categories[c] for c in block) for i, block in enumerate(blocks, 1)}
    inside = {group: tuple(name for name in members if name in chosen) for group, members in groups.items()}
    return {group: members for group, members in inside.items() if members}, chosen if score.per_category else ()


def _refuse_multi_label_options(name: str, config: ExperimentConfig) -> None:
    score = config.score.model_copy(update={"extra": (), "predictors": ()})
    asked = {"score": score != ScoreConfig(), "ensembles": bool(config.ensembles), "heads": bool(config.heads)}
    for option, given in asked.items():
        if given:
            raise ConfigError(f"{option}: {name} has one class per sample, this is for multi-label data; leave it out")
