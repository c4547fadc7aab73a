"""Classifiers in closed form as networks of a chain, as its refineries, and as controls."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import Recipe, load_recipe
from labelwise.data.dataset import Dataset, Features
from labelwise.errors import LabelwiseError
from labelwise.export.network import export
from labelwise.labels.table import LabelTable
from labelwise.models import checkpoint
from labelwise.models.head import split_head
from labelwise.refinery.chain import refine

BASE = ("model.name=mlp", "train={epochs: 1, batch_size: 32, warmup_epochs: 0}")
FORMS = ("kernel-ridge", "lda", "logistic", "knn")
N = 120


def recipe(*changes: str) -> Recipe:
    return load_recipe(None, [*BASE, *changes])


def data(kind: str = "points", label: np.ndarray[Any, Any] | None = None) -> Dataset:
    ids = np.array([f"i{i}" for i in range(N)])
    own, split = np.arange(N) % 3, np.repeat(["fit", "select", "test"], [80, 20, 20])
    values = np.random.default_rng(0).normal(size=(N, 4)) + 3 * np.eye(3, 4)[own]
    source = Features(values.astype(np.float32))
    if kind == "several":
        table = LabelTable.from_classes(own, ("a", "b", "c"))
        return Dataset("points", ("a", "b", "c"), ids, ids, np.full(N, -1), split, source, table=table)
    return Dataset("points", ("a", "b", "c"), ids, ids, own if label is None else label, split, source)


def rows_of(out: Path, *changes: str, baselines: bool = False, dataset: Dataset | None = None) -> dict[str, Any]:
    found = refine(recipe(*changes), out, quiet=True, dataset=dataset or data(), baselines=baselines)
    return {row["name"]: row for row in found.to_json()["rows"]}


@pytest.mark.parametrize("name", FORMS)
def test_one_network_is_fitted_saved_read_and_exported(name: str, tmp_path: Path) -> None:
    row = rows_of(tmp_path, f"model={{name: {name.replace('-', '_')}}}", "chain.generations=1")["generation-1"]
    assert row["test"]["top1"] > 0.7 and (row["epochs"], row["kept_epoch"]) == (1, 1)
    model, card = checkpoint.load(tmp_path / row["path"])
    assert "temperature" in card["fitted"] and card["weights_hash"] == row["weights_hash"]
    assert model.args == row["network"]["args"] and (name != "kernel-ridge" or model.args["centres"] == 80)
    dataset = data()
    test = dataset.rows("test")
    x = torch.from_numpy(dataset.source.values[test])  # type: ignore[union-attr]
    with torch.no_grad():
        found = model.eval()(x).argmax(1).numpy()
    assert np.load(tmp_path / row["path"] / "predictions.npz")["prediction"].tolist() == found.tolist()
    assert split_head(model.net, model.spec).paths == ("classifier",)
    copy, _ = checkpoint.load(export(tmp_path / row["path"], tmp_path / "export").folder)
    torch.testing.assert_close(copy.eval()(x), model(x))
    again = rows_of(tmp_path, f"model={{name: {name.replace('-', '_')}}}", "chain.generations=1")["generation-1"]
    assert again == row  # read, not fitted again


def test_controls_on_embeddings_compete(tmp_path: Path) -> None:
    kinds = "baselines={kinds: [long, closed_form]}"
    rows = rows_of(tmp_path, "chain.generations=2", kinds, "train.lr=1e-6", baselines=True)
    assert [name for name, row in rows.items() if row["role"] == "control"] == ["long", *FORMS]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["comparison"]["control"] in FORMS  # the others have learnt nothing at such a rate
    assert results["best"]["role"] == "control" and results["best"]["name"] in FORMS


def test_controls_do_not_depend_on_the_schedule(tmp_path: Path) -> None:
    """And of a chain that ends in closed form there are no controls with epochs."""
    kinds = "baselines={kinds: [long, early_stop, smoothing, closed_form]}"
    first = rows_of(tmp_path / "a", "chain.generations=1", "train.lr=0.2", "model={name: lda}", kinds, baselines=True)
    assert list(first) == ["generation-1", *FORMS]
    second = rows_of(tmp_path / "b", "chain.generations=1", "baselines.kinds=[closed_form]", baselines=True)
    assert [first[name]["weights_hash"] for name in FORMS] == [second[name]["weights_hash"] for name in FORMS]


def test_there_are_none_on_images_or_with_several_labels(tmp_path: Path) -> None:
    small = ("data={source: digits, train_limit: 100}", "train={epochs: 1, warmup_epochs: 0}", "chain.generations=1")
    wanted = load_recipe(
        None, [*small, "baselines.kinds=[closed_form]", "model={name: small-resnet, args: {width: 4}}"]
    )
    rows = refine(wanted, tmp_path / "images", baselines=True, quiet=True).rows
    assert [row.name for row in rows] == ["generation-1"]
    several = ("chain.generations=1", "baselines.kinds=[closed_form]")
    assert list(rows_of(tmp_path / "several", *several, baselines=True, dataset=data("several"))) == ["generation-1"]


def test_a_closed_form_teaches_a_network_and_learns_from_it_across_folds(tmp_path: Path) -> None:
    ridge = "model: {name: kernel_ridge, args: {centres: 40}}"
    chain = f"chain={{generations: 3, folds: 2, networks: [{{{ridge}}}, {{}}, {{{ridge}}}]}}"
    rows = rows_of(tmp_path, chain)
    folds = [f"generation-1-fold-{number}" for number in (1, 2)]
    assert rows["generation-2"]["refineries"] == folds and rows["generation-2"]["model"] == "mlp"
    assert rows["generation-3"]["labels"].startswith("refinery soft dynamic")
    hashes = {rows[name]["weights_hash"] for name in ("generation-1", *folds, "generation-3")}
    assert len(hashes) == 4  # each has seen other samples or other labels


def test_soft_labels_are_those_of_the_centre_view(tmp_path: Path) -> None:
    """A network that holds its labels shows what they were: the refinery's answers, mixed or hard where asked."""
    teacher = tmp_path / rows_of(tmp_path, "chain.generations=1", "model={name: lda}")["generation-1"]["path"]
    own = (
        "chain.generations=1",
        "model={name: knn, args: {neighbours: 1}}",
        f"chain.refinery=[{json.dumps(str(teacher))}]",
    )
    dataset = data()
    fit = dataset.rows("fit")
    x = torch.from_numpy(dataset.source.values[fit])  # type: ignore[union-attr]
    answers = torch.softmax(checkpoint.load(teacher)[0].eval()(x), 1)
    given = torch.nn.functional.one_hot(torch.from_numpy(dataset.label[fit]), 3).float()
    for number, (options, expected) in enumerate(
        {
            "{}": answers,
            "{given: 0.25}": 0.75 * answers + 0.25 * given,
            "{kind: hard}": torch.nn.functional.one_hot(answers.argmax(1), 3).float(),
        }.items()
    ):
        out = tmp_path / str(number)
        row = rows_of(out, *own, f"chain.refined={options}", "views.feature_dropout=0.5")["generation-1"]
        head = checkpoint.load(out / row["path"])[0].net.classifier.weight.T  # type: ignore[union-attr,operator]
        labels = head / head.sum(1, keepdim=True)
        assert sorted(labels.flatten().tolist()) == pytest.approx(sorted(expected.flatten().tolist()), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("chain.first=early_stop",), "chain.first: lda has no epochs to stop after; set full"),
        (("chain={generations: 2, networks: [{}, {start_from: 1}]}",), "model.name lda: it is fitted in closed form"),
        (("model.init=weights.pt",), "model.name lda: it is fitted in closed form, from no first weights"),
        (
            ("chain.refined.loss=l2",),
            "model.name lda: it is fitted in closed form; leave chain.refined.loss, trust and jitter out",
        ),
        (("chain.refined.trust=consensus",), "lda: it is fitted in closed form; leave chain.refined.loss, trust"),
        (
            ("model={name: kernel_ridge, args: {centres: 0}}",),
            "model.args of kernel_ridge: centres is at least 1, not 0",
        ),
        (("model={name: knn, args: {neighbours: -1}}",), "model.args of knn: neighbours is at least 0, not -1"),
        (("model={name: kernel_ridge, args: {bandwidth: -1}}",), "bandwidth is at least 0, not -1"),
    ],
)
def test_what_has_no_meaning_is_refused_before_anything_is_written(
    changes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LabelwiseError, match=re.escape(message)):
        rows_of(tmp_path / "run", "model.name=lda", "chain.generations=2", *changes)
    assert not (tmp_path / "run" / "results.json").exists()


def test_images_and_several_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="lda takes embeddings, the data are images; use small-narrow"):
        refine(load_recipe(None, ["model.name=lda"]), tmp_path, quiet=True)
    with pytest.raises(LabelwiseError, match="lda: it is for one class per sample, these data have several"):
        rows_of(tmp_path, "model.name=lda", dataset=data("several"))


def test_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="lda: all 80 labels are of one class"):
        rows_of(tmp_path, "model.name=lda", "chain.generations=1", dataset=data(label=np.zeros(N, dtype=np.int64)))
