"""Weights whose keys are those of another library: matched by order where the user says so, and never in silence."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from labelwise.config import ModelConfig, load_recipe
from labelwise.errors import ConfigError, ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.backbone import ModelSource, open_model
from labelwise.models.by_order import rename_by_order
from labelwise.models.classifier import Classifier, InputSpec

SPEC = InputSpec("image", 16, 3, (0.5,) * 3, (0.2,) * 3)
CLASSES = ("cat", "dog", "fish")


def build(
    name: str = "small-narrow", classes: tuple[str, ...] = CLASSES, channels: int = 3, seed: int = 0
) -> Classifier:
    torch.manual_seed(seed)
    spec = InputSpec("image", 16, channels, (0.5,) * channels, (0.2,) * channels)
    model = zoo.build(ModelConfig(name=name), classes, spec)
    model.train()(torch.rand(8, channels, 16, 16))  # moves the batch statistics
    return model.eval()


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other keys in the same order; the last part stays, as it does in every library that uses torch's layers."""
    return {f"_m{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(state.items())}


@pytest.mark.parametrize("name", ["small-narrow", "test_resnet"])
@pytest.mark.parametrize("counters", [True, False])
def test_the_outputs_are_equal(name, counters, tmp_path, capsys):
    source = build(name)
    state = renamed(source.net.state_dict())
    if not counters:
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    fresh = build(name, seed=1)
    checkpoint.initialise(fresh, str(tmp_path / "w.pt"), by_order=True)
    x = torch.rand(4, 3, 16, 16)
    assert torch.equal(fresh(x), source(x))
    warning = capsys.readouterr().err
    own = [key for key in source.net.state_dict() if not key.endswith("num_batches_tracked")]
    assert f"its {len(own)} tensors are matched by order" in warning and f"'_m0.weight' and {own[0]!r}" in warning
    assert warning.count("\n") == 1


def test_the_networks_own_keys_need_no_warning(tmp_path, capsys):
    torch.save(build().net.state_dict(), tmp_path / "w.pt")
    checkpoint.initialise(build(seed=1), str(tmp_path / "w.pt"), by_order=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("headless", [False, True])
def test_a_head_of_other_classes_stays_random(headless, tmp_path):
    source = build("test_resnet", tuple("abcdefg")).net.state_dict()
    head = {"fc.weight", "fc.bias"}
    torch.save(renamed({k: v for k, v in source.items() if not (headless and k in head)}), tmp_path / "w.pt")
    fresh = build("test_resnet", seed=1)
    before = {key: value.clone() for key, value in fresh.net.state_dict().items()}
    checkpoint.initialise(fresh, str(tmp_path / "w.pt"), by_order=True)
    for key, value in fresh.net.state_dict().items():
        assert torch.equal(value, before[key] if key in head else source[key]), key


def test_the_first_pair_that_does_not_match_is_named():
    own = build().net.state_dict()
    keys = [key for key in own if not key.endswith("num_batches_tracked")]
    state = renamed(own)
    theirs = [key for key in state if not key.endswith("num_batches_tracked")]
    wrong = state | {theirs[5]: torch.zeros(2, 2)}
    shape = tuple(own[keys[5]].shape)
    with pytest.raises(ModelError) as caught:
        rename_by_order(own, wrong, "w.pt", ())
    assert str(caught.value) == (
        f"w.pt: does not match by order: tensor 5 is {theirs[5]!r} of shape (2, 2), the network's is {keys[5]!r} of"
        f" shape {shape}"
    )
    short = {key: state[key] for key in theirs[:-3]}
    with pytest.raises(ModelError, match=rf"tensor {len(theirs) - 3} is missing, the network's is '{keys[-3]}'"):
        rename_by_order(own, short, "w.pt", ())
    with pytest.raises(ModelError, match=rf"tensor {len(theirs)} is 'more' of shape \(1,\), the network's is missing"):
        rename_by_order(own, state | {"more": torch.zeros(1)}, "w.pt", ())


def test_a_bias_is_never_taken_for_a_weight():
    """Scale, shift and statistics of a batch norm have one shape."""
    own = build().net.state_dict()
    items = list(renamed(own).items())
    places = [i for i, (key, _) in enumerate(items) if key.endswith("running_mean")]
    first = places[0]
    items[first], items[first + 1] = items[first + 1], items[first]
    with pytest.raises(ModelError, match=r"running_var.*running_mean"):
        rename_by_order(own, dict(items), "w.pt", ())


def test_safetensors_have_no_order(tmp_path):
    save_file(renamed(build().net.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"sorts its tensors by name"):
        checkpoint.initialise(build(), str(tmp_path / "w.safetensors"), by_order=True)
    with pytest.raises(ModelError) as caught:
        checkpoint.initialise(build(), str(tmp_path / "w.safetensors"))
    assert "by-order" not in str(caught.value)


def test_the_refusal_suggests_the_option_where_it_would_help(tmp_path):
    torch.save(renamed(build("test_resnet", tuple("abcdefg")).net.state_dict()), tmp_path / "same.pt")
    with pytest.raises(ModelError, match=r"--weights-by-order \(model.init_by_order=true\)"):
        checkpoint.initialise(build("test_resnet"), str(tmp_path / "same.pt"))
    torch.save(renamed(build("small-wide").net.state_dict()), tmp_path / "other.pt")
    with pytest.raises(ModelError, match="another architecture") as caught:
        checkpoint.initialise(build(), str(tmp_path / "other.pt"))
    assert "by-order" not in str(caught.value)


def test_a_missing_head_stays_random_in_a_network_by_name(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    torch.save(renamed({key: value for key, value in state.items() if not key.startswith("fc.")}), tmp_path / "w.pt")
    opened = open_model(ModelSource("test_resnet", tmp_path / "w.pt", weights_by_order=True), {}, SPEC)
    found = opened.classifier.net.state_dict()
    assert opened.head == "none" and all(torch.equal(found[key], state[key]) for key in state if key[:3] != "fc.")


def test_grey_weights_by_order_make_a_grey_network(tmp_path):
    grey = timm.create_model("test_resnet", in_chans=1, num_classes=5)
    torch.save(renamed(grey.state_dict()), tmp_path / "w.pt")
    opened = open_model(ModelSource("test_resnet", tmp_path / "w.pt", weights_by_order=True), {}, SPEC)
    assert opened.classifier.spec.channels == 1 and len(opened.classifier.classes) == 5
    assert checkpoint.weights_hash(opened.classifier.net) == checkpoint.weights_hash(grey)


def test_a_recipe_needs_a_file_for_it():
    for init in ("random", "pretrained"):
        with pytest.raises(ConfigError, match="init_by_order: expected the path of a file in init"):
            load_recipe(None, [f"model.init={init}", "model.init_by_order=true"])
    assert load_recipe(None, ["model.init=w.pt", "model.init_by_order=true"]).model.init_by_order
