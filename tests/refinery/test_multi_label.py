"""Chains on partly labelled digits: given labels stay, the refinery answers for the rest, every scheme trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise import demo
from labelwise.config import Recipe, load_recipe
from labelwise.data.loaders import Batch
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan
from labelwise.errors import ConfigError, DataError
from labelwise.labels.table import GIVEN, INFERRED, UNKNOWN, LabelTable
from labelwise.metrics.ranking import ranking
from labelwise.models import checkpoint
from labelwise.refinery.chain import make_context, refine
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.labellers import RefineryLabels
from labelwise.refinery.multi_label import MultiLabel, fill_in
from labelwise.report.write import markdown_report, write_report
from labelwise.training.multilabel import MultiLabelTask, PseudoLabeller, joint_answer
from labelwise.training.runtime import start_runtime

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(digit_attributes: Path) -> Path:
    return digit_attributes


def recipe(data: Path, *changes: str) -> Recipe:
    base = [f"data.source={data}", "data.known={protocol: cells, share: 0.3}", "data.train_limit=300", "threads=1"]
    base += ["views={size: 8, flip: false}", "train={epochs: 2, batch_size: 64, keep: best}", "chain.generations=1"]
    return load_recipe(None, [*base, *changes])


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A chain of two generations, two refineries, with controls."""
    out = tmp_path_factory.mktemp("chain") / "run"
    changes = ["chain={generations: 2, members: 2}", "baselines={early_stop_epochs: [1, 2], smoothing: [0.1]}"]
    return out, refine(recipe(data, *changes), out, baselines=True, quiet=True).to_json()


# what is written


def test_results_follow_the_contract(finished: tuple[Path, dict[str, Any]]) -> None:
    out, results = finished
    assert results["kind"] == "refine" and results["task"] == "multi-label" and results["regime"] is None
    names = ["generation-1", "generation-1-member-2", "generation-2", "long", "early-stop", "smoothing"]
    assert [row["name"] for row in results["rows"]] == names
    for row in results["rows"]:
        assert {"map", "mauc", "nll", "ece"} <= set(row["test"]) and "top1" not in row["test"]
        assert {"map", "hidden_map", "refined_label_accuracy"} <= set(row["fit"])
        assert len(row["test"]["per_category"]) == len(demo.ATTRIBUTES)
    labels = {row["name"]: row["labels"] for row in results["rows"]}
    assert labels["generation-1"] == "given" and labels["smoothing"] == "given, smoothed 0.1"
    assert labels["generation-2"] == "refinery soft dynamic (mean of generation-1, generation-1-member-2)"
    assert results["comparison"]["metric"] == "test map" and "points of mAP" in results["comparison"]["sentence"]
    about = json.loads((out / "run.json").read_text())["data"]
    assert about["known"]["simulated"] and about["known"]["share"] == pytest.approx(0.3, abs=0.02)
    assert json.loads((out / results["rows"][0]["path"] / "model.json").read_text())["task"] == "multi-label"


def test_scores_are_those_of_the_kept_predictions(finished: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, results = finished
    dataset = load_dataset(recipe(data).data)
    assert dataset.table is not None
    row = results["rows"][2]
    with np.load(out / row["path"] / "predictions.npz") as kept:
        labels = dataset.table.take(kept["rows"]).given()
        ap = ranking(kept["logits"].T, labels.T).ap
    assert row["test"]["map"] == pytest.approx(float(ap.nanmean()))
    assert [entry["ap"] for entry in row["test"]["per_category"]] == pytest.approx(ap.tolist())


def test_a_second_call_trains_nothing(finished: tuple[Path, dict[str, Any]], data: Path) -> None:
    out, results = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    changes = ["chain={generations: 2, members: 2}", "baselines={early_stop_epochs: [1, 2], smoothing: [0.1]}"]
    assert refine(recipe(data, *changes), out, baselines=True, quiet=True).to_json() == results
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}


def test_the_page_speaks_of_categories(finished: tuple[Path, dict[str, Any]]) -> None:
    out, results = finished
    page = write_report(out).read_text()
    assert "Per category" in page and f"{len(demo.ATTRIBUTES)} categories" in page and "Change per category" in page
    assert "Accuracy" not in page and "classes gained" not in page
    gained = results["rows"][2]["test"]["per_category"][0]["ap"] - results["rows"][0]["test"]["per_category"][0]["ap"]
    assert f"{100 * gained:+.1f}".replace("-", "−") in page
    text = markdown_report(out)
    assert f"{100 * results['rows'][2]['test']['map']:.2f}" in text and "hidden mAP" in text


# whose labels count


