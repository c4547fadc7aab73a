"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    import torch

# Before torch is imported: the tests' networks are tiny, and threads that wait for each other slow them down. It is not
# imported here, because the process that only hands out the tests of `pytest -n` needs none of its seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Whoever trains a network has the garbage collected, which takes half a second among all that is imported."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


class Done(NamedTuple):
    """What a command left: exit code, standard output, lines of standard error."""

    code: int
    out: str
    err: list[str]


@pytest.fixture(scope="session", autouse=True)
def _one_thread_at_first() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A recipe may set another number of threads for the whole process."""
    import torch

    yield
    torch.set_num_threads(1)


@pytest.fixture
def labelwise(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Call the entry point as the shell does."""
    from labelwise import cli

    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["labelwise", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err.splitlines())

    return call


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets (``LABELWISE_DATA``, or ``../shared/data`` beside the repository)."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("LABELWISE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture(scope="session")
def digit_attributes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits and their attributes as multi-label data, all known."""
    from labelwise.demo import write_digit_attributes

    path = tmp_path_factory.mktemp("attributes") / "digits.npz"
    write_digit_attributes(path, 1.0, seed=0)
    return path


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """A CUDA device, for tests marked ``gpu``."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")
