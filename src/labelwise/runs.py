"""The run folder: atomic writes, JSON, lineage, what is finished. Every file appears whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from labelwise.errors import RunError

RESULTS, RUN, CONFIG, METRICS, ROW, REPORT = (
    "results.json",
    "run.json",
    "config.yaml",
    "metrics.jsonl",
    "row.json",
    "report.html",
)
RESUME = "resume.pt"
SCHEMA = 1


def atomic_write(path: Path, content: bytes | Callable[[IO[bytes]], None]) -> None:
    """Write a file under a temporary name, fsync, rename. A failure leaves the old file as it was.

    Parameters
    ----------
    content : the bytes, or a function that writes them to an open file

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        with contextlib.suppress(OSError):
            temporary.unlink()
        kept = "; the file written before is untouched" if path.exists() else ""
        raise RunError(f"{path}: cannot be written ({error}){kept}") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinities become null."""
    atomic_write(path, (json.dumps(finite(value), indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    RunError
        If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; is this the folder of a run?") from None
    except (OSError, ValueError) as error:
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


def environment() -> dict[str, Any]:
    """What the numbers of a run may depend on besides its recipe."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),  # not imported for its number: that takes seconds
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }
