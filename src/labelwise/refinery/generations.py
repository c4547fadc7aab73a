"""What each generation of a chain is: the recipe, and what ``chain.networks`` says of it."""

from __future__ import annotations

from dataclasses import dataclass

from labelwise.config import (
    ModelConfig,
    Recipe,
    RefinedLabelsConfig,
    TrainConfig,
    ViewConfig,
    merge_refined_labels,
    merge_train,
    merge_views,
)


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


def without_chain(recipe: Recipe) -> Recipe:
    """The recipe of one network that learns from the given labels, for its whole schedule."""
    alone = {"generations": 1, "refinery": (), "first": "full"}
    return recipe.model_copy(update={"chain": recipe.chain.model_copy(update=alone)})


def chooses(recipe: Recipe) -> bool:
    """Whether anything of the chain is chosen on select."""
    chain = recipe.chain
    generations = [generation_of(recipe, number) for number in range(1, chain.generations + 1)]
    return chain.first != "full" or chain.min_gain is not None or any(one.train.keep != "last" for one in generations)
