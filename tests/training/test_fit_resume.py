"""A run that is killed, or that meets a full disk, ends with the numbers of one that was left alone."""

from __future__ import annotations

import json
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import forked, resume_worker
from labelwise.config import load_recipe
from labelwise.refinery.chain import train
from labelwise.runs import start_run

GENERATIONS = ("generation-1", "generation-2")


def start(recipe: Path, out: Path, plan: tuple[str, str] | None = None) -> tuple[Any, Any]:
    """``labelwise refine`` in another process, and the event that says it has come to the place of ``plan``."""
    reached = forked.context.Event()
    argv = ["refine", str(recipe), "--out", str(out), "--quiet"]
    arguments = (argv, out.with_suffix(".resumed"), plan, reached)
    return forked.start(resume_worker.run, *arguments, errors=out.with_suffix(".err")), reached


def finish(recipe: Path, out: Path, plan: tuple[str, str] | None = None) -> tuple[int | None, list[str]]:
    """Exit code and lines of stderr."""
    process, _ = start(recipe, out, plan)
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode, out.with_suffix(".err").read_text().splitlines()


@pytest.fixture(scope="module", params=["images", "embeddings"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generations with mixup, averaged weights and the best epoch kept (the mlp with dropout)."""
    folder = tmp_path_factory.mktemp(request.param)
    data, model = "{source: digits, train_limit: 200, test_limit: 60, noise: {rate: 0.3}}", "{name: small-narrow}"
    if request.param == "embeddings":
        rng = np.random.default_rng(0)
        label = np.arange(260) % 4
        features = rng.normal(size=(4, 12))[label] + rng.normal(size=(260, 12))
        split = np.repeat(["train", "val"], [200, 60])
        np.savez(folder / "features.npz", features=features.astype(np.float32), label=label, split=split)
        data = f"{{source: '{folder / 'features.npz'}', noise: {{rate: 0.3}}}}"
        model = "{name: mlp, args: {dropout: 0.5, hidden: 32}}"
    path = folder / "recipe.yaml"
    path.write_text(
        f"data: {data}\n"
        f"model: {model}\n"
        "views: {scale: [0.5, 1.0], mixup: 0.2}\n"
        "train: {epochs: 3, batch_size: 32, keep: best, ema: 0.9, checkpoint_seconds: 0, channels_last: false}\n"
        "chain: {generations: 2}\n"
    )
    return path


@pytest.fixture(scope="module")
def uninterrupted(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert finish(recipe, out) == (0, [])
    return numbers(out)


def without_clock(value: Any) -> Any:
    """The same JSON without what a clock measured."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in ("seconds", "images_per_second")}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


def numbers(out: Path) -> dict[str, Any]:
    """Every number and weight of a finished run."""
    found: dict[str, Any] = {"results": without_clock(json.loads((out / "results.json").read_text()))}
    for name in GENERATIONS:
        folder = out / "seed-0" / name
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        found[name] = [without_clock(json.loads(line)) for line in lines]
        assert [record["epoch"] for record in found[name]] == [1, 2, 3]
        found[f"{name} weights"] = (folder / "model.safetensors").read_bytes()
        assert not (folder / "resume.pt").exists()
    return found


def place(resume: Path) -> tuple[int, int]:
    """Finished epochs, and steps of the present one, of a checkpoint."""
    state = torch.load(resume, weights_only=True)["state"]
    return state["epoch"], state["step"]


@pytest.mark.parametrize("what", ["between", "during"])
@pytest.mark.parametrize("name", GENERATIONS)
def test_killed_run_ends_with_the_same_numbers(
    name: str, what: str, recipe: Path, uninterrupted: dict[str, Any], tmp_path: Path
) -> None:
    """SIGKILL in the second epoch, two steps after the last checkpoint, or while the next one is being written."""
    out = tmp_path / "run"
    resume = out / "seed-0" / name / "resume.pt"
    process, reached = start(recipe, out, (name, what))
    assert reached.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL

    assert place(resume) == resume_worker.CHECKPOINT
    half_written = [p for p in resume.parent.iterdir() if p.name.endswith(".tmp")]
    assert len(half_written) == (what == "during")
    before = resume.with_name("metrics.jsonl").read_text()
    assert before.count("\n") == 1
    assert not (out / "results.json").exists()

    assert finish(recipe, out) == (0, [])
    epoch, step = resume_worker.CHECKPOINT
    assert out.with_suffix(".resumed").read_text() == f"{name} {epoch} {step}\n"
    assert resume.with_name("metrics.jsonl").read_text().startswith(before), "the first epoch was trained again"
    assert numbers(out) == uninterrupted


def test_full_disk_keeps_the_last_good_checkpoint(recipe: Path, uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """From the fourth checkpoint on the kernel refuses to write more than half of one (RLIMIT_FSIZE, EFBIG)."""
    out = tmp_path / "run"
    resume = out / "seed-0" / "generation-1" / "resume.pt"
    code, lines = finish(recipe, out, ("generation-1", "full"))
    assert code == 1
    assert len(lines) == 1
    assert f"{resume}: cannot be written" in lines[0] and "untouched" in lines[0]
    assert place(resume) == (0, resume_worker.GOOD_CHECKPOINTS)
    assert [p.name for p in resume.parent.iterdir() if p.name.endswith(".tmp")] == []

    out.with_suffix(".err").unlink()
    assert finish(recipe, out) == (0, [])
    assert out.with_suffix(".resumed").read_text() == f"generation-1 0 {resume_worker.GOOD_CHECKPOINTS}\n"
    assert numbers(out) == uninterrupted


class Hostile:
    """A pickle that would make a file."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("content", [b"PK\x03\x04 half a file", pickle.dumps(Hostile())], ids=["half", "hostile"])
def test_damaged_checkpoint_is_named(recipe: Path, tmp_path: Path, content: bytes, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    resume = tmp_path / "run" / "seed-0" / "generation-1" / "resume.pt"
    start_run(tmp_path / "run", "refine", {})
    resume.parent.mkdir(parents=True)
    resume.write_bytes(content)
    code, lines = finish(recipe, tmp_path / "run")
    assert code == 1
    assert len(lines) == 1 and str(resume) in lines[0] and "delete it" in lines[0]
    assert not Path("ran").exists()


def test_a_kill_between_the_row_of_a_network_and_its_cleaning_leaves_nothing(tmp_path: Path) -> None:
    recipe = load_recipe(None, ["data={source: digits, train_limit: 60, test_limit: 50}", "train={epochs: 1}"])
    out = tmp_path / "run"
    train(recipe, out, quiet=True)
    resume = out / "seed-0" / "generation-1" / "resume.pt"
    resume.touch()
    (out / "results.json").unlink()  # the run was killed before its end
    train(recipe, out, quiet=True)
    assert (out / "results.json").exists() and not resume.exists()
