"""Networks that a file describes, perhaps a stranger's: what it names is built only where it cannot run code.

A network by import path is code, and an argument of a constructor may be a path, an address or a pickle. Both are
taken from the user's own recipe and command line, or with ``--trust-code``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from labelwise.config import ModelConfig, is_import_path
from labelwise.errors import ModelError

Trust = bool | Sequence[ModelConfig]
"""Whether any network may be built that a file describes; or those that the user's own recipe names."""

_WORD = re.compile(r"[\w-]*")
_LOCATIONS = {"checkpoint_path", "cache_dir", "file", "source", "url", "weights", "weights_backbone"}
"""Arguments of timm's and torchvision's constructors that say where something is read from."""


def refuse_foreign(name: str, args: dict[str, Any], trust: Trust, where: str) -> None:
    """Refuse a network of ``where`` that may run code, or read a file that is not its own.

    Parameters
    ----------
    name, args : as a recipe's ``model`` has them
    trust : what may be built all the same
    where : the file that describes the network, for the message

    Raises
    ------
    ModelError
        If the network is an import path, or an argument is more than numbers and words.
    """
    if trust is True or (trust is not False and any((own.name, own.args) == (name, args) for own in trust)):
        return
    if is_import_path(name):
        raise ModelError(
            f"{where}: the network is code, {name}, which is not run unless you trust it; then give --trust-code"
        )
    refuse_foreign_args(args, where)


def refuse_foreign_args(args: dict[str, Any], where: str) -> None:
    """Refuse arguments of a constructor that name a file, an address or anything else than a number or a word.

    Raises
    ------
    ModelError
        With the argument.
    """
    for key, value in _leaves(args):
        if key.rpartition(".")[2] in _LOCATIONS or (isinstance(value, str) and not _WORD.fullmatch(value)):
            raise ModelError(
                f"{where}: model.args {key}={value!r} may name a file or an address; give --trust-code if you trust it"
            )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings and lists, with the keys that lead there."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value
