"""Types of the chain: what the networks of a run share, how one learns, and what each type of problem provides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import Recipe, ViewConfig, WebDatasetConfig, own_networks
from labelwise.data.counter_rng import generator
from labelwise.data.dataset import Dataset
from labelwise.data.folds import folds_of, rows_without
from labelwise.data.loaders import ViewLoader, make_loader
from labelwise.data.sampling import InTars, Rows, Unlabelled, plan_evaluation
from labelwise.data.tars import tar_numbers
from labelwise.losses import entropy
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.models.foreign import Trust
from labelwise.refinery.deadline import Deadline
from labelwise.refinery.generations import NetworkSpec, Refinery
from labelwise.refinery.labellers import RefineryLabels
from labelwise.results.refine import Metric, ZeroShotCategory
from labelwise.runs import read_json
from labelwise.store.bound import BoundStore
from labelwise.training.runtime import EVAL_BATCH, Runtime
from labelwise.training.task import Labeller, Task

PREDICTIONS = "predictions.npz"

SCORE_VIEW = 2**32 - 1
"""Number of the random view that fit scores look at: one that training never draws."""

FIT_SAMPLE = 10_000
"""Training images that the fit scores are measured on, at most."""

JUDGES = 10_000
"""Held-out samples on which the answers of every network are kept, at most."""

Scores = dict[str, float]


@dataclass(frozen=True)
class LearningPlan:
    """How one network learns: a task, weights (n,) for drawing the fit samples, and what its labels are called.

    ``unlabelled`` samples take a share of each batch. ``stored`` views are shown in place of drawn ones, whose labels
    they bring. ``assert_unchanged`` is called when training has ended. It raises
    if a refinery has changed meanwhile. ``zero_shot`` says of every category whether the zero-shot network labels it.
    """

    task: Task
    labels: str
    sample_weight: NDArray[np.float64] | None = None
    unlabelled: Unlabelled | None = None
    stored: BoundStore | None = None
    assert_unchanged: Callable[[], None] = lambda: None
    zero_shot: tuple[ZeroShotCategory, ...] | None = None


class ProblemType(Protocol):
    """What one type of problem, single-label or multi-label, asks of a network, and how it is scored."""

    @property
    def metric(self) -> Metric:
        """The score that networks and epochs are chosen by on ``select``: ``top1`` or ``map``."""
        ...

    def prior_network(self, context: TrainingContext, network: NetworkSpec) -> NetworkSpec | None:
        """The network that must be trained before ``network``, whose loss reads it; None for most."""
        ...

    def plan(
        self, context: TrainingContext, network: NetworkSpec, model: Classifier, refinery: RefineryLabels | None
    ) -> LearningPlan:
        """How ``network``, built as ``model``, learns from ``refinery``, or from the given labels."""
        ...

    def lineage(self, context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
        """What the weights of ``network`` depend on for this kind of data alone."""
        ...

    def select_scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> Scores:
        """``metric`` and ``nll`` of logits (len(rows), K)."""
        ...

    def scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, Any]:
        """All scores, with a table per class or category."""
        ...

    def predictions(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What is kept of the test predictions for paired comparisons."""
        ...

    def fit_scores(self, context: TrainingContext, model: Classifier) -> Scores:
        """How the network sees its own training images."""
        ...


