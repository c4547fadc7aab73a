"""One rank of a run that test_ddp.py compares with a run of one process: ``ddp_worker.py OUT RECIPE...``."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from labelwise.config import load_recipe
from labelwise.data.loaders import Batch
from labelwise.refinery.chain import refine
from labelwise.runs import write_json
from labelwise.training.task import SoftLabelTask


def record(seen: list[dict[str, Any]]) -> None:
    """Note of every training step: a hash of each view's pixels, its label, and the sums of the losses."""
    call = SoftLabelTask.__call__

    def noted(self: SoftLabelTask, model: torch.nn.Module, batch: Batch) -> Any:
        output = call(self, model, batch)
        target = self._labeller(batch)
        [pixels] = batch.inputs.values()
        seen.append(
            {
                "views": [hashlib.sha256(x.numpy().tobytes()).hexdigest()[:12] for x in pixels],
                "rows": batch.rows.tolist(),
                "labels": target.tolist(),
                "ce": output.sums[0].item(),
            }
        )
        return output

    SoftLabelTask.__call__ = noted  # type: ignore[method-assign]


def run(out: Path, recipes: list[Path]) -> None:
    """Refine by each recipe into OUT/NAME and write there what this rank saw."""
    seen: list[dict[str, Any]] = []
    record(seen)
    for path in recipes:
        seen.clear()
        recipe = load_recipe(path)
        refine(recipe, out / recipe.name, quiet=True)
        write_json(out / recipe.name / f"seen-{os.environ.get('RANK', '0')}.json", seen)


def command(arguments: list[str], dies_at_step: int = 0) -> None:
    """``labelwise ARGUMENTS``; this process is killed by the system before a step, counted from 1."""
    from labelwise import cli
    from labelwise.training.fit import _Loop

    step, done = _Loop.step, []

    def counted(self: _Loop, *given: Any) -> None:
        done.append(1)
        if len(done) == dies_at_step:
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, *given)

    _Loop.step = counted  # type: ignore[method-assign]
    sys.argv = ["labelwise", *arguments]
    cli.main()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
