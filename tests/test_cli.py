"""The command line: help with examples, machine-readable output, and one clear line for every user's mistake."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from labelwise import cli
from labelwise.config import DataConfig, load_recipe
from labelwise.data.readers import load_dataset

TINY = ("--set", "train.epochs=1", "--set", "chain.generations=1", "--set", "train.batch_size=8", "--quiet")
COMMANDS = (
    *("refine", "train", "evaluate", "experiment", "predict", "report", "demo", "data stats"),
    *("features", "label", "cft", "ensemble", "export", "push", "audit run", "audit apply", "audit export"),
    *("store info", "store verify", "store merge", "store export"),
    *("recipes list", "recipes show", "recipes copy"),
)

Command = Callable[..., Any]  # the fixture `labelwise`; its answers are `Done`s


def draw(path: Path, level: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level).integers(0, 40, (16, 16, 3)) + 50 * (level % 4)
    Image.fromarray(noise.astype(np.uint8)).convert(mode).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, 12 training and 4 validation images each."""
    root = tmp_path / "photos"
    for index, name in enumerate(("cat", "dog")):
        for i in range(12):
            draw(root / "train" / name / f"{i:02d}.jpg", 4 * i + index)
        for i in range(4):
            draw(root / "val" / name / f"{i:02d}.jpg", 100 + 4 * i + index)
    return root


