"""A chain of refiners: who learns from whom (arXiv 1805.02641, "sequential refinement").

Generation 1 learns from the given labels (or from outside refineries), generation g + 1 from what the frozen
generation g says of every crop. Finished networks are skipped, an interrupted one goes on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from labelwise.config import Recipe
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import make_loader
from labelwise.data.memory import refuse_unreadable
from labelwise.data.worker_count import choose_workers
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier
from labelwise.refinery import controls
from labelwise.refinery.candidates import early_stop, run_controls
from labelwise.refinery.checks import planned_networks, prepare, run_facts, warn_of_lonely_positives
from labelwise.refinery.choice import Judgement, judging_folds
from labelwise.refinery.context import TrainingContext, load_refinery
from labelwise.refinery.deadline import Deadline
from labelwise.refinery.gallery import write_gallery
from labelwise.refinery.generations import (
    LabelledBy,
    NetworkSpec,
    Refinery,
    fold_name,
    generation_of,
    walk_chain,
    without_chain,
)
from labelwise.refinery.multi_label import MultiLabel
from labelwise.refinery.network import check_networks, train_if_time
from labelwise.refinery.pretrained import open_refinery
from labelwise.refinery.regime import regime_of
from labelwise.refinery.single_label import SingleLabel
from labelwise.refinery.stored import labelled_by_store
from labelwise.refinery.summary import results
from labelwise.refinery.write_store import write_labels
from labelwise.refinery.zero_shot import open_zero_shot
from labelwise.results import RefineResults, Row
from labelwise.results.refine import Regime
from labelwise.runs import BEST, Run, read_json, start_run
from labelwise.training.input_spec import measure_input_spec
from labelwise.training.runtime import Runtime, start_runtime


def refine(
    recipe: Recipe,
    out: str | Path,
    *,
    baselines: bool = False,
    quiet: bool = False,
    dataset: Dataset | None = None,
    kind: Literal["refine", "train"] = "refine",
    network_cache: Path | None = None,
    deadline: Deadline | None = None,
) -> RefineResults:
    """Train the whole chain of a recipe, for every seed, and write a run folder.

    Parameters
    ----------
    recipe : what :func:`labelwise.load_recipe` returns
    out : the run folder; an existing one of the same recipe is continued
    baselines : also train the controls
    quiet : show no progress
    dataset : takes the place of ``recipe.data``, for data made in Python
    kind : what ``results.json`` calls the run
    network_cache : folder of finished networks that several runs share, so that each is trained once
    deadline : networks that would end after it are not begun; the run ends with what is finished

    Returns
    -------
    the content of ``results.json``, see :class:`labelwise.results.RefineResults`

    Raises
    ------
    LabelwiseError
        If the data, a network, or the folder cannot be used.
    """
    out = Path(out)
    runtime = start_runtime(recipe, out)
    recipe, data = prepare(recipe, baselines, dataset)
    first = make_context(recipe, data, runtime, out, recipe.seed, quiet)
    first = replace(first, network_cache=network_cache, deadline=deadline)
    check_networks(first, planned_networks(recipe, data, baselines))
    if runtime.is_main:
        refuse_unreadable(data, recipe.data.decoders)
    facts = run_facts(recipe, data, first.input_spec)
    run = start_run(out, kind, {"data": first.data_fingerprint}, recipe, facts=facts, writes=runtime.is_main)
    if runtime.is_main and not quiet and recipe.labels.unknown == "ignore":
        warn_of_lonely_positives(data)
    runtime.accelerator.wait_for_everyone()
    with runtime.curves:
        return _run_seeds(first, baselines, kind, run)


def _run_seeds(first: TrainingContext, baselines: bool, kind: Literal["refine", "train"], run: Run) -> RefineResults:
    """The chain of every seed, and ``results.json`` after each."""
    recipe, data, out = first.recipe, first.dataset, first.folder
    rows: list[Row] = []
    regime: Regime | None = None
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        context = replace(first, folder=out / f"seed-{seed}", seed=seed)
        chain = _run_chain(context)
        if not chain:  # no time for one more seed
            break
        rows += chain
        if baselines:
            rows += run_controls(context, chain)
        if regime is None and data.table is None:
            # By select alone: labels of folds have reached later generations through their refineries.
            regime = regime_of(chain, generation_of(recipe, 1), Judgement(data, out))
            _gallery(context, chain, out)
        found = results(kind, rows, regime, Judgement(data, out, judging_folds(recipe)))
        if found.best is not None and run.writes:
            checkpoint.copy(out / found.best.path, out / BEST)
        run.finish(found)
    return found


def make_context(
    recipe: Recipe, dataset: Dataset, runtime: Runtime, folder: Path, seed: int, quiet: bool = False
) -> TrainingContext:
    """What networks of ``recipe`` share that are trained on ``dataset`` and written under ``folder``."""
    spec = measure_input_spec(dataset, recipe.views)
    if recipe.data.workers == "auto":
        workers = choose_workers(dataset, recipe.views, spec.size, runtime.device)
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"workers": workers})})
    loader = make_loader(dataset, recipe.views, runtime.device, recipe.data.decoders)
    problem = SingleLabel() if dataset.table is None else MultiLabel()
    return TrainingContext(recipe, dataset, loader, spec, dataset.fingerprint(), runtime, folder, seed, problem, quiet)


def _run_chain(context: TrainingContext) -> list[Row]:
    """All generations of one seed, with their members; stops early when select gains too little."""
    recipe, run, rows = context.recipe, context.folder.parent, list[Row]()
    stopped = recipe.chain.first == "early_stop"

    def learn(network: NetworkSpec) -> Refinery | None:
        if stopped and network.generation == 1:
            row = _stopped_early(context, network, rows)
        else:
            row = _trained(context, network)
        if row is None:
            return None
        rows.append(row)
        return load_refinery(row.name, run / row.path, network.without_fold)

    if recipe.chain.unknown.zero_shot is not None:
        open_zero_shot(context)  # what cannot be had is told before anything is trained
    if recipe.chain.store is None:
        sources = recipe.chain.refinery
        outside = LabelledBy(tuple(open_refinery(source, run, context.dataset.classes) for source in sources))
    else:
        outside = labelled_by_store(recipe.chain.store)
    for _ in walk_chain(recipe, outside, learn, partial(write_labels, context)):
        if _gains_too_little(context, [row for row in rows if row.role == "generation"]):
            break
    return rows


def _trained(context: TrainingContext, network: NetworkSpec) -> Row | None:
    """The network, unless the time is too short; members must leave time for the generation that they label."""
    then = (f"generation-{network.generation + 1}",) if network.role == "member" and network.generation else ()
    return train_if_time(context, network, *then)


def _stopped_early(context: TrainingContext, network: NetworkSpec, rows: list[Row]) -> Row | None:
    """Generation 1 as the preferred early-stopped schedule; its members are trained for as long as that one."""
    if rows:
        member = replace(network, train=controls.shortened(network.train, rows[0].epochs))
        if context.recipe.chain.choose == "folds" and rows[0].chosen is not None and member.without_fold is not None:
            member = replace(member, name=fold_name(rows[0].chosen, member.without_fold))  # is trained already
        return _trained(context, member)
    chosen = early_stop(context, generation_of(context.recipe, 1))
    return chosen and chosen.model_copy(update={"name": network.name, "role": "generation", "generation": 1})


def _gains_too_little(context: TrainingContext, generations: list[Row]) -> bool:
    least, metric = context.recipe.chain.min_gain, context.problem.metric
    if least is None or len(generations) < 2:
        return False
    before, after = (row.on_select(metric) for row in generations[-2:])
    return before is not None and after is not None and after - before < least


def _gallery(context: TrainingContext, chain: list[Row], out: Path) -> None:
    generations = {row.name: row for row in chain if row.role == "generation"}
    if (context.folder / "gallery" / "gallery.json").exists():
        if read_json(context.folder / "gallery" / "gallery.json")["refinery"] == list(generations)[-1]:
            return

    def load(row: Row) -> Classifier:
        return checkpoint.load(out / row.path, context.trust)[0].to(context.runtime.device)

    write_gallery(context, {name: partial(load, row) for name, row in generations.items()})


def train(recipe: Recipe, out: str | Path, *, quiet: bool = False, dataset: Dataset | None = None) -> RefineResults:
    """Train one network on the given labels: a chain of one generation, for its whole schedule.

    Parameters
    ----------
    recipe : what :func:`labelwise.load_recipe` returns; its section ``chain`` is left aside
    out : the run folder; an existing one of the same recipe is continued
    quiet : show no progress
    dataset : takes the place of ``recipe.data``, for data made in Python

    Returns
    -------
    the content of ``results.json``, see :class:`labelwise.results.RefineResults`

    Raises
    ------
    LabelwiseError
        If the data, the network, or the folder cannot be used.
    """
    return refine(without_chain(recipe), out, quiet=quiet, dataset=dataset, kind="train")
