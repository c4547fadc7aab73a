"""Data sets of the Hugging Face hub, with a stand-in for its package."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelwise.errors import DataError


def test_hf_needs_its_package(monkeypatch, read):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'labelwise\[hf\]'"):
        read("hf:beans")


class FakeRows:
    """As much of ``datasets.Dataset`` as the reader uses."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns
        self.features = dict.fromkeys(columns) | {"label": types.SimpleNamespace(names=["a", "b"])}

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def cast_column(self, name: str, kind: Any) -> FakeRows:
        return self


def test_hf_images_stay_encoded(tmp_path, monkeypatch, read, draw):
    png = draw(tmp_path / "a.png")
    entries = [{"bytes": png.read_bytes(), "path": None}, {"bytes": None, "path": str(png)}]
    splits = {"train": FakeRows({"img": entries, "label": [0, 1]}), "test": FakeRows({"img": entries, "label": [1, 0]})}
    asked = []

    def load_dataset(name: str, subset: str | None) -> dict[str, FakeRows]:
        asked.append((name, subset))
        return splits

    fake = types.SimpleNamespace(load_dataset=load_dataset, Image=lambda decode: None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    samples = read("hf:user/pets:small")
    assert asked == [("user/pets", "small")]
    assert samples.ids.tolist() == ["train/0", "train/1", "test/0", "test/1"]
    assert samples.classes == ("a", "b")
    assert samples.part.tolist() == ["train", "train", "test", "test"]
    for row in range(4):
        np.testing.assert_array_equal(samples.source.read(row), np.asarray(Image.open(png)))
    with pytest.raises(DataError, match="no column photo; it has img, label"):
        read("hf:user/pets", image_column="photo")
