"""One of two ranks is killed: the other says so at once, and any number of ranks goes on to the same network."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from helpers import ddp_worker, forked
from training.test_ddp import ON_CPU, free_port

pytestmark = [pytest.mark.campaign, pytest.mark.xdist_group("ranks")]

RECIPE = """
threads: 1
data: {source: digits, train_limit: 120, test_limit: 40}
model: {name: small-narrow, args: {norm: group}}
train: {epochs: 4, batch_size: 24, lr: 0.02, channels_last: false, checkpoint_seconds: 0}
"""


def train(recipe: Path, out: Path, ranks: int, dies_at_step: int = 0) -> tuple[list[int | None], str]:
    """Exit codes of all ranks, and what they say; the last one may die."""
    errors = out.with_name(f"{out.name}-{ranks}.err")
    place = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
    place |= {"MASTER_PORT": free_port(), "COLUMNS": "200"}
    started = [
        forked.start(
            ddp_worker.command,
            ["train", str(recipe), "--out", str(out), "--quiet"],
            dies_at_step * (rank == ranks - 1),
            errors=errors,
            environment=ON_CPU | (place | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}),
        )
        for rank in range(ranks)
    ]
    for process in started:
        process.join(120)
    return [process.exitcode for process in started], errors.read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole``, a run by one process, and ``killed``, one by two of which the second died in epoch 3."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "recipe.yaml").write_text(RECIPE)
    assert train(folder / "recipe.yaml", folder / "whole", 1) == ([0], "")
    started = time.monotonic()
    codes, said = train(folder / "recipe.yaml", folder / "killed", 2, dies_at_step=12)
    assert codes == [1, -signal.SIGKILL] and time.monotonic() - started < 60
    lines = [line for line in said.splitlines() if "libuv" not in line]
    assert len(lines) == 1 and "another process of this run ended" in lines[0], said
    assert "start all of them again" in lines[0]
    return folder


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_any_number_of_ranks_goes_on_to_the_same_network(ranks: int, folder: Path) -> None:
    out = folder / f"again-{ranks}"
    shutil.copytree(folder / "killed", out)
    assert (out / "seed-0" / "generation-1" / "resume.pt").exists()
    codes, said = train(folder / "recipe.yaml", out, ranks)
    assert codes == [0] * ranks, said
    one, two = (
        safetensors.numpy.load_file(run / "seed-0" / "generation-1" / "model.safetensors")
        for run in (folder / "whole", out)
    )
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=2e-4 * np.abs(value).max(), err_msg=key)
    lines = (out / "seed-0" / "generation-1" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
