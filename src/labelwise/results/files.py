"""Results and their files. Only this module reads a ``results.json``; :meth:`labelwise.runs.Run.finish` writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from labelwise.errors import RunError
from labelwise.results.audit import AuditResults
from labelwise.results.cft import CftResults, EnsembleResults
from labelwise.results.evaluate import EvaluateResults
from labelwise.results.experiment import ExperimentResults
from labelwise.results.features import FeaturesResults
from labelwise.results.label import LabelResults
from labelwise.results.record import Record
from labelwise.results.refine import RefineResults, Row
from labelwise.runs import RESULTS, RUN, SCHEMA, check_out_file, read_json

Results = (
    RefineResults
    | CftResults
    | EnsembleResults
    | ExperimentResults
    | FeaturesResults
    | EvaluateResults
    | AuditResults
    | LabelResults
)

R = TypeVar("R", bound=Record)

_ANY: TypeAdapter[Results] = TypeAdapter(Annotated[Results, Field(discriminator="kind")])
_KINDS = ("refine", "train", "cft", "ensemble", "experiment", "features", "evaluate", "audit", "label")


@dataclass(frozen=True)
class RunFolder:
    """A finished run: where it is, its results, and ``run.json`` (data, environment, command)."""

    path: Path
    results: Results
    facts: dict[str, Any]


def open_run(folder: str | Path) -> RunFolder:
    """Read a finished run.

    Parameters
    ----------
    folder : of ``labelwise refine``, ``train``, ``cft``, ``ensemble``, ``experiment``, ``features``, ``audit`` or
        ``label``

    Returns
    -------
    the run, with ``results`` as a type: ``open_run(RUN).results.rows[0].test.top1``

    Raises
    ------
    RunError
        In one line, if the folder is not that of a finished run, or a file of it is damaged.
    """
    path = Path(folder)
    return RunFolder(path, read_results(path), read_json(path / RUN))


def read_results(folder: Path) -> Results:
    """The results of a finished run, checked.

    Raises
    ------
    RunError
        In one line, with the file and the key that is unknown, missing or of another type.
    """
    file = folder / RESULTS
    if not file.exists():
        hint = "the run has not finished, or this is no run folder" if folder.is_dir() else "there is no such folder"
        raise RunError(f"{file}: not found ({hint})")
    return parse_results(read_json(file, sealed=False), file)


def read_results_as(folder: Path, kind: type[R]) -> R:
    """The results of a finished run of one kind, such as ``CftResults``; see :func:`read_results`.

    Raises
    ------
    RunError
        Also if they are of another kind.
    """
    found = read_results(folder)
    if not isinstance(found, kind):
        raise RunError(f"{folder / RESULTS}: is of a run of `labelwise {found.kind}`, expected {kind.__name__}")
    return found


def read_row(file: Path) -> Row:
    """The ``row.json`` of a finished network, checked.

    Raises
    ------
    RunError
        As :func:`read_results`.
    """
    try:
        return Row.model_validate(read_json(file))
    except ValidationError as error:
        raise RunError(f"{file}: {_in_words(error)}") from None


def parse_results(content: Any, file: Path) -> Results:
    """Results from the content of ``file``, which errors name; see :func:`read_results`."""
    if not isinstance(content, dict):
        raise RunError(f"{file}: expected a mapping of results, got {type(content).__name__}")
    kind, schema = content.get("kind"), content.get("schema")
    if schema != SCHEMA:
        raise RunError(f"{file}: has schema {schema!r}, this version of labelwise reads schema {SCHEMA}")
    if kind not in _KINDS:
        raise RunError(f"{file}: has kind {kind!r}, expected one of {', '.join(_KINDS)}")
    try:
        return _ANY.validate_python({key: value for key, value in content.items() if key != "schema"})
    except ValidationError as error:
        raise RunError(f"{file}: {_in_words(error)}") from None


def check_scores_file(out: Path) -> None:
    """Refuse to write scores where something else is, before anything is computed.

    Raises
    ------
    RunError
        If there is a folder, or a file that does not hold scores of ``labelwise evaluate``.
    """
    check_out_file(out, "scores of `labelwise evaluate`", _is_scores)


def _is_scores(text: str) -> bool:
    found = json.loads(text)
    return isinstance(found, dict) and found.get("kind") == "evaluate"


def _in_words(error: ValidationError) -> str:
    """The first problem, in one line."""
    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"]]
    key = ".".join(keys[1:] if keys and keys[0] in _KINDS else keys)
    again = "another version of labelwise wrote it; run the command again"
    if first["type"] == "missing":
        return f"the key {key!r} is missing; {again}"
    if first["type"] == "extra_forbidden":
        return f"the key {key!r} is unknown; {again}"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{key}: expected {expected}, got {str(first['input'])[:60]!r}"
