"""Classifiers of the library transformers, by name (``transformers/MODEL_TYPE``) and from a folder of theirs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError

PREFIX = "transformers/"
_OF_THE_DATA = {"id2label", "label2id", "num_labels", "num_channels", "problem_type"}
_NOTES = {"_name_or_path", "architectures", "dtype", "model_type", "torch_dtype", "transformers_version", "auto_map"}


def _library(name: str) -> Any:
    if find_spec("transformers") is None:
        raise ModelError(f"{name}: needs the package transformers: pip install 'labelwise[transformers]'")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


def build(config: ModelConfig, classes: int, channels: int) -> nn.Module:
    """A classifier with random weights; ``config.args`` are the values of its configuration.

    Raises
    ------
    ModelError
        If the library is missing, has no such classifier, or refuses a value.
    """
    library = _library(config.name)
    kind = config.name.removeprefix(PREFIX)
    try:
        values = library.AutoConfig.for_model(kind, num_labels=classes, num_channels=channels, **config.args)
        net: nn.Module = library.AutoModelForImageClassification.from_config(values)
    except Exception as error:  # of many types: unknown names, values out of range, missing packages
        raise ModelError(f"{config.name}: {' '.join(str(error).split())[:200]}") from None
    return net.float()


def load(folder: Path) -> Any:
    """The classifier of a folder that ``save_pretrained`` wrote; no code of the folder is run.

    Raises
    ------
    ModelError
        If the library is missing, or the folder is damaged.
    """
    library = _library(str(folder))
    try:
        net = library.AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of many types
        raise ModelError(f"{folder}: {' '.join(str(error).split())[:200]}") from None
    return net.float()


def args_of(net: Any) -> dict[str, Any]:
    """The configuration of a classifier as ``model.args``: what is not the library's default, nor said by the data."""
    values = json.loads(net.config.to_json_string(use_diff=True))
    return {key: value for key, value in values.items() if key not in _OF_THE_DATA | _NOTES}
