"""The run folder: who may write into it, what is finished, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Protocol

import labelwise
from labelwise.errors import RunError
from labelwise.folder_lock import FolderLock, lock_folder
from labelwise.half_files import half_of, remove_halves_once
from labelwise.sealed import seal, unseal
from labelwise.settings import Section, dump_yaml
from labelwise.textfile import NOT_JSON

RESULTS, RUN, CONFIG, METRICS, ROW, REPORT = (
    "results.json",
    "run.json",
    "config.yaml",
    "metrics.jsonl",
    "row.json",
    "report.html",
)
RESUME = "resume.pt"
PLAN, RECIPE = "plan.json", "recipe.yaml"
"""What a run within a budget writes before it starts."""

BEST = "best"
"""Folder of a run's product, a checkpoint."""

SCHEMA = 1


class _Results(Protocol):
    """Results of any kind; see :mod:`labelwise.results`."""

    def to_json(self) -> dict[str, Any]:
        """What is written."""


@dataclass(frozen=True)
class Run:
    """The folder of a run that a command may write into; made by :func:`start_run`.

    Parameters
    ----------
    folder : where everything of the run is written
    finished : whether the same run was finished before
    facts : content of ``run.json``
    settings : content of ``config.yaml``; None for a command without settings
    writes : False on all ranks but the main one
    lock : keeps other processes out as long as somebody holds this run; None on the other ranks
    """

    folder: Path
    finished: bool
    facts: dict[str, Any]
    settings: Section | None
    writes: bool
    lock: FolderLock | None

    def finish(self, results: _Results) -> None:
        """Write ``results.json``, which says that the run is finished, after what it depended on.

        Raises
        ------
        RunError
            If the folder cannot be written.
        """
        if self.writes:
            self.write_facts()
            write_json(self.folder / RESULTS, results.to_json())

    def write_facts(self) -> None:
        """Write ``run.json``, which says whose folder this is, then ``config.yaml``."""
        write_json(self.folder / RUN, self.facts, sealed=True)
        if self.settings is not None:
            atomic_write(self.folder / CONFIG, dump_yaml(self.settings).encode())


def start_run(
    out: Path,
    kind: str,
    identity: dict[str, Any],
    settings: Section | None = None,
    *,
    facts: dict[str, Any] | None = None,
    writes: bool = True,
) -> Run:
    """Start a run in the folder ``out``, or continue the same one. This is the only way to make a run folder.

    The files of a run that is there already stay as they are until :meth:`Run.finish`, so a run that is refused later,
    or stopped, never changes a finished one. What a killed process left of half-written files is removed.

    Parameters
    ----------
    out : a folder that is new, empty, or holds a run of the same kind and identity
    kind : the command, as ``kind`` of its results
    identity : what makes two runs the same one, as JSON; an error names the first key that differs
    settings : what ``config.yaml`` says
    facts : what ``run.json`` says besides kind, version, identity, environment and command
    writes : False on all ranks but the main one, which only look

    Raises
    ------
    RunError
        In one line, if ``out`` is a file, or a folder that holds anything else, or another process is at work in it.
    """
    own: dict[str, Any] = json.loads(json.dumps(finite(identity)))  # lists for tuples, as they will be read again
    before = _run_in(out, kind)
    if before is not None:
        _refuse_another(out, before.get("identity", {}), own)
    lock = lock_folder(out) if writes else None
    run = Run(out, (out / RESULTS).exists(), about_run(kind, own, facts or {}), settings, writes, lock)
    if writes:
        remove_leftovers(out)
        if before is None or _holds_nothing_else(out):
            run.write_facts()
    return run


