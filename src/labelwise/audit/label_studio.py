"""Label Studio: an audit as tasks with predictions, and corrections from the annotations that it exports (JSON).

Formats: https://labelstud.io/guide/task_format and https://labelstud.io/guide/predictions. Images are served from a
folder, LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, as ``/data/local-files/?d=PATH``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from labelwise.audit.finished import Correction, FinishedAudit
from labelwise.audit.questions import Question
from labelwise.errors import DataError

MODEL_VERSION = "labelwise-audit"
LOCAL_FILES = "/data/local-files/?d="


def tasks(questions: Sequence[Question]) -> list[dict[str, Any]]:
    """The tasks to import: the suggestion is the prediction, and its score how likely the given label is wrong."""
    return [
        {
            "data": {"image": LOCAL_FILES + quote(one.path), "note": _note(one)},
            "meta": {"id": one.id},
            "predictions": [
                {
                    "model_version": MODEL_VERSION,
                    "score": one.score,
                    "result": [_choices(one.suggested)] if one.suggested else [],
                }
            ],
        }
        for one in questions
    ]


def _note(one: Question) -> str:
    """What stands above the image."""
    score = "" if one.score is None else f" ({one.score:.2f})"
    return f"given: {', '.join(one.given) or 'nothing'}. {one.verdict}{score}"


def _choices(chosen: Sequence[str]) -> dict[str, Any]:
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(chosen)}}


def labelling_setup(classes: Sequence[str], multi_label: bool) -> str:
    """The labelling configuration (XML) of a project for these tasks."""
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    kind = "multiple" if multi_label else "single"
    return (
        '<View>\n  <Header value="$note"/>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="label" toName="image" choice="{kind}" showInLine="true">\n{choices}\n  </Choices>\n</View>\n'
    )


def read_tasks(content: Sequence[Any], audit: FinishedAudit, where: str) -> list[Correction]:
    """Corrections from exported tasks.

    Annotations that were skipped (``was_cancelled``) or that a reviewer has rejected are left aside. Of one annotator
    the latest annotation holds; one that is marked as ground truth stands above those of all others.

    Raises
    ------
    DataError
        For a task without a sample of the audit, a class that does not exist, or annotators who disagree.
    """
    found: list[Correction] = []
    disputed: list[str] = []
    for number, task in enumerate(content):
        if not isinstance(task, dict) or not isinstance(task.get("annotations", []), list):
            raise DataError(f"{where}: task {number} is not one of Label Studio's JSON export; export as JSON")
        valid = _valid(task.get("annotations", []))
        if not valid:
            continue
        name = _sample(task, audit, f"{where}: task {task.get('id', number)}")
        answers = [audit.corrections(name, sorted(_chosen(one)), where) for one in valid]
        if any(answer != answers[0] for answer in answers):
            disputed.append(name)
        found += answers[0]
    if disputed:
        raise DataError(
            f"{where}: annotators disagree on {len(disputed)} samples, first {disputed[0]!r}; mark the right annotation"
            " as ground truth, or delete the others"
        )
    return found


def _valid(annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations that hold: one per annotator, or those that are ground truth."""
    latest: dict[str, dict[str, Any]] = {}
    for one in sorted(annotations, key=lambda one: str(one.get("updated_at") or one.get("created_at") or "")):
        reviews = one.get("reviews") or []
        if one.get("was_cancelled") or (reviews and reviews[-1].get("accepted") is False):
            continue
        latest[str(one.get("completed_by"))] = one
    truth = [one for one in latest.values() if one.get("ground_truth")]
    return truth or list(latest.values())


def _chosen(annotation: dict[str, Any]) -> set[str]:
    regions = annotation.get("result") or []
    return {name for one in regions if one.get("type") == "choices" for name in one["value"]["choices"]}


def _sample(task: dict[str, Any], audit: FinishedAudit, where: str) -> str:
    """The id of the sample of a task: that of its ``meta``, or else by the file of its image."""
    own = (task.get("meta") or {}).get("id")
    if own is not None:
        return audit.find(str(own), where)
    for value in _texts(task.get("data") or {}):
        address = urlsplit(value)
        return audit.find(parse_qs(address.query).get("d", [unquote(address.path)])[0], where)
    raise DataError(f"{where}: has neither meta.id nor an image")


def _texts(data: dict[str, Any]) -> Iterator[str]:
    """The values of a task's data that may name its image, ``image`` first."""
    yield from (data[key] for key in sorted(data, key=lambda key: key != "image") if isinstance(data[key], str))