@dataclass(frozen=True)
class TrainingContext:
    """What all networks of one seed share. ``folder`` is ``RUN/seed-S``. ``network_cache`` holds finished networks that
    several runs share, each in a folder named after the hash of all that its weights depend on. Networks that would end
    after the ``deadline`` are not begun."""

    recipe: Recipe
    dataset: Dataset
    loader: ViewLoader
    input_spec: InputSpec
    data_fingerprint: str
    runtime: Runtime
    folder: Path
    seed: int
    problem: ProblemType
    quiet: bool = False
    network_cache: Path | None = None
    deadline: Deadline | None = None

    @property
    def trust(self) -> Trust:
        """Which networks may be built that a checkpoint describes: those of the recipe, or all (chain.trust_code)."""
        return self.recipe.chain.trust_code or own_networks(self.recipe)

    @cached_property
    def folds(self) -> NDArray[np.int64]:
        """The fold (N,) of every fit sample of this seed, see :func:`labelwise.data.folds.folds_of`."""
        return folds_of(self.dataset, self.recipe.chain.folds, self.seed)

    def fit_rows(self, network: NetworkSpec) -> NDArray[np.int64]:
        """The rows that ``network`` learns from: the fit split, but for the fold that it must not see."""
        return rows_without(self.dataset, None if network.without_fold is None else self.folds, network.without_fold)

    def judges(self, network: NetworkSpec) -> NDArray[np.int64]:
        """The samples whose given labels say how good ``network`` is: ``select``, or the fold that it has not seen.

        A fixed sample of them where they are many.
        """
        rows = self.dataset.rows("select")
        if network.without_fold is not None:
            rows = np.flatnonzero(self.folds == network.without_fold)
        return _sample(rows, JUDGES, "judges")

    def answers(
        self, labeller: Labeller, view: int | None = None, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Given labels (B,) and answers (B, K) on one view of this rank's part of ``rows``, batch by batch; default: of
        the fit samples."""
        rows = self.dataset.rows("fit") if rows is None else rows
        plans = plan_evaluation(rows, EVAL_BATCH, self.runtime.shard, view)
        for batch in self.loader.stream(plans, labeller.sizes, self.seed):
            yield batch.given, labeller(batch)

    def view_answers(self, labeller: Labeller, view: int | None = None) -> NDArray[np.float32]:
        """The answers (N, K) on the centre view, or on random view ``view``, of every fit sample and every unlabelled
        one that is used; NaN for the others."""
        rows = self.dataset.rows("fit")
        if self.recipe.chain.unlabelled.share > 0:
            rows = np.concatenate([rows, self.dataset.rows("unlabelled")])
        found = np.full((len(self.dataset), self.dataset.num_classes), np.nan, dtype=np.float32)
        parts = [torch.empty(0, self.dataset.num_classes, device=self.runtime.device)]
        parts += [answer for _, answer in self.answers(labeller, view, rows)]
        found[rows] = self.runtime.gather(torch.cat(parts)).cpu().numpy()
        return found

    def unlabelled(self, refinery: Labeller | None) -> Unlabelled | None:
        """The unlabelled samples that a network learns from beside the fit samples, but for those that ``refinery``
        finds foreign (``chain.unlabelled``); None where there are none. Without a refinery none is foreign.

        A sample is foreign if the entropy of the answer on its centre view is too high; of multi-label data, the mean
        entropy of the categories' answers.
        """
        options, rows = self.recipe.chain.unlabelled, self.dataset.rows("unlabelled")
        if refinery is not None and options.share > 0 and options.max_entropy < 1 and len(rows):
            q = torch.from_numpy(self.view_answers(refinery)[rows])
            if self.dataset.table is None:
                share = entropy(q) / math.log(q.shape[1])
            else:
                share = entropy(torch.stack([q, 1 - q], 2).flatten(0, 1)).view(q.shape).mean(1) / math.log(2)
            rows = rows[share.numpy() <= options.max_entropy]
        return Unlabelled(self.in_order(rows), options.share) if options.share > 0 and len(rows) else None

    def in_order(self, rows: NDArray[np.int64]) -> Rows:
        """``rows``, to be shown tar by tar where ``data.order`` says so and images are read from tars."""
        data, tars = self.recipe.data, tar_numbers(self.dataset.source)
        if not isinstance(data, WebDatasetConfig) or data.order == "shuffled" or tars is None:
            return rows
        return InTars(rows, tars[rows], data.window)

    def several_answers(self, labeller: Labeller, views: Sequence[int | None]) -> Tensor:
        """The answers (V, N, K) to V views of every sample of :meth:`view_answers`, on the device."""
        found = np.stack([self.view_answers(labeller, view) for view in views])
        return torch.from_numpy(found).to(self.runtime.device)

    def mean_answers(self, labeller: Labeller, views: Sequence[int | None]) -> Tensor:
        """The mean answers (N, K) over several views of every sample of :meth:`view_answers`, on the device."""
        total = self.view_answers(labeller, views[0])
        for view in views[1:]:
            total += self.view_answers(labeller, view)
        return torch.from_numpy(total / np.float32(len(views))).to(self.runtime.device)

    def with_views(self, views: ViewConfig | None) -> TrainingContext:
        """The same for a network that trains on other views."""
        if views is None or views == self.recipe.views:
            return self
        recipe = self.recipe.model_copy(update={"views": views})
        loader = make_loader(self.dataset, views, self.runtime.device, recipe.data.decoders)
        return replace(self, recipe=recipe, loader=loader)


def fixed_views(count: int) -> list[int | None]:
    """The centre view, and random views that neither training nor fit scores look at: ``count`` in all."""
    return [None, *(SCORE_VIEW - number for number in range(1, count))][:count]


def load_refinery(name: str, path: Path, unseen_fold: int | None = None) -> Refinery:
    """A finished checkpoint as a refinery."""
    card = read_json(path / checkpoint.CARD)
    return Refinery(name, path, str(card["weights_hash"]), unseen_fold)


def fit_sample(dataset: Dataset) -> NDArray[np.int64]:
    """The fit rows, or a fixed sample of them where they are many."""
    return _sample(dataset.rows("fit"), FIT_SAMPLE, "fit-sample")


def _sample(rows: NDArray[np.int64], most: int, stream: str) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(generator(stream).choice(rows, most, replace=False))