def about_run(kind: str, identity: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Content of ``run.json``; the parameters are those of :func:`start_run`."""
    about = {"schema": SCHEMA, "kind": kind, "version": labelwise.__version__, "identity": identity, **facts}
    return about | {"environment": environment(), "command": " ".join(["labelwise", *sys.argv[1:]])}


def refuse_other_content(out: Path, kind: str) -> None:
    """Refuse a folder that holds anything but a run of the command ``kind``, before something is written there.

    Raises
    ------
    RunError
        In one line.
    """
    _run_in(out, kind)


def check_out_file(path: Path, kind: str, ours: Callable[[str], bool], option: str = "--out") -> None:
    """Refuse to write a file where a folder is, or a file that is of another kind.

    Parameters
    ----------
    path : the file that an option of a command names
    kind : what is written there, for the message
    ours : whether the text of a file is of that kind; may raise ValueError
    option : the option, for the message

    Raises
    ------
    RunError
        In one line.
    """
    if path.is_dir():
        raise RunError(f"{option} {path}: is a folder, expected a file")
    if not path.exists():
        return
    try:
        same = ours(path.read_text(encoding="utf-8"))
    except (OSError, *NOT_JSON):
        same = False
    if not same:
        raise RunError(f"{option} {path}: exists and does not hold {kind}; give another {option}")


def check_two_files(options: dict[str, Path | None]) -> None:
    """Refuse two options of a command that name the same file, of which one would replace the other.

    Raises
    ------
    RunError
        In one line.
    """
    seen: dict[Path, str] = {}
    for option, path in options.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise RunError(f"{option} {path}: is the file of {other}, too; give two different files")


def _run_in(out: Path, kind: str) -> dict[str, Any] | None:
    """Content of ``run.json``; None for a folder that is new or empty."""
    if out.is_symlink() and not out.exists():
        raise RunError(f"{out}: is a link to nothing; give another --out")
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file, expected a folder; give another --out")
    found = _visible(out)  # before run.json is looked for, which the main rank may be writing: it is the first file
    if (out / RUN).exists():
        before: dict[str, Any] = read_json(out / RUN)
        if before.get("kind") != kind:
            raise RunError(f"{out}: holds a run of `labelwise {before.get('kind')}`; give another --out")
        return before
    if found := [name for name in found if name not in (PLAN, RECIPE)]:
        raise RunError(f"{out}: is not empty and holds no run of labelwise (it holds {found[0]}); give another --out")
    return None


def _refuse_another(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Another identity is fine where nothing was made yet: the run broke off, perhaps over its settings."""
    other = next((key for key, value in now.items() if key in before and before[key] != value), None)
    if other is not None and not _holds_nothing_else(out):
        was, wanted = (str(value)[:80] for value in (before[other], now[other]))
        raise RunError(f"{out}: holds a run with another {other} ({was}, now {wanted}); give another --out")


def _holds_nothing_else(out: Path) -> bool:
    return set(_visible(out)) <= {RUN, CONFIG, PLAN, RECIPE}


def _visible(folder: Path) -> list[str]:
    """Names of what is in a folder, but for hidden files, which hold nothing of a run."""
    return sorted(path.name for path in folder.glob("[!.]*"))


def remove_leftovers(folder: Path) -> None:
    """What a kill in the middle of a write left."""
    for path in list(folder.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def atomic_write(path: Path, content: bytes | Callable[[IO[bytes]], None], *, once: bool = False) -> None:
    """Write a file under a temporary name, fsync, rename. A failure leaves the old file as it was.

    Before a process first writes into a folder, it removes what killed processes left half-written there.

    Parameters
    ----------
    content : the bytes, or a function that writes them to an open file
    once : leave a file that another process has written meanwhile; a disk that knows no links replaces it

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    temporary = half_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_halves_once(path.parent.resolve())
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not (once and _is_linked(temporary, path)):
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        kept = "; the file written before is untouched" if path.exists() else ""
        raise RunError(f"{path}: cannot be written ({error}){kept}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # is there after an error or Ctrl-C alone


def _is_linked(temporary: Path, path: Path) -> bool:
    """Give a file its name, unless that is taken; False where the disk knows no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        return False
    return True


def write_new(files: Mapping[Path, bytes]) -> None:
    """Write the files of a command that never overwrites: each is new, or holds the same already.

    Raises
    ------
    RunError
        In one line, if one holds anything else, before any is written; or if one cannot be written.
    """
    for path, content in files.items():
        if path.exists() and (path.is_dir() or path.read_bytes() != content):
            raise RunError(f"--out {path}: exists, and nothing is overwritten; give another --out")
    for path, content in files.items():
        atomic_write(path, content)


def write_json(path: Path, value: Any, *, once: bool = False, sealed: bool = False) -> None:
    """Write JSON as :func:`atomic_write` does, with a checksum if ``sealed``; NaN and infinities become null."""
    content = seal(finite(value)) if sealed else finite(value)
    atomic_write(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(), once=once)


_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, *, sealed: bool = True) -> Any:
    """Read JSON without its checksum; half a character, which no file can be written with, becomes a question mark.

    Parameters
    ----------
    sealed : whether the file may have a checksum; otherwise such a key is one of its own

    Raises
    ------
    RunError
        If the file is missing or damaged, or its checksum is not that of its content.
    """
    try:
        text = path.read_text()
        value = unseal(json.loads(text)) if sealed else json.loads(text)
        if _HALF.search(text):
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
        return value
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; is this the folder of a run?") from None
    except (OSError, *NOT_JSON) as error:
        raise RunError(f"{path}: damaged ({error})") from None


def finite(value: Any) -> Any:
    """The same value with every float that JSON cannot say as None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a ``.jsonl`` file; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Replace a ``.jsonl`` file."""
    atomic_write(path, "".join(json.dumps(finite(r)) + "\n" for r in records).encode())


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one record to a ``.jsonl`` file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            file.write(json.dumps(finite(record)) + "\n")
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error})") from None


def fingerprint(value: Any) -> str:
    """Short hash of any JSON value: equal fingerprints mean equal settings."""
    text = json.dumps(finite(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cpu() -> str:
    """The type of the CPU, whose instructions decide on the order of sums."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """What the numbers of a run may depend on besides its recipe."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in ("timm", "torchvision", "numpy", "scikit-learn", "pillow")},  # not imported
        "cpu": _cpu(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }
