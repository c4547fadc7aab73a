"""The neighbours of ``results.json`` in a run folder: each may be missing; one that is damaged becomes a note."""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zipfile import BadZipFile

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labelwise.results.refine import Epoch
from labelwise.runs import CONFIG, METRICS, RUN, read_lines

MAX_PICTURE_BYTES = 2_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


M = TypeVar("M", bound=_Model)


class Image(_Model):
    """Pixels and channels of the images of a run."""

    size: int
    channels: int


class AboutData(_Model):
    """What ``run.json`` says about the data."""

    name: str = ""
    fingerprint: str = ""
    classes: list[str] = []
    sizes: dict[str, int] = {}
    unreadable: list[str] = []
    given_label_accuracy: Share | None = None
    simulated_noise: str | None = None
    image: Image | None = None


class About(_Model):
    """What a report tells of ``run.json``: where a run comes from."""

    version: str = ""
    command: str = ""
    description: str = ""
    recipe_hash: str = ""
    jobs: int = 1
    data: AboutData = AboutData()
    environment: dict[str, Any] = {}

    def where(self, count: str) -> str:
        """Return torch, the device and a count of the environment: ``cores`` or ``threads``."""
        found = self.environment
        return f"torch {found.get('torch')}, {found.get('device')}, {found.get(count)} {count}"

    def lineage(self, more: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (what, value) pairs for the end of a page; ``more`` stand between command and environment."""
        pairs = {"Command": self.command, "labelwise": self.version, "Recipe hash": self.recipe_hash, **more}
        pairs |= {f"Environment: {key}": value for key, value in self.environment.items()}
        return [(what, str(value)) for what, value in pairs.items() if value not in ("", None)]


class Crop(_Model):
    """One crop of a gallery: the label it was given beside what the refinery believes, most probable class first.

    ``picture`` is a PNG as a ``data:`` address, None where there is no such picture; ``small`` ones have few pixels.
    ``steps`` are the first answer of every generation, with its probability and that of the given label.
    """

    id: str
    given: str
    true: str | None = None
    top: list[tuple[str, Share]]
    steps: list[tuple[str, str, Share, Share]] = []
    file: str | None = None
    picture: str | None = None
    small: bool = False

    @property
    def differs(self) -> bool:
        """Whether the refinery's first answer is another one than the given label."""
        return bool(self.top) and self.top[0][0] != self.given

    @property
    def right(self) -> str:
        """Which label is the true one: given, refined, both or neither; nothing where the truth is not known."""
        refined = bool(self.top) and self.top[0][0] == self.true
        found = {(True, True): "both", (True, False): "given", (False, True): "refined", (False, False): "neither"}
        return "" if self.true is None else found[self.given == self.true, refined]


class Gallery(_Model):
    """The crops on which the given label and the refinery differ most."""

    refinery: str = ""
    items: list[Crop]


@dataclass(frozen=True)
class Folder:
    """What a report may use of a run besides its results; ``notes`` says which files could not be read."""

    path: Path
    about: About = field(default_factory=About)
    config: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's own name; never its place on the machine."""
        return self.path.resolve().name


def read_folder(run: Path) -> Folder:
    """Read ``run.json`` and ``config.yaml`` of a run folder."""
    folder = Folder(run)
    config = run / CONFIG
    about = _optional(run / RUN, About, folder.notes) or About()
    return replace(folder, about=about, config=config.read_text(errors="replace") if config.is_file() else "")


def read_epochs(network: Path, notes: list[str]) -> list[Epoch]:
    """Read ``metrics.jsonl`` in the folder of a network; without the file there are no epochs."""
    try:
        return [Epoch.model_validate(line) for line in read_lines(network / METRICS)]
    except (OSError, ValueError):
        notes.append(f"{METRICS} of {network.name} is there but could not be read; the report does without it.")
        return []


def read_gallery(seed: Path, notes: list[str]) -> Gallery | None:
    """Read the gallery in the folder of a seed, with its pictures."""
    folder = seed / "gallery"
    found = _optional(folder / "gallery.json", Gallery, notes)
    if found is None:
        return None
    return found.model_copy(update={"items": [_with_picture(folder, crop) for crop in found.items]})


def read_thumbnails(run: Path, notes: list[str]) -> dict[str, str]:
    """Read ``thumbnails.npz`` of an audit: JPEG as base64 by id; what is no JPEG is left out."""
    import numpy as np

    path = run / "thumbnails.npz"
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as found:
            ids, blob, offset = found["id"].tolist(), found["jpeg"].tobytes(), found["offset"].tolist()
        files = [blob[start:stop] for start, stop in itertools.pairwise(offset)]
        pairs = zip(map(str, ids), files, strict=True)
        return {name: base64.b64encode(file).decode("ascii") for name, file in pairs if file.startswith(_JPEG)}
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        notes.append(f"{path.name} is there but could not be read; the report does without it.")
        return {}


def _with_picture(folder: Path, crop: Crop) -> Crop:
    """A name or a link that leaves the gallery's folder is not followed."""
    path = folder / (crop.file or "")
    try:
        inside = crop.file is not None and path.resolve().parent == folder.resolve()
        data = path.read_bytes() if inside and path.stat().st_size <= MAX_PICTURE_BYTES else b""
    except (OSError, ValueError):
        data = b""
    if len(data) < 24 or not data.startswith(_PNG):
        return crop
    picture = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    return crop.model_copy(update={"picture": picture, "small": max(struct.unpack(">II", data[16:24])) < 64})


def _optional(path: Path, model: type[M], notes: list[str]) -> M | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        notes.append(f"{path.name} is there but could not be read; the report does without it.")
        return None
