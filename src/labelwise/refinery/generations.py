"""What a chain trains: its generations, and the networks of each, in the order in which they are trained.

Nothing here needs torch, so that a chain can be checked before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from labelwise.config import (
    ChainConfig,
    LabelsConfig,
    ModelConfig,
    Recipe,
    RefinedLabelsConfig,
    TrainConfig,
    UnlabelledConfig,
    ViewConfig,
    merge_refined_labels,
    merge_train,
    merge_views,
)


@dataclass(frozen=True)
class Refinery:
    """A refinery: a finished network of this run, or a checkpoint from outside. ``unseen_fold`` is the fold of the
    samples that it was trained without, if any."""

    name: str
    path: Path
    weights_hash: str
    unseen_fold: int | None = None


@dataclass(frozen=True)
class LabelStore:
    """The folder of a store, and a hash of its content."""

    folder: Path
    hash: str


@dataclass(frozen=True)
class LabelledBy:
    """Who labels a generation: the given labels; refineries as it is trained; or these beforehand, in ``store``."""

    refineries: tuple[Refinery, ...] = ()
    store: LabelStore | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """A network to be trained. ``refineries`` label its views; without any, the given labels do. Where there is a
    ``store``, they have labelled the views beforehand.

    ``refined_labels`` says what becomes of the refineries' answers (single-label data). ``labels`` says what becomes of
    unknown labels (multi-label data), and ``views`` which views it trains on; None: what the recipe says. It begins
    with the weights of ``start_from``. It does not see the samples of ``without_fold``. ``stream`` names the randomness
    of weights, order and views; networks that share it differ by their labels alone. ``prior`` is the network whose
    mean prediction the loss ``csl`` reads. With ``unseen_labels`` each sample is labelled by the one refinery that has
    not seen it.
    """

    name: str
    role: str
    model: ModelConfig
    train: TrainConfig
    generation: int | None = None
    refineries: tuple[Refinery, ...] = ()
    labels: LabelsConfig | None = None
    stream: str | None = None
    refined_labels: RefinedLabelsConfig = field(default_factory=RefinedLabelsConfig)
    start_from: Refinery | None = None
    without_fold: int | None = None
    views: ViewConfig | None = None
    prior: Refinery | None = None
    unseen_labels: bool = False
    store: LabelStore | None = None

    @property
    def crossfitted(self) -> bool:
        """Whether every sample has a refinery that has not seen it."""
        return bool(self.refineries) and all(one.unseen_fold is not None for one in self.refineries)


@dataclass(frozen=True)
class Generation:
    """One generation of a chain. ``labelled_by`` is the number of the generation whose networks label it; 0: whatever
    labels generation 1. ``start_from`` is the number of the generation whose weights it starts from."""

    number: int
    model: ModelConfig
    train: TrainConfig
    views: ViewConfig
    refined_labels: RefinedLabelsConfig
    labelled_by: int
    start_from: int | None = None


def generation_of(recipe: Recipe, number: int) -> Generation:
    """The generation of a number (from 1); the last entry of ``chain.networks`` is repeated."""
    chain = recipe.chain
    if not chain.networks:
        return Generation(number, recipe.model, recipe.train, recipe.views, chain.refined, number - 1)
    entry = min(number, len(chain.networks)) - 1
    own = chain.networks[entry]
    return Generation(
        number,
        own.model or recipe.model,
        merge_train(recipe.train, own.train, f"chain.networks.{entry}.train"),
        merge_views(recipe.views, own.views, f"chain.networks.{entry}.views"),
        merge_refined_labels(chain.refined, own.refined, f"chain.networks.{entry}.refined"),
        number - 1 if own.labelled_by is None else own.labelled_by,
        own.start_from,
    )


def generations_of(recipe: Recipe) -> list[Generation]:
    """All generations of the chain."""
    return [generation_of(recipe, number) for number in range(1, recipe.chain.generations + 1)]


def walk_chain(
    recipe: Recipe,
    outside: LabelledBy,
    learn: Callable[[NetworkSpec], Refinery | None],
    write: Callable[[Generation, tuple[Refinery, ...]], LabelStore],
) -> Iterator[Generation]:
    """Call ``learn`` for every network of the chain in turn; yield every generation when its networks are there.

    Parameters
    ----------
    outside : who labels generation 1
    learn : trains a network, and returns it as a refinery of later ones; None where there is no time. Without a
        generation's own network the chain ends; without one of its members, the others label the next generation
    write : with ``chain.write_store``, labels a generation with its refineries, before it learns
    """
    chain, with_members = recipe.chain, generations_with_members(recipe)
    labelling = [outside]  # by number of a generation, who labels by its name: its members, or its fold networks
    trained: list[tuple[Refinery, ...]] = []  # of every generation its network, and its members where they are needed
    for generation in generations_of(recipe):
        starts = () if generation.start_from is None else trained[generation.start_from - 1]
        by = labelling[generation.labelled_by]
        if chain.write_store.views > 0 and generation.labelled_by > 0:
            by = replace(by, store=write(generation, by.refineries))
        network = NetworkSpec(
            f"generation-{generation.number}",
            "generation",
            generation.model,
            generation.train,
            generation.number,
            by.refineries,
            store=by.store,
            refined_labels=generation.refined_labels,
            views=generation.views,
        )
        network = replace(network, unseen_labels=chain.fold_labels == "unseen" and network.crossfitted)
        own = learn(replace(network, start_from=starts[0] if starts else None))
        if own is None:
            return
        members = _members(chain, network, starts) if generation.number in with_members else []
        others = tuple(one for member in members if (one := learn(member)) is not None)
        trained.append((own, *others))
        labelling.append(LabelledBy(others if chain.folds > 1 else trained[-1]))
        yield generation


def chain_networks(recipe: Recipe) -> list[NetworkSpec]:
    """Every network of the chain, before any is trained: their refineries have names alone."""
    found: list[NetworkSpec] = []

    def learn(network: NetworkSpec) -> Refinery:
        found.append(network)
        return Refinery(network.name, Path(), "", network.without_fold)

    chain = recipe.chain
    sources = chain.refinery if chain.store is None else (chain.store,)
    store = None if chain.store is None else LabelStore(Path(chain.store), "")
    outside = LabelledBy(tuple(Refinery(source, Path(), "") for source in sources), store)

    def write(generation: Generation, refineries: tuple[Refinery, ...]) -> LabelStore:
        return LabelStore(Path(f"labels-by-generation-{generation.labelled_by}"), "")

    for _ in walk_chain(recipe, outside, learn, write):
        pass
    return found


def generations_with_members(recipe: Recipe) -> set[int]:
    """Generations whose members or fold networks are trained: those that label a later generation, and those that such
    networks of a later one start from; all of them where choices rest on folds."""
    if recipe.chain.choose == "folds":
        return set(range(1, recipe.chain.generations + 1))
    found: set[int] = set()
    for generation in reversed(generations_of(recipe)):  # those that need a generation's members come after it
        if generation.number in found and generation.start_from is not None:
            found.add(generation.start_from)
        found.add(generation.labelled_by)
    return found


def _members(chain: ChainConfig, network: NetworkSpec, starts: tuple[Refinery, ...]) -> list[NetworkSpec]:
    """What is trained beside the network of a generation so that several label a later one.

    Each starts from the one of its number, so that a fold network has still not seen its fold.
    """
    if chain.folds > 1:
        networks = fold_networks(network, chain.folds)
    else:
        names = [f"{network.name}-member-{number}" for number in range(2, chain.members + 1)]
        networks = [replace(network, name=name, role="member") for name in names]
    own = starts[1:] or [None] * len(networks)
    return [replace(member, start_from=start) for member, start in zip(networks, own, strict=True)]


def fold_networks(network: NetworkSpec, folds: int) -> list[NetworkSpec]:
    """``network`` once without each fold."""
    return [
        replace(network, name=fold_name(network.name, fold), role="member", without_fold=fold) for fold in range(folds)
    ]


def fold_name(name: str, fold: int) -> str:
    """What the network ``name`` is called where it has not seen ``fold``, counted from 0."""
    return f"{name}-fold-{fold + 1}"


def without_chain(recipe: Recipe) -> Recipe:
    """The recipe of one network that learns from the given labels, for its whole schedule."""
    alone = {
        "generations": 1,
        "networks": recipe.chain.networks[:1],
        "refinery": (),
        "first": "full",
        "choose": "select",
        "unlabelled": UnlabelledConfig(share=0),
    }
    return recipe.model_copy(update={"chain": recipe.chain.model_copy(update=alone)})


def chooses(recipe: Recipe) -> bool:
    """Whether anything of the chain is chosen on select."""
    chain = recipe.chain
    kept = {generation.train.keep for generation in generations_of(recipe)}
    return chain.first != "full" or chain.min_gain is not None or kept != {"last"}
