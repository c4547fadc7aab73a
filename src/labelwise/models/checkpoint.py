"""Checkpoints: a folder with ``model.safetensors`` (keys as the network's own library has them) and ``model.json``.

``model.json`` says what the weights are: network, classes, normalisation, generation and lineage. timm loads the
weights as they are: ``timm.create_model(NAME, num_classes=K, checkpoint_path="model.safetensors")``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import warnings
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from labelwise.config import ModelConfig
from labelwise.errors import ModelError
from labelwise.models.by_order import matches_by_order, rename_by_order
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.models.foreign import Trust, refuse_foreign
from labelwise.models.head import split_head
from labelwise.models.hub import local
from labelwise.models.own_keys import own_keys
from labelwise.models.packed import is_packed, load_packed
from labelwise.models.zoo import build
from labelwise.runs import BEST, atomic_write, read_json, write_json
from labelwise.sealed import unseal
from labelwise.textfile import NOT_JSON

WEIGHTS, CARD = "model.safetensors", "model.json"
FORMAT = "labelwise-checkpoint"
WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and training frameworks put before every key of a network."""


def weights_hash(module: nn.Module) -> str:
    """Hash of every parameter and buffer: equal hashes mean equal behaviour in eval mode."""
    return _state_hash(module.state_dict())


