"""A network that ends its process, once, when it is asked in a helper: as if the system had killed it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn


class Fragile(nn.Module):
    """A linear classifier of pixels. Where ``marker`` is a file, the first helper to be asked removes it and dies."""

    def __init__(self, classes: int, channels: int, marker: str) -> None:
        super().__init__()
        self.head = nn.Linear(channels * 64, classes)
        self.marker = Path(marker)

    def forward(self, x: Tensor) -> Tensor:
        if multiprocessing.parent_process() is not None:
            try:
                self.marker.unlink()
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return torch.as_tensor(self.head(x.flatten(1)))
