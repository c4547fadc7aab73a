"""Data sections of recipes."""

from __future__ import annotations

from typing import Any

from labelwise.config import DataConfig, Recipe
from labelwise.settings import resolve


def data_config(values: dict[str, Any]) -> DataConfig:
    """What a recipe makes of its ``data``: the class of the format, which may have to be found out."""
    return resolve(Recipe, {"data": values}).data
