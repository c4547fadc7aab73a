"""Kinds of values that several options have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Metric = Literal["ap", "auc"]
"""Average precision, or the area under the ROC curve."""
