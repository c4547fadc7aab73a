"""What can be reported, what is refused in one line, and pages of several runs."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from helpers.cft_run_factory import UCM, make_cft_run
from helpers.pages import Page, edit, page_of
from helpers.run_factory import make_run, write_json
from labelwise.errors import RunError
from labelwise.report.write import compare_runs, markdown_report, show, write_report

CLASSES = ["cat", "dog", "deer", "frog"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "digits-noisy", classes=CLASSES, seeds=2, generations=3, epochs=4)


def test_missing_or_broken_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for content in (None, "", "{", "[1]", '{"rows": 3}', '{"schema": 99, "rows": []}', "\xff"):
        if content is not None:
            path.write_bytes(content.encode("latin-1"))
        with pytest.raises(RunError) as caught:
            write_report(tmp_path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(RunError, match="no such folder"):
        write_report(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["refine", "cft"])
def test_a_damaged_field_is_refused_by_name(run: Path, tmp_path: Path, kind: str) -> None:
    run = run if kind == "refine" else make_cft_run(tmp_path / "cft", categories=UCM[:3])
    whole = (run / "results.json").read_text()
    lists = {"refine": "rows", "cft": "categories"}
    for key in json.loads(whole).keys() - {"calibration", "reliability"}:  # those of a test split alone
        edit(run / "results.json", lambda value, key=key: value.pop(key))
        with pytest.raises(RunError, match=rf"results\.json: .*{key}") as caught:
            write_report(run)
        assert "\n" not in str(caught.value)
        (run / "results.json").write_text(whole)
    edit(run / "results.json", lambda value: value[lists[kind]][0].update(name=[1]))
    with pytest.raises(RunError, match=rf"results\.json: {lists[kind]}\.0\.name: expected .*string"):
        markdown_report(run)


def test_a_run_without_a_report_is_named(tmp_path: Path) -> None:
    rows = {"how": "rank", "objective": "ap", "rows": [], "categories": []}
    write_json(tmp_path / "results.json", {"schema": 1, "kind": "ensemble", **rows})
    with pytest.raises(RunError, match="of kind 'ensemble', which has no report"):
        write_report(tmp_path)


def test_compare(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", classes=CLASSES, seeds=1, generations=3, epochs=4)
    (other / "config.yaml").write_text("data:\n  name: digits\ntrain:\n  epochs: 60\n")
    out = compare_runs([run, other], tmp_path / "pages" / "both.html")
    source = out.read_text()
    Page(source)
    assert "train.epochs" in source and "data.name" not in source
    assert "not the same data" not in source
    edit(other / "run.json", lambda value: value["data"].update(fingerprint="different"))
    assert "not the same data" in compare_runs([run, other], out).read_text()
    assert "digits-noisy (1)" in compare_runs([run, run], out).read_text()


def test_what_is_not_compared(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.html"
    with pytest.raises(RunError, match="at least one"):
        compare_runs([], out)
    with pytest.raises(RunError, match="not compared"):
        compare_runs([run, make_cft_run(tmp_path / "cft", categories=UCM[:3])], out)
    assert not out.exists()


def test_show_prints_table_lines_and_the_page(run: Path, tmp_path: Path) -> None:
    for folder, said in ((run, "not clearly better"), (make_cft_run(tmp_path / "cft", categories=UCM), "mAP on test")):
        console = Console(width=60, record=True, file=io.StringIO())
        show(folder, console)
        written = console.export_text()
        assert said in written and f"report: {folder / 'report.html'}" in written
        assert page_of(folder)
    assert "+15.0 to +23.3" in written  # as wide as it needs to be on a narrow terminal
