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
from labelwise.data.readers import load_dataset, views_of
from labelwise.models import checkpoint
from labelwise.refinery import controls
from labelwise.refinery import pretrained as external
from labelwise.refinery.checks import kept_if_refused, open_run, refuse_early, warn_of_lonely_positives
from labelwise.refinery.context import Bench, Node, Parent, load_parent
from labelwise.refinery.gallery import write_gallery
from labelwise.refinery.generations import labelled_by, step_of
from labelwise.refinery.multi_label import MultiLabel
from labelwise.refinery.network import run_node
from labelwise.refinery.regime import judge, judge_stopped
from labelwise.refinery.single_label import SingleLabel
from labelwise.refinery.summary import results
from labelwise.runs import RESULTS, read_json, write_json
from labelwise.training.input_spec import data_spec
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
    shared: Path | None = None,
) -> dict[str, Any]:
    """Run the whole chain of ``recipe`` for every seed and write ``results.json`` and its neighbours.

    Parameters
    ----------
    recipe : see :class:`labelwise.config.Recipe`
    out : the run folder; an existing one of the same recipe is continued
    baselines : also train the controls
    quiet : no progress
    dataset : takes the place of ``recipe.data``, for data made in Python
    shared : folder where runs find each other's finished networks, so that what two have in common is trained once

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        If the data, a network, or the folder cannot be used.
    """
    runtime = start_runtime(recipe, out)
    data = dataset or load_dataset(recipe.data)
    if dataset is None:
        recipe = recipe.model_copy(update={"views": views_of(recipe.data, recipe.views)})
    refuse_early(recipe, data, baselines)
    first = replace(make_bench(recipe, data, runtime, out, recipe.seed, quiet), shared=shared)
    with kept_if_refused(out, runtime.is_main):
        if runtime.is_main:
            open_run(recipe, out, data, first.data_spec, kind)
            if not quiet and recipe.labels.unknown == "ignore":
                warn_of_lonely_positives(data)
        runtime.accelerator.wait_for_everyone()
        runtime.accelerator.init_trackers(recipe.name)
        found = _run_seeds(first, baselines, kind)
    for tracker in runtime.accelerator.trackers:
        tracker.finish()
    return found


def _run_seeds(first: Bench, baselines: bool, kind: str) -> dict[str, Any]:
    """The chain of every seed, and ``results.json`` after each."""
    recipe, data, out = first.recipe, first.dataset, first.folder
    rows: list[Row] = []
    regime: dict[str, Any] | None = None
    found: dict[str, Any] = {}
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        bench = replace(first, folder=out / f"seed-{seed}", seed=seed)
        chain = _run_chain(bench)
        rows += chain
        if baselines:
            rows += _run_controls(bench, chain)
        if regime is None and data.table is None:
            regime = _regime(chain)
            _gallery(bench, chain, out)
        found = results(kind, data, rows, regime, out)
        if first.runtime.is_main:
            write_json(out / RESULTS, found)
    return found


def make_bench(
    recipe: Recipe, dataset: Dataset, runtime: Runtime, folder: Path, seed: int, quiet: bool = False
) -> Bench:
    """What networks of ``recipe`` share that are trained on ``dataset`` and written under ``folder``."""
    spec = data_spec(dataset, recipe.views)
    loader = make_loader(dataset, recipe.views, runtime.device, recipe.data.workers)
    goal = SingleLabel() if dataset.table is None else MultiLabel()
    return Bench(recipe, dataset, loader, spec, dataset.fingerprint(), runtime, folder, seed, goal, quiet)


