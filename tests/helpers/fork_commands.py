"""Commands of ``tests/smoke.sh``, each in a fork of this process, so that torch is imported once for all of them.

``fork_commands.py FOLDER`` waits for a line in the pipe FOLDER/ask, runs ``labelwise`` with the arguments that stand in
FOLDER/arguments (a zero byte after each), its output in FOLDER/stdout and FOLDER/stderr, and answers in the pipe
FOLDER/answer with the exit code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from labelwise import cli
from labelwise.cft import ensemble, run  # noqa: F401  (imported once, before the forks)
from labelwise.experiment import run as run_experiment  # noqa: F401
from labelwise.report import write  # noqa: F401


def child_of(folder: Path) -> None:
    """Fork for each command that is asked for; return in the forked process only."""
    with open(folder / "ask") as asked, open(folder / "answer", "w", buffering=1) as answer:
        for _ in asked:
            pid = os.fork()
            if pid == 0:
                return
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answer)
    sys.exit()


def main() -> None:
    folder = Path(sys.argv[1])
    child_of(folder)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv = ["labelwise", *(folder / "arguments").read_text().split("\0")[:-1]]
    cli.main()


if __name__ == "__main__":
    main()