def _state_hash(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save(folder: Path, model: Classifier, card: dict[str, Any]) -> None:
    """Write the checkpoint of ``model``; ``card`` adds what only the caller knows (generation, labels, lineage)."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.net.state_dict().items()}
    atomic_write(folder / WEIGHTS, safetensors.torch.save(state))
    known = {
        "format": FORMAT,
        "schema": 1,
        "network": model.network,
        "classes": list(model.classes),
        "input": model.spec.to_json(),
        "weights_hash": weights_hash(model.net),
    }
    write_json(folder / CARD, known | card, sealed=True)


def copy(source: Path, target: Path) -> None:
    """Write the checkpoint of the folder ``source`` to ``target``, over another one; nothing where it is there."""
    if (target / CARD).exists() and (target / CARD).read_bytes() == (source / CARD).read_bytes():
        return
    for name in (WEIGHTS, CARD):
        with (source / name).open("rb") as file:
            atomic_write(target / name, partial(shutil.copyfileobj, file))


def folder_of(path: Path | str) -> Path:
    """The folder of a checkpoint that is named by itself, by a file in it, by the run that chose it, or by the hub."""
    place = local(path)
    folder = place if place.is_dir() else place.parent
    return folder / BEST if not (folder / CARD).exists() and (folder / BEST / CARD).exists() else folder


def load(path: Path, trust: Trust = False) -> tuple[Classifier, dict[str, Any]]:
    """Read a checkpoint folder (or one of its two files), the best of a run, or a model folder of timm or transformers.

    Parameters
    ----------
    path : of the folder, of a run, or ``hf-hub:USER/NAME``
    trust : what may be built that the card describes, see :func:`labelwise.models.foreign.refuse_foreign`

    Raises
    ------
    ModelError
        If a file is missing or damaged, the weights are those of another architecture, or the network is not trusted.
    """
    folder = folder_of(path)
    card_file = folder / CARD
    if not card_file.exists() and is_packed(folder):
        model, weights, card = load_packed(folder, trust)
        if weights is not None:
            load_weights(model.net, read_weights(weights), str(weights))
        return model, card | {"network": model.network, "weights_hash": weights_hash(model.net)}
    try:
        card = unseal(json.loads(card_file.read_text()))
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise ModelError(f"{card_file}: not a labelwise checkpoint")
        config = ModelConfig(**(card["network"] | {"init": "random"}))
        spec, classes = InputSpec.from_json(card["input"]), tuple(card["classes"])
    except FileNotFoundError:
        raise ModelError(f"{folder}: no checkpoint here ({CARD} is missing)") from None
    except (OSError, *NOT_JSON, KeyError, TypeError) as error:
        raise ModelError(f"{card_file}: damaged ({type(error).__name__}: {error})") from None
    refuse_foreign(config.name, config.args, trust, str(card_file))
    model = build(config, classes, spec)
    model = Classifier(model.net, spec, classes, config.name, config.args, model.boost)
    load_weights(model.net, read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    _refuse_damage(weights_hash(model.net), card, folder)
    return model, card


def _refuse_damage(found: str, card: dict[str, Any], folder: Path) -> None:
    if card.get("weights_hash") not in (None, found):
        raise ModelError(f"{folder / WEIGHTS}: not the weights that {CARD} describes; damaged or replaced")


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors``, or from a ``torch.save`` file of plain tensors (never unpickled freely)."""
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        state = read_tensors(file)
    except FileNotFoundError:
        raise ModelError(f"{file}: no such file of weights") from None
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, BadZipFile) as error:
        raise ModelError(f"{file}: cannot be read as weights ({' '.join(str(error).split())[:120]})") from None
    except Exception as error:  # pickle.UnpicklingError and friends
        kind = type(error).__name__
        raise ModelError(f"{file}: refused, it holds more than tensors ({kind}); save its state dict alone") from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{file}: does not hold a state dict")
    for _ in range(len(WRAPPERS)):
        for wrapper in WRAPPERS:
            if state and all(key.startswith(wrapper) for key in state):
                state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def read_tensors(file: Path) -> Any:
    """What ``torch.save`` wrote, of tensors and plain values alone: a pickle of anything else is refused.

    Raises
    ------
    Exception
        Of many types, if the file is damaged: torch itself does not compare checksums, so a changed byte of a tensor
        would be read as another number.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as parts:
            if (damaged := parts.testzip()) is not None:
                raise BadZipFile(f"{damaged} is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a pickle that is refused anyway
        with torch.serialization.safe_globals([argparse.Namespace]):  # holds options, as timm writes them; runs nothing
            return torch.load(file, map_location="cpu", weights_only=True)


def load_weights(net: nn.Module, state: dict[str, Tensor], source: str, head: Collection[str] = ()) -> None:
    """Load ``state`` into ``net``, every key of it.

    Parameters
    ----------
    source : where ``state`` comes from, in messages
    head : keys that stay as they are in ``net`` where ``state`` has none, or those of another number of outputs

    Raises
    ------
    ModelError
        With the first key that does not fit.
    """
    own = net.state_dict()
    missing, unknown = sorted(own.keys() - state.keys() - set(head)), sorted(state.keys() - own.keys())
    if missing or unknown:
        key, what = (missing[0], "lacks") if missing else (unknown[0], "has an extra")
        hint = ""
        if matches_by_order(own, state, source, head):
            hint = "; its tensors match in order and shape, --weights-by-order (model.init_by_order=true) takes them so"
        raise ModelError(f"{source}: weights of another architecture ({what} {key!r}){hint}")
    kept = {key for key in head if key in own and (key not in state or len(state[key]) != len(own[key]))}
    state = state | {key: own[key] for key in kept}
    for key, value in own.items():
        if value.shape != state[key].shape:
            found, wanted = tuple(state[key].shape), tuple(value.shape)
            raise ModelError(f"{source}: {key} has shape {found}, the network needs {wanted}: another architecture?")
    net.load_state_dict(state)


def _weights_file(init: str) -> Path:
    """Of a checkpoint folder, or the file itself."""
    path = local(init)
    return folder_of(path) / WEIGHTS if path.is_dir() else path


def file_hash(init: str) -> str:
    """Hash of the weights that ``model.init`` names as a path.

    Raises
    ------
    ModelError
        If there are none.
    """
    file = _weights_file(init)
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from None


def initialise(model: Classifier, init: str, by_order: bool = False) -> None:
    """Apply ``model.init`` when it is a path: a labelwise checkpoint folder or a file of weights.

    A head for other classes, or none, leaves the network's own head as it is: random.

    Parameters
    ----------
    by_order : match the tensors of the file by their order, see :func:`labelwise.models.by_order.rename_by_order`

    Raises
    ------
    ModelError
        If it cannot be read, or is of another network.
    """
    if init in ("random", "pretrained"):
        return
    file = _weights_file(init)
    state, own = read_weights(file), model.net.state_dict()
    if file.name == WEIGHTS and (file.parent / CARD).exists():
        _refuse_damage(_state_hash(state), read_json(file.parent / CARD), file.parent)
    head: set[str] = set()
    if any(key not in state or state[key].shape[:1] != own[key].shape[:1] for key in own):
        with suppress(ModelError):  # its head is not one linear layer, so nothing may be missing
            head = {key for path in split_head(model.net, model.spec).paths for key in head_keys(path)}
    name = str(file)
    state = rename_by_order(own, state, name, head) if by_order else own_keys(model.net, state, name, head)
    load_weights(model.net, state, name, head)


def head_keys(path: str) -> tuple[str, str]:
    """Keys of weight and bias of the linear layer at ``path``."""
    return (f"{path}.weight", f"{path}.bias") if path else ("weight", "bias")
