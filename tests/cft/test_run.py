"""``labelwise cft``: what its run folder says is true, it goes on where it broke off, and mistakes are one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from labelwise.cft.run import run_cft
from labelwise.config import CftConfig
from labelwise.errors import ConfigError, DataError, RunError
from labelwise.metrics.ranking import ranking
from labelwise.runs import read_json
from labelwise.settings import resolve

Toy = Callable[..., Any]
CATEGORIES = ("ship", "tree", "roof", "never seen")
DRAWS = 100


def arrays_of(toy: Any) -> dict[str, Any]:
    """The feature file of a inputs whose last category has no positive in fit; five rows make a group."""
    parts = {"fit": toy.fit, "select": toy.select, "test": toy.test}
    labels = np.concatenate([part[1] for part in parts.values()])
    split = np.repeat(list(parts), [len(part[0]) for part in parts.values()])
    unseen = (split == "fit") & (labels[:, 3] == 1)
    labels[unseen, 3] = -1
    return {
        "features": np.concatenate([part[0] for part in parts.values()]),
        "labels": labels,
        "categories": np.array(CATEGORIES),
        "split": split,
        "groups": np.array([f"scene {row // 5}" for row in range(len(labels))]),
        "head_weight": toy.weight,
        "head_bias": toy.bias,
    }


@pytest.fixture(scope="module")
def arrays(partial: Toy) -> dict[str, Any]:
    return arrays_of(partial(0, rows=(300, 200, 300)))


@pytest.fixture
def save(arrays: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """A feature file with some arrays replaced, or left out (None)."""

    def write(**changes: Any) -> Path:
        file = tmp_path / "scenes.npz"
        np.savez(file, **{key: value for key, value in {**arrays, **changes}.items() if value is not None})
        return file

    return write


def config(features: Path, **options: Any) -> CftConfig:
    return resolve(CftConfig, {"features": str(features), "draws": DRAWS, "device": "cpu", **options})


def assert_finite(value: Any, path: str = "results") -> None:
    """Every number in JSON is one; null stands nowhere but for what is not defined."""
    if isinstance(value, dict):
        for key, item in value.items():
            assert_finite(item, f"{path}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            assert_finite(item, f"{path}[{i}]")
    elif isinstance(value, float):
        assert math.isfinite(value), path


@pytest.fixture(scope="module")
def finished(arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of the default method with thresholds, and its results."""
    folder = tmp_path_factory.mktemp("cft")
    np.savez(folder / "scenes.npz", **arrays)
    results = run_cft(config(folder / "scenes.npz", threshold="max-f1"), folder / "run", quiet=True).to_json()
    return folder / "run", results


# results.json


