"""A recipe: a YAML file of all sections; ``--set train.epochs=3`` overrides one key."""

from __future__ import annotations

import json
import typing
from pathlib import Path

from pydantic import Field, model_validator

from labelwise.config.chain import BaselineConfig, ChainConfig, merge_refined_labels
from labelwise.config.data import AnyDataConfig, BuiltinConfig, refuse_missing
from labelwise.config.labels import LabelsConfig
from labelwise.config.train import CLOSED_FORM, ModelConfig, TrainConfig, merge_train
from labelwise.config.types import Rounds, Threads
from labelwise.config.views import ViewConfig, merge_views
from labelwise.settings import Section, read_mapping, resolve


class Recipe(Section):
    """Everything that a run of ``labelwise refine`` or ``labelwise train`` needs."""

    name: str = Field("refine", pattern=r"^[A-Za-z0-9._-]+$")
    description: str = Field("", description="What the recipe is for.")
    seed: int = Field(0, ge=0, description="First random seed.")
    seeds: Rounds = Field(1, description="Number of seeds. The whole chain is trained with seed, seed + 1, and so on.")
    threads: Threads = Field(0, description="Number of CPU threads. 0: torch decides. 1 is best for tiny networks.")
    data: AnyDataConfig = BuiltinConfig(format="auto")
    labels: LabelsConfig = LabelsConfig()
    views: ViewConfig = ViewConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    chain: ChainConfig = ChainConfig()
    baselines: BaselineConfig = BaselineConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for i, step in enumerate(self.chain.networks):
            merge_train(self.train, step.train, f"chain.networks.{i}.train")
            if shared := [key for key in ("precision", "trackers") if key in step.train]:
                raise ValueError(
                    f"chain.networks.{i}.train.{shared[0]}: all networks of a run have the same; set train.{shared[0]}"
                )
            merge_views(self.views, step.views, f"chain.networks.{i}.views")
            merge_refined_labels(self.chain.refined, step.refined, f"chain.networks.{i}.refined")
            if step.start_from is not None:
                own, start = (s.model or self.model for s in (step, self.chain.networks[step.start_from - 1]))
                if own.model_dump(exclude={"init"}) != start.model_dump(exclude={"init"}):
                    raise ValueError(
                        f"chain.networks.{i}.start_from: generation {step.start_from} is another network ({start.name})"
                    )
        outside = "refinery" if self.chain.refinery else "store"
        if self.chain.first == "early_stop" and (self.chain.refinery or self.chain.store is not None):
            raise ValueError(f"chain.first: early_stop trains on given labels, chain.{outside} replaces them; drop one")
        first = (self.chain.networks[0].model if self.chain.networks else None) or self.model
        if self.chain.first == "early_stop" and first.name in CLOSED_FORM:
            raise ValueError(f"chain.first: {first.name} has no epochs to stop after; set full")
        if self.data.select_share == 0 and (self.train.keep != "last" or self.chain.min_gain is not None):
            raise ValueError("train.keep and chain.min_gain choose on select: data.select_share must be above 0")
        return self


def own_networks(recipe: Recipe) -> tuple[ModelConfig, ...]:
    """The networks that a recipe names; of code among them, its user says that it may run."""
    return (recipe.model, *(step.model for step in recipe.chain.networks if step.model is not None))


def load_recipe(path: str | Path | None, overrides: typing.Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe, apply ``key.sub=value`` overrides and validate.

    Parameters
    ----------
    path : a YAML file, or None for the defaults
    overrides : ``section.key=value``; the value is read as YAML

    Raises
    ------
    ConfigError
        With the key's full name, its value and what is allowed.

    Examples
    --------
    >>> recipe = load_recipe(None, ["train.epochs=3", "chain={generations: 2}"])
    >>> recipe.train.epochs, recipe.chain.generations, recipe.data.source
    (3, 2, 'digits')
    """
    return resolve(Recipe, {} if path is None else read_mapping(Path(path)), overrides)


def data_recipe(data: str | Path, overrides: typing.Sequence[str] = ()) -> Recipe:
    """A recipe whose data section is that of a recipe file, or has ``data`` as its source.

    Parameters
    ----------
    data : a YAML recipe, or what ``data.source`` may be: the name of a built-in set, a path, hf:NAME
    overrides : ``section.key=value``

    Raises
    ------
    ConfigError
        As :func:`load_recipe`.
    DataError
        If there is no such file or folder.
    """
    text = str(data)
    source = [] if text.endswith((".yaml", ".yml")) else [f"data.source={json.dumps(text)}"]
    recipe = load_recipe(None if source else text, [*source, *overrides])
    refuse_missing(recipe.data)  # before torch is loaded
    return recipe
