"""``labelwise push``: a checkpoint to the Hugging Face hub, as timm has it there, with a model card."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from labelwise.errors import ConfigError, ModelError
from labelwise.export.card import find_run, model_card
from labelwise.export.network import README, TIMM_CONFIG, export
from labelwise.models import checkpoint
from labelwise.models.hub import reason_of
from labelwise.runs import atomic_write

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PUSHED = [checkpoint.WEIGHTS, checkpoint.CARD, TIMM_CONFIG]


@dataclass(frozen=True)
class Pushed:
    """The folder that was pushed, and its address; None for a dry run."""

    folder: Path
    address: str | None


def push(
    model: Path,
    name: str,
    *,
    out: Path | None = None,
    private: bool = False,
    dry_run: bool = False,
    trust: bool = False,
) -> Pushed:
    """Export a checkpoint, write its model card, and upload both; a card that is on the hub already is left as it is.

    Parameters
    ----------
    model : checkpoint folder
    name : ``USER/NAME`` on the hub
    out : folder that is written, see :func:`labelwise.export.network.export`
    private : make a new repository private
    dry_run : write the folder and upload nothing
    trust : whether code that the checkpoint names as its network may be run

    Raises
    ------
    LabelwiseError
        If the name is none, the checkpoint cannot be exported, or the hub refuses.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"push: {name!r} is no name on the hub; expected USER/NAME")
    done = export(model, out, trust_code=trust)
    classifier, card = checkpoint.load(done.folder, trust=True)
    found = find_run(model, str(card["weights_hash"]))
    atomic_write(done.folder / README, model_card(name, classifier, card, found, done.timm).encode())
    return Pushed(done.folder, None if dry_run else _upload(done.folder, name, private))


def _upload(folder: Path, name: str, private: bool) -> str:
    from huggingface_hub import HfApi

    try:
        api = HfApi(library_name="labelwise")
        address = str(api.create_repo(name, private=private, exist_ok=True))
        own_card = api.file_exists(name, README)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=_PUSHED if own_card else [*_PUSHED, README],
            commit_message="Checkpoint of labelwise",
        )
    except Exception as error:  # the hub client raises a dozen unrelated types
        advice = "log in by `hf auth login` or set HF_TOKEN"
        if "HF_ENDPOINT" in os.environ:  # a hub of one's own
            advice += "; set HF_HUB_DISABLE_XET=1 for a hub that takes large files by Git LFS alone"
        raise ModelError(
            f"push: the Hugging Face hub did not take {name} ({reason_of(error)}); {advice}. What was to be pushed lies"
            f" in {folder}"
        ) from None
    return address
