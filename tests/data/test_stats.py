"""What is counted in a data set of one class per sample."""

from __future__ import annotations

import io
import json
import re

import numpy as np
from rich.console import Console
from typer.testing import CliRunner

from labelwise.cli import app
from labelwise.data import stats as module
from labelwise.data.stats import dataset_stats, render_stats

RNG = np.random.default_rng(0)


def test_stats(tmp_path, load, draw, folder_tree):
    root = folder_tree(tmp_path)
    draw(root / "train" / "cat" / "wide.png", side=9)
    dataset = load(root, select_share=0.25, noise={"rate": 0.5})
    stats = dataset_stats(dataset)
    assert stats["splits"] == dataset.sizes()
    assert sum(row["fit"] for row in stats["classes"]) == stats["splits"]["fit"]
    assert stats["images"] == {
        **{"height": [6, 9], "width": [6, 9], "most_frequent": [6, 6]},
        **{"sizes": 2, "channels": 3, "value_range": None},
    }
    assert stats["label_differs"]["test"] == {"samples": 0, "share": 0.0}
    assert stats["label_differs"]["fit"]["samples"] + stats["label_differs"]["select"]["samples"] == round(0.5 * 9)
    console = Console(file=io.StringIO(), width=100)
    console.print(render_stats(stats))
    assert "most often 6 x 6" in console.file.getvalue()


def test_stats_of_features(tmp_path, load, npz):
    path = npz(
        tmp_path / "f.npz", features=RNG.normal(size=(10, 4)), label=np.arange(10) % 2, groups=np.arange(10) // 2
    )
    stats = dataset_stats(load(path, select_share=0.25, test_share=0.2))
    assert (stats["kind"], stats["dimension"], stats["images"]) == ("features", 4, None)
    assert stats["groups"] == {"number": 5, "largest": 2, "single": False, "missing": 0}
    assert stats["label_differs"] is None


def told(dataset) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(render_stats(dataset_stats(dataset)))
    return " ".join(re.findall(r"[^\s\u2500-\u257f]+", console.file.getvalue()))  # without the lines of tables


def test_groups_unlabelled_samples_and_features_are_told(tmp_path, load, npz):
    label = np.where(np.arange(1, 13) % 6 == 0, -1, np.arange(12) % 2)
    path = npz(tmp_path / "f.npz", features=RNG.normal(size=(12, 4)), label=label, groups=np.arange(12) // 3)
    text = told(load(path, select_share=0.25, test_share=0.25, partial=True))
    assert "features 4 a sample" in text and "unlabelled 2" in text and "groups 4, the largest of 3 samples" in text


def test_unreadable_images_are_listed(tmp_path, load, draw, folder_tree):
    root = folder_tree(tmp_path)
    draw(root / "train" / "cat" / "good.png")
    (root / "train" / "cat" / "broken.png").write_bytes(b"no image")
    text = told(load(root, select_share=0.25, unreadable="skip"))
    assert "unreadable images" in text and "broken.png" in text and "good.png" not in text


def test_what_was_assumed_is_told_in_one_line_each(tmp_path, draw):
    for i in range(12):
        draw(tmp_path / "img" / f"{i}.png")
    table = tmp_path / "a name that is long enough to be wrapped where lines are wrapped.csv"
    table.write_text("path;label\n" + "".join(f"photos/img/{i}.png;{i % 2 + 1}\n" for i in range(12)))
    expected = [
        f"{table}: its format is table (data.format)",
        f"{table}: its columns are separated by ;",
        f"{table}: label: labels are whole numbers; they name classes in ascending order, -1 and blanks are unlabelled",
        f"{table}: columns: images in 'path', labels in 'label'",
        f"{table}: photos/ is dropped from the start of its paths, which are in {tmp_path}",
        f"{table}: images are read in colour (data.channels)",
        f"{table.stem}: no test part, so 20% of all samples are test (data.test_share)",
        f"{table.stem}: no select part, so 10% of the training samples are select (data.select_share)",
    ]
    shown = CliRunner().invoke(app, ["data", "stats", str(table)], catch_exceptions=False)
    assert [line for line in shown.stdout.splitlines() if line.startswith("Assumed")] == [
        f"Assumed: {line}" for line in expected
    ]
    shown = CliRunner().invoke(app, ["data", "stats", str(table), "--json"], catch_exceptions=False)
    assert json.loads(shown.stdout)["assumed"] == expected


def test_a_terminal_lists_the_first_of_very_many_classes_and_says_how_many_more(tmp_path, load, npz, monkeypatch):
    monkeypatch.setattr(module, "LISTED", 3)
    names = [f"name {k}" for k in range(5)]
    path = npz(tmp_path / "f.npz", features=RNG.normal(size=(50, 4)), label=np.arange(50) % 5, classes=names)
    text = told(load(path, select_share=0.2, test_share=0.2))
    assert "classes 5" in text and "name 2" in text and "name 3" not in text
    assert "and 2 more; --json lists all" in text
    path = npz(tmp_path / "m.npz", features=RNG.normal(size=(50, 4)), label=np.eye(5)[np.arange(50) % 5], classes=names)
    text = told(load(path, select_share=0.2, test_share=0.2, partial=True))
    assert "name 2" in text and "name 3 " not in text and "and 2 more; --json lists all" in text
