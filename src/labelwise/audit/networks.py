"""Networks that answer images they were not trained on: one for each fold, of several seeds, asked about several views.

They are trained by the machinery of a refine run, with its checkpoints; or a finished run has them already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit

from labelwise.audit.answers import Answer, Array, kept, log_probability
from labelwise.config import AuditConfig, Recipe
from labelwise.data.dataset import Dataset, Features
from labelwise.data.readers import views_of
from labelwise.errors import ConfigError, RunError
from labelwise.progress import Progress
from labelwise.refinery.budget import facts_of, starts_published
from labelwise.refinery.chain import make_context
from labelwise.refinery.checks import refuse_early
from labelwise.refinery.context import TrainingContext, fixed_views, load_refinery
from labelwise.refinery.defaults import default_values
from labelwise.refinery.generations import NetworkSpec, Refinery, fold_name, fold_networks, without_chain
from labelwise.refinery.network import check_networks, refinery_labels, train_network
from labelwise.results import RefineResults
from labelwise.settings import resolve
from labelwise.training.runtime import start_runtime

NETWORK = "network"

UNSURE = np.float32(1e-4)
"""No category is less likely than this, or likelier than 1 less this: one view that is too sure must not decide."""


@dataclass(frozen=True)
class Panel:
    """Networks of one seed and generation, each of which has not seen one fold."""

    name: str
    kind: str
    context: TrainingContext
    refineries: tuple[Refinery, ...]

    def answers(self, rows: NDArray[np.int64], view: int | None) -> Array:
        """Probabilities (len(rows), K) of a view, each by the network that has not seen the sample; by the mean of all
        where none has."""
        recipe = self.context.recipe
        spec = NetworkSpec(self.name, "network", recipe.model, recipe.train, refineries=self.refineries)
        labels = refinery_labels(self.context, replace(spec, unseen_labels=True))
        assert labels is not None
        found = [answer for _, answer in self.context.answers(labels, view, rows)]
        return torch.cat(found).cpu().numpy()


def network_recipe(
    asked: Recipe, model: str | None, overrides: Sequence[str], dataset: Dataset, config: AuditConfig
) -> Recipe:
    """How the fold networks are trained.

    Parameters
    ----------
    asked : the user's recipe; without a file, that of the data alone
    model : the network; None: that of the recipe
    overrides : options of the recipe, which stand above the defaults for data of this kind
    """
    chain = {"folds": config.folds, "trust_code": asked.chain.trust_code}
    if model is None:
        values = asked.model_dump(exclude={"chain", "baselines"})
    else:
        from labelwise.refinery import speed

        facts = facts_of(dataset)
        published = not facts.embeddings and starts_published(model, facts, speed.published_weights)
        values = default_values(facts, model, pretrained=published, gpu=speed.supports_bfloat16())
        values["data"] = asked.data.model_dump()
    values["train"] = values.get("train", {}) | ({"epochs": config.epochs} if config.epochs else {})
    recipe = without_chain(resolve(Recipe, values | {"chain": chain}, [] if model is None else overrides))
    train = recipe.train.model_copy(update={"keep": "last"})  # nothing is held out to choose an epoch with
    views = views_of(recipe.data, recipe.views)
    return recipe.model_copy(
        update={"train": train, "views": views, "seed": config.seed, "threads": config.threads or recipe.threads}
    )


def train_panels(config: AuditConfig, recipe: Recipe, dataset: Dataset, out: Path, quiet: bool) -> Iterator[Panel]:
    """Train, or continue, the networks of every seed; ``dataset`` has all its samples in ``fit``."""
    refuse_early(recipe, dataset, baselines=False)
    runtime = start_runtime(recipe)
    if runtime.shard.world > 1:
        raise ConfigError("audit: works in one process; run it without torchrun")
    first = make_context(recipe, dataset, runtime, out / "seed-0", config.seed, quiet)
    networks = fold_networks(NetworkSpec(NETWORK, "member", recipe.model, recipe.train), config.folds)
    check_networks(first, networks[:1])
    for number in range(config.seeds):
        seed = config.seed + number
        context = replace(first, folder=out / f"seed-{seed}", seed=seed)
        refineries = []
        for network in networks:
            row = train_network(context, network)
            refineries.append(load_refinery(row.name, out / row.path, network.without_fold))
        yield Panel(f"{recipe.model.name} {number + 1}", NETWORK, context, tuple(refineries))


def panels_of_run(run: Path, recipe: Recipe, results: RefineResults, dataset: Dataset, quiet: bool) -> list[Panel]:
    """The fold networks of every seed and generation of a finished run.

    Raises
    ------
    RunError
        If it has none.
    """
    runtime, found = start_runtime(recipe), []
    recipe = recipe.model_copy(update={"views": views_of(recipe.data, recipe.views)})
    rows = {(row.seed, row.name): row for row in results.rows}
    generations = [row for row in results.rows if row.role == "generation"]
    first = make_context(recipe, dataset, runtime, run, recipe.seed, quiet)
    for row in generations:
        names = [fold_name(row.name, fold) for fold in range(recipe.chain.folds)]
        if all((row.seed, name) in rows for name in names):
            context = replace(first, folder=run / f"seed-{row.seed}", seed=row.seed)
            members = [load_refinery(name, run / rows[row.seed, name].path, fold) for fold, name in enumerate(names)]
            found.append(Panel(f"{row.name} seed {row.seed}", row.name, context, tuple(members)))
    if not found:
        raise RunError(
            f"{run}: has no fold networks to answer out of sample; refine with chain.folds=5, or audit the data:"
            f" labelwise audit {recipe.data.source} --model {recipe.model.name}"
        )
    return found


def panel_answers(
    panels: Iterable[Panel], rows: NDArray[np.int64], config: AuditConfig, folder: Path, quiet: bool
) -> list[Answer]:
    """The answers of every panel to every view of the samples ``rows``; each is kept in ``folder``."""
    return [
        Answer(name, panel.kind, log_probability(p), number)
        for panel in panels
        for number, (name, p) in enumerate(_views(panel, rows, config, folder, quiet).items())
    ]


def panel_logits(
    panels: Iterable[Panel], rows: NDArray[np.int64], config: AuditConfig, folder: Path, quiet: bool
) -> list[Answer]:
    """The answers of every panel for multi-label data, logits (len(rows), C), each the mean over views; kept in
    ``folder`` likewise."""
    found = []
    for panel in panels:
        p = np.stack(list(_views(panel, rows, config, folder, quiet).values()))
        values: Array = np.mean(logit(p.clip(UNSURE, 1 - UNSURE)), axis=0, dtype=np.float32)
        found.append(Answer(panel.name, panel.kind, values))
    return found


def _views(panel: Panel, rows: NDArray[np.int64], config: AuditConfig, folder: Path, quiet: bool) -> dict[str, Array]:
    """Probabilities (len(rows), K) of a panel for every view, by the name of the answer."""
    views = fixed_views(1 if isinstance(panel.context.dataset.source, Features) else config.views)
    found = {}
    with Progress(panel.name, "views", quiet) as progress:
        progress.start(len(views))
        for number, view in enumerate(views):
            name = panel.name if len(views) == 1 else f"{panel.name}, view {number + 1}"
            found[name] = kept(folder, re.sub(r"\W+", "_", name), partial(panel.answers, rows, view))
            progress.advance()
            progress.show()
    return found
