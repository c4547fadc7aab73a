"""Checkpoints on the Hugging Face hub: ``hf-hub:USER/NAME`` (or ``hf_hub:``), downloaded once into the hub's cache."""

from __future__ import annotations

from pathlib import Path

from labelwise.errors import ModelError

PREFIXES = ("hf-hub:", "hf_hub:")
_WANTED = ["*.json", "*.safetensors", "pytorch_model.bin"]


def repository(name: str) -> str | None:
    """``USER/NAME`` of ``hf-hub:USER/NAME``; None if ``name`` does not begin so."""
    return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), None)


def local(path: str | Path) -> Path:
    """The folder of a checkpoint on the hub, on this machine; any other path as it is.

    Raises
    ------
    ModelError
        If there is no such repository, or the hub cannot be reached and the cache does not have it.
    """
    name = repository(str(path))
    if name is None:
        return Path(path)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise ModelError(
            f"{path}: cannot be fetched from the Hugging Face hub ({reason_of(error)}); is the name right, the network"
            " up, and of a private one HF_TOKEN set? A folder on this machine works, too"
        ) from None


def reason_of(error: Exception) -> str:
    """The type of an error of the hub client, and its first words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
