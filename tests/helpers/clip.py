"""Stands in for open_clip: networks of images and texts that are tiny, and one that knows the answer."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SIDE = 8


class Tower(nn.Module):
    """An image tower that says how its images are prepared."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.preprocess_cfg = {"size": (SIDE, SIDE), "mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bicubic"}

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Nearest(nn.Module):
    """The embedding of the nearest image that it knows."""

    seen: Tensor
    embedding: Tensor

    def __init__(self, pixels: NDArray[np.uint8], embedding: NDArray[Any]) -> None:
        super().__init__()
        self.register_buffer("seen", torch.from_numpy(pixels).float().flatten(1) / 255)
        self.register_buffer("embedding", torch.from_numpy(embedding).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding[torch.cdist(x.mean(1).flatten(1), self.seen).argmin(1)]


class Texts(nn.Module):
    """A network of images and texts: texts that it does not know have a random embedding of their own."""

    def __init__(self, tower: nn.Module, width: int, known: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.visual, self.width, self.known = Tower(tower), width, known
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.asked: list[str] = []

    def encode_text(self, texts: list[str]) -> Tensor:
        self.asked += texts
        return torch.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Tensor:
        if text in self.known:
            return torch.from_numpy(np.asarray(self.known[text])).float()
        return torch.randn(self.width, generator=torch.Generator().manual_seed(zlib.crc32(text.encode())))


def stand_in(
    monkeypatch: pytest.MonkeyPatch,
    tower: Callable[[], nn.Module],
    width: int,
    known: Mapping[str, NDArray[Any]] | None = None,
) -> list[Texts]:
    """Put a module in the place of open_clip; returns the networks that it makes."""
    made: list[Texts] = []

    def create_model(name: str, pretrained: str | None = None) -> Texts:
        if pretrained not in (None, "ours"):
            raise RuntimeError(f"Failed to download weights for tag {pretrained}")
        made.append(Texts(tower(), width, known or {}))
        return made[-1]

    module = SimpleNamespace(
        create_model=create_model,
        get_model_config=lambda name: {"embed_dim": width},
        get_tokenizer=lambda name: list,
    )
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return made


def random_tower() -> nn.Module:
    """A tower that says nothing: the same random weights whenever it is made."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 10))
