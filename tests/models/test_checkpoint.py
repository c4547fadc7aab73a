"""Checkpoints come back as they were, load into plain timm, and nothing else is taken for one."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models import checkpoint, zoo
from labelwise.models.checkpoint import CARD, WEIGHTS, load, read_weights, save, weights_hash
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.refinery.pretrained import open_refinery
from labelwise.runs import read_json

CLASSES = ("cat", "dog", "é")
SPEC = InputSpec("image", 16, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), "bicubic")


def build(name: str = "small-narrow", spec: InputSpec = SPEC, **args: object) -> Classifier:
    torch.manual_seed(1)
    model = zoo.build(ModelConfig(name=name, args=args), CLASSES, spec)
    model.train()(torch.rand(8, spec.channels, spec.size or 16, spec.size or 16))  # moves the batch statistics
    return model.eval()


@pytest.mark.parametrize(
    ("name", "args"), [("small-wide", {"norm": "group"}), ("small-narrow", {}), ("test_resnet", {})]
)
def test_round_trip(tmp_path, name, args):
    model = build(name, **args)
    model.use_channels_last()
    save(tmp_path, model, {"generation": 2})
    again, card = load(tmp_path)
    assert card["generation"] == 2 and card["weights_hash"] == weights_hash(model.net) == weights_hash(again.net)
    assert (again.classes, again.spec, again.name, again.args) == (CLASSES, SPEC, name, args)
    x = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(again.eval()(x), model(x), atol=1e-5, rtol=1e-4)
    for file in (WEIGHTS, CARD):
        assert weights_hash(load(tmp_path / file)[0].net) == card["weights_hash"]


def test_the_weights_load_into_plain_timm(tmp_path):
    model = build("test_resnet")
    save(tmp_path, model, {})
    plain = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(tmp_path / WEIGHTS)).eval()
    x = torch.rand(2, 3, 16, 16)
    normalised = (x - torch.tensor(SPEC.mean).view(1, 3, 1, 1)) / torch.tensor(SPEC.std).view(1, 3, 1, 1)
    torch.testing.assert_close(plain(normalised), model(x), atol=1e-5, rtol=1e-4)


def test_hash_sees_parameters_and_buffers():
    model = build()
    before = weights_hash(model.net)
    assert weights_hash(build().net) == before
    model.net.features[1].running_mean[0] += 1
    assert weights_hash(model.net) != before
    other = build()
    with torch.no_grad():
        other.net.classifier.bias[0] += 1e-6
    assert weights_hash(other.net) != before


def test_weights_of_another_architecture_are_refused(tmp_path):
    save(tmp_path, build(), {})
    for other, words in [
        (build("small-wide"), "another architecture"),
        (build(spec=InputSpec("image", 16, 1, (0.5,), (0.2,))), "features.0.weight has shape"),
        (build(norm="group"), "architecture"),
        (build("test_resnet"), "another architecture"),
    ]:
        with pytest.raises(ModelError, match=words):
            checkpoint.initialise(other, str(tmp_path))
    card = read_json(tmp_path / CARD)
    card["network"]["name"] = "small-wide"
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelError, match="another architecture"):
        load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_a_flipped_bit_is_found(name, tmp_path):
    save(tmp_path, build(), {"generation": 2, "labels": "soft"})
    file = tmp_path / name
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    at = [place for place in rng.permutation(len(whole)) if whole[place] not in b" \n"][:10]
    for place in at:
        bit = 1 << int(rng.integers(8))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=rf"{name}: "):
            load(tmp_path)
    file.write_bytes(whole)
    load(tmp_path)


def test_initialise_from_folder_or_file(tmp_path):
    model = build()
    save(tmp_path / "run", model, {})
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.net.state_dict().items()}}, tmp_path / "w.pt")
    for source in (tmp_path / "run", tmp_path / "run" / WEIGHTS, tmp_path / "w.pt"):
        torch.manual_seed(5)
        fresh = zoo.build(ModelConfig(name="small-narrow"), CLASSES, SPEC)
        assert weights_hash(fresh.net) != weights_hash(model.net)
        checkpoint.initialise(fresh, str(source))
        assert weights_hash(fresh.net) == weights_hash(model.net)
    untouched = weights_hash(fresh.net)
    checkpoint.initialise(fresh, "random")
    assert weights_hash(fresh.net) == untouched
    with pytest.raises(ModelError, match="no such file"):
        checkpoint.initialise(fresh, str(tmp_path / "missing.pt"))


@pytest.mark.parametrize("name", ["small-narrow", "test_resnet"])
@pytest.mark.parametrize("headless", [False, True])
def test_weights_with_a_head_for_other_classes_leave_the_head_random(tmp_path, name, headless):
    source = zoo.build(ModelConfig(name=name), tuple("abcdefg"), SPEC).net.state_dict()
    head = {key for key in source if source[key].shape[:1] == (7,)}
    assert len(head) == 2
    torch.save({key: value for key, value in source.items() if not (headless and key in head)}, tmp_path / "w.pt")
    model = zoo.build(ModelConfig(name=name), CLASSES, SPEC)
    before = {key: value.clone() for key, value in model.net.state_dict().items()}
    checkpoint.initialise(model, str(tmp_path / "w.pt"))
    for key, value in model.net.state_dict().items():
        assert torch.equal(value, before[key] if key in head else source[key]), key


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights_are_refused(tmp_path, share):
    save(tmp_path, build(), {})
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=r"safetensors: cannot be read as weights"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"format": "labelwise-checkpoint"}', '{"format": "x"}'])
def test_damaged_cards_are_refused(tmp_path, content):
    save(tmp_path, build(), {})
    (tmp_path / CARD).write_text(content)
    with pytest.raises(ModelError, match=r"model\.json"):
        load(tmp_path)


def test_a_run_stands_for_its_best_network(tmp_path):
    model = build()
    save(tmp_path / "best", model, {})
    assert weights_hash(load(tmp_path)[0].net) == weights_hash(model.net)
    assert checkpoint.file_hash(str(tmp_path)) == checkpoint.file_hash(str(tmp_path / "best"))
    assert open_refinery(str(tmp_path), tmp_path, CLASSES).path == tmp_path / "best"


def test_missing_checkpoints(tmp_path):
    with pytest.raises(ModelError, match="no checkpoint here"):
        load(tmp_path)
    save(tmp_path, build(), {})
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path)


class Malicious:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, writer):
    writer({"state_dict": Malicious(tmp_path / "owned")}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match=r"evil\.pt"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_files_that_hold_no_state_dict(tmp_path):
    for value in ([1, 2], {"a": 3}, torch.zeros(2)):
        torch.save(value, tmp_path / "x.pt")
        with pytest.raises(ModelError, match="does not hold a state dict"):
            read_weights(tmp_path / "x.pt")
    (tmp_path / "noise.pt").write_bytes(os.urandom(200))
    with pytest.raises(ModelError, match=r"noise\.pt"):
        read_weights(tmp_path / "noise.pt")


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path):
    save(tmp_path, build(), {})
    whole = (tmp_path / WEIGHTS).read_bytes()
    for place in range(0, len(whole), len(whole) // 10):
        (tmp_path / WEIGHTS).write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=WEIGHTS):
            load(tmp_path)
        with pytest.raises(ModelError, match=WEIGHTS):
            checkpoint.initialise(build(), str(tmp_path))
    (tmp_path / WEIGHTS).write_bytes(whole)
    checkpoint.initialise(build(), str(tmp_path))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", None])
def test_weights_as_other_trainers_write_them(tmp_path, prefix, key):
    state = {"conv.weight": torch.ones(2), "model.bias": torch.zeros(1)}
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    options = argparse.Namespace(lr=0.1)  # as timm's own training writes
    torch.save(wrapped if key is None else {key: wrapped, "args": options, "epoch": 3}, tmp_path / "w.pth.tar")
    assert read_weights(tmp_path / "w.pth.tar").keys() == state.keys()


def test_a_flipped_byte_of_a_torch_file_is_found(tmp_path):
    file = tmp_path / "weights.pt"
    torch.save({"a": torch.arange(1000.0)}, file)
    whole = file.read_bytes()
    for place in range(whole.index(b"\0\0\x80\x3f"), whole.index(b"\0\0\x80\x3f") + 3800, 400):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ModelError, match="is damaged"):
            read_weights(file)
