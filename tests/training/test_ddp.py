"""Two ranks on a CPU (gloo) do what one process does with the same global batch."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from torch.distributed import run as torchrun

from helpers import ddp_worker, forked
from labelwise.config import load_recipe
from labelwise.inference.evaluate import evaluate

RECIPES = {"plain": "{}", "mixup": "{mixup: 0.4, scale: [0.5, 1.0]}"}
STEPS = 50
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
RECIPE = """
name: {name}
data: {{source: digits, train_limit: 310, test_limit: 51, noise: {{rate: 0.2}}}}
views: {views}
model: {{name: small-narrow, args: {{norm: group}}}}
train: {{epochs: 6, batch_size: 31, lr: 0.02, channels_last: false, keep: best}}
chain: {{generations: 2}}
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same chains by one process and by two."""
    folder = tmp_path_factory.mktemp("ddp")
    # Where norms take statistics of each rank's part of a batch, two ranks are another training.
    texts = {name: RECIPE.format(name=name, views=views) for name, views in RECIPES.items()}
    texts["norm"] = RECIPE.format(name="norm", views="{}").replace("norm: group", "norm: batch")
    recipes = {name: folder / f"{name}.yaml" for name in texts}
    for name, text in texts.items():
        recipes[name].write_text(text)
    one, two = folder / "one", folder / "two"
    by_ranks([{}], one, *(recipes[name] for name in RECIPES))
    by_torchrun(two, recipes["plain"])
    for name in ("mixup", "norm"):  # a process group ends with its run
        place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        by_ranks([place | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"], two, recipes[name])
    return one, two


def by_torchrun(out: Path, recipe: Path) -> None:
    """Two ranks as a user starts them, though torchrun and its ranks are forks of a process that has imported torch."""
    words = ["--standalone", "--nproc_per_node", "2", "--start_method", "forkserver", "--run_path"]
    words += [ddp_worker.__file__, str(out), str(recipe)]
    errors = out.with_suffix(".err")
    agent = forked.start(torchrun.main, words, errors=errors, environment=ON_CPU | {"OMP_NUM_THREADS": "1"})
    agent.join(240)
    assert agent.exitcode == 0, errors.read_text()[-3000:]


def by_ranks(environments: list[dict[str, str]], out: Path, *recipes: Path) -> None:
    """A process for each environment, without the seconds of imports that torchrun needs."""
    errors = out.with_suffix(".err")
    ranks = [
        forked.start(ddp_worker.run, out, list(recipes), errors=errors, environment=ON_CPU | environment)
        for environment in environments
    ]
    for rank in ranks:
        rank.join(240)
    assert [rank.exitcode for rank in ranks] == [0] * len(ranks), errors.read_text()[-3000:]


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def seen(out: Path, name: str) -> list[list[dict[str, Any]]]:
    """Per rank, what every training step saw."""
    files = sorted((out / name).glob("seen-*.json"))
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("generation", [1, 2])
def test_steps_are_equal_to_float_tolerance(name: str, generation: int, outputs: tuple[Path, Path]) -> None:
    [one], two = seen(outputs[0], name), seen(outputs[1], name)
    assert len(two) == 2
    steps = len(one) // 2
    assert steps >= STEPS and all(len(rank) == len(one) for rank in two)
    part = slice((generation - 1) * steps, (generation - 1) * steps + STEPS)
    alone = [step["ce"] for step in one[part]]
    together = [a["ce"] + b["ce"] for a, b in zip(two[0][part], two[1][part], strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_views_and_labels_do_not_depend_on_the_number_of_ranks(name: str, outputs: tuple[Path, Path]) -> None:
    [one], two = seen(outputs[0], name), seen(outputs[1], name)
    for alone, first, second in zip(one, *two, strict=True):
        assert first["rows"] and second["rows"]
        assert first["rows"] + second["rows"] == alone["rows"]
        assert first["views"] + second["views"] == alone["views"]
        np.testing.assert_allclose(first["labels"] + second["labels"], alone["labels"], atol=2e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_weights_scores_and_metrics_agree(name: str, outputs: tuple[Path, Path]) -> None:
    for generation in ("generation-1", "generation-2"):
        folders = [out / name / "seed-0" / generation for out in outputs]
        one, two = (safetensors.numpy.load_file(folder / "model.safetensors") for folder in folders)
        for key, value in one.items():
            np.testing.assert_allclose(two[key], value, atol=2e-4 * np.abs(value).max(), err_msg=key)
        lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in folders]
        assert len(lines[0]) == len(lines[1]) == 6  # only the main rank writes
        for a, b in zip(*lines, strict=True):
            first, second = json.loads(a), json.loads(b)
            assert first["epoch"] == second["epoch"] and first["lr"] == second["lr"]
            assert second["train"] == pytest.approx(first["train"], rel=1e-3, abs=1e-4)
            assert second["select"] == pytest.approx(first["select"], rel=1e-3)
    rows = [json.loads((out / name / "results.json").read_text())["rows"] for out in outputs]
    for a, b in zip(*rows, strict=True):
        assert a["test"]["top1"] == b["test"]["top1"] and a["kept_epoch"] == b["kept_epoch"]
        assert b["test"]["nll"] == pytest.approx(a["test"]["nll"], rel=1e-3)


def test_what_is_scored_is_what_is_saved(outputs: tuple[Path, Path]) -> None:
    """Each rank scores its part of the samples, all with the norms' statistics that the checkpoint has."""
    out = outputs[1] / "norm"
    for row in json.loads((out / "results.json").read_text())["rows"]:
        for split in ("select", "test"):
            found = evaluate(out / row["path"], load_recipe(out / "config.yaml"), split=split).to_json()
            assert found["nll"] == pytest.approx(row[split]["nll"], rel=1e-5)