def _run_chain(bench: Bench) -> list[Row]:
    """All generations of one seed, with their members; stops early when select gains too little."""
    chain, rows = bench.recipe.chain, []
    outside = tuple(external.open_refinery(p, bench.folder.parent, bench.dataset.classes) for p in chain.refinery)
    labellers = [outside]  # of generation 1, then the networks of every generation
    trained: list[tuple[Parent, ...]] = []  # of every generation the network and, if anybody asks them, the others
    asked = _asked(bench.recipe)
    previous: Row | None = None
    for generation in range(1, chain.generations + 1):
        step = step_of(bench.recipe, generation)
        starts = () if step.start_from is None else trained[step.start_from - 1]
        name, by = f"generation-{generation}", labellers[labelled_by(step, generation)]
        node = Node(name, "generation", step.model, step.train, generation, by, refined=step.refined, views=step.views)
        if generation == 1 and chain.first == "early_stop":
            chosen = controls.early_stop(bench.with_views(step.views), step.model, step.train)
            node = replace(node, train=controls.shortened(step.train, chosen["epochs"]))
            row = chosen | {"name": name, "role": "generation", "generation": 1}
        else:
            row = run_node(bench, replace(node, start=starts[0] if starts else None))
        network = _as_parent(bench, row)
        members = [run_node(bench, member) for member in _members(chain, node, starts)] if generation in asked else []
        rows += [row, *members]
        others = tuple(_as_parent(bench, row, i if chain.folds > 1 else None) for i, row in enumerate(members))
        trained.append((network, *others))
        labellers.append(others if chain.folds > 1 else trained[-1])
        if previous is not None and chain.min_gain is not None:
            metric = bench.goal.metric
            scores = [one["select"][metric] for one in (previous, row)]
            if None not in scores and scores[1] - scores[0] < chain.min_gain:
                break
        previous = row
    return rows


def _asked(recipe: Recipe) -> set[int]:
    """Generations whose members or fold networks are trained: those that label a later generation, and those that such
    networks of a later one start from."""
    found: set[int] = set()
    for generation in range(recipe.chain.generations, 0, -1):  # all that a generation is asked for comes after it
        step = step_of(recipe, generation)
        if generation in found and step.start_from is not None:
            found.add(step.start_from)
        found.add(labelled_by(step, generation))
    return found


def _members(chain: ChainConfig, node: Node, starts: tuple[Parent, ...]) -> list[Node]:
    """What is trained beside the network of a generation so that several label a later one.

    Each starts from the one of its number, so that a fold network has still not seen its fold.
    """
    if chain.folds > 1:
        nodes = [replace(node, name=f"{node.name}-fold-{fold + 1}", without=fold) for fold in range(chain.folds)]
    else:
        nodes = [replace(node, name=f"{node.name}-member-{number}") for number in range(2, chain.members + 1)]
    own = starts[1:] or [None] * len(nodes)
    return [replace(member, role="member", start=start) for member, start in zip(nodes, own, strict=True)]


def _as_parent(bench: Bench, row: Row, unseen: int | None = None) -> Parent:
    return load_parent(row["name"], bench.folder.parent / row["path"], unseen)


def _run_controls(bench: Bench, chain: list[Row]) -> list[Row]:
    """Controls for the network that the chain ends with."""
    kinds, rows = bench.recipe.baselines.kinds, []
    step = step_of(bench.recipe, bench.recipe.chain.generations)
    bench, model, train = bench.with_views(step.views), step.model, step.train
    if "long" in kinds:
        rows.append(controls.long(bench, model, train, sum(row["epochs"] for row in chain)))
    if "early_stop" in kinds:
        same = "to_the_end" in chain[0] and not bench.recipe.chain.networks
        stopped = chain[0] if same else controls.early_stop(bench, model, train)
        rows.append(stopped | {"name": "early-stop", "role": "control", "generation": None})
    if "smoothing" in kinds:
        rows.append(controls.smoothing(bench, model, train))
    return rows


def _regime(chain: list[Row]) -> dict[str, Any] | None:
    first = chain[0]
    if "to_the_end" in first:
        last = first["to_the_end"]
        return judge_stopped(last["train"]["top1"], last["select"]["top1"])
    return judge(first["fit"]["top1"], first["select"]["top1"]) if "select" in first else None


def _gallery(bench: Bench, chain: list[Row], out: Path) -> None:
    last = [row for row in chain if row["role"] == "generation"][-1]
    if (bench.folder / "gallery" / "gallery.json").exists():
        if read_json(bench.folder / "gallery" / "gallery.json")["refinery"] == last["name"]:
            return
    model, _ = checkpoint.load(out / last["path"])
    write_gallery(bench, model.to(bench.runtime.device), last["name"])


def train(recipe: Recipe, out: Path, *, quiet: bool = False) -> dict[str, Any]:
    """One network on the given labels: a chain of one generation, for its whole schedule."""
    alone = {"generations": 1, "refinery": (), "first": "full"}
    single = recipe.model_copy(update={"chain": recipe.chain.model_copy(update=alone)})
    return refine(single, out, quiet=quiet, kind="train")
