"""``train.only``: some layers learn, all others stay as they were, statistics of norms included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from labelwise.config import ModelConfig, load_recipe
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.models.classifier import InputSpec
from labelwise.refinery.chain import train

SPEC = InputSpec("image", 8, 1, (0.3,), (0.3,))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_only_the_named_layers_change(tmp_path: Path, ema: float) -> None:
    start = zoo.build(ModelConfig(name="small-narrow"), tuple("0123456789"), SPEC).net.state_dict()
    torch.save(start, tmp_path / "start.pt")
    changes = [
        "data={source: digits, train_limit: 160, test_limit: 50}",
        f"model={{name: small-narrow, init: {tmp_path / 'start.pt'}}}",
        f"train={{epochs: 2, batch_size: 32, only: [features.6, features.7, classifier], ema: {ema}}}",
    ]
    train(load_recipe(None, changes), tmp_path / "run", quiet=True)
    (weights,) = (tmp_path / "run" / "best").rglob("model.safetensors")
    for name, value in load_file(weights).items():
        learnt = name.startswith(("features.6", "features.7", "classifier"))
        assert torch.equal(value, start[name]) != learnt, name


def test_frozen_norms_stay_in_evaluation_mode() -> None:
    model = zoo.build(ModelConfig(name="small-narrow"), ("a", "b"), SPEC)
    model.train_only(("classifier",))
    model.eval()
    model.train()
    assert model.training and model.net.classifier.training and not model.net.features[1].training
    assert [name for name, p in model.net.named_parameters() if p.requires_grad] == [
        "classifier.weight",
        "classifier.bias",
    ]


def test_a_name_is_that_of_a_whole_layer() -> None:
    model = zoo.build(ModelConfig(name="small-wide"), ("a", "b"), SPEC)
    for name in ("class", "features.60", "blocks"):
        with pytest.raises(
            ModelError, match=f"train.only: small-wide has no layer '{name}'; it has features, classifier"
        ):
            model.train_only((name,))
