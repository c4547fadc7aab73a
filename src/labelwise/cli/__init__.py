"""The command ``labelwise``: one short function per command, no logic.

A command imports torch itself, after its options are checked, so that help and mistakes are told at once.
"""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.markup import escape

# The help lists the commands in the order of these imports.
# isort: off
from labelwise.cli import training, use, heads

# isort: on
from labelwise.cli.common import app
from labelwise.errors import LabelwiseError

__all__ = ["app", "heads", "main", "training", "use"]


def main() -> None:
    """Run a command. An error that the user can mend becomes one line and exit code 1."""
    try:
        app()
    except LabelwiseError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command continues where it was")
        sys.exit(130)
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    """Under torchrun, leave the group of processes. Elsewhere nothing is to be done, and torch is not imported."""
    if "RANK" in os.environ:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