def test_hidden_labels_are_the_protocol_s_and_kept_for_scoring(data: Path) -> None:
    dataset, whole = (load_dataset(recipe(data, *c).data) for c in ((), ("data.known.protocol=all",)))
    assert dataset.table is not None and dataset.true_table is not None and whole.true_table is None
    fit = dataset.rows("fit")
    known = dataset.table.known
    assert known[fit].mean() == pytest.approx(0.3, abs=0.02) and known[np.setdiff1d(np.arange(len(known)), fit)].all()
    np.testing.assert_array_equal(dataset.true_table.values, whole.table.values)  # type: ignore[union-attr]
    np.testing.assert_array_equal(dataset.table.values[known], dataset.true_table.values[known])


def test_masks_do_not_depend_on_what_is_held_out_and_are_nested(data: Path) -> None:
    def known(*changes: str) -> dict[str, Any]:
        dataset = load_dataset(recipe(data, "data.train_limit=null", *changes).data)
        assert dataset.table is not None
        rows = dataset.rows("fit")
        return dict(zip(dataset.ids[rows].tolist(), dataset.table.known[rows], strict=True))

    few, many, less = known(), known("data.known.share=0.6"), known("data.train_limit=100")
    assert all((few[i] <= many[i]).all() for i in few) and set(less) < set(few)
    assert all((few[i] == less[i]).all() for i in less)


@pytest.mark.parametrize(
    ("protocol", "positives", "negatives"),
    [("single_positive", 1, 0), ("positives", None, 0), ("fixed", None, None), ("balanced", None, None)],
)
def test_protocols(data: Path, protocol: str, positives: int | None, negatives: int | None) -> None:
    dataset = load_dataset(recipe(data, f"data.known={{protocol: {protocol}, share: 0.5, count: 6}}").data)
    assert dataset.table is not None
    table = dataset.table.take(dataset.rows("fit"))
    if positives is not None:
        assert (table.known & (table.values == 1)).sum(1).max() == positives
    if negatives is not None:
        assert (table.known_negative == negatives).all()
    if protocol in ("fixed", "balanced"):
        assert table.known_positive.max() <= 6 and table.known_negative.max() <= 6


def batch_of(rows: np.ndarray, inputs: torch.Tensor) -> Batch:
    return Batch(rows, {inputs.shape[-1]: inputs}, torch.full((len(rows),), -1))


