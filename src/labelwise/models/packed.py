"""Model folders of other libraries: of timm (its hub's, ``local-dir:``) and of transformers (``save_pretrained``).

Both hold ``config.json`` and weights. Classes, normalisation and the size of images are those that the folder says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, InputSpec
from labelwise.models.foreign import Trust, refuse_foreign
from labelwise.textfile import NOT_JSON

CONFIG, PREPARED = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

_OF_THE_DATA = ("in_chans", "num_classes")

_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""


def is_packed(folder: Path) -> bool:
    """Whether it looks like a model folder of timm or transformers."""
    return (folder / CONFIG).is_file()


def load_packed(folder: Path, trust: Trust) -> tuple[Classifier, Path | None, dict[str, Any]]:
    """The network of a folder, the file of its weights where they are not loaded yet, and what a card would say.

    Raises
    ------
    ModelError
        If the folder is damaged, has no head, or describes a network that cannot be built.
    """
    file = folder / CONFIG
    try:
        told = json.loads(file.read_text())
        if "architecture" in told:
            return _of_timm(folder, told, trust)
        if "model_type" in told:
            return _of_transformers(folder, told)
    except (OSError, *NOT_JSON, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: damaged ({type(error).__name__}: {error})") from None
    raise ModelError(f"{file}: neither timm's (architecture) nor of transformers (model_type)")


def _of_timm(folder: Path, told: dict[str, Any], trust: Trust) -> tuple[Classifier, Path | None, dict[str, Any]]:
    habits = told.get("pretrained_cfg", told)  # old folders have them at the top
    count = int(told.get("num_classes", habits.get("num_classes", 0)))
    if count < 1:
        raise ModelError(f"{folder}: has no head; `labelwise features {told['architecture']} --weights FILE` takes it")
    args = dict(told.get("model_args") or {})
    refuse_foreign(told["architecture"], args, trust, str(folder / CONFIG))
    mean, std = tuple(habits.get("mean", IMAGENET_MEAN)), tuple(habits.get("std", IMAGENET_STD))
    channels, size = habits["input_size"][0], habits["input_size"][-1]
    filter_ = habits.get("interpolation", "bicubic")
    spec = InputSpec("image", size, channels, mean, std, filter_ if filter_ in _FILTERS.values() else "bicubic")
    config = ModelConfig(name=told["architecture"], args={k: v for k, v in args.items() if k not in _OF_THE_DATA})
    names = habits.get("label_names") or told.get("label_names")
    model = zoo.build(config, _names(names, count, folder), spec)
    model = Classifier(model.net, spec, model.classes, config.name, config.args)
    return model, _weights(folder), {"eval_crop": float(habits.get("crop_pct", 1.0)), "labels": "of its own"}


def _of_transformers(folder: Path, told: dict[str, Any]) -> tuple[Classifier, Path | None, dict[str, Any]]:
    from labelwise.models import of_transformers

    if not any("ForImageClassification" in name for name in told.get("architectures") or ()):
        raise ModelError(f"{folder}: holds {', '.join(told.get('architectures') or ['no network'])}, not a classifier")
    net = of_transformers.load(folder)
    habits = json.loads((folder / PREPARED).read_text()) if (folder / PREPARED).exists() else {}
    classes = _names(told.get("id2label"), int(net.config.num_labels), folder)
    size, crop = _size_and_crop(habits, told)
    plain = habits.get("do_normalize", True)
    mean, std = (
        tuple(habits.get(key, default)) if plain else (value,) * 3
        for key, default, value in (("image_mean", IMAGENET_MEAN, 0.0), ("image_std", IMAGENET_STD, 1.0))
    )
    spec = InputSpec("image", size, len(mean), mean, std, _FILTERS.get(habits.get("resample", 2), "bicubic"))
    model = Classifier(
        net, spec, classes, f"{of_transformers.PREFIX}{told['model_type']}", of_transformers.args_of(net)
    )
    several = told.get("problem_type") == "multi_label_classification"
    card = {"eval_crop": crop, "labels": "of its own", **({"task": "multi-label"} if several else {})}
    return model, None, card


def _size_and_crop(habits: dict[str, Any], told: dict[str, Any]) -> tuple[int, float]:
    """Side of the input in px, and the share of the shorter side that it shows."""
    resized, cropped = (_side(habits.get(key)) for key in ("size", "crop_size"))
    own = told.get("image_size")
    if habits.get("do_center_crop") and resized and cropped:
        return cropped, cropped / resized
    return resized or (own if isinstance(own, int) else 0) or 224, float(habits.get("crop_pct") or 1.0)


def _side(size: Any) -> int:
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return size if isinstance(size, int) else 0


def _names(names: list[str] | dict[str, str] | None, count: int, folder: Path) -> tuple[str, ...]:
    """Names of the classes in order; their numbers where the folder has none."""
    listed = [names[str(k)] for k in range(count)] if isinstance(names, dict) else names
    found = tuple(map(str, listed or range(count)))
    if len(found) != count or len(set(found)) != count:
        raise ModelError(f"{folder / CONFIG}: {len(set(found))} different names for {count} classes")
    return found


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).exists():
            return folder / name
    raise ModelError(f"{folder}: no weights here ({WEIGHTS[0]} is missing)")
