"""What the tests of experiments read back: the files that tell a table, and how a difference is written there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelwise.report.experiment import gain_text
from labelwise.report.experiment_page import PICTURE, TABLE, write_experiment
from labelwise.report.read import read_folder
from labelwise.results import ExperimentResults, parse_results
from labelwise.results.experiment import Gain


def experiment_of(results: dict[str, Any]) -> ExperimentResults:
    found = parse_results(results, Path("results.json"))
    assert isinstance(found, ExperimentResults)
    return found


def write_tables(results: dict[str, Any], out: Path) -> tuple[Path, Path, Path]:
    page = write_experiment(experiment_of(results), read_folder(out))
    return out / TABLE, out / PICTURE, page


def told_as(found: dict[str, Any]) -> str:
    return gain_text(Gain(gain=found["gain"], interval=found["interval"]))
