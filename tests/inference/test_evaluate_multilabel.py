"""Multi-label checkpoints at work: scored on known labels, thresholds from other samples, a sigmoid each."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from labelwise.config import DataConfig, ModelConfig, Recipe
from labelwise.data.readers import load_dataset
from labelwise.errors import DataError, ModelError
from labelwise.inference.evaluate import evaluate
from labelwise.inference.predict import predict, write_predictions
from labelwise.labels.table import LabelTable
from labelwise.metrics.multilabel import decision_scores, hard_labels
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.report.scores import scores_table

N, NAMES = 160, ("cat", "dog", "fish")
SPLIT = np.repeat(["fit", "select", "test"], (40, 60, 60))
CARD: dict[str, Any] = {"task": "multi-label", "eval_crop": 1.0}


def recipe(path: Path) -> Recipe:
    return Recipe(threads=1, data=DataConfig(source=str(path)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images of noise with labels of three categories, of which a third is unknown."""
    rng = np.random.default_rng(0)
    labels = (rng.random((N, 3)) < [0.5, 0.3, 0.7]).astype(np.float32)
    labels[rng.random((N, 3)) < 0.3] = np.nan
    return write(tmp_path / "data.npz", labels)


def write(path: Path, labels: np.ndarray, names: tuple[str, ...] = NAMES, split: np.ndarray = SPLIT) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    key = "labels" if labels.ndim == 2 else "label"
    np.savez(path, images=pixels, split=split, categories=np.array(names), **{key: labels})
    return path


def save(folder: Path, classes: tuple[str, ...] = NAMES, card: dict[str, Any] = CARD) -> Path:
    """An untrained network of large logits."""
    torch.manual_seed(0)
    spec = InputSpec("image", 8, 1, (0.5,), (0.05,))
    checkpoint.save(folder, zoo.build(ModelConfig(name="small-narrow"), classes, spec), card)
    return folder


def logits_of(folder: Path, path: Path, split: str) -> tuple[np.ndarray, LabelTable]:
    """Straight through the network, and the labels."""
    model = checkpoint.load(folder)[0].eval()
    dataset = load_dataset(DataConfig(source=str(path)), partial=True)
    rows = dataset.rows(split)
    with torch.no_grad():
        images = np.stack([dataset.source.read(int(row)) for row in rows])  # type: ignore[union-attr]
        z = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert dataset.table is not None
    return z.numpy(), dataset.table.take(rows)


