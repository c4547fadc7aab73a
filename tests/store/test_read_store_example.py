"""examples/read_store.py, which knows the format alone, reads what our reader reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.store_factory import CLASSES, VIEWS, best, log_probabilities, make_store
from labelwise.store.reader import Store

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_store.py"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mass": 0.9},
        {"k": CLASSES},
        {"precision": "uint8"},
        {"precision": "uint8", "mass": 0.8, "boxes": False},
        {"task": "multi-label", "k": CLASSES},
        {"task": "multi-label", "k": CLASSES, "precision": "uint8", "boxes": False},
    ],
)
def test_both_readers_agree(tmp_path, changes, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    from read_store import read_crops

    ids, _, _ = make_store(tmp_path, **changes)
    store = Store(tmp_path)
    found = list(read_crops(tmp_path))
    assert [(name, view) for name, view, _, _ in found] == [(name, view) for name in ids for view in range(VIEWS)]
    read = store.read(np.arange(len(ids)).repeat(VIEWS), np.tile(np.arange(VIEWS), len(ids)))
    for row, (_, _, place, values) in enumerate(found):
        kept = np.flatnonzero(~np.isneginf(read.labels.values[row]))
        numbers = kept if read.labels.ids is None else read.labels.ids[row, kept]
        assert list(values) == [store.header.classes[number] for number in numbers]
        np.testing.assert_allclose(list(values.values()), read.labels.values[row, kept], rtol=1e-6, atol=1e-6)
        own = read.boxes and tuple(getattr(read.boxes, key)[row] for key in ("top", "left", "height", "width", "flip"))
        assert place == own


def test_it_needs_nothing_but_python(tmp_path) -> None:
    make_store(tmp_path / "store")
    command = [sys.executable, "-S", "-I", str(EXAMPLE), str(tmp_path / "store")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 12 * VIEWS
    p = np.exp(best(log_probabilities(12 * VIEWS, CLASSES, 0), 4).values[0])
    assert f"'class-{best(log_probabilities(12 * VIEWS, CLASSES, 0), 4).ids[0, 0]}': {p[0]:.2f}"[:-1] in lines[0]
