"""Small data and untrained networks for labelling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from labelwise.config import ModelConfig, load_recipe
from labelwise.labelling.job import LabelRequest
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.store.making import Kept

CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 images of 8 x 8 pixels in five classes, of which 100 are fit samples."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("arrays") / "images.npz"
    np.savez(
        path,
        images=rng.integers(0, 256, (150, 8, 8, 3), dtype=np.uint8),
        label=np.arange(150) % 5,
        classes=np.array(CLASSES),
        split=np.repeat(["fit", "select", "test"], [100, 20, 30]),
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 25 images of different sizes in five classes."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    for number in range(25):
        path = root / "train" / CLASSES[number % 5] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (10 + number % 4, 12 + number % 3, 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Makes the checkpoint of an untrained network, and returns its folder."""

    def make(seed: int = 0, classes: tuple[str, ...] = CLASSES, **card: Any) -> str:
        torch.manual_seed(seed)
        spec = InputSpec("image", 8, 3, (0.5,) * 3, (0.1,) * 3)
        model = zoo.build(ModelConfig(name="small-narrow"), classes, spec)
        for parameter in model.net.parameters():
            parameter.data.mul_(2)  # so that answers differ
        folder = tmp_path_factory.mktemp("network")
        checkpoint.save(folder, model, card)
        return str(folder)

    return make


@pytest.fixture
def request_for(network: Callable[..., str], arrays: Path) -> Callable[..., LabelRequest]:
    """A request of three views of the arrays by one network, with changes."""
    default = network()

    def make(source: Path = arrays, settings: tuple[str, ...] = (), **changes: Any) -> LabelRequest:
        recipe = load_recipe(None, [f"data={{source: {source}, select_share: 0}}", "seed=3", *settings])
        own = {key: changes.pop(key) for key in ("models", "split", "trust") if key in changes}
        kept = Kept(**{"views": 3, "k": 3, "shard_samples": 30, **changes})
        return LabelRequest(**{"models": (default,), "recipe": recipe, "kept": kept, **own})

    return make
