"""Weights of a file find the network's keys, whatever stands before and beside them."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.backbone import ModelSource, open_model
from labelwise.models.classifier import InputSpec
from labelwise.models.own_keys import own_keys

SPEC = InputSpec("image", 32, 3, (0.5,) * 3, (0.5,) * 3)


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


@pytest.mark.parametrize("prefix", ["module.", "net.", "_orig_mod.module.", "student.encoder."])
def test_one_prefix_is_taken_off_and_what_stands_beside_is_left_out(prefix):
    net = small()
    state = {"loss.weight": torch.ones(3), **{prefix + key: value for key, value in net.state_dict().items()}}
    found = own_keys(net, state, "w.pt", ())
    assert found.keys() == net.state_dict().keys()
    assert all(found[key] is state[prefix + key] for key in found)
    found = own_keys(
        net, {key: value for key, value in state.items() if ".4." not in key}, "w.pt", ("4.weight", "4.bias")
    )
    assert found.keys() == net.state_dict().keys() - {"4.weight", "4.bias"}


def test_keys_that_fit_or_fit_nothing_stay():
    net, state = small(), small().state_dict()
    assert own_keys(net, state, "w.pt", ()) == state
    other = {f"a.{key}": value for key, value in state.items() if not key.startswith("1.")}
    assert own_keys(net, other, "w.pt", ()) == other


def test_a_file_with_two_such_networks_is_refused():
    state = {prefix + key: value for prefix in ("student.", "teacher.") for key, value in small().state_dict().items()}
    with pytest.raises(
        ModelError, match=r"w\.pt: holds the network 2 times \(student\., teacher\.\); save one of them"
    ):
        own_keys(small(), state, "w.pt", ())


def test_a_file_of_lightning_as_first_weights_and_by_name(tmp_path):
    net = timm.create_model("test_resnet", num_classes=3)
    state = {f"net.{key}": value for key, value in net.state_dict().items()} | {"loss.weight": torch.ones(3)}
    torch.save({"epoch": 1, "state_dict": state, "hyper_parameters": {"rate": 0.1}}, tmp_path / "w.ckpt")
    model = zoo.build(ModelConfig(name="test_resnet"), ("a", "b", "c"), SPEC)
    checkpoint.initialise(model, str(tmp_path / "w.ckpt"))
    opened = open_model(ModelSource("test_resnet", tmp_path / "w.ckpt"), {}, SPEC)
    for found in (model, opened.classifier):
        assert checkpoint.weights_hash(found.net) == checkpoint.weights_hash(net)
    assert opened.head == "unnamed"


def test_an_image_tower_of_open_clip(tmp_path):
    """In the layout of open_clip; `benchmarks/formats_in.py` compares with open_clip itself."""
    args = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 32}
    opened = zoo.build(ModelConfig(name="vit_base_patch16_clip_224", args=args), ("a", "b"), SPEC)
    own = opened.net.state_dict()
    names = {
        "cls_token": "class_embedding", "pos_embed": "positional_embedding", "patch_embed.proj.weight": "conv1.weight",
        "norm_pre": "ln_pre", "norm": "ln_post", "blocks.0": "transformer.resblocks.0", "norm1": "ln_1",
        "norm2": "ln_2", "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }  # fmt: skip

    def theirs(key: str) -> str:
        if key in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
            return f"visual.{names[key]}"
        for ours, other in names.items():
            if ours in ("norm1", "norm2", "attn.qkv.", "attn.proj", "mlp.fc1", "mlp.fc2", "blocks.0"):
                key = key.replace(ours, other)
        first, _, rest = key.partition(".")
        return f"visual.{names.get(first, first)}.{rest}"

    state = {theirs(key): value for key, value in own.items() if not key.startswith("head.")}
    state["visual.class_embedding"] = own["cls_token"][0, 0]
    state["visual.positional_embedding"] = own["pos_embed"][0]
    state["visual.proj"] = torch.randn(32, 5)
    state["logit_scale"] = torch.ones(())
    torch.save(state, tmp_path / "w.pt")
    source = ModelSource("vit_base_patch16_clip_224", tmp_path / "w.pt")
    found = open_model(source, args, SPEC).classifier.net.state_dict()
    assert all(torch.equal(found[key], value) for key, value in own.items() if not key.startswith("head."))
    assert torch.equal(found["head.weight"], state["visual.proj"].T) and not found["head.bias"].any()
