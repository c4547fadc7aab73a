"""What stops a chain does so before anything is trained, and a refused run leaves a finished one as it was."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from labelwise.config import load_recipe
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import Shard
from labelwise.errors import ConfigError, DataError, LabelwiseError, ModelError, RunError
from labelwise.inference.evaluate import evaluate
from labelwise.models import checkpoint
from labelwise.refinery import network as network_module
from labelwise.refinery.chain import make_context, refine, train
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import check_networks
from labelwise.training.runtime import start_runtime

BASE = (
    "data={source: digits, train_limit: 90, test_limit: 40}",
    "views={flip: false}",
    "train={epochs: 1, batch_size: 32, channels_last: false}",
    "chain={generations: 2}",
)


def run(out: Path, *changes: str, **options: Any) -> dict[str, Any]:
    return refine(load_recipe(None, [*BASE, *changes]), out, quiet=True, **options).to_json()


def features(folder: Path, labels: int = 1) -> str:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (60, labels)) if labels > 1 else rng.integers(0, 2, 60)
    split = np.array(["fit"] * 30 + ["select"] * 10 + ["test"] * 20)
    np.savez(folder / "x.npz", features=rng.normal(size=(60, 4)).astype(np.float32), label=label, split=split)
    return f"data={{source: {folder / 'x.npz'}}}"


REFUSED = {
    "data.select_share=0 chain.first=early_stop": "nothing is held out to choose with",
    "data.select_share=0 chain.networks=[{train:{keep:best}}]": "nothing is held out to choose with",
    "train.balance=class_weights chain.refined.loss=l2": "it weights the terms of kl; l2 has none",
    "chain={generations:2,folds:3,fold_labels:unseen} views.mixup=0.2": "a mixed view is of two samples",
    "chain={generations:2,folds:3,fold_labels:unseen,refined:{norm:batch}}": "a part of a batch alone",
    "chain.networks=[{},{model:{name:paper-alexnett}}]": "no network called 'paper-alexnett'; did you mean",
    "chain.networks=[{},{model:{name:torchvision/resnet81}}]": "torchvision has no model 'resnet81'; did you mean",
    "chain.networks=[{},{train:{precision:bf16}}]": "all networks of a run have the same; set train.precision",
    "chain.networks=[{},{views:{interpolation:bicubic}}]": "evaluated alike; set views.interpolation",
    "chain.networks=[{},{},{}]": "chain: networks has 3 entries for 2 generations",
    "chain.networks=[{},{model:{name:small-narrow,args:{depht:3}}}]": "model.args of small-narrow",
    "chain.networks=[{},{model:{name:paper-vgg16,args:{width:0.01}}}]": "paper-vgg16 cannot take 8 px",
    "chain.networks=[{},{model:{name:mlp}}]": "mlp takes embeddings, the data are images",
    "chain.networks=[{},{model:{name:small-narrow,init:nowhere.safetensors}}]": "no such file of weights",
    "chain.networks=[{},{model:{name:paper-alexnet,boost:5,small_images:true}}]": "boost",
    "chain.networks=[{},{train:{only:[blocks.77]}}]": "small-narrow has no layer 'blocks.77'",
    "chain.networks=[{},{train:{taxonomy:{file:nowhere.csv}}}]": "nowhere.csv",
    "chain={generations:2,folds:99}": "99 folds of 81 groups of fit samples",
    "chain.refinery=[nowhere]": "nowhere: no checkpoint there",
    "baselines.smoothing=[0.1,0.1000001]": "two different networks of the run would be called smoothing-0.1",
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.items())
def test_refused_before_anything_is_trained(changes: str, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(network_module, "_train", lambda *_: pytest.fail("trained"))
    spaced = [change.replace(":", ": ") for change in changes.split()]
    with pytest.raises(LabelwiseError) as error:
        run(tmp_path / "run", *spaced, baselines="baselines" in changes)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


UNKNOWN_NEGATIVE = "labels={unknown: negative, scheme: ll-r}"
REFUSED_OF_SEVERAL_LABELS = {
    "chain.networks=[{}, {train: {balance: sampler}}]": "train.balance sampler: not for multi-label data",
    "chain.networks=[{}, {refined: {kind: hard}}]": "chain.refined: for one class per sample",
    "chain.networks=[{}, {train: {taxonomy: {file: x.csv}}}]": "train.taxonomy: it spreads the one label of a sample",
    f"{UNKNOWN_NEGATIVE} chain.networks=[{{}}, {{labelled_by: 0, views: {{mixup: 0.2}}}}]": "has the labels of two",
    "chain={generations: 2, folds: 2, fold_labels: unseen, networks: [{}, {views: {mixup: 0.2}}]}": "a mixed view is",
    "labels.unknown={zebra: negative}": "'zebra' is not a category of the data",
    "data.train_limit=2 chain={generations: 2, folds: 2}": "the fit split without fold 1 has 1 samples",
    "labels.uncertain={zebra: negative}": "'zebra' is not a category of the data",
}


@pytest.mark.parametrize(("changes", "message"), REFUSED_OF_SEVERAL_LABELS.items())
def test_refused_of_multi_label_data(changes: str, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(network_module, "_train", lambda *_: pytest.fail("trained"))
    own = re.split(r" (?=chain)", changes)
    with pytest.raises(LabelwiseError) as error:
        run(tmp_path / "run", "model={name: mlp}", features(tmp_path, labels=3), *own)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_labels_of_which_none_is_known(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(network_module, "_train", lambda *_: pytest.fail("trained"))
    known = "data.known={protocol: uniform, share: 0}"
    with pytest.raises(DataError, match="no label of the fit split is known"):
        run(tmp_path / "run", "model={name: mlp}", features(tmp_path, labels=3), known)
    assert not (tmp_path / "run").exists()


def test_lasting_corrections_need_one_process(tmp_path: Path) -> None:
    changes = ["model={name: mlp}", features(tmp_path, labels=3), "labels={unknown: negative, scheme: ll-cp}"]
    recipe = load_recipe(None, [*BASE, *changes])
    context = make_context(recipe, load_dataset(recipe.data), start_runtime(recipe), tmp_path / "run", 0)
    network = NetworkSpec("x", "generation", recipe.model, recipe.train)
    check_networks(context, [network])
    two = SimpleNamespace(shard=Shard(0, 2))
    with pytest.raises(ConfigError, match="remembers labels in one process; run it without torchrun"):
        check_networks(replace(context, runtime=two), [network])  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["classes", "inputs", "weights"])
def test_a_refinery_that_cannot_label_the_data(damage: str, tmp_path: Path, monkeypatch: Any) -> None:
    """It labels generation 2 alone, as generation 1 does with ``labelled_by: 0``."""
    own = {"classes": "data.classes=3", "inputs": "train.epochs=1", "weights": "train.epochs=1"}[damage]
    run(tmp_path / "first", "chain.generations=1", own)
    refinery = tmp_path / "first" / "seed-0" / "generation-1"
    changes, message = [], "has other classes than the data (3 against 10"
    if damage == "inputs":
        changes, message = ["model={name: mlp}", features(tmp_path)], "other classes"
    if damage == "weights":
        (refinery / "model.safetensors").write_bytes(b"x")
        message = "cannot be read as weights"
    monkeypatch.setattr(network_module, "_train", lambda *_: pytest.fail("trained"))
    with pytest.raises(ModelError) as error:
        run(tmp_path / "run", f"chain.refinery=[{refinery}]", *changes)
    assert message in str(error.value) and not (tmp_path / "run").exists()


def test_what_embeddings_and_several_labels_do_not_have(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(network_module, "_train", lambda *_: pytest.fail("trained"))
    network = ["model={name: mlp}", features(tmp_path)]
    with pytest.raises(ConfigError, match="it moves pixels, the data are embeddings"):
        run(tmp_path / "run", *network, "chain.refined.jitter.step=2")
    network = ["model={name: mlp}", features(tmp_path, labels=3)]
    with pytest.raises(ConfigError, match=r"train\.taxonomy: it spreads the one label of a sample"):
        run(tmp_path / "run", *network, "train.taxonomy={file: nowhere.json}")


def test_a_network_that_cannot_take_such_images_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.name: paper-vgg16 cannot take 8 px") as error:
        run(tmp_path / "run", "model={name: paper-vgg16, args: {width: 0.01}}")
    assert "\n" not in str(error.value)


def test_a_checkpoint_for_other_embeddings(tmp_path: Path) -> None:
    run(tmp_path / "run", "model={name: mlp}", features(tmp_path), "chain.generations=1")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "y.npz", features=rng.normal(size=(60, 7)).astype(np.float32), label=rng.integers(0, 2, 60))
    other = load_recipe(None, [f"data={{source: {tmp_path / 'y.npz'}}}"])
    with pytest.raises(ModelError, match="the checkpoint takes 4 features, the data have 7"):
        evaluate(tmp_path / "run" / "seed-0" / "generation-1", other, split="test")


def test_a_refused_run_leaves_recipe_and_facts(tmp_path: Path) -> None:
    run(tmp_path / "run", "chain.generations=1")
    before = [(tmp_path / "run" / name).read_bytes() for name in ("config.yaml", "run.json")]
    with pytest.raises(RunError, match="was begun with another recipe"):
        run(tmp_path / "run", "chain.generations=1", "train.lr=0.5")
    assert [(tmp_path / "run" / name).read_bytes() for name in ("config.yaml", "run.json")] == before


def test_train_asks_no_refinery(tmp_path: Path) -> None:
    run(tmp_path / "first", "chain.generations=1")
    refinery = tmp_path / "first" / "seed-0" / "generation-1"
    recipe = load_recipe(None, [*BASE, f"chain.refinery=[{refinery}]"])
    [row] = train(recipe, tmp_path / "run", quiet=True).to_json()["rows"]
    assert row["labels"] == "given" and not row["refineries"]


def test_two_networks_of_one_name_are_two(tmp_path: Path) -> None:
    """The early-stopped first network is not the control of a second one of another width, nor the chain's result."""
    steps = "chain.networks=[{model: {name: small-narrow}}, {model: {name: small-narrow, args: {norm: group}}}]"
    results = run(tmp_path / "run", steps, "chain.first=early_stop", "baselines.kinds=[early_stop]", baselines=True)
    rows = {row["name"]: row for row in results["rows"]}
    assert rows["early-stop"]["network"] == rows["generation-2"]["network"] != rows["generation-1"]["network"]
    assert results["comparison"]["chain"] == "generation-2"


def test_other_first_weights_are_another_network(tmp_path: Path) -> None:
    hashes = []
    for seed in (1, 2):
        first = run(tmp_path / f"first-{seed}", "chain.generations=1", f"seed={seed}")["rows"][0]
        weights = (tmp_path / f"first-{seed}" / first["path"] / "model.safetensors").read_bytes()
        (tmp_path / "start.safetensors").write_bytes(weights)
        start = f"model.init={tmp_path / 'start.safetensors'}"
        out = tmp_path / f"run-{seed}"
        hashes.append(
            run(out, start, "chain.generations=1", network_cache=tmp_path / "shared")["rows"][0]["weights_hash"]
        )
    assert hashes[0] != hashes[1]


def test_weights_to_start_from_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.safetensors: cannot be read"):
        checkpoint.file_hash(str(tmp_path / "nowhere.safetensors"))