def truncate(image: Path) -> None:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run on the digits."""
    from labelwise.refinery.chain import refine

    out = tmp_path_factory.mktemp("cli") / "digits"
    changes = ["data={source: digits, train_limit: 100, test_limit: 50}", "chain.generations=2"]
    refine(load_recipe(None, [*changes, "train={epochs: 1, batch_size: 16}"]), out, quiet=True)
    return out


def assert_one_line(done: Any, *words: object) -> None:
    assert done.code == 1, done
    assert 1 <= len(done.err) <= 2, done.err
    assert done.err[0].startswith("error: ")
    text = " ".join(done.err)
    for word in words:
        assert str(word) in text, text


# help and output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    done = CliRunner().invoke(cli.app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0
    assert f"Example: labelwise {command}" in done.output


def test_commands_above_are_all_there_are() -> None:
    import typer.main

    group: Any = typer.main.get_command(cli.app)
    groups = ("data", "audit", "store", "recipes")
    found = {name for name in group.commands if name not in groups}
    found |= {f"{name} {inner}" for name in groups for inner in group.commands[name].commands}
    assert found == set(COMMANDS)


def test_printed_config_can_be_loaded_again(labelwise: Command, tmp_path: Path) -> None:
    done = labelwise("refine", "--print-config", "--set", "train.epochs=7")
    file = tmp_path / "printed.yaml"
    file.write_text(done.out)
    assert done.code == 0 and load_recipe(file) == load_recipe(None, ["train.epochs=7"])
    assert set(yaml.safe_load(done.out)) >= {"data", "views", "model", "train", "chain", "baselines"}


def test_train_prints_a_table_and_the_report(labelwise: Command, photos: Path, tmp_path: Path) -> None:
    done = labelwise("train", "--set", f"data.source={photos}", "--out", tmp_path / "run", *TINY)
    assert done.code == 0, done
    assert str(tmp_path / "run" / "report.html") in done.out
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_evaluate_json(labelwise: Command, digits: Path) -> None:
    model = digits / "seed-0" / "generation-2"
    data = ("--data", "digits", "--set", "data.train_limit=100", "--set", "data.test_limit=50")
    done = labelwise("evaluate", model, *data, "--json")
    assert done.code == 0, done
    scores = json.loads(done.out)
    assert {"top1", "top5", "nll", "ece", "per_class"} <= set(scores) and len(scores["per_class"]) == 10
    row = json.loads((digits / "results.json").read_text())["rows"][1]
    assert scores["top1"] == row["test"]["top1"] and scores["nll"] == pytest.approx(row["test"]["nll"], abs=1e-6)


def test_a_test_set_of_one_s_own_is_scored_whole(labelwise: Command, digits: Path, tmp_path: Path) -> None:
    model = digits / "seed-0" / "generation-2"
    data = load_dataset(DataConfig(source="digits"))
    rows = np.flatnonzero(data.label < 7)[:30]
    pixels = [data.source.read(int(row)) for row in rows]  # type: ignore[union-attr]
    expected = {}
    for place in ("flat", "own/test"):
        for row, image in zip(rows, pixels, strict=True):
            file = tmp_path / place / data.classes[data.label[row]] / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[:, :, 0]).save(file)
        done = labelwise("evaluate", model, "--data", tmp_path / place.split("/")[0], "--split", "all", "--json")
        assert done.code == 0, done
        expected[place] = json.loads(done.out)
        assert sum(entry["n"] for entry in expected[place]["per_class"]) == 30
        assert len(expected[place]["per_class"]) == 10
    assert labelwise("predict", model, tmp_path / "flat", "--out", tmp_path / "p.csv").code == 0
    answers = list(csv.DictReader((tmp_path / "p.csv").open()))
    right = np.mean([row["class_1"] == row["id"].split("/")[0] for row in answers])
    assert expected["flat"]["top1"] == expected["own/test"]["top1"] == pytest.approx(right)
    done = labelwise("evaluate", model, "--data", tmp_path / "flat")
    assert done.code == 0 and "scored are 6 of 30 samples, those of test" in " ".join(done.err), done
    assert_one_line(
        labelwise("evaluate", model, "--data", tmp_path / "own"), "own", "has test, but no training samples"
    )


def test_data_stats_json(labelwise: Command, photos: Path) -> None:
    done = labelwise("data", "stats", photos, "--json")
    assert done.code == 0, done
    stats = json.loads(done.out)
    assert [entry["name"] for entry in stats["classes"]] == ["cat", "dog"]
    assert sum(stats["splits"].values()) == 32 and stats["splits"]["test"] == 8


def test_report_of_one_run_and_of_several(labelwise: Command, digits: Path, tmp_path: Path) -> None:
    (digits / "report.html").unlink(missing_ok=True)
    assert labelwise("report", digits).code == 0
    assert (digits / "report.html").stat().st_size > 1000
    page = tmp_path / "both.html"
    assert_one_line(labelwise("report", digits, "--out", page), "--out", digits / "report.html", "several runs")
    assert_one_line(labelwise("report", digits, digits, "--markdown", "--out", page), "--out", "Markdown is printed")
    assert not page.exists()
    done = labelwise("report", digits, digits, "--out", page)
    assert done.code == 0 and page.stat().st_size > 1000


# predict


@pytest.fixture
def colour_model(labelwise: Command, photos: Path, tmp_path: Path) -> Path:
    assert labelwise("train", "--set", f"data.source={photos}", "--out", tmp_path / "run", *TINY).code == 0
    return tmp_path / "run" / "seed-0" / "generation-1"


@pytest.fixture
def new_images(tmp_path: Path) -> Path:
    """A colour, a grey and an RGBA image."""
    for i, (name, mode) in enumerate((("a.jpg", "RGB"), ("b.png", "L"), ("deep/c.png", "RGBA"))):
        draw(tmp_path / "new" / name, i, mode)
    return tmp_path / "new"


def test_predict_csv_and_json(labelwise: Command, colour_model: Path, new_images: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    done = labelwise("predict", colour_model, new_images, "--out", out, "--top", 2)
    assert done.code == 0, done
    rows = list(csv.DictReader(out.open()))
    assert [row["id"] for row in rows] == ["a.jpg", "b.png", "deep/c.png"]
    for row in rows:
        assert {row["class_1"], row["class_2"]} == {"cat", "dog"}
        assert float(row["probability_1"]) + float(row["probability_2"]) == pytest.approx(1, abs=1e-4)
    assert labelwise("predict", colour_model, new_images, "--out", tmp_path / "p.json", "--top", 2).code == 0
    records = json.loads((tmp_path / "p.json").read_text())
    assert [[r["id"], r["top"][0][0]] for r in records] == [[row["id"], row["class_1"]] for row in rows]


def test_predict_with_an_unreadable_image(
    labelwise: Command, colour_model: Path, new_images: Path, tmp_path: Path
) -> None:
    truncate(new_images / "a.jpg")
    out = tmp_path / "p.csv"
    assert_one_line(labelwise("predict", colour_model, new_images, "--out", out), new_images / "a.jpg")
    assert not out.exists()
    done = labelwise("predict", colour_model, new_images, "--out", out, "--unreadable", "skip")
    assert done.code == 0 and "1 unreadable" in done.out
    assert [row["id"] for row in csv.DictReader(out.open())] == ["b.png", "deep/c.png"]


def test_predict_refuses_what_it_does_not_know(labelwise: Command, colour_model: Path, new_images: Path) -> None:
    assert_one_line(labelwise("predict", colour_model, new_images, "--out", "p.txt"), "p.txt", ".csv or .json")
    assert_one_line(labelwise("predict", colour_model, new_images / "none"), new_images / "none")
    assert_one_line(labelwise("predict", new_images, new_images), new_images, "model.json")


# mistakes


def refine_photos(labelwise: Command, photos: Path, tmp_path: Path, *more: object) -> Any:
    return labelwise("refine", "--set", f"data.source={photos}", "--out", tmp_path / "out", *TINY, *more)


def test_missing_folder(labelwise: Command, tmp_path: Path) -> None:
    assert_one_line(refine_photos(labelwise, tmp_path / "nowhere", tmp_path), tmp_path / "nowhere", "no such folder")


def test_empty_class(labelwise: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "emu").mkdir()
    assert_one_line(refine_photos(labelwise, photos, tmp_path), "emu", "empty class")


@pytest.mark.parametrize("memory", ["auto", "no"])
def test_truncated_jpeg_fails_or_is_skipped_and_listed(
    memory: str, labelwise: Command, photos: Path, tmp_path: Path
) -> None:
    truncate(photos / "train" / "dog" / "03.jpg")
    set_memory = ("--set", f"data.memory='{memory}'")
    done = refine_photos(labelwise, photos, tmp_path, *set_memory)
    assert_one_line(done, photos / "train" / "dog" / "03.jpg")
    done = refine_photos(labelwise, photos, tmp_path, *set_memory, "--set", "data.unreadable=skip")
    assert done.code == 0, done
    [listed] = json.loads((tmp_path / "out" / "run.json").read_text())["data"]["unreadable"]
    assert "train/dog/03.jpg" in listed


def test_label_out_of_range(labelwise: Command, tmp_path: Path) -> None:
    file = tmp_path / "images.npz"
    np.savez(file, images=np.zeros((30, 8, 8), np.uint8), label=np.arange(30) % 3, classes=np.array(["a", "b"]))
    assert_one_line(refine_photos(labelwise, file, tmp_path), file, "label", "2")


def test_refinery_with_other_classes(labelwise: Command, photos: Path, digits: Path, tmp_path: Path) -> None:
    teacher = digits / "seed-0" / "generation-1"
    done = refine_photos(labelwise, photos, tmp_path, "--set", f"chain.refinery=['{teacher}']")
    assert_one_line(done, teacher, "other classes")


def test_checkpoint_of_another_architecture(labelwise: Command, photos: Path, digits: Path, tmp_path: Path) -> None:
    weights = digits / "seed-0" / "generation-1"
    model = f"model={{name: small-wide, init: '{weights}'}}"
    assert_one_line(refine_photos(labelwise, photos, tmp_path, "--set", model), weights, "another architecture")


def test_checkpoint_on_data_of_other_classes(labelwise: Command, photos: Path, digits: Path) -> None:
    model = digits / "seed-0" / "generation-1"
    assert_one_line(labelwise("evaluate", model, "--data", photos), model, "other classes")


def test_recipe_typo(labelwise: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {epoch: 3}\n")
    assert_one_line(labelwise("refine", recipe), "train.epoch", "3", "Did you mean 'epochs'")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.epochs=many", ("train.epochs", "many", "whole number")),
        ("train.epochs=0", ("train.epochs", "0", "greater than 0")),
        ("views.scale=[0.9,0.1]", ("views", "low", "high")),
        ("train.keep=worst", ("train.keep", "worst", "best")),
        ("train.epochs", ("section.key=value",)),
    ],
)
def test_ill_typed_value(setting: str, words: tuple[str, ...], labelwise: Command) -> None:
    assert_one_line(labelwise("refine", "--set", setting), *words)


def test_missing_recipe_and_missing_run(labelwise: Command, tmp_path: Path) -> None:
    assert_one_line(labelwise("refine", tmp_path / "none.yaml"), tmp_path / "none.yaml", "no such recipe")
    assert_one_line(labelwise("report", tmp_path), tmp_path)


def test_run_folder_that_is_a_file(labelwise: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert_one_line(refine_photos(labelwise, photos, tmp_path), tmp_path / "out")


def test_a_disk_that_fails_where_nobody_expects_it_is_one_line(labelwise, monkeypatch):
    def app(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/networks")

    monkeypatch.setattr(cli, "app", app)
    done = labelwise("train")
    assert (done.code, done.err) == (1, ["error: [Errno 28] No space left on device: 'runs/a/networks'"])
