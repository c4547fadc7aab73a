"""What each generation of a chain is: the recipe, and what ``chain.networks`` says of it."""

from __future__ import annotations

from dataclasses import dataclass

from labelwise.config import (
    ModelConfig,
    Recipe,
    RefinedConfig,
    TrainConfig,
    ViewConfig,
    merge_refined,
    merge_train,
    merge_views,
)


@dataclass(frozen=True)
class Step:
    """What a generation is."""

    model: ModelConfig
    train: TrainConfig
    views: ViewConfig
    refined: RefinedConfig
    labelled_by: int | None = None
    start_from: int | None = None


def step_of(recipe: Recipe, generation: int) -> Step:
    """Network, training and labels of a generation; the last step of ``chain.networks`` is repeated."""
    chain = recipe.chain
    if not chain.networks:
        return Step(recipe.model, recipe.train, recipe.views, chain.refined)
    number = min(generation, len(chain.networks)) - 1
    step = chain.networks[number]
    return Step(
        step.model or recipe.model,
        merge_train(recipe.train, step.train, f"chain.networks.{number}.train"),
        merge_views(recipe.views, step.views, f"chain.networks.{number}.views"),
        merge_refined(chain.refined, step.refined, f"chain.networks.{number}.refined"),
        step.labelled_by,
        step.start_from,
    )


def labelled_by(step: Step, generation: int) -> int:
    """The generation that labels this one; 0: as generation 1."""
    return generation - 1 if step.labelled_by is None else step.labelled_by


def chooses(recipe: Recipe) -> bool:
    """Whether anything of the chain is chosen on select."""
    chain = recipe.chain
    steps = [step_of(recipe, generation) for generation in range(1, chain.generations + 1)]
    return chain.first != "full" or chain.min_gain is not None or any(step.train.keep != "last" for step in steps)
