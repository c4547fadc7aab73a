"""The command ``labelwise``: one short function per command, no logic.

A command imports torch itself, after its options are checked, so that help and mistakes are told at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

# The help lists the commands in the order of these imports.
# isort: off
from labelwise.cli import training, use, audit, corrections, heads, recipes, label, store

# isort: on
from labelwise import interrupts
from labelwise.cli import streams
from labelwise.cli.common import app
from labelwise.cli.machine import of_the_machine
from labelwise.errors import LabelwiseError
from labelwise.progress import AS_JSON, json_line

UsageError: Any = typer.BadParameter.__mro__[1]
"""The error of every word that a command does not know, whichever library parses the words for typer."""

INTERRUPTED = 130
"""What the library of the command line makes of a KeyboardInterrupt."""

__all__ = ["app", "audit", "corrections", "heads", "label", "main", "recipes", "store", "training", "use"]


def main() -> None:
    """Run a command.

    An error that the user can mend becomes one line. The exit code is 1, or 2 for a word of the command line that is
    not known, or 128 and the number of the signal: 130 for Ctrl-C.
    """
    with streams.prepared(), interrupts.handled():
        _run()


def _run() -> None:
    try:
        code = app(prog_name="labelwise", standalone_mode=False)
        _exit_if_stopped(interrupted=code == INTERRUPTED)
        sys.exit(code)
    except KeyboardInterrupt:
        _exit_if_stopped(interrupted=True)
    except LabelwiseError as error:
        _exit_if_stopped()
        _print_error(str(error))
        sys.exit(1)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            command = error.ctx.command_path if error.ctx else "labelwise"
            message = error.format_message().replace("Value error, ", "").rstrip(".")
            _print_error(f"{message}; see `{command} --help`")
        sys.exit(error.exit_code)
    except OSError as error:  # a full or failing disk where nobody expected it; the error names the file
        _exit_if_stopped()
        _print_error(str(error))
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        _exit_if_stopped()
        if (told := of_the_machine(error)) is None:
            raise
        _print_error(told)
        sys.exit(1)
    finally:
        _leave_process_group()


def _exit_if_stopped(interrupted: bool = False) -> None:
    """After a signal: one line, by one process. An error that the signal led to is not told."""
    code = interrupts.exit_code() or (INTERRUPTED if interrupted else None)
    if code is not None:
        if not int(os.environ.get("RANK", "0")):
            Console(stderr=True).print("stopped; the same command continues where it was")
        sys.exit(code)


def _print_error(text: str) -> None:
    if os.environ.get(AS_JSON):
        print(json_line(error=text), file=sys.stderr)
        return
    Console(stderr=True).print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)


def _leave_process_group() -> None:
    """Under torchrun, leave the group of processes. Elsewhere nothing is to be done, and torch is not imported."""
    if "RANK" in os.environ:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
