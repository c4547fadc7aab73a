"""Weights under a network's own keys: what wrappers put before them is taken off, and timm's converters are asked."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from labelwise.errors import ModelError
from labelwise.models.by_order import COUNTER


def own_keys(net: nn.Module, state: Mapping[str, Tensor], source: str, head: Collection[str]) -> dict[str, Tensor]:
    """The tensors of ``state`` that are the network's, under its keys; ``state`` as it is where nothing fits.

    One prefix may stand before all keys of the network (``module.``, ``model.``, ``net.``); what stands beside is then
    left out (losses and metrics of a Lightning module). For a network of timm, timm's own converter of published files
    is tried last: it takes the image towers of open_clip, weights of DINO and others.

    Parameters
    ----------
    source : the file, in messages
    head : keys of the network that the file may lack

    Raises
    ------
    ModelError
        If the file holds the network several times, under different prefixes.
    """
    needed = [key for key in net.state_dict() if key not in head and not key.endswith(COUNTER)]
    if not needed or needed[0] in state:
        return dict(state)
    before = [key.removesuffix(needed[0]) for key in state if key.endswith(f".{needed[0]}")]
    found = [prefix for prefix in before if all(prefix + key in state for key in needed)]
    if len(found) > 1:
        raise ModelError(f"{source}: holds the network {len(found)} times ({', '.join(found)}); save one of them")
    if found:
        return {key.removeprefix(found[0]): value for key, value in state.items() if key.startswith(found[0])}
    return _as_timm_has_them(net, state, needed) or dict(state)


def _as_timm_has_them(net: nn.Module, state: Mapping[str, Tensor], needed: list[str]) -> dict[str, Tensor] | None:
    module = type(net).__module__
    convert = getattr(sys.modules[module], "checkpoint_filter_fn", None) if module.startswith("timm.") else None
    if convert is None:
        return None
    try:
        converted: dict[str, Tensor] = convert(dict(state), net)
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError):
        return None  # not one of the kinds that timm knows
    own = net.state_dict()
    kept = {key: value for key, value in converted.items() if key in own}  # a text tower is nobody's here
    return kept if all(key in kept for key in needed) else None
