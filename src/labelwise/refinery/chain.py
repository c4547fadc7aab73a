"""A chain of refiners: who learns from whom (arXiv 1805.02641, "sequential refinement").

Generation 1 learns from the given labels (or from outside refineries), generation g + 1 from what the frozen
generation g says of every crop. Finished networks are skipped, an interrupted one goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from labelwise.config import (
    ChainConfig,
    Recipe,
)
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import make_loader
from labelwise.models import checkpoint, zoo
from labelwise.refinery import controls, pretrained
from labelwise.refinery.checks import prepare, run_facts, warn_of_lonely_positives
from labelwise.refinery.context import NetworkSpec, Refinery, TrainingContext, load_refinery
from labelwise.refinery.gallery import write_gallery
from labelwise.refinery.generations import generation_of, without_chain
from labelwise.refinery.multi_label import MultiLabel
from labelwise.refinery.network import train_network
from labelwise.refinery.regime import judge, judge_stopped
from labelwise.refinery.single_label import SingleLabel
from labelwise.refinery.summary import results
from labelwise.results import RefineResults
from labelwise.runs import Run, read_json, start_run
from labelwise.training.input_spec import measure_input_spec
from labelwise.training.runtime import Runtime, start_runtime

Row = dict[str, Any]


def refine(
    recipe: Recipe,
    out: Path,
    *,
    baselines: bool = False,
    quiet: bool = False,
    dataset: Dataset | None = None,
    kind: str = "refine",
    network_cache: Path | None = None,
) -> dict[str, Any]:
    """Run the whole chain of ``recipe`` for every seed and write ``results.json`` and its neighbours.

    Parameters
    ----------
    recipe : see :class:`labelwise.config.Recipe`
    out : the run folder; an existing one of the same recipe is continued
    baselines : also train the controls
    quiet : no progress
    dataset : takes the place of ``recipe.data``, for data made in Python
    network_cache : folder of finished networks that several runs share, so that each is trained once

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        If the data, a network, or the folder cannot be used.
    """
    runtime = start_runtime(recipe, out)
    recipe, data = prepare(recipe, baselines, dataset)
    for number in range(1, recipe.chain.generations + 1):
        zoo.refuse_unknown(generation_of(recipe, number).model.name)
    first = replace(make_context(recipe, data, runtime, out, recipe.seed, quiet), network_cache=network_cache)
    facts = run_facts(recipe, data, first.input_spec)
    run = start_run(out, kind, {"data": first.data_fingerprint}, recipe, facts=facts, writes=runtime.is_main)
    if runtime.is_main and not quiet and recipe.labels.unknown == "ignore":
        warn_of_lonely_positives(data)
    runtime.accelerator.wait_for_everyone()
    runtime.accelerator.init_trackers(recipe.name)
    found = _run_seeds(first, baselines, kind, run)
    for tracker in runtime.accelerator.trackers:
        tracker.finish()
    return found


def _run_seeds(first: TrainingContext, baselines: bool, kind: str, run: Run) -> dict[str, Any]:
    """The chain of every seed, and ``results.json`` after each."""
    recipe, data, out = first.recipe, first.dataset, first.folder
    rows: list[Row] = []
    regime: dict[str, Any] | None = None
    found: dict[str, Any] = {}
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        context = replace(first, folder=out / f"seed-{seed}", seed=seed)
        chain = _run_chain(context)
        rows += chain
        if baselines:
            rows += _run_controls(context, chain)
        if regime is None and data.table is None:
            regime = _regime(chain)
            _gallery(context, chain, out)
        checked = RefineResults.model_validate(results(kind, data, rows, regime, out))
        run.finish(checked)
        found = checked.to_json()
    return found


def make_context(
    recipe: Recipe, dataset: Dataset, runtime: Runtime, folder: Path, seed: int, quiet: bool = False
) -> TrainingContext:
    """What networks of ``recipe`` share that are trained on ``dataset`` and written under ``folder``."""
    spec = measure_input_spec(dataset, recipe.views)
    loader = make_loader(dataset, recipe.views, runtime.device, recipe.data.workers)
    problem = SingleLabel() if dataset.table is None else MultiLabel()
    return TrainingContext(recipe, dataset, loader, spec, dataset.fingerprint(), runtime, folder, seed, problem, quiet)


def _run_chain(context: TrainingContext) -> list[Row]:
    """All generations of one seed, with their members; stops early when select gains too little."""
    chain, rows = context.recipe.chain, []
    outside = tuple(pretrained.open_refinery(p, context.folder.parent, context.dataset.classes) for p in chain.refinery)
    labellers = [outside]  # of generation 1, then the networks of every generation
    trained: list[tuple[Refinery, ...]] = []  # of every generation its network, and its members where they are needed
    with_members = _generations_with_members(context.recipe)
    previous: Row | None = None
    for number in range(1, chain.generations + 1):
        generation = generation_of(context.recipe, number)
        starts = () if generation.start_from is None else trained[generation.start_from - 1]
        name = f"generation-{number}"
        network = NetworkSpec(
            name,
            "generation",
            generation.model,
            generation.train,
            number,
            labellers[generation.labelled_by],
            refined_labels=generation.refined_labels,
            views=generation.views,
        )
        if number == 1 and chain.first == "early_stop":
            chosen = controls.early_stop(context.with_views(generation.views), generation.model, generation.train)
            network = replace(network, train=controls.shortened(generation.train, chosen["epochs"]))
            row = chosen | {"name": name, "role": "generation", "generation": 1}
        else:
            row = train_network(context, replace(network, start_from=starts[0] if starts else None))
        own = _as_refinery(context, row)
        members = (
            [train_network(context, member) for member in _members(chain, network, starts)]
            if number in with_members
            else []
        )
        rows += [row, *members]
        others = tuple(_as_refinery(context, row, i if chain.folds > 1 else None) for i, row in enumerate(members))
        trained.append((own, *others))
        labellers.append(others if chain.folds > 1 else trained[-1])
        if previous is not None and chain.min_gain is not None:
            metric = context.problem.metric
            scores = [one["select"][metric] for one in (previous, row)]
            if None not in scores and scores[1] - scores[0] < chain.min_gain:
                break
        previous = row
    return rows


def _generations_with_members(recipe: Recipe) -> set[int]:
    """Generations whose members or fold networks are trained: those that label a later generation, and those that such
    networks of a later one start from."""
    found: set[int] = set()
    for number in range(recipe.chain.generations, 0, -1):  # those that need a generation's members come after it
        generation = generation_of(recipe, number)
        if number in found and generation.start_from is not None:
            found.add(generation.start_from)
        found.add(generation.labelled_by)
    return found


def _members(chain: ChainConfig, network: NetworkSpec, starts: tuple[Refinery, ...]) -> list[NetworkSpec]:
    """What is trained beside the network of a generation so that several label a later one.

    Each starts from the one of its number, so that a fold network has still not seen its fold.
    """
    if chain.folds > 1:
        networks = [
            replace(network, name=f"{network.name}-fold-{fold + 1}", without_fold=fold) for fold in range(chain.folds)
        ]
    else:
        networks = [replace(network, name=f"{network.name}-member-{number}") for number in range(2, chain.members + 1)]
    own = starts[1:] or [None] * len(networks)
    return [replace(member, role="member", start_from=start) for member, start in zip(networks, own, strict=True)]


def _as_refinery(context: TrainingContext, row: Row, unseen_fold: int | None = None) -> Refinery:
    return load_refinery(row["name"], context.folder.parent / row["path"], unseen_fold)


def _run_controls(context: TrainingContext, chain: list[Row]) -> list[Row]:
    """Controls for the network that the chain ends with."""
    kinds, rows = context.recipe.baselines.kinds, []
    last = generation_of(context.recipe, context.recipe.chain.generations)
    context, model, train = context.with_views(last.views), last.model, last.train
    if "long" in kinds:
        rows.append(controls.long(context, model, train, sum(row["epochs"] for row in chain)))
    if "early_stop" in kinds:
        same = "to_the_end" in chain[0] and not context.recipe.chain.networks
        stopped = chain[0] if same else controls.early_stop(context, model, train)
        rows.append(stopped | {"name": "early-stop", "role": "control", "generation": None})
    if "smoothing" in kinds:
        rows.append(controls.smoothing(context, model, train))
    return rows


def _regime(chain: list[Row]) -> dict[str, Any] | None:
    first = chain[0]
    if "to_the_end" in first:
        last = first["to_the_end"]
        return judge_stopped(last["train"]["top1"], last["select"]["top1"])
    return judge(first["fit"]["top1"], first["select"]["top1"]) if "select" in first else None


def _gallery(context: TrainingContext, chain: list[Row], out: Path) -> None:
    last = [row for row in chain if row["role"] == "generation"][-1]
    if (context.folder / "gallery" / "gallery.json").exists():
        if read_json(context.folder / "gallery" / "gallery.json")["refinery"] == last["name"]:
            return
    model, _ = checkpoint.load(out / last["path"])
    write_gallery(context, model.to(context.runtime.device), last["name"])


def train(recipe: Recipe, out: Path, *, quiet: bool = False, dataset: Dataset | None = None) -> dict[str, Any]:
    """One network on the given labels: a chain of one generation, for its whole schedule."""
    return refine(without_chain(recipe), out, quiet=quiet, dataset=dataset, kind="train")
