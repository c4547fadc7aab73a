"""Open a run folder for a report: every file is optional but ``results.json``, and no number is ever non-finite."""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwise.errors import RunError
from labelwise.runs import CONFIG, RESULTS, RUN, SCHEMA, finite, read_json

MAX_PICTURE_BYTES = 2_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class GalleryItem:
    """One crop: the label it was given beside what the refinery believes.

    ``picture`` holds PNG bytes, or None for data without pictures; ``width`` and ``height`` are its size in pixels.
    ``top`` lists (class, probability), most probable first.
    """

    name: str
    given: str
    true: str | None
    top: tuple[tuple[str, float], ...]
    divergence: float | None
    picture: bytes | None
    width: int
    height: int


@dataclass(frozen=True)
class Gallery:
    """The crops of one seed on which the given label and the refinery differ most."""

    seed: str
    refinery: str
    items: tuple[GalleryItem, ...]


@dataclass(frozen=True)
class RunFolder:
    """What a report may use of a run.

    ``curves`` maps a row's (name, seed) to its epochs, one dictionary a line of ``metrics.jsonl``; ``notes`` says which
    files were there but could not be read.
    """

    path: Path
    results: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)
    config: str = ""
    curves: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    gallery: Gallery | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the folder's own name; never its place on the machine."""
        return self.path.resolve().name


def number(value: object) -> float | None:
    """Return a finite number as float and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def mapping(value: object) -> dict[str, Any]:
    """Return a dictionary as it is and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """Return a list as it is and an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """Return what a person would read for a JSON value; nothing for null."""
    return "" if value is None else str(value)


def _parse(raw: str) -> Any:
    return finite(json.loads(raw))


def read_results(run: Path) -> dict[str, Any]:
    """Read ``results.json`` of a run folder.

    Raises
    ------
    RunError
        The file is missing, is not JSON, has no rows, or is of a schema that this version does not know.
    """
    path = run / RESULTS
    try:
        found = _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "the run has not finished, or this is no run folder" if run.is_dir() else "there is no such folder"
        raise RunError(f"{path}: not found ({hint})") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: is not valid JSON ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise RunError(f"{path}: has no list of 'rows', so it is no result of `labelwise refine` or `labelwise train`")
    check_schema(path, found)
    found["rows"] = [row for row in found["rows"] if isinstance(row, dict)]
    return found


def results_of_kind(run: Path, kind: str) -> dict[str, Any] | None:
    """Return ``results.json`` of a run folder if it is of ``kind``; None for any other, and for what cannot be read."""
    try:
        found = finite(read_json(run / RESULTS))
    except (RunError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("kind") == kind else None


def check_schema(path: Path, results: dict[str, Any]) -> None:
    """Refuse results that another version wrote.

    Raises
    ------
    RunError
        They are of a schema that this version does not know.
    """
    if results.get("schema", SCHEMA) != SCHEMA:
        raise RunError(f"{path}: has schema {results['schema']!r}, this version of labelwise reads schema {SCHEMA}")


def read_about(run: Path, notes: list[str]) -> tuple[dict[str, Any], str]:
    """Return ``run.json`` and the text of ``config.yaml``, each empty where it is not there; one that is there but
    cannot be read becomes a note."""
    facts = _optional_json(run / RUN, notes)
    try:
        return facts, (run / CONFIG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return facts, ""
    except OSError as error:
        notes.append(f"{CONFIG} could not be read ({error.strerror or error}).")
        return facts, ""


def read_run(run: Path) -> RunFolder:
    """Read everything a report uses from a run folder.

    Raises
    ------
    RunError
        ``results.json`` cannot be used. Any other unreadable file becomes a note.
    """
    results = read_results(run)
    notes: list[str] = []
    facts, config = read_about(run, notes)
    curves = {}
    for row in results["rows"]:
        epochs = list(_epochs(_row_folder(run, row) / "metrics.jsonl"))
        if epochs:
            curves[row_key(row)] = epochs
    return RunFolder(run, results, facts, config, curves, _read_gallery(run, results["rows"], notes), tuple(notes))


def row_key(row: dict[str, Any]) -> tuple[str, str]:
    """Return the (name, seed) that tells a row from all others of its run."""
    return text(row.get("name")), text(row.get("seed"))


def _optional_json(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return mapping(_parse(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} is there but could not be read; the report does without it.")
        return {}


def _row_folder(run: Path, row: dict[str, Any]) -> Path:
    """Return a row's folder; a path that leaves the run is not followed."""
    usual = run / f"seed-{row.get('seed')}" / Path(text(row.get("name"))).name
    if not isinstance(row.get("path"), str):
        return usual
    named = run / row["path"]
    return named if named.resolve().is_relative_to(run.resolve()) else usual


def _epochs(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the epochs of a ``metrics.jsonl``; a line cut short by a kill is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            epoch = _parse(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(epoch, dict) and number(epoch.get("epoch")) is not None:
            yield epoch


def _read_gallery(run: Path, rows: list[dict[str, Any]], notes: list[str]) -> Gallery | None:
    """Return the gallery of the first seed that has one."""
    for seed in dict.fromkeys(text(row.get("seed")) for row in rows):
        folder = run / f"seed-{Path(seed).name}" / "gallery"
        found = _optional_json(folder / "gallery.json", notes)
        items = tuple(_gallery_item(folder, mapping(item)) for item in sequence(found.get("items")))
        if items:
            return Gallery(seed, text(found.get("refinery")), items)
    return None


def _gallery_item(folder: Path, item: dict[str, Any]) -> GalleryItem:
    top = []
    for pair in sequence(item.get("top")):
        if isinstance(pair, list) and len(pair) == 2 and (share := number(pair[1])) is not None:
            top.append((text(pair[0]), min(max(share, 0.0), 1.0)))
    true = item.get("true")
    picture, width, height = _picture(folder, item.get("file"))
    return GalleryItem(
        name=text(item.get("id")),
        given=text(item.get("given")),
        true=None if true is None else text(true),
        top=tuple(top),
        divergence=number(item.get("divergence")),
        picture=picture,
        width=width,
        height=height,
    )


def _picture(folder: Path, file: object) -> tuple[bytes | None, int, int]:
    """Return a PNG of the gallery folder with its width and height, or None where there is no such picture."""
    if not isinstance(file, str) or Path(file).name != file:
        return None, 0, 0
    path = folder / file
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            return None, 0, 0
        data = path.read_bytes()
    except (OSError, ValueError):
        return None, 0, 0
    if len(data) < 24 or not data.startswith(_PNG):
        return None, 0, 0
    width, height = struct.unpack(">II", data[16:24])
    return data, width, height
