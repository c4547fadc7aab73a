"""What the types of all results have in common: closed records, and numbers that JSON can say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from labelwise.runs import SCHEMA

T = TypeVar("T")
Task = Literal["single-label", "multi-label"]
Split = Literal["fit", "select", "test"]


class Record(BaseModel):
    """An immutable part of a ``results.json``: an unknown key and a missing one are errors.

    A field without a default is always in the file. A field with the default None is in the file only where it was
    given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON has it: every field that was given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def to_json(self) -> dict[str, Any]:
        """Content of a whole file of results, which begins with the schema."""
        return {"schema": SCHEMA} | self.to_dict()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[Annotated[float, Field(strict=True)] | None, BeforeValidator(_finite)]
"""A measured number. NaN and the infinities become None when a record is made, which is null in the file; so neither
whoever writes a record nor whoever reads one ever meets a NaN in it."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith(("/", "\\")) or ":" in path[:2] or ".." in parts or ".." in PureWindowsPath(path).parts:
        raise ValueError("a path inside the run folder")
    return path


InnerPath = Annotated[str, AfterValidator(_inside)]
"""A path inside the run folder. A file of results, perhaps a stranger's, names no other."""

Count = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Interval = tuple[Number, Number]
"""Ends of a 95% interval."""


class Splits(Record):
    """Number of samples of each split; ``unlabelled`` is there where the data have such samples."""

    fit: Count
    select: Count
    test: Count
    unlabelled: Count | None = None


class Stat(Record):
    """Mean and sample standard deviation over seeds; the deviation is None for a single seed."""

    mean: Number
    std: Number

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Stat | None:
        """Mean and deviation of the values that are known; None where there are none."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return None
        return Stat(mean=float(np.mean(known)), std=float(np.std(known, ddof=1)) if len(known) > 1 else None)

    @classmethod
    def unknown(cls) -> Stat:
        """Of no value at all."""
        return Stat(mean=None, std=None)


class SeedStat(Stat):
    """Mean and deviation over the seeds that have the number, and the number of every seed."""

    by_seed: tuple[Number, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Self:
        """Of one value a seed; the mean is None where no seed has one."""
        every = tuple(values)
        stat = cls.over(every)
        return cls(mean=stat and stat.mean, std=stat and stat.std, by_seed=every)


def best_on_select(entries: Iterable[T], *scores: Callable[[T], float | None]) -> T | None:
    """The entry with the highest score on ``select``; the earliest of equals.

    Parameters
    ----------
    scores : the score of an entry, then those that decide between equals; None, where a score is not defined, is lowest

    Returns
    -------
    None where no entry has any of the scores
    """

    def rank(entry: T) -> list[float]:
        return [-math.inf if value is None else value for value in (score(entry) for score in scores)]

    scored = [entry for entry in entries if any(score(entry) is not None for score in scores)]
    return max(scored, key=rank, default=None)
