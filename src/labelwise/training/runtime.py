"""Where training runs: device, precision and ranks, through accelerate (started alone or by torchrun)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from labelwise.config import Recipe
from labelwise.data.sampling import Shard


@dataclass(frozen=True)
class Runtime:
    """One process of a run."""

    accelerator: Accelerator

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

    Trackers that write files write them under ``folder``.
    """
    if AcceleratorState._shared_state and not PartialState().num_processes > 1:
        AcceleratorState._reset_state(reset_partial_state=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    trackers = list(recipe.train.trackers) or None
    accelerator = Accelerator(mixed_precision=recipe.train.precision, log_with=trackers, project_dir=folder)
    return Runtime(accelerator)
