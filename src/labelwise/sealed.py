"""A checksum inside a JSON file, by which a byte that changed on the disk is found."""

from __future__ import annotations

import hashlib
import json
from typing import Any

KEY = "checksum"


def seal(value: dict[str, Any]) -> dict[str, Any]:
    """The same value, as JSON has it, with a checksum of all of it.

    Raises
    ------
    ValueError
        If the value has a key of that name itself.
    """
    content: dict[str, Any] = json.loads(json.dumps(value))  # keys are texts, tuples are lists: what will be read
    if KEY in content:
        raise ValueError(f"the value has a key {KEY!r} of its own, which a seal would replace")
    return content | {KEY: _checksum(content)}


def unseal(value: Any) -> Any:
    """The value without its checksum. One that has none stays as it is: another program or version wrote it.

    Raises
    ------
    ValueError
        If the checksum is not that of the rest.
    """
    if not isinstance(value, dict) or KEY not in value:
        return value
    content = {key: item for key, item in value.items() if key != KEY}
    if value[KEY] != _checksum(content):
        raise ValueError(f"its content is not the one it was written with; if you changed it, delete its {KEY!r}")
    return content


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
