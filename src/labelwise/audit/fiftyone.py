"""FiftyOne: an audit as labels of its FiftyOneImageClassificationDataset, and corrections from such a file.

The format holds ``classes`` and, in ``labels`` by the image's path without its extension, a class, a list of classes
(``Classifications``) or null: https://docs.voxel51.com/user_guide/import_datasets.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from labelwise.audit.finished import Correction, FinishedAudit
from labelwise.audit.questions import Question
from labelwise.errors import DataError


def labels(questions: Sequence[Question], classes: Sequence[str], multi_label: bool) -> dict[str, Any]:
    """The suggestions as labels. What the audit says of the given label is in the attributes."""
    index = {name: k for k, name in enumerate(classes)}

    def said(one: Question, name: str) -> dict[str, Any]:
        attributes = {"given": ", ".join(one.given), "verdict": one.verdict, "score": one.score}
        return {"label": index[name], "attributes": attributes}

    found = {}
    for one in questions:
        entries = [said(one, name) for name in one.suggested]
        found[str(PurePosixPath(one.path).with_suffix(""))] = entries if multi_label else entries[0]
    return {"classes": list(classes), "labels": found}


def read_labels(content: dict[str, Any], audit: FinishedAudit, where: str) -> list[Correction]:
    """Corrections from a file of labels; a sample whose label is null is left aside.

    Raises
    ------
    DataError
        For an image that is not of the audit, or a class that does not exist.
    """
    names = content.get("classes")
    found: list[Correction] = []
    for image, told in content["labels"].items():
        if told is None:
            continue
        entries = told if isinstance(told, list) else [told]
        chosen = [_class_name(entry, names, f"{where}: {image!r}") for entry in entries]
        found += audit.corrections(audit.find(image, where), chosen, where)
    return found


def _class_name(entry: Any, names: Any, where: str) -> str:
    label = entry.get("label") if isinstance(entry, dict) else entry
    if isinstance(label, str):
        return label
    if isinstance(label, int) and isinstance(names, list) and 0 <= label < len(names):
        return str(names[label])
    raise DataError(f"{where} has the label {label!r}, which is neither a name nor a number of one of the classes")
