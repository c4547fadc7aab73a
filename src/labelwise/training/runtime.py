"""Where networks run: device, precision and ranks, through accelerate; and their logits over the rows of a data set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import Recipe
from labelwise.data.loaders import ViewLoader
from labelwise.data.sampling import Shard, plan_evaluation
from labelwise.errors import RunError
from labelwise.models.classifier import Classifier
from labelwise.training.trackers import Chain, Curves, dotted

EVAL_BATCH = 512


_REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(number: int = 0) -> torch.device:
    """Accelerator ``number`` of this machine, counted round; the CPU where there is none."""
    if not torch.accelerator.is_available():
        return torch.device("cpu")
    return torch.device(str(torch.accelerator.current_accelerator()), number % torch.accelerator.device_count())


def autocast_on(device: torch.device, precision: Literal["no", "bf16", "fp16"]) -> torch.autocast:
    """A context in which networks run in ``train.precision``."""
    return torch.autocast(device.type, _REDUCED.get(precision), enabled=precision in _REDUCED)


@dataclass(frozen=True)
class Runtime:
    """One process of a run."""

    accelerator: Accelerator
    curves: Curves = field(default_factory=Curves)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def shard(self) -> Shard:
        return Shard(self.accelerator.process_index, self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def share_buffers(self, module: torch.nn.Module) -> None:
        """Give every rank the buffers of the main one: norms' statistics, which each takes of its part of a batch."""
        if self.shard.world > 1:
            for buffer in module.buffers():
                torch.distributed.broadcast(buffer, 0)

    def gather(self, value: Tensor) -> Tensor:
        """Concatenate (n_r, ...) tensors of all ranks, whose lengths may differ, in the order of the ranks."""
        if self.shard.world == 1:
            return value
        length = torch.tensor([len(value)], device=self.device)
        lengths = self.accelerator.gather(length).tolist()
        padded = torch.zeros(max(lengths), *value.shape[1:], dtype=value.dtype, device=self.device)
        padded[: len(value)] = value.to(self.device)
        rows = self.accelerator.gather(padded[None])
        return torch.cat([rows[r, :n] for r, n in enumerate(lengths)])


def start_runtime(recipe: Recipe, folder: Path | None = None) -> Runtime:
    """Set up accelerate for ``recipe``; a former set-up of this process is forgotten first.

    Parameters
    ----------
    folder : of a run whose networks the recipe's trackers show; None shows none
    """
    if AcceleratorState._shared_state and not PartialState().num_processes > 1:
        AcceleratorState._reset_state(reset_partial_state=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpu = ranks > 1 and not torch.cuda.is_available()  # where accelerate joins the ranks only if it is told to
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=recipe.train.precision)
    if accelerator.num_processes != ranks:
        raise RunError(f"{ranks} processes were started and {accelerator.num_processes} joined; each would train alone")
    if folder is None or not accelerator.is_main_process:
        return Runtime(accelerator)
    settings = dotted(recipe.model_dump(mode="json", exclude_defaults=True))
    return Runtime(accelerator, Curves(recipe.train.trackers, Chain(recipe.name, folder, settings)))


@torch.no_grad()
def predict_logits(
    model: Classifier,
    loader: ViewLoader,
    rows: NDArray[np.int64],
    runtime: Runtime,
    *,
    view: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Logits (len(rows), K), float32 on the CPU, in the order of ``rows``; every rank gets all of them.

    Parameters
    ----------
    view : number of a random view, drawn by ``seed``; None looks at the centre view
    """
    was_training = model.training
    model.eval()
    parts = [torch.empty(0, len(model.classes), device=runtime.device)]
    for batch in loader.stream(plan_evaluation(rows, EVAL_BATCH, runtime.shard, view), (model.spec.size,), seed):
        with runtime.accelerator.autocast():  # not around the stream: views are drawn in float32, as in training
            parts.append(model(batch.inputs[model.spec.size]).float())
    model.train(was_training)
    return runtime.gather(torch.cat(parts)).cpu()
