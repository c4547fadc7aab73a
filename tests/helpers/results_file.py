"""A ``results.json`` without the run that made it."""

from __future__ import annotations

from pathlib import Path

from labelwise.results import Record
from labelwise.runs import RESULTS, write_json


def write_results(folder: Path, results: Record) -> None:
    """Write the results as :meth:`labelwise.runs.Run.finish` does."""
    write_json(folder / RESULTS, results.to_json())