def test_scores_are_those_of_the_known_labels(data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net")
    found = evaluate(folder, recipe(data), split="test").to_json()
    assert (found["kind"], found["task"], found["split"], found["samples"]) == ("evaluate", "multi-label", "test", 60)
    z, table = logits_of(folder, data, "test")
    labels = hard_labels(table)
    for c, entry in enumerate(found["categories"]):
        known = ~np.isnan(labels[:, c])
        assert 0 < known.sum() < 60 and entry["name"] == NAMES[c]
        assert entry["ap"] == pytest.approx(average_precision_score(labels[known, c], z[known, c]), abs=1e-5)
        assert entry["f1"] == pytest.approx(f1_score(labels[known, c], z[known, c] >= 0))
    assert found["map"] == pytest.approx(np.mean([entry["ap"] for entry in found["categories"]]))


def test_curves_are_the_rates_at_every_threshold(data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net")
    found = evaluate(folder, recipe(data), split="test", curves=["fish"]).to_json()
    [curve] = found["curves"]
    z, table = logits_of(folder, data, "test")
    truth = hard_labels(table)[:, 2]
    score, truth = z[~np.isnan(truth), 2], truth[~np.isnan(truth)] == 1
    decided = [score >= threshold for threshold in sorted(set(score.tolist()), reverse=True)]
    expected = {
        "recall": [said[truth].mean() for said in decided],
        "precision": [truth[said].mean() for said in decided],
        "false_positive_rate": [said[~truth].mean() for said in decided],
    }
    assert curve.pop("name") == "fish"
    for key, values in expected.items():
        np.testing.assert_allclose(curve[key], values, atol=1e-4)


def test_without_names_the_curves_are_those_of_the_lowest_ap(data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net")
    found = evaluate(folder, recipe(data), split="test", curves=()).to_json()
    lowest = sorted(found["categories"], key=lambda entry: entry["ap"])
    assert [one["name"] for one in found["curves"]] == [one["name"] for one in lowest]
    assert "curves" not in evaluate(folder, recipe(data), split="test").to_json()
    with pytest.raises(DataError, match=r"^--curves bird: is no category of data: cat, dog, fish$"):
        evaluate(folder, recipe(data), curves=["cat", "bird"])


def test_tuned_thresholds_come_from_select(data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net")
    found = evaluate(folder, recipe(data), split="test").to_json()
    assert {key: found["tuned"][key] for key in ("rule", "split", "categories")} == {
        "rule": "max-f1",
        "split": "select",
        "categories": 3,
    }
    thresholds = [entry["tuned"]["threshold"] for entry in found["categories"]]
    select, labels = logits_of(folder, data, "select")
    truth = hard_labels(labels)
    at_tuned = decision_scores(select, truth, thresholds)
    for c in range(3):  # no threshold is better on select
        known = ~np.isnan(truth[:, c])
        best = max(f1_score(truth[known, c], select[known, c] >= z) for z in select[known, c])
        assert at_tuned.f1[c] == pytest.approx(best)
    z, table = logits_of(folder, data, "test")
    own = decision_scores(z, hard_labels(table), thresholds)
    assert {key: found["tuned"][key] for key in own.overall} == pytest.approx(own.overall)
    assert [entry["tuned"]["f1"] for entry in found["categories"]] == pytest.approx(own.f1.tolist())
    assert found["decisions"] != found["tuned"]


def test_labels_of_test_choose_no_threshold(data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net")
    with np.load(data) as file:
        labels = file["labels"]
    other = labels.copy()
    other[SPLIT == "test"] = 1 - other[SPLIT == "test"]
    before = evaluate(folder, recipe(data), split="test").to_json()
    after = evaluate(folder, recipe(write(tmp_path / "other.npz", other)), split="test").to_json()
    first, second = ([entry["tuned"]["threshold"] for entry in found["categories"]] for found in (before, after))
    assert first == second and before["map"] != after["map"]


def test_select_is_scored_at_a_half_alone(data: Path, tmp_path: Path) -> None:
    scores = evaluate(save(tmp_path / "net"), recipe(data), split="select")
    found = scores.to_json()
    assert found["tuned"] is None and "tuned" not in found["categories"][0] and found["decisions"]["scored"] == 3
    assert "tuned" not in "".join(column.title for column in scores_table(scores).columns)


def test_a_category_that_select_cannot_tune_keeps_a_half(data: Path, tmp_path: Path) -> None:
    with np.load(data) as file:
        labels = file["labels"]
    labels[(SPLIT == "select") & (labels[:, 1] == 1), 1] = np.nan
    found = evaluate(save(tmp_path / "net"), recipe(write(tmp_path / "few.npz", labels)), split="test").to_json()
    assert found["tuned"]["categories"] == 2
    dog = found["categories"][1]
    assert dog["tuned"] == {"threshold": 0.5, **{key: dog[key] for key in ("precision", "recall", "f1")}}


def test_the_checkpoint_decides_with_its_own_thresholds(data: Path, tmp_path: Path) -> None:
    """Also where the data list the categories in another order; a category without a threshold is decided at 0.5."""
    z, table = logits_of(save(tmp_path / "plain"), data, "test")
    at = {name: float(np.sort(z[:, c])[k : k + 2].mean()) for name, c, k in (("cat", 0, 20), ("fish", 2, 40))}
    folder = save(tmp_path / "net", card=CARD | {"thresholds": at})
    decided = z >= [at["cat"], 0.0, at["fish"]]
    assert (decided != (z >= 0)).any(axis=0).tolist() == [True, False, True]
    with np.load(data) as file:
        turned = write(tmp_path / "turned.npz", file["labels"][:, ::-1], NAMES[::-1])
    for path in (data, turned):
        scores = evaluate(folder, recipe(path), split="test")
        entries = {entry["name"]: entry for entry in scores.to_json()["categories"]}
        assert scores.to_json()["own_thresholds"] == 2
        for c, name in enumerate(NAMES):
            known = table.known[:, c]
            truth, own = table.values[known, c], decided[known, c]
            for key, oracle in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
                assert entries[name][key] == pytest.approx(oracle(truth, own, zero_division=0))
        shown = scores_table(scores)
        assert "the checkpoint's own threshold on (2 of 3 categories; 0.5 elsewhere)" in shown.after
        assert "at own thresholds: CP" in shown.title
    found = predict(folder, data)
    np.testing.assert_array_equal(found.positive[SPLIT == "test"], decided)
    write_predictions(found, tmp_path / "p.json", 1)
    named = [record["positive"] for record in json.loads((tmp_path / "p.json").read_text())]
    assert named == [[name for name, yes in zip(NAMES, row, strict=True) if yes] for row in found.positive]


@pytest.mark.parametrize("wrong", [{"cow": 0.0}, {"cat": "high"}, {"cat": float("nan")}, {"cat": True}, [0.5]])
def test_thresholds_that_cannot_be_used(wrong: Any, data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net", card=CARD | {"thresholds": wrong})
    for use in (lambda: predict(folder, data), lambda: evaluate(folder, recipe(data), split="test")):
        with pytest.raises(ModelError, match=r"net: .*threshold"):
            use()


def test_outputs_follow_the_order_of_the_data(data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net")
    with np.load(data) as file:
        labels = file["labels"]
    turned = write(tmp_path / "turned.npz", labels[:, ::-1], NAMES[::-1])
    first, second = (evaluate(folder, recipe(path), split="test").to_json() for path in (data, turned))
    assert second["map"] == pytest.approx(first["map"])
    assert [entry["ap"] for entry in second["categories"]] == [entry["ap"] for entry in first["categories"]][::-1]


def test_a_card_that_says_nothing_is_what_the_data_are(data: Path, tmp_path: Path) -> None:
    old = save(tmp_path / "old", card={})
    assert evaluate(old, recipe(data), split="test").to_json()["task"] == "multi-label"
    single = write(tmp_path / "single.npz", np.arange(N) % 3)
    assert "top1" in evaluate(old, recipe(single), split="test").to_json()
    with pytest.raises(ModelError, match=r"net is multi-label, single has one class per sample"):
        evaluate(save(tmp_path / "net"), recipe(single), split="test")
    with pytest.raises(ModelError, match=r"one is single-label, data is multi-label"):
        evaluate(save(tmp_path / "one", card={"task": "single-label"}), recipe(data), split="test")
    with pytest.raises(ModelError, match=r"other classes"):
        evaluate(save(tmp_path / "two", ("cat", "dog")), recipe(data), split="test")


def test_a_split_without_a_known_label(data: Path, tmp_path: Path) -> None:
    with np.load(data) as file:
        labels = file["labels"]
    labels[SPLIT == "test"] = np.nan
    scores = evaluate(save(tmp_path / "net"), recipe(write(tmp_path / "blank.npz", labels)), split="test")
    found = scores.to_json()
    assert found["map"] is None and found["scored"] == 0 and found["left_out"]["unknown"] == 180
    shown = scores_table(scores)
    assert "mAP –" in shown.title and {cell.value for cell in shown.cells(shown.rows[0])[2:]} == {"–"}
    kept = write(tmp_path / "rest.npz", labels, split=np.where(SPLIT == "select", "fit", SPLIT))
    without = Recipe(threads=1, data=DataConfig(source=str(kept), select_share=0))
    assert evaluate(tmp_path / "net", without, split="fit").to_json()["tuned"] is None
    with pytest.raises(DataError, match="select split is empty"):
        evaluate(tmp_path / "net", without, split="select")


@pytest.mark.parametrize("multi_label", [True, False])
def test_predictions(multi_label: bool, data: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "net", card=CARD if multi_label else {})
    found = predict(folder, data)
    for name in ("p.json", "p.csv"):
        write_predictions(found, tmp_path / name, 2)
    records, rows = json.loads((tmp_path / "p.json").read_text()), list(csv.DictReader((tmp_path / "p.csv").open()))
    assert len(found.ids) == len(records) == len(rows) == N
    model = checkpoint.load(folder)[0].eval()
    with np.load(data) as file, torch.no_grad():
        z = model(torch.from_numpy(file["images"])[:, None].float() / 255)
    p = z.sigmoid().numpy() if multi_label else z.softmax(1).numpy()
    np.testing.assert_allclose(found.probability, p, atol=1e-4)
    assert found.classes == NAMES and found.multi_label == multi_label and not found.unreadable
    for i, (record, row) in enumerate(zip(records, rows, strict=True)):
        best = np.argsort(-z[i].numpy())[:2]
        assert [name for name, _ in record["top"]] == [NAMES[k] for k in best] == [row["class_1"], row["class_2"]]
        np.testing.assert_allclose([value for _, value in record["top"]], p[i, best], atol=1e-4)
        assert float(row["probability_2"]) == record["top"][1][1]
        if multi_label:
            assert record["positive"] == [name for k, name in enumerate(NAMES) if z[i, k] >= 0]
            assert row["positive"] == "|".join(record["positive"])
        else:
            assert "positive" not in record and "positive" not in row
    if multi_label:
        assert 0 < sum(len(record["positive"]) for record in records) < 3 * N
