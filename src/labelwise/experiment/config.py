"""What a table is made of: its rows, columns, heads and ensembles, how it is scored, and the recipe of each cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from labelwise.config import CftConfig, Metric, PositiveInt, Recipe, Rounds
from labelwise.errors import ConfigError
from labelwise.experiment.row_scores import is_name
from labelwise.results.experiment import BASE
from labelwise.settings import Section, read_mapping, resolve


class AxisConfig(Section):
    """Columns that differ in one key, or in several; without either, a single column. Their mean is shown where there
    are several."""

    key: str | None = Field(None, description="key of a recipe, such as data.known.share")
    values: tuple[Any, ...] = Field((), description="values of key, a column each")
    columns: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="instead of key and values: overrides of each column by its name, as after --set",
    )
    title: str = Field("", description="what the columns are called; default: the key")
    overrides: tuple[str, ...] = Field((), description="what all columns of this axis share, as after --set")

    @model_validator(mode="after")
    def _whole(self) -> AxisConfig:
        if (self.key is None) != (not self.values):
            raise ValueError("give both key and values, or neither")
        if self.key is not None and self.columns:
            raise ValueError("give key and values, or columns, not both")
        return self

    @property
    def name(self) -> str:
        """What it is called in titles and folders."""
        return self.title or self.key or ""

    @property
    def is_varied(self) -> bool:
        """Whether its columns differ in anything."""
        return self.key is not None or bool(self.columns)

    @property
    def all_values(self) -> tuple[Any, ...]:
        """What its columns are called; None for a single one without a name."""
        return self.values or tuple(self.columns) or (None,)


class ScoreConfig(Section):
    """What is scored on test and shown beside it; all but ``extra`` and ``predictors`` are for
    multi-label data."""

    extra: tuple[str, ...] = Field(
        (),
        description="further numbers of each network's row in results.json: test.nll, fit.entropy, ...; "
        "chain.seconds: of all networks of the run; or a difference: fit.top1 - test.top1",
    )
    metric: Metric | None = Field(None, description="ap or auc; default: the objective of the heads, else ap")
    predictors: tuple[str, ...] = Field(
        (),
        description="numbers as in extra, whose rank correlation with the score on test is shown over the rows that "
        "have them; refinery.fit.top1: of the networks that labelled the last one",
    )
    unit: Literal["sample", "study", "group"] = Field(
        "sample",
        description="study: the highest probability of an examination's views against its labels; group: the same of "
        "all samples of a group, such as a patient",
    )
    categories: tuple[str, ...] = Field((), description="the categories that are scored; default: all")
    per_category: bool = Field(False, description="show the score of every category, too")
    groups: PositiveInt | None = Field(
        None,
        description="show the means of so many blocks of categories, too, cut by ascending number of known fit labels; "
        "default: the groups that the data has, as Open Images has five",
    )

    @field_validator("extra", "predictors")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [name for name in value if not is_name(name)]:
            raise ValueError(f"{bad[0]!r} is no name of a score; write test.nll, or fit.top1 - test.top1")
        if len(set(value)) < len(value):
            raise ValueError("a score is named twice")
        return value


class TableEnsembleConfig(Section):
    """Networks whose mean probability is scored as a row of its own."""

    name: str = Field(description="name of the new row")
    rows: tuple[str, ...] = Field(min_length=1, description="rows whose networks are averaged")
    over: Literal["rows", "seeds", "members"] = Field(
        "rows",
        description="rows: one network a row, for every seed; seeds: those of all seeds together; members: for every "
        "seed the networks that labelled the last generation, which have no heads",
    )


class BestConfig(Section):
    """The best of several rows on select, chosen anew in every column. Its score on test is shown."""

    name: str = Field(description="name of the new row")
    rows: tuple[str, ...] = Field(min_length=1, description="the candidates, their heads left aside")
    reference: str | None = Field(
        None, description="row, or name of another choice, that it is compared with; default: that of the table"
    )


class CompareConfig(Section):
    """Two rows, ensembles or choices whose difference on test is shown."""

    row: str = Field(description="row, ensemble or choice")
    over: str = Field(description="row, ensemble or choice that it is compared with")


class ExperimentConfig(Section):
    """A table: what is shared, what differs between rows, between columns, and between seeds."""

    name: str = Field("experiment", pattern=r"^[A-Za-z0-9._-]+$")
    description: str = Field("", description="text below the name; changes no result")
    claim: str = Field("", description="what is claimed elsewhere, such as in a paper; shown above the table")
    recipe: dict[str, Any] = Field(default_factory=dict, description="what all cells share, as in a recipe")
    rows: dict[str, tuple[str, ...]] = Field(min_length=1, description="overrides of each row, as after --set")
    axis: tuple[AxisConfig, ...] = Field(
        (AxisConfig(),), min_length=1, description="one axis, or a list of axes; default: a single column"
    )
    seeds: Rounds = 3
    seed_keys: tuple[str, ...] = Field(("seed",), description="keys that the number of the seed is added to")
    heads: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="multi-label data: options of `labelwise cft` for each head"
    )
    ensembles: tuple[TableEnsembleConfig, ...] = Field(
        (), description="multi-label data: networks that are scored as one"
    )
    best: tuple[BestConfig, ...] = Field((), description="rows that are chosen on select, shown under a name")
    compare: tuple[CompareConfig, ...] = Field((), description="differences that are shown beside those over reference")
    score: ScoreConfig = ScoreConfig()
    reference: str | None = Field(None, description="row that the others are compared with; default: the first")

    @field_validator("axis", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if self.reference is not None and self.reference not in self.rows:
            raise ValueError(f"reference: {self.reference!r} is not one of the rows {', '.join(self.rows)}")
        if BASE in self.heads:
            raise ValueError(f"heads: {BASE!r} is the network itself; choose another name")
        if len(self._objectives) > 1 and self.score.metric is None:
            raise ValueError("heads: one table has one metric; give all heads the same objective, or say score.metric")
        names = [axis.name for axis in self.axis]
        if len(names) > 1 and len(set(names) - {""}) < len(names):
            raise ValueError("axis: several need a title each, and no two the same")
        columns = [name for axis in self.axis for name in axis.columns]
        values = [str(value) for axis in self.axis for value in axis.values]
        for what, found in (("rows", self.rows), ("heads", self.heads), ("axis.title", names), ("columns", columns)):
            if bad := [name for name in found if "/" in name or name in (".", "..")]:
                raise ValueError(f"{what}: {bad[0]!r} becomes the name of a folder; leave the / out")
        if bad := [value for value in values if "/" in value or value in ("", ".", "..")]:
            raise ValueError(f"axis: the value {bad[0]!r} becomes the name of a folder; give columns, which have names")
        for axis in self.axis:
            if len({str(value) for value in axis.values}) < len(axis.values):
                raise ValueError(f"axis: {axis.name} has a value twice")
        return self

    @model_validator(mode="after")
    def _names(self) -> ExperimentConfig:
        """Ensembles and choices have names of their own and are of rows; what they are compared with is known."""
        taken = list(self.rows)
        for what, verb, own in (("ensembles", "is of", self.ensembles), ("best", "chooses from", self.best)):
            for one in own:
                if one.name in taken:
                    raise ValueError(f"{what}: {one.name!r} is the name of another row")
                if missing := [row for row in one.rows if row not in self.rows]:
                    raise ValueError(
                        f"{what}: {one.name!r} {verb} {missing[0]!r}, which is not one of the rows"
                        f" {', '.join(self.rows)}"
                    )
                taken.append(one.name)
        for best in self.best:
            if len(set(best.rows)) < len(best.rows):
                raise ValueError(f"best: {best.name!r} has a candidate twice")
        known = [*self.rows, *(best.name for best in self.best)]
        for best in self.best:
            if best.reference == best.name or (best.reference or self.reference_row) not in known:
                raise ValueError(f"best: {best.name!r} is compared with {best.reference!r}; give {' or '.join(known)}")
        for pair in self.compare:
            if bad := [name for name in (pair.row, pair.over) if name not in taken]:
                raise ValueError(f"compare: {bad[0]!r} is none of {', '.join(taken)}")
        return self

    @property
    def columns(self) -> tuple[AxisColumn, ...]:
        """All columns, one axis after the other."""
        return tuple(
            AxisColumn(number, axis, value) for number, axis in enumerate(self.axis) for value in axis.all_values
        )

    @property
    def reference_row(self) -> str:
        """The row that the others are compared with."""
        return self.reference or next(iter(self.rows))

    def reference_of(self, row: str) -> str:
        """The row or choice that ``row`` is compared with: that of the table, or its own if it is a choice."""
        own = {best.name: best.reference for best in self.best}
        return own.get(row) or self.reference_row

    @property
    def metric(self) -> Metric:
        """Of multi-label data."""
        return self.score.metric or ("auc" if self._objectives == {"auc"} else "ap")

    @property
    def _objectives(self) -> set[str]:
        """Of all heads."""
        return {str(options.get("objective", "ap")) for options in self.heads.values()}


@dataclass(frozen=True)
class AxisColumn:
    """One value of one axis, or all there is of an axis without values."""

    number: int
    axis: AxisConfig
    value: Any

    @property
    def overrides(self) -> tuple[str, ...]:
        """What is set in its recipes."""
        text = json.dumps(self.value, ensure_ascii=False, default=str)
        own = () if self.axis.key is None else (f"{self.axis.key}={text}",)
        return (*self.axis.overrides, *self.axis.columns.get(str(self.value), own))

    @property
    def title(self) -> str:
        """Name of the axis and the value."""
        value = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        if self.axis.columns:
            return f"{self.axis.name}: {value}" if self.axis.name else value
        return self.axis.name if self.axis.key is None else f"{self.axis.name} {value}"


@dataclass(frozen=True)
class Cell:
    """One run: a row, the place of its column, and the number of its seed."""

    row: str
    column: int
    seed: int


def load_experiment(path: Path, overrides: list[str] | None = None) -> ExperimentConfig:
    """Read an experiment and check every cell's recipe before anything runs.

    Raises
    ------
    ConfigError
        With the key's full name; also for an override that every row or column overrides again.
    """
    # Recipes are made of these first, and environment variables are put in then: their values are no YAML.
    parts = ("recipe", "rows", "axis")
    config = resolve(ExperimentConfig, read_mapping(path), overrides or [], verbatim=parts)
    for override in overrides or ():
        _refuse_without_effect(config, override)
    for cell in all_cells(config):
        cell_recipe(config, cell)
    for head, options in config.heads.items():
        resolve(CftConfig, {"features": "", **options}, prefix=f"heads.{head}")
    for ensemble in config.ensembles:
        for row in ensemble.rows if ensemble.over == "members" else ():
            if cell_recipe(config, Cell(row, 0, 0)).chain.generations == 1:
                raise ConfigError(
                    f"ensembles: {ensemble.name!r} is of the networks that label that of {row!r}, which learns from the"
                    " given labels alone (chain.generations is 1)"
                )
    return config


def all_cells(config: ExperimentConfig) -> Iterator[Cell]:
    """Seed by seed, so that a table is whole for the first seeds early; then row by row: the networks that two rows of
    a column have in common are finished when several cells run at once."""
    for seed in range(config.seeds):
        for row in config.rows:
            for column in range(len(config.columns)):
                yield Cell(row, column, seed)


def cell_recipe(config: ExperimentConfig, cell: Cell) -> Recipe:
    """The recipe of one run.

    Raises
    ------
    ConfigError
        As :func:`labelwise.config.load_recipe`.
    """
    changes = [*config.rows[cell.row], *config.columns[cell.column].overrides]
    shared = resolve(Recipe, config.recipe, changes, prefix="recipe")
    seeds = [f"{key}={_whole_number(shared, key) + cell.seed}" for key in config.seed_keys]
    return resolve(Recipe, config.recipe, [*changes, *seeds, "seeds=1"], prefix="recipe")


def cell_folder(config: ExperimentConfig, cell: Cell, out: Path) -> Path:
    """Where the run of a cell is: ``cells/[AXIS/][VALUE/]ROW/seed-S``."""
    column = config.columns[cell.column]
    axis = (column.axis.name,) if len(config.axis) > 1 else ()
    value = (str(column.value),) if column.axis.is_varied else ()
    return out.joinpath("cells", *axis, *value, cell.row, f"seed-{cell.seed}")


def _refuse_without_effect(config: ExperimentConfig, override: str) -> None:
    """What the shared recipe says of a key does not count where each cell says it anew."""
    section, _, key = override.partition("=")[0].partition(".")
    if section != "recipe" or not key:
        return
    for row, column in product(config.rows.values(), config.columns):
        own = [one.partition("=")[0] for one in (*row, *column.overrides, "seeds=")]
        if not any(f"{key}.".startswith(f"{name}.") for name in own):
            return
    raise ConfigError(
        f"--set {override}: has no effect, as every row or column sets it itself; change rows, axis or seeds"
    )


def _whole_number(recipe: Recipe, key: str) -> int:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name, None)
    if not isinstance(value, int):
        raise ConfigError(f"seed_keys: {key!r} is no whole number of a recipe")
    return value