def test_results_have_the_keys_of_the_design(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    read = read_json(folder / "results.json")
    assert results == read and repr(results) == repr(read)  # no tuple, no number of another type
    assert_finite(results)
    top = {"schema", "kind", "name", "objective", "method", "preset", "base", "seed", "seconds", "stages", "splits"}
    top |= {"peak_memory_mb", "dim", "labels", "mean", "other", "calibration", "reliability", "counts", "warnings"}
    assert top | {"categories"} <= set(results)
    expected = {"schema": 1, "kind": "cft", "name": "scenes", "objective": "ap", "method": "auto", "base": "given"}
    assert {key: results[key] for key in expected} == expected
    assert results["splits"] == {"fit": 300, "select": 200, "test": 300} and results["dim"] == 24
    assert set(results["mean"]["test"]) == {"before", "after", "gain_interval", "scored"}
    assert set(results["mean"]["select"]) == {"before", "after", "scored"}
    assert results["other"]["metric"] == "auc"
    calibration = results["calibration"]["test"]
    assert set(calibration) == {"ece_before", "ece_after", "log_loss_before", "log_loss_after"}
    assert calibration["log_loss_after"] < calibration["log_loss_before"]
    for side in ("before", "after"):
        bins = results["reliability"][side]
        assert sum(bin["count"] for bin in bins) == 300 * 4
        assert set(bins[0]) == {"low", "high", "count", "probability", "positive"}
    for entry in results["categories"]:
        keys = {"name", "status", "reason", "method", "known_positive", "known_negative", "unknown", "uncertain"}
        assert keys | {"select", "test", "ece", "threshold", "evidence"} == set(entry)
        assert {"before", "after", "positives", "negatives"} == set(entry["select"])
        assert {"before", "after", "gain_interval", "clear", "positives", "negatives"} == set(entry["test"])
        rule = {"rule", "value", "probability", "precision", "recall", "specificity", "f1", "positives", "split"}
        assert set(entry["threshold"]) == rule
    assert (folder / "config.yaml").exists() and json.loads((folder / "run.json").read_text())["kind"] == "cft"


def test_results_are_what_the_head_gives(finished: tuple[Path, dict[str, Any]], arrays: dict[str, Any]) -> None:
    folder, results = finished
    head = safetensors.numpy.load_file(folder / "head.safetensors")
    old = {"weight": arrays["head_weight"], "bias": arrays["head_bias"]}
    for split in ("select", "test"):
        rows = arrays["split"] == split
        labels = np.where(arrays["labels"][rows] == -1, np.nan, arrays["labels"][rows])
        for name, tensors in (("before", old), ("after", head)):
            logits = arrays["features"][rows] @ tensors["weight"].T + tensors["bias"]
            found = ranking(np.ascontiguousarray(logits.T), np.ascontiguousarray(labels.T))
            for objective, values in ((results["mean"], found.ap), (results["other"], found.auc)):
                assert objective[split][name] == pytest.approx(float(values.nanmean()), abs=1e-5)
            for c, entry in enumerate(results["categories"]):
                assert entry[split][name] == pytest.approx(float(found.ap[c]), abs=1e-5)
                assert entry[split]["positives"] == int(found.positives[c])
            if name == "after" and split == "select":
                for c, entry in enumerate(results["categories"]):
                    taken = logits[:, c] >= entry["threshold"]["value"]
                    known = np.isfinite(labels[:, c])
                    recall = (labels[taken & known, c] == 1).sum() / (labels[known, c] == 1).sum()
                    assert recall == pytest.approx(entry["threshold"]["recall"])


def test_predictions_are_what_was_measured_in_the_order_of_the_rows(
    arrays: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(len(arrays["labels"]))
    rows = {key: arrays[key][order] for key in ("features", "labels", "split", "groups")}
    results = run_cft(config(save(**rows), preset="fast"), tmp_path / "run", quiet=True).to_json()
    head = safetensors.numpy.load_file(tmp_path / "run" / "head.safetensors")
    held = rows["split"] != "fit"
    with np.load(tmp_path / "run" / "predictions.npz") as found:
        np.testing.assert_array_equal(found["split"], rows["split"][held])
        np.testing.assert_array_equal(found["ids"], np.flatnonzero(held).astype(str))
        np.testing.assert_array_equal(found["labels"], rows["labels"][held])
        logits = rows["features"][held] @ head["weight"].T + head["bias"]
        np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5)
        test = found["split"] == "test"
        known = np.ascontiguousarray(found["labels"][test].T)
        before, after = (ranking(np.ascontiguousarray(found[key][test].T), known) for key in ("before", "logits"))
    # To the bit: nothing was computed twice.
    assert results["mean"]["test"]["after"] == float(after.ap.nanmean())
    assert results["mean"]["test"]["before"] == float(before.ap.nanmean())


def test_labels_in_a_mapped_folder_give_the_same(
    arrays: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "folder" / "scenes"
    folder.mkdir(parents=True)
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    paths = (save(), folder)
    one, two = (
        run_cft(config(path, preset="fast"), tmp_path / f"run{path.suffix}", quiet=True).to_json() for path in paths
    )
    for key in set(one) - {"seconds", "stages", "peak_memory_mb"}:
        assert one[key] == two[key], key
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_counts_and_statuses(finished: tuple[Path, dict[str, Any]], arrays: dict[str, Any]) -> None:
    _, results = finished
    entries = results["categories"]
    assert sum(results["counts"].values()) == 4
    for status, count in results["counts"].items():
        assert sum(entry["status"] == status for entry in entries) == count
    labels = arrays["labels"][arrays["split"] == "fit"]
    for c, entry in enumerate(entries):
        counts = [(labels[:, c] == 1).sum(), (labels[:, c] == 0).sum(), np.isnan(labels[:, c]).sum()]
        counts.append((labels[:, c] == -1).sum())
        assert [entry[k] for k in ("known_positive", "known_negative", "unknown", "uncertain")] == counts
    assert entries[3]["status"] == "not_fitted" and "no known positive label in fit" in entries[3]["reason"]
    assert entries[3]["test"]["before"] == entries[3]["test"]["after"]
    assert entries[3]["test"]["gain_interval"] == [0, 0] and entries[3]["evidence"] == []
    fit = results["labels"]["fit"]
    assert fit["known"] == pytest.approx(float((labels >= 0).mean()))
    assert fit["positive"] + fit["negative"] + fit["unknown"] + fit["uncertain"] == labels.size


def test_it_helps(finished: tuple[Path, dict[str, Any]]) -> None:
    mean = finished[1]["mean"]["test"]
    low, high = mean["gain_interval"]
    assert low < mean["after"] - mean["before"] < high
    assert mean["after"] - mean["before"] > 0.02


# running again


def test_a_finished_run_is_read_and_other_settings_are_refused(save: Callable[..., Path], tmp_path: Path) -> None:
    file, out = save(), tmp_path / "run"
    first = run_cft(config(file, preset="fast"), out, quiet=True).to_json()
    written = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run_cft(config(file, preset="fast"), out, quiet=True).to_json() == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == written
    for key, value in {"seed": 1, "objective": "auc"}.items():
        with pytest.raises(RunError, match=rf"holds a run with another {key} \(.*, now {value}\); give another --out"):
            run_cft(config(file, preset="fast", **{key: value}), out, quiet=True)
    changed = save(head_bias=np.ones(4, np.float32))
    with pytest.raises(RunError, match="holds a run with another data"):
        run_cft(config(changed, preset="fast"), out, quiet=True)
    assert read_json(out / "results.json") == first


def test_a_killed_run_gives_the_same_results(save: Callable[..., Path], tmp_path: Path) -> None:
    file, out = save(), tmp_path / "run"
    first = run_cft(config(file, preset="fast"), out, quiet=True).to_json()
    head = (out / "head.safetensors").read_bytes()
    (out / "results.json").unlink()
    (out / "head.safetensors").write_bytes(b"half of it")
    second = run_cft(config(file, preset="fast"), out, quiet=True).to_json()
    assert (out / "head.safetensors").read_bytes() == head
    for key in set(first) - {"seconds", "stages", "peak_memory_mb"}:
        assert second[key] == first[key], key


def test_the_advice_of_an_error_can_be_followed(save: Callable[..., Path], tmp_path: Path) -> None:
    file, out = save(head_weight=None, head_bias=None), tmp_path / "run"
    with pytest.raises(ConfigError, match="no head in it; add --base assume-negative or --base ignore"):
        run_cft(config(file, preset="fast"), out, quiet=True)
    results = run_cft(config(file, preset="fast", base="ignore"), out, quiet=True).to_json()
    assert results["base"] == "ignore" and "base" in results["stages"]


def test_other_folders_are_left_alone(save: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("refine", "features"):
        (tmp_path / name).mkdir()
    (tmp_path / "refine" / "run.json").write_text('{"kind": "refine", "fingerprint": "x"}')
    (tmp_path / "features" / "results.json").write_text('{"kind": "features"}')
    for name in ("refine", "features"):
        with pytest.raises(RunError, match="give another --out"):
            run_cft(config(save(), preset="fast"), tmp_path / name, quiet=True)
        assert len(list((tmp_path / name).iterdir())) == 1


# options


def test_a_first_head_with_unknown_as_negative(save: Callable[..., Path], tmp_path: Path) -> None:
    file = save(head_weight=None, head_bias=None)
    results = run_cft(config(file, base="assume-negative", objective="auc"), tmp_path / "run", quiet=True).to_json()
    assert results["base"] == "assume-negative" and results["other"]["metric"] == "ap"
    assert results["mean"]["select"]["after"] > results["mean"]["select"]["before"]
    with pytest.raises(ConfigError, match=r"--base ignore: .* already has a head; leave --base out"):
        run_cft(config(save(), base="ignore"), tmp_path / "other", quiet=True)


@pytest.mark.parametrize(
    ("policy", "positive", "negative", "fitted"),
    [("unknown", 0, 0, False), ("negative", 0, 1, False), ("positive", 1, 0, True), ("smooth-positive", 1, 0, True)],
)
def test_uncertain_labels_count_as_told(
    policy: str, positive: int, negative: int, fitted: bool, save: Callable[..., Path], tmp_path: Path
) -> None:
    """The last category has uncertain labels in place of positive ones."""
    results = run_cft(config(save(), preset="fast", uncertain=policy), tmp_path / "run", quiet=True).to_json()
    plain = run_cft(config(save(), preset="fast"), tmp_path / "plain", quiet=True).to_json()
    entry, base = results["categories"][3], plain["categories"][3]
    assert entry["uncertain"] == base["uncertain"] > 0
    assert entry["known_positive"] == base["known_positive"] + positive * entry["uncertain"]
    assert entry["known_negative"] == base["known_negative"] + negative * entry["uncertain"]
    assert (entry["status"] != "not_fitted") == fitted
    assert results["uncertain"] == policy


def test_without_a_select_split_whole_groups_are_held_out(
    arrays: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    split = np.where(arrays["split"] == "select", "fit", arrays["split"])
    file = save(split=split)
    results = run_cft(config(file, preset="fast"), tmp_path / "run", quiet=True).to_json()
    assert results["splits"] == {"fit": 375, "select": 125, "test": 300}  # a quarter of 100 groups of 5
    other = run_cft(config(file, preset="fast", select_share=0.5, seed=1), tmp_path / "half", quiet=True).to_json()
    assert other["splits"] == {"fit": 250, "select": 250, "test": 300}


def test_without_a_test_split_nothing_is_said_of_it(
    arrays: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    kept = arrays["split"] != "test"
    rows = {key: arrays[key][kept] for key in ("features", "labels", "split", "groups")}
    results = run_cft(config(save(**rows), preset="fast"), tmp_path / "run", quiet=True).to_json()
    assert "test" not in results["mean"] and "test" not in results["other"] and results["splits"]["test"] == 0
    assert not {"calibration", "reliability"} & set(results)
    assert all("test" not in entry and "ece" not in entry for entry in results["categories"])
    assert_finite(results)


def test_a_test_split_of_which_nothing_is_known(
    arrays: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    labels = np.where((arrays["split"] == "test")[:, None], np.nan, arrays["labels"])
    results = run_cft(
        config(save(labels=labels), preset="fast", threshold="recall=0.9"), tmp_path / "run", quiet=True
    ).to_json()
    test = results["mean"]["test"]
    assert test["before"] is None and test["after"] is None and test["scored"] == 0 and test["gain_interval"] is None
    assert results["categories"][0]["threshold"]["rule"] == "recall>=0.9"


# the command


def test_the_command_prints_and_writes_a_report(
    labelwise: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = labelwise(
        "cft", save(), "--out", out, "--preset", "fast", "--set", f"draws={DRAWS}", "--threshold", "max-f1"
    )
    assert done.code == 0, done
    assert "ship" in done.out and "never seen" in done.out and str(out / "report.html") in done.out
    assert (out / "report.html").stat().st_size > 1000
    assert json.loads((out / "run.json").read_text())["command"].startswith("labelwise cft ")


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        (("--set", "strength=3"), {}, ("unknown key 'strength'", "Allowed:")),
        (("--set", "method=sgd"), {}, ("method", "sgd")),
        (("--set", "objective=map"), {}, ("objective", "map")),
        (("--set", "select_share=1.5"), {}, ("select_share", "1.5")),
        (("--set", "uncertain=maybe"), {}, ("uncertain", "maybe")),
        (("--threshold", "f1"), {}, ("--threshold f1", "max-f1")),
        (("--preset", "fast", "--method", "genetic"), {}, ("preset fast",)),
        (("--base", "ignore"), {}, ("--base ignore", "already has a head")),
        ((), {"head_weight": None, "head_bias": None}, ("scenes.npz", "no head", "--base")),
        ((), {"features": None}, ("scenes.npz", "features")),
        (("--set", "device=nowhere"), {}, ("device 'nowhere'",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    changes: dict[str, Any],
    words: tuple[str, ...],
    labelwise: Callable[..., Any],
    save: Callable[..., Path],
    tmp_path: Path,
) -> None:
    done = labelwise("cft", save(**changes), "--out", tmp_path / "run", *arguments)
    assert done.code == 1 and len(done.err) == 1 and done.err[0].startswith("error: "), done
    for word in words:
        assert word in done.err[0]
    assert not (tmp_path / "run" / "results.json").exists()


def test_data_that_cannot_be_used(arrays: dict[str, Any], save: Callable[..., Path], tmp_path: Path) -> None:
    labels = arrays["labels"].copy()
    labels[np.flatnonzero(arrays["split"] == "select")[0], 0] = 0.5
    for head in ({}, {"head_weight": None, "head_bias": None}):
        file = save(labels=labels, **head)
        with pytest.raises(DataError, match=r"soft label") as caught:
            run_cft(config(file, base="ignore" if head else None), tmp_path / "soft", quiet=True)
        assert "\n" not in str(caught.value)
    rows = np.arange(3)
    few = {key: arrays[key][rows] for key in ("features", "labels", "split", "groups")}
    with pytest.raises(DataError, match="too few to hold some out"):
        run_cft(config(save(**few)), tmp_path / "few", quiet=True)


# real data


@pytest.mark.realdata
def test_ten_percent_of_the_labels_of_aerial_images(shared_data: Path, tmp_path: Path) -> None:
    with np.load(shared_data / "ucm_features_lite0.npz") as file:
        arrays = {key: file[key] for key in file.files}
    fit = np.flatnonzero(arrays["split"] == "fit")
    labels = arrays["labels"].astype(np.float32)
    known = np.random.Generator(np.random.PCG64(526)).random((len(fit), labels.shape[1])) < 0.1
    labels[fit] = np.where(known, labels[fit], np.nan)
    np.savez(tmp_path / "ucm.npz", **{**arrays, "labels": labels})
    options = config(tmp_path / "ucm.npz", base="assume-negative")
    mean = run_cft(options, tmp_path / "run", quiet=True).to_json()["mean"]
    select, test = (mean[split]["after"] - mean[split]["before"] for split in ("select", "test"))
    assert test >= 0.025
    assert mean["test"]["gain_interval"][0] > 0
    assert select >= test - 0.01
