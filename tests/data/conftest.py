"""What tests of readers share: read or load a source by its options, and write sources in miniature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.data import data_config
from labelwise.config import DataConfig
from labelwise.data.dataset import Dataset, Samples
from labelwise.data.readers import load_dataset, read_samples

RNG = np.random.default_rng(0)


def _config(source: str | Path, **options: Any) -> DataConfig:
    return data_config({"source": str(source), **options})


@pytest.fixture
def read() -> Callable[..., Samples]:
    """``read(source, **options)``: what a reader finds."""
    return lambda source, **options: read_samples(_config(source, **options))


@pytest.fixture
def load() -> Callable[..., Dataset]:
    """``load(source, partial=False, **options)``: the same with its splits."""
    return lambda source, partial=False, **options: load_dataset(_config(source, **options), partial=partial)


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Write one random image."""

    def write(path: Path, mode: str = "RGB", side: int = 6) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (side, side, 3) if mode == "RGB" else (side, side)
        Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def folder_tree(draw: Callable[..., Path]) -> Callable[..., Path]:
    """Write a folder of class folders."""

    def write(root: Path, parts: tuple[str, ...] = ("train", "val"), per_class: int = 4, mode: str = "RGB") -> Path:
        for part in parts:
            for cls in ("cat", "dog"):
                for i in range(per_class):
                    draw(root / part / cls / f"{i}.png", mode)
        return root

    return write


@pytest.fixture
def npz() -> Callable[..., Path]:
    """Write arrays."""

    def write(path: Path, **arrays: Any) -> Path:
        np.savez(path, **arrays)
        return path

    return write
