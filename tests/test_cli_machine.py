"""Commands on machines that are short of something: a stream, columns, characters, memory, threads."""

from __future__ import annotations

import io
import sys

import pytest
import torch

from labelwise import cli
from labelwise.cli.streams import prepared


def test_closed_streams_are_written_to_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with prepared():
        assert sys.stdin.read() == ""
        sys.stdout.write("told to nobody")
        print("nor this", file=sys.stderr, flush=True)
    assert sys.stdout is None


def test_a_full_log_stops_no_work(monkeypatch):
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        with prepared():
            print("lost", file=sys.stderr, flush=True)
            assert sys.stderr.fileno() == full.fileno()
        with pytest.raises(OSError, match="No space left"):
            print("lost", file=sys.stderr, flush=True)
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.close()


def test_what_an_encoding_lacks_is_written_as_numbers(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with prepared():
        print("café", flush=True)
    assert written.getvalue() == b"caf\\xe9\n"


def test_a_terminal_of_no_columns_is_told_everything(labelwise, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    done = labelwise("data", "stats", "nowhere")
    assert done.code == 1 and len(done.err) == 1 and "nowhere" in done.err[0]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (MemoryError(), "train.batch_size"),
        (MemoryError("Unable to allocate 46.6 TiB"), "46.6 TiB"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has"), "views.size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "views.size"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "views.size"),
        (RuntimeError("can't start new thread"), "data.workers"),
    ],
)
def test_spent_memory_is_one_line(labelwise, monkeypatch, error, named):
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    done = labelwise("train")
    assert done.code == 1 and len(done.err) == 1 and named in done.err[0]
