"""What is said of an audit, and what its page holds; `test_audit_browser` works with the page."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from helpers.audit_factory import CLASSES, audit_frame, audit_results, make_audit, pictures, write_audit
from helpers.pages import EVIL, Page, edit, page_of
from labelwise.audit.thumbnails import write_thumbnails
from labelwise.errors import RunError
from labelwise.report.audit import confusions, said_lines, stop_of, summary_lines, verdict_of
from labelwise.report.write import compare_runs, markdown_report, show, write_report
from labelwise.results import AuditResults, read_results
from labelwise.results.audit import Expected, NoiseRate


def data_of(source: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def with_expected(results: AuditResults, *pairs: tuple[int, float]) -> AuditResults:
    expected = tuple(Expected(depth=depth, wrong=wrong, interval=(None, None)) for depth, wrong in pairs)
    return results.model_copy(update={"expected": expected})


@pytest.fixture
def results() -> AuditResults:
    return audit_results(audit_frame(200, CLASSES), CLASSES)


@pytest.mark.parametrize(
    ("pairs", "stop", "said"),
    [
        ([(100, 90.0), (200, 150.0), (300, 190.0)], 200, "A place to stop: 200. Up to there about 150 are wrong; of"),
        ([(100, 90.0), (200, 150.0)], 200, "one label in two is wrong down to place 200"),
        ([(100, 49.0), (200, 150.0)], None, "Even at the top"),
        ([], None, ""),
    ],
)
def test_where_to_stop(results: AuditResults, pairs: list[tuple[int, float]], stop: int | None, said: str) -> None:
    changed = with_expected(results, *pairs)
    found = stop_of(changed)
    assert (found and found.depth) == stop
    assert said in " ".join(said_lines(changed))


def test_the_verdict_tells_rate_and_interval(results: AuditResults) -> None:
    rate = NoiseRate(estimate=0.125, interval=(0.1, 0.15))
    sentence = verdict_of(results.model_copy(update={"noise_rate": rate, "labels": 2000})).sentence
    assert sentence == "About 250 of 2,000 known labels are wrong: 12.5%, 95% interval 10.0% to 15.0%."
    unknown = NoiseRate(estimate=None, interval=(None, None))
    assert "could not be estimated" in verdict_of(results.model_copy(update={"noise_rate": unknown})).sentence


def test_confusions_are_sorted_and_leave_out_the_diagonal(results: AuditResults) -> None:
    matrix = ((0.9, 0.1, 0.0), (0.3, 0.6, 0.1), (0.0, 0.0, 1.0))
    changed = results.model_copy(update={"transition": matrix, "classes": results.classes[:3]})
    names = [one.name for one in results.classes]
    expected = [(names[1], names[0], 0.3), (names[0], names[1], 0.1), (names[1], names[2], 0.1)]
    assert [tuple(one) for one in confusions(changed)] == expected


@pytest.mark.parametrize("many", [False, True])
def test_the_page_holds_the_list(tmp_path: Path, many: bool) -> None:
    folder = make_audit(tmp_path / "audit", rows=120, many=many, thumbnails=20)
    source = page_of(folder)
    page = Page(source)
    assert page.addresses == [] and len(set(page.ids)) == len(page.ids)
    data, frame = data_of(source), audit_frame(120, CLASSES, many=many)
    names, columns = data["names"], data["columns"]
    assert columns["id"] == frame["id"].tolist()
    for key in ("given", "suggested"):
        assert ["" if place < 0 else names["label"][place] for place in columns[key]] == frame[key].tolist()
    for key in ("verdict", "split", *(["category"] if many else [])):
        assert [names[key][place] for place in columns[key]] == frame[key].tolist()
    for key in ("score", "p_given", "p_suggested", "agreement"):
        np.testing.assert_allclose(np.array(columns[key], dtype=float), frame[key], atol=5.1e-5)
    shown = list(dict.fromkeys(frame["id"]))[:20]
    assert {name for name, place in zip(columns["id"], columns["picture"], strict=True) if place >= 0} == set(shown)
    assert len(data["pictures"]) == len(shown) == (12 if many else 20)
    assert source == write_report(folder).read_text(encoding="utf-8")


def test_nothing_of_the_data_is_markup(tmp_path: Path) -> None:
    names = [EVIL, "</script><b>", "‮abc", "x" * 10_000, "a \"b\", 'c'"]
    frame = audit_frame(40, names)
    ids = [f'{EVIL}</script>\u2028{number},\n"{"y" * 300}' for number in range(1, len(frame))]
    frame["id"] = pd.Series(["caf\udce9.png", *ids], dtype=object)
    write_audit(tmp_path / "audit", frame, names)
    source = page_of(tmp_path / "audit")
    Page(source)
    assert "<script>alert" not in source and source.count("</script>") == 2
    data = data_of(source)
    assert data["columns"]["id"] == frame["id"].tolist()
    assert set(names) <= set(data["names"]["label"])


def test_a_page_stays_small(tmp_path: Path) -> None:
    frame = audit_frame(12_000, CLASSES)
    write_audit(tmp_path / "audit", frame, CLASSES)
    noise = np.random.default_rng(0).integers(0, 255, (500, 128, 128, 3), dtype=np.uint8)
    write_thumbnails(pictures(frame["id"].head(500).tolist(), noise), np.arange(500), tmp_path / "audit")
    source = page_of(tmp_path / "audit")
    assert len(source.encode()) < 5_000_000
    data = data_of(source)
    assert len(data["columns"]["id"]) == 10_000 and len(data["pictures"]) == 500
    assert "2,000 more" in source
    long = frame.head(600).assign(id=[f"{number:>10000}" for number in range(600)])
    write_audit(tmp_path / "long", long, CLASSES)
    assert len(page_of(tmp_path / "long").encode()) < 5_000_000


def test_decisions_are_kept_when_the_same_audit_is_run_again(tmp_path: Path) -> None:
    """The key under which a browser keeps them depends on the list alone, not on how long an audit took."""
    folder = make_audit(tmp_path / "audit", rows=20, thumbnails=0)
    first = data_of(page_of(folder))["key"]
    edit(folder / "results.json", lambda value: value.update(seconds=72.0))
    assert data_of(page_of(folder))["key"] == first
    assert data_of(page_of(make_audit(tmp_path / "other", rows=21, thumbnails=0)))["key"] != first


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "audit", rows=20, thumbnails=3)
    (folder / "thumbnails.npz").write_bytes(b"no archive")
    source = page_of(folder)
    assert "thumbnails.npz is there but could not be read" in source and data_of(source)["pictures"] == []
    (folder / "audit.csv").unlink()
    with pytest.raises(RunError, match=r"audit\.csv: no such file"):
        write_report(folder)


def test_terminal_and_markdown(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "audit", rows=300, thumbnails=0)
    console = Console(width=100, record=True, file=io.StringIO())
    show(folder, console)
    written = console.export_text()
    results = read_results(folder)
    assert isinstance(results, AuditResults)
    for line in [*summary_lines(results), f"report: {folder / 'report.html'}"]:
        assert line in written
    assert re.search(r"cat +\d+ +\d+ +\d+\.\d +deer", written)
    said = markdown_report(folder)
    assert "| wrong |" in said and "| truck | airplane | 10.4 |" in said
    with pytest.raises(RunError, match="`labelwise audit` has a report of its own"):
        compare_runs([folder], tmp_path / "both.html")


def test_classes_beyond_the_page_are_counted(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(320)]
    frame = audit_frame(400, names)
    write_audit(tmp_path / "audit", pd.DataFrame(frame), names)
    source = page_of(tmp_path / "audit")
    assert "… 20 more" in source and "Commonest confusions" in source
