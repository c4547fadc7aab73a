"""What an audit exchanges with the tools that people review labels in: Label Studio and FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from labelwise.audit import fiftyone, label_studio
from labelwise.audit.finished import Correction, FinishedAudit
from labelwise.audit.questions import Question
from labelwise.errors import DataError, RunError
from labelwise.runs import write_new
from labelwise.textfile import NOT_JSON

Tool = Literal["label-studio", "fiftyone"]


def default_root(audit: FinishedAudit, tool: Tool) -> Path:
    """The folder that images are named from: the one they have in common, or above it for Label Studio, which refuses
    to serve all of its document root."""
    own = Path(audit.root).absolute()
    return own.parent if tool == "label-studio" else own


def write_export(audit: FinishedAudit, asked: Sequence[Question], tool: Tool, out: Path) -> list[Path]:
    """Write the file that ``tool`` imports; for Label Studio also the labelling configuration beside it, as .xml.

    Raises
    ------
    RunError
        If ``out`` is no .json file, or one of the files holds anything else already.
    """
    if out.suffix.lower() != ".json":
        raise RunError(f"--out {out}: expected a .json file")
    if tool == "fiftyone":
        files = {out: _json(fiftyone.labels(asked, audit.classes, audit.multi_label))}
    else:
        setup = label_studio.labelling_setup(audit.classes, audit.multi_label)
        files = {out: _json(label_studio.tasks(asked)), out.with_suffix(".xml"): setup.encode()}
    write_new(files)
    return list(files)


def read_export(path: Path, audit: FinishedAudit) -> list[Correction]:
    """Corrections from the JSON that Label Studio or FiftyOne exports; which of them it is, its content says.

    Raises
    ------
    DataError
        In one line: a file that is missing, damaged or of another kind, an unknown sample or class, a contradiction.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, *NOT_JSON) as error:
        raise DataError(f"{path}: damaged or not JSON ({error})") from None
    try:
        if isinstance(content, list):
            return label_studio.read_tasks(content, audit, str(path))
        if isinstance(content, dict) and isinstance(content.get("labels"), dict):
            return fiftyone.read_labels(content, audit, str(path))
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: has not the layout of an export ({type(error).__name__}: {error})") from None
    raise DataError(
        f"{path}: neither a JSON export of Label Studio (a list of tasks) nor labels of a"
        " FiftyOneImageClassificationDataset"
    )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="surrogateescape")
