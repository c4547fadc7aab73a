"""Refineries from outside the run that cannot be used are refused; pretrained ones are stored once."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.refinery.pretrained import check_refinery, open_refinery

IMAGES = InputSpec("image", 32, 3, (0.5,) * 3, (0.25,) * 3)


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"chain\.refinery: .*nowhere: no checkpoint there \(model\.json is missing\)"):
        check_refinery(str(tmp_path / "nowhere"), ("a", "b"), IMAGES)


@pytest.mark.parametrize(("classes", "odd"), [(("a", "c"), "'c'"), (("a",), "'b'")])
def test_a_checkpoint_with_other_classes_names_one_of_them(tmp_path: Path, classes: tuple[str, ...], odd: str) -> None:
    spec = InputSpec("features", 3, 1, (0.0,) * 3, (1.0,))
    checkpoint.save(tmp_path / "net", zoo.build(ModelConfig(name="mlp"), ("a", "b"), spec), {})
    with pytest.raises(ModelError, match=rf"other classes than the data \(2 against {len(classes)}; .*{odd}\)"):
        check_refinery(str(tmp_path / "net"), classes, spec)


@pytest.mark.parametrize("source", ["timm:resnet10t", "torchvision:resnet18"])
def test_published_weights_of_another_number_of_classes(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "build", lambda *_: pytest.fail("a new head would be random"))
    with pytest.raises(ModelError, match=r"has other classes than the data \(1000 against 2\)"):
        check_refinery(source, ("a", "b"), IMAGES)


def test_networks_without_published_weights() -> None:
    with pytest.raises(ModelError, match="no pretrained weights"):
        check_refinery("timm:efficientnet_b8", ("a", "b"), IMAGES)


def test_other_inputs_than_the_data() -> None:
    with pytest.raises(ModelError, match="timm:resnet10t takes image, the data are of kind features"):
        check_refinery("timm:resnet10t", ("a", "b"), InputSpec("features", 3, 1, (0.0,) * 3, (1.0,)))


def test_pretrained_weights_are_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(config: ModelConfig, classes: tuple[str, ...], spec: InputSpec) -> object:
        built.append((config.name, config.init, spec.size))
        return real(config.model_copy(update={"init": "random"}), classes, spec)

    real = zoo.build
    monkeypatch.setattr(zoo, "build", build)
    monkeypatch.setattr(zoo, "pretrained_classes", lambda name: 2)
    first = open_refinery("timm:test_resnet", tmp_path, ("a", "b"))
    monkeypatch.undo()
    again = open_refinery("timm:test_resnet", tmp_path, ("a", "b"))
    assert built == [("test_resnet", "pretrained", 224)]
    assert first == again and (first.name, first.path) == ("timm:test_resnet", tmp_path / "refineries" / "test_resnet")
    model, card = checkpoint.load(first.path)
    assert model.classes == ("a", "b") and (card["labels"], card["source"]) == ("pretrained", "timm:test_resnet")
