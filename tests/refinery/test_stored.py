"""A chain that learns from a store: the live refinery's labels, refused where it cannot be, resumed to the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.stored_labels import Crops, write_store

from labelwise.config import Recipe, ViewConfig, load_recipe
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan
from labelwise.errors import LabelwiseError
from labelwise.models import checkpoint
from labelwise.refinery.chain import make_context, refine, train
from labelwise.refinery.checks import prepare
from labelwise.refinery.context import TrainingContext, load_refinery
from labelwise.refinery.generations import LabelStore, NetworkSpec
from labelwise.refinery.network import _lineage, build_model, refinery_labels
from labelwise.refinery.stored import bound_store
from labelwise.runs import fingerprint
from labelwise.store.reader import Store
from labelwise.training import fit as fitting
from labelwise.training.runtime import start_runtime

BASE = (
    "data={source: digits, train_limit: 160, test_limit: 50, labelled: 80}",
    "views={scale: [0.5, 1.0], flip: false}",
    "train={epochs: 2, batch_size: 32, warmup_epochs: 0.5, channels_last: false, checkpoint_seconds: 0}",
    "threads=1",
)
VIEWS = ViewConfig(scale=(0.5, 1.0), flip=False)
FROM_STORE = ("views={}", "chain.generations=1", "chain.unlabelled.share=0")


def recipe_of(*changes: str) -> Recipe:
    return load_recipe(None, [*BASE, *changes])


def run(out: Path, *changes: str) -> dict[str, Any]:
    found = refine(recipe_of(*changes), out, quiet=True).to_json()
    return {row["name"]: row for row in found["rows"]}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one network on given labels."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    train(recipe_of(), out, quiet=True)
    return out


def label(folder: Path, teacher: Path, k: int = 10, count: int = 3, seed: int = 5, rows=None, **options: Any) -> Path:
    """What the teacher says of the digits."""
    model = checkpoint.load(teacher / "best")[0].eval()
    data = load_dataset(recipe_of().data)
    rows = np.flatnonzero(np.isin(data.split, ("fit", "unlabelled"))) if rows is None else rows
    crops = Crops((8,), VIEWS, count, seed)
    return write_store(folder, data, rows, lambda b: torch.log_softmax(model(b.inputs[8]), 1), crops, k=k, **options)


@pytest.fixture(scope="module")
def store(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label(tmp_path_factory.mktemp("store") / "s", teacher)


def contexts(store: Path, teacher: Path, *changes: str) -> tuple[TrainingContext, NetworkSpec, NetworkSpec]:
    """A network that learns from the store, and one that asks the teacher."""
    recipe, data = prepare(recipe_of(*FROM_STORE, f"chain.store={store}", *changes))
    context = make_context(recipe, data, start_runtime(recipe), teacher / "x", 0, quiet=True)
    refineries = (load_refinery("net", teacher / "best"),)
    live = NetworkSpec(
        "g", "generation", recipe.model, recipe.train, 1, refineries, refined_labels=recipe.chain.refined
    )
    found = Store(store)
    stored = NetworkSpec(**{**vars(live), "store": LabelStore(store, found.checksum())})
    return context, stored, live


@pytest.mark.parametrize(
    ("k", "change"),
    [
        (10, "chain.refined={}"),
        (3, "chain.refined={}"),
        (3, "chain.store_rest=drop"),
        (10, "chain.refined={temperature: 2, loss: kd, given: 0.3}"),
        (2, "chain.refined.kind=top2"),
        (1, "chain.refined.kind=hard"),
    ],
)
def test_a_store_and_its_teacher_give_the_same_loss_on_the_same_crops(k, change, teacher, tmp_path):
    """To the precision of half floats where all classes are stored, or the rest does not count; else within the bound
    of losses/sparse.py."""
    store = label(tmp_path / "s", teacher, k)
    context, stored, live = contexts(store, teacher, change)
    model = build_model(context, stored.model)
    plan = context.problem.plan(context, stored, model, refinery_labels(context, stored))
    other = context.problem.plan(context, live, model, refinery_labels(context, live))
    rows = context.dataset.rows("fit")
    [batch] = context.loader.replaying(plan.stored).stream([BatchPlan(rows, np.arange(len(rows)) % 7)], (8,), 1)
    with torch.no_grad():
        model.eval()
        ours, theirs = plan.task(model, batch), other.task(model, batch)
        z, q = model(batch.inputs[8]), refinery_labels(context, live)(batch)
    assert plan.task.names == other.task.names
    exact = k == 10 or "hard" in change or "top2" in change
    rest = 1 - q.topk(k, dim=1).values.sum(1)
    bound = 2e-3 if exact else (rest * (z.amax(1) - z.amin(1))).mean().item() + 2e-3
    assert rest.mean() < 1e-6 or exact or bound > 5e-3  # the rest counts
    assert abs(ours.loss - theirs.loss).item() <= bound
    if exact:
        torch.testing.assert_close(ours.sums, theirs.sums, rtol=3e-3, atol=0.05)


def test_a_chain_begins_with_the_labels_of_a_store(store, teacher, tmp_path):
    rows = run(tmp_path / "r", *FROM_STORE, f"chain.store={store}", "chain.generations=2")
    first = rows["generation-1"]
    assert first["labels"] == "refinery soft dynamic (net; store s, 3 views of each sample)"
    assert first["refineries"] == ["net"] and rows["generation-2"]["refineries"] == ["generation-1"]
    lines = (tmp_path / "r" / "seed-0" / "generation-1" / "metrics.jsonl").read_text().splitlines()
    sums = [json.loads(line)["train"] for line in lines]
    assert sums[-1]["loss"] < sums[0]["loss"] and all(0 < one["kl"] < one["ce"] for one in sums)
    recorded = json.loads((tmp_path / "r" / "seed-0" / "generation-1" / "network.json").read_text())["lineage"]
    assert recorded["views"]["scale"] == [0.5, 1.0] and recorded["store"] == [Store(store).checksum(), "spread"]
    trained = train(recipe_of(*FROM_STORE, f"chain.store={store}"), tmp_path / "t", quiet=True)
    assert trained.rows[0].weights_hash == first["weights_hash"]


def test_another_store_is_another_network_and_the_same_one_elsewhere_is_not(store, teacher, tmp_path):
    def lineage(folder: Path, *changes: str) -> str:
        context, stored, _ = contexts(folder, teacher, *changes)
        return fingerprint(_lineage(context, stored))

    assert lineage(label(tmp_path / "copy", teacher)) == lineage(store)
    assert lineage(label(tmp_path / "other", teacher, seed=6)) != lineage(store)
    assert lineage(store, "chain.store_rest=drop") != lineage(store)
    assert lineage(store, "chain.store_reuse=stop") == lineage(store)


def test_a_stopped_training_goes_on_to_the_same_weights(store, tmp_path, monkeypatch):
    changes = (*FROM_STORE, f"chain.store={store}", "views.mixup=0.3")
    whole = run(tmp_path / "whole", *changes)["generation-1"]
    step, count = fitting._Loop.step, [0]

    def stopping(*arguments: Any) -> None:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        step(*arguments)

    monkeypatch.setattr(fitting._Loop, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", *changes)
    assert (tmp_path / "r" / "seed-0" / "generation-1" / "resume.pt").exists()
    assert run(tmp_path / "r", *changes)["generation-1"]["weights_hash"] == whole["weights_hash"]
    assert count[0] > 5


def test_unlabelled_images_and_members_learn_from_a_store(store, tmp_path):
    chain = f"{{store: '{store}', generations: 2, members: 2}}"
    rows = run(tmp_path / "r", "views={}", "train.epochs=1", f"chain={chain}")
    assert rows["generation-1"]["unlabelled"] == {"used": 64, "foreign": 0}
    assert "store s" in rows["generation-1-member-2"]["labels"]
    assert rows["generation-1"]["weights_hash"] != rows["generation-1-member-2"]["weights_hash"]
    assert rows["generation-2"]["labels"].startswith("refinery soft dynamic (mean of generation-1, generation-1-member")


def test_a_smaller_number_of_views_is_the_first_of_them(store, teacher):
    context, stored, _ = contexts(store, teacher, "views.number=2")
    assert bound_store(context, stored).views == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["chain.refined.jitter.step=1"], "chain.refined.jitter: needs the refinery itself"),
        (["chain.refined.per=image"], "chain.refined.per image: needs the refinery itself"),
        (["chain.refined.views=2"], "chain.refined.views: needs"),
        (["chain.refined.loss=l2"], "chain.refined.loss l2: needs"),
        (["chain.refined.trust=graded"], "chain.refined.trust graded: needs"),
        (["chain.refined.norm=batch"], "chain.refined.norm batch: needs"),
        (["chain.unlabelled={share: 0.5, max_entropy: 0.5}"], "chain.unlabelled.max_entropy: needs"),
        (["views.scale=[0.6, 1.0]"], r"views.scale: \[0.6, 1.0\], but the crops of .* were made with \[0.5, 1.0\]"),
        (["views.number=4"], "views.number: 4, but .* has 3 views of a sample"),
        (["chain={networks: [{views: {erasing: 0.5}}], store: STORE}"], "views.erasing: 0.5"),
        (["chain.store_reuse=stop", "train.epochs=4"], "would show 4 views of a sample, .* has 3"),
        (["chain.refinery=[x]"], "store and refinery both label generation 1"),
        (["chain.first=early_stop"], "chain.store replaces them"),
        (["data.labelled=null", "data.train_limit=170"], "lacks 10 of 153 samples"),
        (["data.source=digits", "chain.store=nowhere"], "nowhere: is no store"),
    ],
)
def test_what_does_not_go_with_a_store_is_refused_before_anything_is_trained(changes, words, store, tmp_path):
    base = [*FROM_STORE, f"chain.store={store}"]
    changes = [change.replace("STORE", f"'{store}'") for change in changes]
    with pytest.raises(LabelwiseError, match=words) as error:
        prepare(recipe_of(*base, *changes))
    assert "\n" not in str(error.value)


def test_top2_needs_two_classes_of_a_crop(teacher, tmp_path):
    one = label(tmp_path / "one", teacher, 1)
    some = label(tmp_path / "some", teacher, 5, mass=0.9)
    for store in (one, some):
        with pytest.raises(LabelwiseError, match=r"top2: .* may have one class of a crop"):
            prepare(recipe_of(*FROM_STORE, f"chain.store={store}", "chain.refined.kind=top2"))
    rows = run(tmp_path / "r", *FROM_STORE, f"chain.store={some}", "train.epochs=1")
    assert np.isfinite(rows["generation-1"]["test"]["top1"])


def test_each_generation_writes_the_labels_of_the_next(tmp_path, monkeypatch):
    """The stores are whole and can be used again; a run that is stopped between shards goes on to the same ones."""
    changes = ("chain={generations: 3, write_store: {views: 2, k: 4}}", "train.epochs=1", "chain.unlabelled.share=0.25")
    out = tmp_path / "r"
    rows = run(out, *changes)
    assert rows["generation-2"]["labels"] == (
        "refinery soft dynamic (generation-1; store labels-by-generation-1, 2 views of each sample), 25% unlabelled"
    )
    assert rows["generation-3"]["refineries"] == ["generation-2"]
    first, second = (Store(out / "seed-0" / f"labels-by-generation-{t}") for t in (1, 2))
    assert first.header.refineries[0].weights_hash == rows["generation-1"]["weights_hash"]
    assert (first.header.k, first.header.views_per_sample, len(first)) == (4, 2, 144)
    assert first.header.seed != second.header.seed
    data, model = load_dataset(recipe_of().data), checkpoint.load(out / "seed-0" / "generation-1")[0].eval()
    labelled = Crops((8,), VIEWS, 2, first.header.seed).of(data, data.rows("fit"))
    found = first.read(first.places(data.keys[labelled.rows]), labelled.numbers)
    with torch.no_grad():
        expected = torch.log_softmax(model(labelled.inputs[8]), 1).topk(4, dim=1)
    np.testing.assert_allclose(found.labels.values, expected.values, atol=2e-3, rtol=2e-3)
    again = run(tmp_path / "again", *FROM_STORE, f"chain.store={first.folder}", "train.epochs=1")
    assert again["generation-1"]["refineries"] == ["generation-1"]
    assert run(out, *changes) == rows  # finished before
    for path in (out / "seed-0" / "generation-2").iterdir():
        path.unlink()
    (first.folder / "00001.bin").unlink()
    assert run(out, *changes)["generation-2"]["weights_hash"] == rows["generation-2"]["weights_hash"]
    assert Store(first.folder).checksum() == first.checksum()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{write_store: {views: 2, k: 11}}", "k is 11, expected 1 to 10"),
        ("{write_store: {views: 2}, store_reuse: stop}", "labels-by-generation-1 has 2; label more views"),
        ("{write_store: {views: 2}, networks: [{}, {views: {flip: true}}, {labelled_by: 1}]}", "for one kind of views"),
        ("{write_store: {views: 2, k: 1}, refined: {kind: top2}}", "may have one class of a crop"),
        ("{write_store: {views: 2}, folds: 2, fold_labels: unseen}", "set fold_labels to mean"),
        ("{write_store: {views: 2}, refined: {trust: graded}}", "needs the refinery itself"),
    ],
)
def test_labels_that_could_not_be_written_or_learnt_are_refused_before_anything_is_trained(change, words):
    with pytest.raises(LabelwiseError, match=words):
        prepare(recipe_of(f"chain={change}", "chain.unlabelled.share=0", "train.epochs=3"))
