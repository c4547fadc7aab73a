"""16-bit and floating point images that use a small part of what their files can hold: one range for a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.data import data_config
from labelwise.config import ViewConfig
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.notes import tell
from labelwise.data.readers import load_dataset
from labelwise.data.stats import dataset_stats
from labelwise.errors import ConfigError, ModelError
from labelwise.models.classifier import InputSpec, check_input
from labelwise.training.input_spec import measure_input_spec


def folder(root: Path, kind: str, low: float, high: float, odd: float | None = None) -> Path:
    """Two classes with a training and a test part; the test part has a wider range. Perhaps one training image has a
    dead pixel."""
    rng, dtype = np.random.default_rng(0), np.uint16 if kind == "png" else np.float32
    for part, count in (("train", 60), ("test", 3)):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                values = rng.uniform(low, high, (6, 6))
                values[0, :2] = low, high
                if part == "test":
                    values[1, :2] = 0, 2 * high
                if odd is not None and (part, name, i) == ("train", "a", 0):
                    values[1, 1] = odd
                Image.fromarray(values.astype(dtype)).save(root / part / name / f"{i}.{kind}")
    return root


@pytest.fixture(autouse=True)
def said_once() -> None:
    tell.cache_clear()


def load(root: Path, **options: object) -> Dataset:
    return load_dataset(data_config({"source": str(root), "workers": 1, **options}))


@pytest.mark.parametrize(("kind", "low", "high"), [("png", 6940, 7060), ("tif", 6940, 7060), ("tif", -0.01, 0.02)])
@pytest.mark.parametrize("memory", ["yes", "no"])
def test_a_narrow_range_is_measured_on_training_images(tmp_path, capsys, kind, low, high, memory):
    dataset = load(folder(tmp_path / "thermal", kind, low, high), memory=memory)
    assert isinstance(dataset.source, PixelArray) == (memory == "yes")
    assert dataset.value_range == pytest.approx((low, high))
    for split in ("fit", "test"):
        image = dataset.source.read(int(dataset.rows(split)[0]))[..., 0]
        assert image[0, 0] == 0 and image[0, 1] == 255 and 10 < image[2:].std() < 100
    assert dataset.source.read(int(dataset.rows("test")[0]))[1, :2, 0].tolist() == [0 if low >= 0 else 85, 255]
    assert f"images are {low:g} to {high:g}; these become black and white (data.value_range" in capsys.readouterr().err
    assert dataset_stats(dataset)["images"]["value_range"] == pytest.approx([low, high])


def test_a_dead_pixel_does_not_count(tmp_path):
    assert load(folder(tmp_path / "dead", "png", 6940, 7060, odd=65535)).value_range == (6940, 7060)


@pytest.mark.parametrize(
    ("kind", "low", "high", "options"),
    [("png", 0, 32767, {}), ("tif", 0, 0.5, {}), ("png", 6940, 7060, {"value_range": "full"})],
)
def test_a_wide_range_is_that_of_the_file(tmp_path, capsys, kind, low, high, options):
    dataset = load(folder(tmp_path / "wide", kind, low, high), **options)
    white = 65535 if kind == "png" else 1
    assert dataset.value_range is None and "value_range" not in capsys.readouterr().err
    assert dataset.source.read(0)[0, :2, 0].tolist() == [round(low / white * 255), round(high / white * 255)]


def test_a_range_can_be_set(tmp_path):
    dataset = load(folder(tmp_path / "set", "png", 6940, 7060), value_range=[6940, 7180])
    assert dataset.value_range == (6940, 7180) and dataset.source.read(0)[0, 1, 0] == 128
    with pytest.raises(ConfigError, match=r"data.value_range: low must be below high, got \[5.0, 5.0\]"):
        load(tmp_path / "set", value_range=[5, 5])


def test_a_network_remembers_its_range(tmp_path):
    dataset = load(folder(tmp_path / "own", "png", 6940, 7060))
    spec = measure_input_spec(dataset, ViewConfig())
    assert InputSpec.from_json(spec.to_json()) == spec and spec.value_range == (6940, 7060)
    other = measure_input_spec(load(tmp_path / "own", value_range="full"), ViewConfig())
    assert "value_range" not in other.to_json() and InputSpec.from_json(other.to_json()) == other
    check_input("net", other, spec)  # of an older checkpoint nothing is known
    with pytest.raises(ModelError, match=r"net takes images of values from 6940 to 7060; set data.value_range"):
        check_input("net", spec, other)
