"""From partly labelled images to a better head, on digits and in seconds: what is hidden, joined, skipped, said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelwise import pipeline
from labelwise.config import Recipe, load_recipe
from labelwise.demo import ATTRIBUTES, write_digit_attributes
from labelwise.errors import DataError, RunError
from labelwise.features.file import read_features
from labelwise.models import checkpoint
from labelwise.refinery import network as network_module
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import NETWORK
from labelwise.report.write import write_report


def tiny(data: Path) -> Recipe:
    return load_recipe(None, [f"data.source={data}", "threads=1", "views.size=8", "train={epochs: 2, batch_size: 128}"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "some-digits.npz"
    write_digit_attributes(path, 0.3, seed=3)
    return path


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "cft"
    pipeline.train_and_fine_tune(tiny(data), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def results(data: Path, out: Path) -> pipeline.FineTuned:
    """Of a second call, which finds everything finished."""
    return pipeline.train_and_fine_tune(tiny(data), out, quiet=True)


def test_the_fine_tuned_head_is_that_of_the_base_network(results: pipeline.FineTuned, out: Path) -> None:
    base, control = (results.networks[name] for name in (pipeline.BASE, pipeline.CONTROL))
    assert results.results.kind == "cft" and results.results.base == "given"
    for split in ("select", "test"):
        means, scores = getattr(results.results.mean, split), getattr(base, split)
        assert means.before == pytest.approx(scores.map, abs=1e-3)  # features are fp16
    assert base.weights_hash != control.weights_hash
    features = read_features(out / "some-digits")
    model, card = checkpoint.load(out / pipeline.BASE)
    assert model.classes == features.categories == tuple(ATTRIBUTES)
    assert card["labels"] == "given, unknown as negative" and card["task"] == "multi-label"
    assert features.head_weight is not None
    np.testing.assert_array_equal(features.head_weight, model.net.classifier.weight.detach().numpy())
    assert np.isnan(features.labels).any(), "what was assumed for training must not count as known"


def test_the_two_networks_differ_by_their_labels_alone(out: Path) -> None:
    first, second = (json.loads((out / n / NETWORK).read_text())["lineage"] for n in (pipeline.BASE, pipeline.CONTROL))
    assert {key for key in first if first[key] != second[key]} == {"labels"}
    said, other = first["labels"], second["labels"]  # what is at its default may be left out
    assert {key for key in said.keys() | other.keys() if said.get(key) != other.get(key)} == {"unknown"}


def test_second_call_trains_nothing(
    data: Path,
    out: Path,
    results: pipeline.FineTuned,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(network_module, "fit", refuse)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert pipeline.train_and_fine_tune(tiny(data), out) == results
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert "assume-negative: finished before" in capsys.readouterr().err


def test_killed_between_the_stages(data: Path, out: Path, results: pipeline.FineTuned, tmp_path: Path) -> None:
    """Without its second half a run goes on to the same head."""
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    for name in ("results.json", "head.safetensors"):
        (copy / name).unlink()
    shutil.rmtree(copy / "some-digits")
    again = pipeline.train_and_fine_tune(tiny(data), copy, quiet=True)
    assert again.results.mean == results.results.mean
    assert again.results.categories == results.results.categories
    assert (copy / "head.safetensors").read_bytes() == (out / "head.safetensors").read_bytes()


def test_report(out: Path) -> None:
    assert "two closed loops" in write_report(out).read_text()


@pytest.mark.parametrize(("asked", "flip"), [((), False), (("views.flip=true",), True)])
def test_radiographs_are_not_mirrored_unless_asked(
    asked: tuple[str, ...], flip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{patient:08d}_000.png" for patient in range(30)]
    rows = [f"{name},{'Hernia' if i % 3 else 'Mass|Edema'},{i}" for i, name in enumerate(names)]
    table = tmp_path / "nih" / "Data_Entry_2017_v2020.csv"
    table.parent.mkdir()
    table.write_text("\n".join(["Image Index,Finding Labels,Patient ID", *rows]) + "\n")
    (table.parent / "images").mkdir()
    for name in names:
        Image.new("L", (8, 8)).save(table.parent / "images" / name)
    (table.parent / "train_val_list.txt").write_text("\n".join(names[:20]))
    (table.parent / "test_list.txt").write_text("\n".join(names[20:]))

    class Stopped(Exception):
        pass

    def stop(context: TrainingContext, network: NetworkSpec) -> None:
        assert context.recipe.views.flip is flip
        raise Stopped

    monkeypatch.setattr(pipeline, "train_network", stop)
    recipe = load_recipe(None, [f"data.source={table.parent}", "threads=1", "data.workers=0", "views.size=8", *asked])
    with pytest.raises(Stopped):
        pipeline.train_and_fine_tune(recipe, tmp_path / "run", quiet=True)


def test_mistakes(data: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="digits: one class per sample; use `labelwise refine`"):
        pipeline.train_and_fine_tune(tiny(Path("digits")), tmp_path / "single", quiet=True)
    other = tiny(data).model_copy(update={"seed": 5})
    with pytest.raises(RunError, match="assume-negative: was begun with another recipe"):
        pipeline.train_and_fine_tune(other, out, quiet=True)
