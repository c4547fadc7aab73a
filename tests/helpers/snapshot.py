"""The content of a folder that two runs of one command must have in common."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

CLOCK = {"seconds", "control_seconds", "images_per_second", "crops_per_second", "stages", "peak_memory_mb"}
CLOCK |= {"environment", "command", "checksum"}
"""Keys of JSON that a clock or the machine decides on."""

TIME = re.compile(r"\b[\d,.]+ (s|min|h)\b")
NUMBER = re.compile(r"\d[\d,.]*")


def without_clock(value: Any) -> Any:
    """The same JSON without what a clock measured."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    if isinstance(value, list):
        return [without_clock(v) for v in value]
    return TIME.sub("TIME", value) if isinstance(value, str) else value


def snapshot(folder: Path) -> dict[str, Any]:
    """What is in every file, by its path inside ``folder``; numbers of a page stand in other files, too."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return without_clock(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [without_clock(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix in (".html", ".md"):
        return NUMBER.sub("0", path.read_text())
    return path.read_bytes()


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """One line for each file that is lost, too many, or different."""
    lines = [f"lost: {name}" for name in expected if name not in found]
    lines += [f"too many: {name}" for name in found if name not in expected]
    return lines + [f"different: {name}" for name in expected if name in found and found[name] != expected[name]]
