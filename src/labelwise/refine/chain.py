"""A chain of refiners: who learns from whom (arXiv 1805.02641, "sequential refinement").

Generation 1 learns from the given labels (or from outside refineries), generation g + 1 from what the frozen
generation g says of every crop. Finished networks are skipped, an interrupted one goes on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import labelwise
from labelwise.config import (
    ChainConfig,
    ModelConfig,
    Recipe,
    RefinedConfig,
    TrainConfig,
    ViewConfig,
    merge_refined,
    merge_train,
    merge_views,
)
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import make_loader
from labelwise.data.missingness import in_words, only_positives_known
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import DataError, RunError
from labelwise.models import checkpoint
from labelwise.models.classifier import InputSpec
from labelwise.refine import controls, external
from labelwise.refine.bench import Bench, Node, Parent, load_parent
from labelwise.refine.gallery import write_gallery
from labelwise.refine.multi_label import MultiLabel
from labelwise.refine.nodes import run_node
from labelwise.refine.regime import judge, judge_stopped
from labelwise.refine.single_label import SingleLabel
from labelwise.refine.summary import results
from labelwise.runs import CONFIG, RESULTS, RUN, SCHEMA, atomic_write, environment, fingerprint, read_json, write_json
from labelwise.settings import dump_yaml
from labelwise.train.runtime import Runtime, start_runtime
from labelwise.train.setup import data_spec

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
    if not len(data.rows("fit")):
        raise DataError(f"{data.name}: there is nothing to train on (the fit split is empty)")
    if not len(data.rows("select")) and (recipe.train.keep != "last" or baselines):
        raise DataError(f"{data.name}: nothing is held out to choose with; set data.select_share above 0")
    first = replace(make_bench(recipe, data, runtime, out, recipe.seed, quiet), shared=shared)
    if runtime.is_main:
        _open_run(recipe, out, data, first.data_spec, kind)
        if not quiet and recipe.labels.unknown == "ignore":
            _warn_of_lonely_positives(data)
    runtime.accelerator.wait_for_everyone()
    runtime.accelerator.init_trackers(recipe.name)
    rows: list[Row] = []
    regime: dict[str, Any] | None = None
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
        if runtime.is_main:
            write_json(out / RESULTS, found)
    for tracker in runtime.accelerator.trackers:
        tracker.finish()
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
        step = _step(bench.recipe, generation)
        starts = () if step.start_from is None else trained[step.start_from - 1]
        name, by = f"generation-{generation}", labellers[_labelled_by(step, generation)]
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
            if row["select"][metric] - previous["select"][metric] < chain.min_gain:
                break
        previous = row
    return rows


def _asked(recipe: Recipe) -> set[int]:
    """Generations whose members or fold networks are trained: those that label a later generation, and those that such
    networks of a later one start from."""
    found: set[int] = set()
    for generation in range(recipe.chain.generations, 0, -1):  # all that a generation is asked for comes after it
        step = _step(recipe, generation)
        if generation in found and step.start_from is not None:
            found.add(step.start_from)
        found.add(_labelled_by(step, generation))
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


@dataclass(frozen=True)
class _Step:
    """What a generation is."""

    model: ModelConfig
    train: TrainConfig
    views: ViewConfig
    refined: RefinedConfig
    labelled_by: int | None = None
    start_from: int | None = None


def _step(recipe: Recipe, generation: int) -> _Step:
    """Network, training and labels of a generation; the last step of ``chain.networks`` is repeated."""
    chain = recipe.chain
    if not chain.networks:
        return _Step(recipe.model, recipe.train, recipe.views, chain.refined)
    number = min(generation, len(chain.networks)) - 1
    step = chain.networks[number]
    return _Step(
        step.model or recipe.model,
        merge_train(recipe.train, step.train, f"chain.networks.{number}.train"),
        merge_views(recipe.views, step.views, f"chain.networks.{number}.views"),
        merge_refined(chain.refined, step.refined, f"chain.networks.{number}.refined"),
        step.labelled_by,
        step.start_from,
    )


def _labelled_by(step: _Step, generation: int) -> int:
    """The generation that labels this one; 0: as generation 1."""
    return generation - 1 if step.labelled_by is None else step.labelled_by


def _as_parent(bench: Bench, row: Row, unseen: int | None = None) -> Parent:
    return load_parent(row["name"], bench.folder.parent / row["path"], unseen)


def _run_controls(bench: Bench, chain: list[Row]) -> list[Row]:
    """Controls for the network that the chain ends with."""
    kinds, rows = bench.recipe.baselines.kinds, []
    step = _step(bench.recipe, bench.recipe.chain.generations)
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


def _open_run(recipe: Recipe, out: Path, data: Dataset, spec: InputSpec, kind: str) -> None:
    """Save the resolved recipe and what the run depends on; refuse the folder of another data set."""
    if (out / RUN).exists():
        before = read_json(out / RUN)
        if before["data"]["fingerprint"] != data.fingerprint():
            raise RunError(f"{out}: holds a run on other data ({before['data']['name']}); give another --out")
    atomic_write(out / CONFIG, dump_yaml(recipe).encode())
    noise = recipe.data.noise
    fit = data.rows("fit")
    accuracy = None if data.true_label is None else float((data.label[fit] == data.true_label[fit]).mean())
    values = {
        "schema": SCHEMA,
        "kind": kind,
        "version": labelwise.__version__,
        "recipe": recipe.name,
        "recipe_hash": fingerprint(recipe.model_dump(mode="json")),
        "description": recipe.description,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint(),
            "classes": list(data.classes),
            "sizes": data.sizes(),
            "unreadable": list(data.unreadable),
            "given_label_accuracy": accuracy,
            "simulated_noise": f"{noise.rate:.0%} {noise.kind}" if noise.rate > 0 else None,
            "known": _known_share(data),
            "image": None if data.is_features else {"size": spec.size, "channels": spec.channels},
        },
        "environment": environment(),
        "command": " ".join(["labelwise", *sys.argv[1:]]),
    }
    write_json(out / RUN, values)


def _warn_of_lonely_positives(data: Dataset) -> None:
    """Where no label is negative, a network that ignores unknown ones learns that everything is positive, and so does
    every network that it refines."""
    if data.table is None:
        return
    if lonely := only_positives_known(data.table.take(data.rows("fit"))):
        print(
            f"warning: no negative label is known of {in_words(lonely, data.table)}: ignoring unknown labels"
            " teaches nothing about them; set labels.unknown=negative",
            file=sys.stderr,
        )


def _known_share(data: Dataset) -> dict[str, Any] | None:
    """Share of the fit labels that is known, and whether others were hidden; None for single-label data."""
    if data.table is None:
        return None
    share = float(data.table.known[data.rows("fit")].mean())
    return {"share": share, "simulated": data.true_table is not None}


def train_one(recipe: Recipe, out: Path, *, quiet: bool = False) -> dict[str, Any]:
    """One network on the given labels: a chain of one generation."""
    single = recipe.model_copy(update={"chain": recipe.chain.model_copy(update={"generations": 1})})
    return refine(single, out, quiet=quiet, kind="train")
