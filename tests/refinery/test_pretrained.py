"""Refineries from outside the run that cannot be used are refused; pretrained ones are stored once."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.refinery.pretrained import open_refinery


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"chain\.refinery: .*nowhere: no checkpoint there \(model\.json is missing\)"):
        open_refinery(str(tmp_path / "nowhere"), tmp_path, ("a", "b"))


@pytest.mark.parametrize(("classes", "odd"), [(("a", "c"), "'c'"), (("a",), "'b'")])
def test_a_checkpoint_with_other_classes_names_one_of_them(tmp_path: Path, classes: tuple[str, ...], odd: str) -> None:
    spec = InputSpec("features", 3, 1, (0.0,) * 3, (1.0,))
    checkpoint.save(tmp_path / "net", zoo.build(ModelConfig(name="mlp"), ("a", "b"), spec), {})
    with pytest.raises(ModelError, match=rf"other classes than the data \(2 against {len(classes)}; .*{odd}\)"):
        open_refinery(str(tmp_path / "net"), tmp_path, classes)


def test_pretrained_weights_of_another_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"timm:resnet18 has other classes than the data \(1000 against 2\)"):
        open_refinery("timm:resnet18", tmp_path, ("a", "b"))


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