class Says:
    """A labeller that always says the same."""

    sizes: tuple[int, ...] = ()

    def __init__(self, probability: torch.Tensor) -> None:
        self._probability = probability

    def __call__(self, batch: Batch) -> torch.Tensor:
        return self._probability[: len(batch)]

    def describe(self) -> str:
        return "says"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("soft", [[1, 0.9, 0], [0.2, 0, 0.55]]), ("hard", [[1, 1, 0], [0, 0, np.nan]])],
)
def test_given_labels_stay_and_unknown_ones_are_the_refinery_s(kind: str, expected: list[Any], data: Path) -> None:
    table = LabelTable.from_wire([[1, np.nan, 0], [np.nan, 0, np.nan]], ("a", "b", "c"))
    options = recipe(data, f"chain.unknown={{kind: {kind}, low: 0.3, high: 0.8, weight: 0.5}}").chain.unknown
    says = Says(torch.tensor([[0.2, 0.9, 0.55]]).expand(2, 3))
    seen: dict[str, torch.Tensor] = {}

    def partial_loss(logits: Any, target: Any, weight: Any, unknown: Any, rows: Any, epoch: int) -> torch.Tensor:
        seen.update(target=target, weight=weight, unknown=unknown)
        return torch.zeros_like(logits, requires_grad=True)

    rows = np.array([0, 1])
    task = MultiLabelTask(table, rows, 3, CPU, partial_loss=partial_loss, pseudo_labeller=PseudoLabeller(says, options))
    task(torch.nn.Identity(), batch_of(rows, torch.zeros(2, 3)))
    np.testing.assert_allclose(seen["target"].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(seen["weight"].numpy(), [[1, 0.5, 1], [0.5, 1, 0.5]])
    np.testing.assert_array_equal(seen["unknown"].numpy(), np.isnan(table.values))


def test_fill_in_keeps_given_labels(data: Path) -> None:
    table = LabelTable.from_wire([[1, np.nan], [np.nan, 0]], ("a", "b"))
    options = recipe(data, "chain.unknown={kind: hard, view: centre, low: 0.3, high: 0.6, weight: 0.25}").chain.unknown
    probability = np.array([[0.1, 0.7], [0.5, 0.9]], dtype=np.float32)
    filled = fill_in(table, table.source == UNKNOWN, probability, options)
    np.testing.assert_array_equal(filled.source, [[GIVEN, INFERRED], [UNKNOWN, GIVEN]])
    np.testing.assert_array_equal(filled.values, [[1, 1], [np.nan, 0]])
    assert filled.weight is not None
    assert filled.weight[0, 1] == np.float32(0.25) and filled.weight[0, 0] == filled.weight[1, 1] == 1


@pytest.mark.parametrize(
    ("agreement", "target", "weight"),
    [
        ("none", [[1, 0.4, 0.8], [0.5, 0.4, 0]], [[1, 0.5, 0.5], [0.5, 0.5, 1]]),
        ("decide", [[1, np.nan, 0.8], [np.nan, np.nan, 0]], [[1, 0.5, 0.5], [0.5, 0.5, 1]]),
        ("weigh", [[1, 0.4, 0.8], [0.5, 0.4, 0]], [[1, 0.3, 0.4], [0.2, 0.3, 1]]),
    ],
)
def test_agreement_of_views_decides_or_weighs(agreement: str, target: Any, weight: Any, data: Path) -> None:
    """The view says .2, .6, .7; of the three samples the two of the batch had .8 and .2, .2, .9 before."""
    table = LabelTable.from_wire([[np.nan] * 3, [1, np.nan, np.nan], [np.nan, np.nan, 0]], ("a", "b", "c"))
    options = recipe(data, f"chain.unknown={{views: 2, agreement: {agreement}, weight: 0.5}}").chain.unknown
    others = torch.tensor([[[0.0, 0, 0], [0.8, 0.2, 0.9], [0.8, 0.2, 0.9]]])
    labeller = PseudoLabeller(Says(torch.tensor([[0.2, 0.6, 0.7]]).expand(2, 3)), options, others)
    seen: dict[str, torch.Tensor] = {}

    def partial_loss(logits: Any, target: Any, weight: Any, unknown: Any, rows: Any, epoch: int) -> torch.Tensor:
        seen.update(target=target, weight=weight)
        return torch.zeros_like(logits, requires_grad=True)

    rows = np.array([1, 2])
    task = MultiLabelTask(table, np.arange(3), 3, CPU, partial_loss=partial_loss, pseudo_labeller=labeller)
    task(torch.nn.Identity(), batch_of(rows, torch.zeros(2, 3)))
    np.testing.assert_allclose(seen["target"].numpy(), target, atol=1e-6)
    np.testing.assert_allclose(seen["weight"].numpy(), weight, atol=1e-6)

    answers = torch.stack([labeller.labeller(batch_of(rows, torch.zeros(2, 3))), others[0, 1:]])
    probability, share = (found.numpy() for found in joint_answer(answers, options))  # one label per image: the same
    few = table.take(rows)
    filled = fill_in(few, few.source == UNKNOWN, probability, options, weight=share)
    np.testing.assert_allclose(filled.values, target, atol=1e-6)
    assert filled.weight is not None
    valued = ~np.isnan(filled.values)
    np.testing.assert_allclose(filled.weight[valued], np.array(weight)[valued], atol=1e-6)


@pytest.mark.parametrize("view", ["each", "centre"])
def test_views_and_agreement_train_another_network_and_say_so(view: str, data: Path, tmp_path: Path) -> None:
    hashes = set()
    for options, words in (
        ("views: 1", ""),
        ("views: 3", ", mean of 3 views"),
        ("views: 3, agreement: decide", "ides"),
    ):
        changes = [f"chain={{generations: 2, unknown: {{view: {view}, {options}}}}}", "views.scale=[0.5, 1.0]"]
        rows = refine(recipe(data, *changes, "train.epochs=1"), tmp_path / options, quiet=True).to_json()["rows"]
        assert rows[1]["labels"].endswith(words or "(generation-1)")
        lineage = json.loads((tmp_path / options / "seed-0/generation-2/network.json").read_text())["lineage"]
        assert lineage["labels"]["refined"].get("views", 1) == int(options[7])
        hashes.add(rows[1]["weights_hash"])
    assert len(hashes) == 3


def test_static_labels_are_those_of_the_centre_view(data: Path, tmp_path: Path) -> None:
    options = recipe(data, "chain={generations: 2, unknown: {view: centre}}")
    results = refine(options, tmp_path / "run", quiet=True).to_json()
    assert results["rows"][1]["labels"] == "refinery soft static (generation-1)"
    dataset = load_dataset(options.data)
    context = make_context(options, dataset, start_runtime(options), tmp_path / "x", 0, True)
    model, _ = checkpoint.load(tmp_path / "run" / results["rows"][0]["path"])
    network = NetworkSpec("g", "generation", options.model, options.train, 2)
    plan = MultiLabel().plan(context, network, model, None)
    assert plan.labels == "given"
    with torch.no_grad():
        refinery = RefineryLabels(model, dataset.classes, multi_label=True)
        rows = dataset.rows("fit")[:4]
        [batch] = context.loader.stream([BatchPlan(rows)], refinery.sizes, 0)
        torch.testing.assert_close(refinery(batch), torch.sigmoid(model(batch.inputs[8]).float()))


@pytest.mark.parametrize("scheme", ["csl", "ll-r", "ll-ct", "ll-cp", "splc"])
def test_every_scheme_trains(scheme: str, data: Path, tmp_path: Path) -> None:
    loss = "bce" if scheme == "splc" else "asl"
    labels = f"labels={{unknown: negative, loss: {loss}, scheme: {scheme}, rate: 0.05}}"
    results = refine(recipe(data, labels), tmp_path / "run", quiet=True).to_json()
    assert results["rows"][-1]["labels"].endswith(f", {scheme}")
    assert 0 < results["rows"][-1]["test"]["map"] <= 1
    plain = refine(
        recipe(data, f"labels={{unknown: negative, loss: {loss}}}"), tmp_path / "plain", quiet=True
    ).to_json()
    assert plain["rows"][-1]["weights_hash"] != results["rows"][-1]["weights_hash"]


def test_uncertain_labels_are_decided_by_policy(data: Path, tmp_path: Path) -> None:
    with np.load(data) as arrays:
        changed = dict(arrays)
    labels = changed["labels"].astype(np.float32)
    labels[:200, 0] = -1
    np.savez(tmp_path / "u.npz", **{**changed, "labels": labels})
    hashes = set()
    for policy in ("unknown", "negative", "positive", "[0.2, 0.4]"):
        options = recipe(tmp_path / "u.npz", f"labels.uncertain={policy}", "data.train_limit=null", "train.epochs=1")
        hashes.add(refine(options, tmp_path / policy, quiet=True).to_json()["rows"][0]["weights_hash"])
    assert len(hashes) == 4


# mistakes


def test_options_that_do_not_fit(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="scheme ll-r doubts labels that were assumed negative"):
        recipe(data, "labels.scheme=ll-r")
    with pytest.raises(ConfigError, match="splc has a loss of its own"):
        recipe(data, "labels={unknown: negative, scheme: splc, loss: asl}")
    with pytest.raises(ConfigError, match="low must not be above high"):
        recipe(data, "chain.unknown={low: 0.6, high: 0.5}")
    with pytest.raises(ConfigError, match=r"train.balance class_weights: not for multi-label"):
        refine(recipe(data, "train.balance=class_weights"), tmp_path / "a", quiet=True)
    mixed = recipe(data, "labels={unknown: negative, scheme: ll-cp}", "views.mixup=0.2")
    with pytest.raises(ConfigError, match="ll-cp: a mixed view has the labels of two"):
        refine(mixed, tmp_path / "b", quiet=True)
    with pytest.raises(ConfigError, match=r"chain\.refined: for one class per sample"):
        refine(recipe(data, "chain.refined.kind=hard"), tmp_path / "d", quiet=True)
    with pytest.raises(DataError, match=r"data.known is for multi-label data"):
        load_dataset(load_recipe(None, ["data={source: digits, known: {protocol: cells, share: 0.5}}"]).data)
    with pytest.raises(DataError, match="'nine' is not a category of the data"):
        load_dataset(recipe(data, "data.categories=[even, nine]").data)
    with pytest.raises(DataError, match="no label of the fit split is known"):
        refine(recipe(data, "data.known.share=0.0"), tmp_path / "c", quiet=True)


def test_categories_can_be_chosen(data: Path) -> None:
    dataset = load_dataset(recipe(data, "data.categories=[prime, even]").data)
    assert dataset.classes == ("prime", "even") and dataset.table is not None
    assert dataset.table.values.shape[1] == 2


def test_a_run_on_positives_alone_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for protocol, policy, expected in (
        ("single_positive", "ignore", True),
        ("single_positive", "negative", False),
        ("cells", "ignore", False),
    ):
        changes = [f"data.known={{protocol: {protocol}, share: 0.3}}", f"labels.unknown={policy}", "train.epochs=1"]
        refine(recipe(data, *changes), tmp_path / protocol / policy)
        said = "warning: no negative label is known of" in capsys.readouterr().err
        assert said == expected, (protocol, policy)
