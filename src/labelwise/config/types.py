"""Kinds of values that several options have."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from labelwise.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
Rounds = Annotated[int, Field(gt=0, le=1_000_000)]
"""A number of epochs or seeds: a million and more are a slip of the keyboard."""

Threads = Annotated[int, Field(ge=0, le=1024)]
"""CPU threads; 0: torch decides. Under a hundred thousand, the process breaks down without a word."""

PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Metric = Literal["ap", "auc"]
"""Average precision, or the area under the ROC curve."""

SplitName = Literal["fit", "select", "test"]
LabelledSplit = Literal["training", "fit", "select", "test", "unlabelled", "all"]
UnreadablePolicy = Literal["fail", "skip"]
FeaturePrecision = Literal["fp16", "fp32"]


def check_choice(option: str, value: object, choices: Any) -> None:
    """Refuse a value that a ``Literal`` type does not list.

    Parameters
    ----------
    option : what the message calls the option
    value : what was given
    choices : the ``Literal`` type

    Raises
    ------
    ConfigError
        Naming the option, the value and the allowed values.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ConfigError(f"{option}: expected one of {', '.join(map(str, allowed))}, got {value!r}")
