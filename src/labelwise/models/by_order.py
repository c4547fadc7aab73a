"""Weights of another library for the same network: tensors are matched by their order, whatever their keys."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from itertools import zip_longest

from torch import Tensor

from labelwise.errors import ModelError

COUNTER = "num_batches_tracked"
"""Buffer of a batch norm that some libraries leave out; nothing depends on it in eval mode."""

SORTED = ".safetensors"

ROLES = {"weight", "bias", "running_mean", "running_var", COUNTER}
"""Last parts of a key that must agree where both keys end in one: many tensors of a layer have one shape."""


State = Mapping[str, Tensor]


def rename_by_order(own: State, state: State, source: str, head: Collection[str], stem: str = "") -> dict[str, Tensor]:
    """The tensors of ``state`` under the network's own keys, matched by order, and a warning on stderr that says so.

    Parameters
    ----------
    own : state dict of the network
    state : of the file, in the order of its network
    source : the file, in messages
    head : keys of ``own`` that the file may lack, or have with another number of outputs
    stem : key of ``own`` that may have another number of input channels

    Returns
    -------
    ``state`` renamed; without the head where the file has none, and with the network's own counters of batches where it
    has none

    Raises
    ------
    ModelError
        With the first pair that does not match: index, keys and shapes. For a ``.safetensors`` file, whose tensors are
        sorted by name.
    """
    if source.endswith(SORTED):
        raise ModelError(
            f"{source}: a {SORTED} file sorts its tensors by name, so their order says nothing; --weights-by-order"
            " needs a file of torch.save"
        )
    ours, theirs = _pairs(own, state, head)
    free = {*head, stem}
    for index, (key, other) in enumerate(zip_longest(ours, theirs)):
        if key is None or other is None or not _match(key, own[key], other, state[other], free):
            found, wanted = _described(other, state), _described(key, own)
            raise ModelError(f"{source}: does not match by order: tensor {index} is {found}, the network's is {wanted}")
    renamed = {key: state[other] for key, other in zip(ours, theirs, strict=True)}
    counters, found_counters = ([key for key in values if key.endswith(COUNTER)] for values in (own, state))
    same = len(counters) == len(found_counters)
    renamed |= {key: state[found_counters[i]] if same else own[key] for i, key in enumerate(counters)}
    other, key = next(((other, key) for key, other in zip(ours, theirs, strict=True) if key != other), ("", ""))
    if key:
        print(
            f"warning: {source}: its {len(ours)} tensors are matched by order and shape alone, not by their keys; the"
            f" first that differ are {other!r} and {key!r}. Check the scores.",
            file=sys.stderr,
        )
    return renamed


def matches_by_order(own: State, state: State, source: str, head: Collection[str]) -> bool:
    """Whether `rename_by_order` would take these tensors."""
    ours, theirs = _pairs(own, state, head)
    return (
        not source.endswith(SORTED)
        and len(ours) == len(theirs)
        and all(_match(key, own[key], other, state[other], head) for key, other in zip(ours, theirs, strict=True))
    )


def _pairs(own: State, state: State, head: Collection[str]) -> tuple[list[str], list[str]]:
    """Keys of both in order, without counters; without our head where the file has so many tensors fewer."""
    ours, theirs = ([key for key in values if not key.endswith(COUNTER)] for values in (own, state))
    headless = [key for key in ours if key not in head]
    return (headless if len(theirs) == len(headless) else ours), theirs


def _match(key: str, value: Tensor, other: str, found: Tensor, free: Collection[str]) -> bool:
    """Whether roles and shapes agree; of a key in ``free``, only the number of axes."""
    roles = key.rpartition(".")[2], other.rpartition(".")[2]
    if roles[0] != roles[1] and ROLES.issuperset(roles):
        return False
    return value.shape == found.shape or (key in free and value.ndim == found.ndim)


def _described(key: str | None, state: State) -> str:
    return "missing" if key is None else f"{key!r} of shape {tuple(state[key].shape)}"
