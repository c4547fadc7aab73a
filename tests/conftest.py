"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported: the tests' networks are tiny, and threads that wait for each other slow them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets (``LABELWISE_DATA``, or ``../shared/data`` beside the repository)."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("LABELWISE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """A CUDA device, for tests marked ``gpu``."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")
