"""What the networks of a chain share, what one of them is, and what a type of problem asks of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import LabelsConfig, ModelConfig, Recipe, RefinedLabelsConfig, TrainConfig, ViewConfig
from labelwise.data.counter_rng import generator
from labelwise.data.dataset import Dataset
from labelwise.data.folds import folds_of
from labelwise.data.loaders import ViewLoader, make_loader
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.runs import read_json
from labelwise.settings import Section
from labelwise.training.runtime import Runtime
from labelwise.training.task import Task

PREDICTIONS = "predictions.npz"

SCORE_VIEW = 2**32 - 1
"""Number of the random view that fit scores look at: one that training never draws."""

FIT_SAMPLE = 10_000
"""Training images that the fit scores are measured on, at most."""

Scores = dict[str, float]


@dataclass(frozen=True)
class Refinery:
    """A refinery: a finished network of this run, or a checkpoint from outside. ``unseen`` is the fold of the samples
    that it was trained without, if any."""

    name: str
    path: Path
    weights_hash: str
    unseen_fold: int | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """A network to be trained. ``refineries`` label its views; without any, the given labels do.

    ``labels`` says what becomes of unknown labels of multi-label data where that is not what the recipe says, and
    ``refined`` what becomes of the refinery's answer for single-label data. ``start`` is a network whose weights it
    begins with; ``without`` the fold that it does not see; ``views`` what it trains on where that is not what the
    recipe says. ``stream`` names the randomness of weights, order and
    views; networks that share it differ by their labels alone.
    """

    name: str
    role: str
    model: ModelConfig
    train: TrainConfig
    generation: int | None = None
    refineries: tuple[Refinery, ...] = ()
    labels: LabelsConfig | None = None
    stream: str | None = None
    refined_labels: RefinedLabelsConfig | None = None
    start_from: Refinery | None = None
    without_fold: int | None = None
    views: ViewConfig | None = None


@dataclass(frozen=True)
class LearningPlan:
    """How one network learns: a task, weights (n,) for drawing the fit samples, and what its labels are called.

    ``check`` is called when training has ended; it raises if a refinery has changed meanwhile.
    """

    task: Task
    labels: str
    sample_weight: NDArray[np.float64] | None = None
    check: Callable[[], None] = lambda: None


class ProblemType(Protocol):
    """What one type of problem, single-label or multi-label, asks of a network, and how it is scored."""

    @property
    def metric(self) -> str:
        """The score that networks and epochs are chosen by on ``select``: ``top1`` or ``map``."""
        ...

    def plan(
        self, context: TrainingContext, network: NetworkSpec, model: Classifier, refinery_models: Sequence[Classifier]
    ) -> LearningPlan:
        """How ``network`` learns from the given labels or from its refineries, loaded as ``refinery_models``."""
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
    several runs share, each in a folder named after the hash of all that its weights depend on."""

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

    @cached_property
    def folds(self) -> NDArray[np.int64]:
        """The fold (N,) of every fit sample of this seed, see :func:`labelwise.data.folds.folds_of`."""
        return folds_of(self.dataset, self.recipe.chain.folds, self.seed)

    def with_views(self, views: ViewConfig | None) -> TrainingContext:
        """The same for a network that trains on other views."""
        if views is None or views == self.recipe.views:
            return self
        recipe = self.recipe.model_copy(update={"views": views})
        loader = make_loader(self.dataset, views, self.runtime.device, recipe.data.workers)
        return replace(self, recipe=recipe, loader=loader)


def changed(options: Section, without: set[str] | None = None) -> dict[str, Any]:
    """The options that are not at their default: what is said about a network does not change when a later version
    has one option more."""
    return options.model_dump(mode="json", exclude=without, exclude_defaults=True)


def load_refinery(name: str, path: Path, unseen_fold: int | None = None) -> Refinery:
    """A finished checkpoint as a refinery."""
    card = read_json(path / checkpoint.CARD)
    return Refinery(name, path, str(card["weights_hash"]), unseen_fold)


def fit_sample(dataset: Dataset) -> NDArray[np.int64]:
    """The fit rows, or a fixed sample of them where they are many."""
    rows = dataset.rows("fit")
    if len(rows) <= FIT_SAMPLE:
        return rows
    return np.sort(generator("fit-sample").choice(rows, FIT_SAMPLE, replace=False))
