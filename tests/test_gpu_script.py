"""``benchmarks/gpu.sh``: its plans by hand, and its steps, of which one is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "recipes" / "tables"
STEPS = ["tests", "speed", "ranking", "cft", "rates", "cifar10n", "students"]
RESNET = "small-resnet blocks 2 width 64"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("LABELWISE_DATA", "stand-in")


def call(out: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    own = {"PYTHON": python, "PYTHONPATH": str(ROOT / "src"), "LABELWISE_WHEELS": str(out / "no wheels")}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--out", str(out), *arguments]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)


STEPS_THAT_END_IN_EVERY_WAY = f"""#!/bin/sh
case "$*" in
  *"gpu.py tests"*) exec sleep 60 ;;
  *refine.py*) for last; do :; done; echo '{{"rows": []}}' > "$last" ;;
  *ranking.py*) echo "no such peer"; exit 3 ;;
  *cft.py*) exit 0 ;;
  *) exec {sys.executable} "$@" ;;
esac
"""


def test_a_step_that_fails_or_is_killed_leaves_the_others(tmp_path: Path) -> None:
    stand_in, out = tmp_path / "python", tmp_path / "out"
    stand_in.write_text(STEPS_THAT_END_IN_EVERY_WAY)
    stand_in.chmod(0o755)
    found = call(out, "--tiny", "--only", "tests,speed,ranking,cft", "--limit", "tests=1", python=str(stand_in))
    steps = {one["step"]: one for one in json.loads((out / "summary.json").read_text())["steps"]}
    assert {name: one["state"] for name, one in steps.items()} == {
        "tests": "out of time",
        "speed": "done",
        "ranking": "failed",
        "cft": "failed",  # it said nothing and wrote nothing
        **dict.fromkeys(("rates", "cifar10n", "students"), "left out"),
    }
    assert list(steps) == STEPS and steps["tests"]["seconds"] < 30
    assert steps["ranking"]["said"] == ["no such peer"] and steps["ranking"]["exit_code"] == 3
    assert steps["speed"]["file"] == "speed.json"
    assert sorted(path.name for path in out.iterdir()) == ["speed.json", "summary.json"]
    assert found.returncode == 1 and found.stderr.splitlines()[-1] == "not done: tests, ranking, cft"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "cff"], "no step cff; there are tests speed ranking cft rates cifar10n students"),
        (["--only", "rates"], "no cifar10_jpeg.npz in stand-in: set LABELWISE_DATA to its folder, or leave the tables"),
        (["--only", "students"], "students needs the step rates too"),
        (["--limit", "cft=1m"], "--limit cft= takes whole seconds, not 1m"),
        (["--out"], "--out needs a value"),
        (["--small"], "no option --small; there are --tiny, --out DIR,"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    found = call(tmp_path, *arguments)
    assert found.returncode == 2 and found.stdout == ""
    [line] = found.stderr.splitlines()
    assert line.startswith(f"gpu.sh: {words}")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    assert gpu.unmet()[0] == []
    others = {"torch": "2.5.1", "pydantic": None}
    monkeypatch.setattr(gpu, "_version", lambda name: others[name] if name in others else gpu.version(name))
    missing, old = gpu.unmet()
    assert [one[:8] for one in missing] == ["pydantic"]
    assert [one[:5] for one in old] == ["torch"] and old[0].endswith("(here: 2.5.1)")


def test_networks_of_a_table_are_counted_once() -> None:
    """A column and seed of gpu_cifar10n: on given labels, with mixup, stopped early; three folds and their student."""
    import gpu_rates

    needed = [one for _, one, _, _ in gpu_rates.networks_of(TABLES / "gpu_cifar10n.yaml")]
    student = " <- ".join([RESNET] * 4)
    assert Counter(one.kind for one in needed) == {RESNET: 4 * 6, student: 4}
    passes = Counter(round(one.passes, 6) for one in needed)  # 0.9 of the images are in fit
    assert passes == {54.0: 4 * 3, 18.0: 4, 36.0: 4 * 3}


def test_students_of_a_data_set_share_their_teacher() -> None:
    import gpu_rates

    needed = Counter(one.kind for _, one, _, _ in gpu_rates.networks_of(TABLES / "gpu_students.yaml"))
    alexnet, mobilenet = "paper-alexnet width 1", "paper-mobilenet width 0.25"
    given, taught = {alexnet: 4, mobilenet: 4}, {f"{alexnet} <- {RESNET}": 2, f"{mobilenet} <- {RESNET}": 2}
    assert needed == {RESNET: 2} | given | taught


def test_a_plan_fits_the_time() -> None:
    """1,000 images, 60 passes at 100 and 30 at 50 a second: 1,200 s in all, a quarter of them fits 300 s."""
    import gpu
    import gpu_rates

    needed = [gpu_rates.Needed("a", 60.0), gpu_rates.Needed("b", 30.0)]
    text = "train: {epochs: 60, warmup_epochs: 2}\nrows: [train.epochs=22]\nargs: {width: 64}, {width: 0.25}\n"
    fewer = gpu.planned(text, needed, {"a": 100.0, "b": 50.0}, 1000, 300 / gpu.SHARE, "images")
    assert (fewer.images, fewer.whole_seconds, fewer.factor) == (1000, 1200.0, 0.25)
    assert fewer.text.splitlines()[:2] == ["train: {epochs: 15, warmup_epochs: 2}", "rows: [train.epochs=5]"]
    smaller = gpu.planned(text, needed, {"a": 100.0, "b": 50.0}, 1000, 300 / gpu.SHARE, "epochs")
    assert (smaller.images, smaller.text) == (250, text)
    assert (
        gpu.planned(text, needed, {"a": 1e6, "b": 1e6}, 1000, 300 / gpu.SHARE, "images").text == text
    )  # nothing is added
    assert gpu.scaled(text, epochs=0, width=1 / 16).splitlines()[2] == "args: {width: 4}, {width: 0.015625}"


@pytest.mark.realdata
def test_unpacked_images_keep_their_labels(shared_data: Path, tmp_path: Path) -> None:
    """Every 125th training and every 25th test image, and the same rows of the noisy labels."""
    import gpu_rates

    gpu_rates.unpack(shared_data / "cifar10_jpeg.npz", tmp_path, 400)
    with np.load(tmp_path / "cifar10_jpeg.npz") as found, np.load(shared_data / "cifar10_jpeg.npz") as whole:
        assert found["images"].shape == (800, 32, 32, 3) and int(found["n_train"]) == 400
        assert (found["label"] == np.r_[whole["label"][:50_000:125], whole["label"][50_000::25]]).all()
    with np.load(tmp_path / "cifar10n.npz") as found, np.load(shared_data / "cifar10n.npz") as whole:
        assert (found["worse_label"] == whole["worse_label"][::125]).all()
        assert (found["clean_label"] == whole["clean_label"][::125]).all()
