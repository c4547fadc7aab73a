"""Help, facts about data, and every mistake that is found before training are told without the slow libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.cli import app

SLOW = ("torch", "torchvision", "timm", "accelerate", "sklearn")
VERY_SLOW = (*SLOW, "pandas", "matplotlib", "PIL", "numpy")

# All commands run in one process, which is started anew by each group: a module that one loads stays loaded.
RUN = """
import contextlib, io, json, sys
from labelwise import cli
found = []
for arguments, forbidden in json.load(sys.stdin):
    sys.argv, code = ["labelwise", *arguments], 0
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    loaded = [name for name in forbidden if name in sys.modules]
    found.append([code, out.getvalue(), err.getvalue(), loaded])
print(json.dumps(found))
"""


def run(commands: list[tuple[list[str], tuple[str, ...]]], folder: Path) -> list[tuple[int, str, str, list[str]]]:
    """Exit code, output, errors and forbidden modules of every command."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
    )
    assert done.returncode == 0, done.stderr
    return [tuple(entry) for entry in json.loads(done.stdout)]


def all_commands() -> list[list[str]]:
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    return [*([name] for name in names), ["data", "stats"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table, a folder of images, an .npz, and recipes with a mistake each."""
    for name in ("cat", "dog"):
        for i in range(8):
            path = tmp_path / "photos" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(path)
    rows = [f"photos/{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(8)]
    (tmp_path / "table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    labels = (np.arange(60).reshape(20, 3) % 4 == 0).astype(np.float32)
    np.savez(tmp_path / "many.npz", images=np.zeros((20, 8, 8), np.uint8), labels=labels)
    (tmp_path / "unknown_key.yaml").write_text("train: {epoch: 3}\n")
    (tmp_path / "missing_data.yaml").write_text("data: {source: nowhere.csv}\n")
    (tmp_path / "missing_image.csv").write_text("path,label\nnowhere.png,cat\nnowhere2.png,dog\n")
    (tmp_path / "taxonomy.yaml").write_text("data: {source: many.npz}\ntrain: {taxonomy: {file: tree.csv}}\n")
    (tmp_path / "table.yaml").write_text("rows: {a: [], b: [train.epoch=3]}\nreference: a\n")
    return tmp_path


def test_help_needs_no_library_of_numbers(folder: Path) -> None:
    commands = [[], *all_commands()]
    for arguments, (code, out, _, loaded) in zip(
        commands, run([([*command, "--help"], VERY_SLOW) for command in commands], folder), strict=True
    ):
        assert (code, loaded) == (0, []), arguments
        assert "Usage:" in out


def test_facts_about_data_need_no_network(folder: Path) -> None:
    commands = [["data", "stats", source, "--json"] for source in ("photos", "table.csv", "many.npz")]
    commands.append(["refine", "--print-config", "--set", "data.source=photos"])
    commands.append(["train", "--print-config"])
    found = run([(command, SLOW) for command in commands], folder)
    for arguments, (code, _, err, loaded) in zip(commands, found, strict=True):
        assert (code, loaded, err) == (0, [], ""), arguments
    assert [sum(json.loads(found[i][1])["splits"].values()) for i in range(3)] == [16, 16, 20]


MISTAKES = [
    ("refine nowhere.yaml", "nowhere.yaml: no such recipe"),
    ("train nowhere.yaml", "nowhere.yaml: no such recipe"),
    ("refine unknown_key.yaml", "unknown key 'train.epoch'"),
    ("refine missing_data.yaml", "nowhere.csv"),
    ("train missing_data.yaml", "nowhere.csv"),
    ("refine --set data.source=missing_image.csv", "nowhere.png"),
    ("refine --set data.format=jpeg", "data.format: expected 'auto', 'folder'"),
    ("refine --set data.projection=frontal", "data.projection is an option of format chexpert"),
    ("train --set train.label_smoothing=2", "train.label_smoothing: expected a number less than 1, got 2"),
    ("refine taxonomy.yaml", "train.taxonomy"),
    ("refine --baselines --set data.select_share=0", "nothing is held out"),
    ("evaluate photos --data nowhere.yaml", "nowhere.yaml: no such recipe"),
    ("features nowhere --data unknown_key.yaml --out out", "unknown key 'train.epoch'"),
    ("evaluate photos --data nowhere.npz", "'nowhere.npz': no such folder or file"),
    ("features nowhere --data nowhere --out out", "'nowhere': no such folder or file"),
    ("cft many.npz --set draw=3", "unknown key 'draw'"),
    ("experiment nowhere.yaml", "nowhere.yaml: no such recipe"),
    ("experiment table.yaml", "train.epoch"),
    ("data stats nowhere.csv", "nowhere.csv"),
    *(
        (command, "nowhere: no such file or folder")
        for command in (
            "cft nowhere",
            "evaluate nowhere --data digits",
            "predict nowhere photos",
            "predict photos nowhere",
            "export nowhere",
            "ensemble photos nowhere",
            "report photos nowhere",
        )
    ),
]


def test_mistakes_are_told_before_torch_is_loaded(folder: Path) -> None:
    # the defaults' digits are scikit-learn's own, so it may be loaded where they are read
    def forbidden(command: str) -> tuple[str, ...]:
        return SLOW[:-1] if "select_share" in command else SLOW

    commands = [(command.split(), forbidden(command)) for command, _ in MISTAKES]
    commands.sort(key=lambda entry: len(entry[1]), reverse=True)
    words = {tuple(command.split()): word for command, word in MISTAKES}
    for (arguments, _), (code, _, err, loaded) in zip(commands, run(commands, folder), strict=True):
        assert (code, loaded) == (1, []), (arguments, err)
        assert err.startswith("error: ") and words[tuple(arguments)] in err, (arguments, err)
