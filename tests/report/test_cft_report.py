"""Reports of category-wise fine-tuning from synthetic run folders: complete, incomplete, hostile, huge, seen."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from helpers.cft_run_factory import UCM, make_cft_run, write_json
from helpers.pages import EVIL, Page, edit, page_of
from labelwise.errors import RunError
from labelwise.report.cft_plots import (
    Bins,
    ForestRow,
    Point,
    change_scatter,
    forest_plot,
    gain_scatter,
    reliability_plot,
)
from labelwise.report.cft_read import parse_results, read_cft_run
from labelwise.report.cft_summary import (
    clear_line,
    overstatement_line,
    overstatement_of,
    reasons_of,
    shorten,
    signed,
    verdict_of,
)
from labelwise.report.cft_terminal import cft_summary_lines, cft_table
from labelwise.report.html import compare_runs, write_report
from labelwise.report.markdown import markdown_table

PARTS = ["name", "objective", "method", "preset", "base", "seed", "seconds", "stages", "splits", "dim"]
PARTS += ["labels", "mean", "other", "calibration", "reliability", "counts", "warnings", "peak_memory_mb", "schema"]
KEYS = ["name", "status", "reason", "method", "known_positive", "unknown", "select", "test", "ece", "threshold"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_cft_run(tmp_path / "ucm-cft", categories=UCM)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_cft_run(tmp_path / "small-cft", categories=UCM[:5])


def results_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "results.json").read_text())


def printed(results: dict[str, Any], width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(cft_table(results))
    return console.export_text()


def scores(before: float, after: float, interval: list[float] | None = None, **more: Any) -> dict[str, Any]:
    return {"before": before, "after": after, "gain_interval": interval, **more}


def test_full_page_in_its_order(run: Path) -> None:
    source = page_of(run)
    page = Page(source)
    means = results_of(run)["mean"]
    headline = f"{100 * means['test']['before']:.2f} → {100 * means['test']['after']:.2f}"
    order = [
        "better on test",
        "overstates the gain by",
        "12 improved (on select), 4 kept the old head and 1 could not be fitted, in 1.2 s",
        headline,
        "Overstatement of select",
        "ship: 2 known positives",
        "Gain of AP on test",
        "Gain against known positives",
        "Before and after",
        "Reliability on test",
        "0.0188",
        "Every category",
        "max-f1",
        "What was not changed, and why",
        "no known positive in fit",
        "Evidence per category",
        "rank 16, pull 0",
        "19,661",
        "labelwise cft ucm.npz",
        "thresholds: max-f1",
    ]
    place = 0
    for said in order:
        place = source.find(said, place)
        assert place >= 0, said
    assert source.count("<details") == 16 + 2
    assert len(page.images) == 4 and all(image.get("aria-label") for image in page.images)
    assert len(page.ids) == len(set(page.ids))
    assert 'class="badge gain">improved' in source and 'class="badge mixed">not fitted' in source


def test_self_contained_and_reproducible(run: Path, tmp_path: Path) -> None:
    source = page_of(run)
    page = Page(source)
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    assert all(address.startswith("#") for address in page.addresses)
    assert "default-src 'none'" in source and str(tmp_path) not in source
    assert page_of(run) == source


@pytest.mark.parametrize(
    ("interval", "tone", "said"),
    [
        ([0.01, 0.08], "gain", "+1.00 to +8.00"),
        ([-0.08, -0.01], "loss", "−8.00 to −1.00"),
        ([-0.01, 0.08], "mixed", "includes 0"),
        ([0.0, 0.0], "mixed", "same as before"),
        (None, "open", "without an interval"),
    ],
)
def test_verdict(interval: list[float] | None, tone: str, said: str) -> None:
    found = verdict_of(parse_results({"mean": {"test": scores(0.5, 0.54, interval), "select": scores(0.5, 0.6)}}))
    assert found.tone == tone and said in found.sentence


def test_overstatement_is_named_either_way_and_when_the_categories_differ() -> None:
    def line(gain: float, **more: Any) -> str:
        mean = {"test": scores(0.5, 0.53, [0.0, 0.1], scored=17), "select": scores(0.5, 0.5 + gain, **more)}
        results = parse_results({"objective": "auc", "mean": mean})
        assert overstatement_of(results) == pytest.approx(gain - 0.03)
        return overstatement_line(results)

    assert "mean AUC gained +5.00 points: select overstates the gain by 2.00" in line(0.05, scored=17)
    assert "understates it by 1.00" in line(0.02, scored=17)
    assert "as much as on test" in line(0.03) and "difference is one" not in line(0.03, scored=17)
    assert "15 categories on select and 17 on test" in line(0.05, scored=15)


def test_what_test_makes_of_the_improved_categories() -> None:
    intervals = [[0.01, 0.2], [0.02, 0.2], [-0.2, -0.1], [-0.1, 0.1], None]
    items = [{"name": str(i), "status": "improved", "test": scores(0.5, 0.6, e)} for i, e in enumerate(intervals)]
    items.append({"name": "kept", "status": "unchanged", "test": scores(0.5, 0.5, [0.0, 0.0])})
    said = clear_line(parse_results({"categories": items}))
    assert "Of the 4 improved" in said and "2 are clearly better" in said
    assert "1 clearly worse" in said and "1 cannot be told" in said


def test_without_a_test_split(run: Path) -> None:
    def drop(value: dict[str, Any]) -> None:
        value["mean"]["test"] = None
        value["splits"]["test"] = 0
        for item in value["categories"]:
            item.pop("test")

    edit(run / "results.json", drop)
    source = page_of(run)
    Page(source)
    assert "nothing independent was measured" in source and "too good by construction" in source
    assert "Overstatement" not in source and "95% interval" not in source
    assert "nothing independent" in cft_summary_lines(results_of(run))[0]
    assert "95% interval" not in printed(results_of(run))
    assert "95% interval" not in markdown_table(run)


def test_a_test_split_that_scores_nothing(run: Path) -> None:
    def empty(value: dict[str, Any]) -> None:
        value["mean"]["test"] = {"before": None, "after": None, "gain_interval": None, "scored": 0}
        for item in value["categories"]:
            item["test"] = {"before": None, "after": None, "gain_interval": None, "positives": 0}

    edit(run / "results.json", empty)
    source = page_of(run)
    assert "No category could be scored on test" in source and "Gain of AP on" not in source


@pytest.mark.parametrize("part", PARTS)
def test_any_part_of_the_results_may_be_missing(small: Path, part: str) -> None:
    edit(small / "results.json", lambda value: value.pop(part))
    results = results_of(small)
    assert printed(results) and cft_summary_lines(results) and markdown_table(small)


@pytest.mark.parametrize("start", range(4))
def test_a_page_of_what_is_left(small: Path, start: int) -> None:
    def drop(value: dict[str, Any]) -> None:
        for part in PARTS[start::4]:
            value.pop(part)

    edit(small / "results.json", drop)
    Page(page_of(small))


@pytest.mark.parametrize("shift", range(5))
def test_any_key_of_a_category_may_be_missing_or_odd(small: Path, shift: int) -> None:
    def spoil(value: dict[str, Any]) -> None:
        for item in value["categories"]:
            for index, key in enumerate(KEYS):
                item[key] = [None, 7, "x", [1], {"a": 1}][(index + shift) % 5]

    edit(small / "results.json", spoil)
    Page(page_of(small))
    assert printed(results_of(small)) and markdown_table(small)


def test_only_categories_and_odd_types(tmp_path: Path) -> None:
    for results in ({"categories": []}, {"categories": [None, 3, {}], "mean": 1, "labels": [2], "warnings": "w"}):
        write_json(tmp_path / "bare" / "results.json", {"kind": "cft", **results})
        Page(page_of(tmp_path / "bare"))
        assert cft_summary_lines(results) and printed(results) and markdown_table(tmp_path / "bare")


def test_non_finite_numbers_are_dashes(run: Path) -> None:
    text = re.sub(
        r'"(before|after|gain|probability|ece_after)": [\d.]+', r'"\1": NaN', (run / "results.json").read_text()
    )
    (run / "results.json").write_text(text.replace('"seconds": 1.237', '"seconds": Infinity'))
    source = page_of(run)
    assert not re.search(r">[^<{]*\b(nan|inf|none)\b", source, flags=re.IGNORECASE)


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    names = [EVIL, "W" * 400, "猫" * 60, "two\nlines", "", "_a_ | $x^2$ </svg>", "last"]
    run = make_cft_run(tmp_path / "evil", categories=names)

    def poison(value: dict[str, Any]) -> None:
        value.update(name=EVIL, warnings=[EVIL], objective=EVIL, base=EVIL)
        value["stages"][EVIL] = 1.0
        for item in value["categories"]:
            item["reason"] = item["method"] = EVIL
            for one in item.get("evidence", []):
                one["candidate"] = EVIL

    edit(run / "results.json", poison)
    edit(run / "run.json", lambda value: value["environment"].update({EVIL: EVIL}))
    (run / "config.yaml").write_text(EVIL)
    source = page_of(run)
    assert "<script" not in source and "&lt;script&gt;alert" in source
    Page(source)
    table = markdown_table(run)
    assert not re.search(r"(?<!\\)<", table)
    rows = [line for line in table.splitlines() if line.startswith("| ")][3:]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {12}
    written = printed(results_of(run))
    assert max(map(len, written.splitlines())) <= 100
    assert "+15.0 to +23.3" in written and "not fitted" in written and "WWWWW…" in written


def test_thousands_of_categories_stay_a_small_page(tmp_path: Path) -> None:
    run = make_cft_run(tmp_path / "large", categories=[f"category {i:04d}" for i in range(2500)])
    source = page_of(run)
    Page(source)
    assert len(source) < 1_500_000
    assert "2,200 categories are left out here" in source and "2,000 of 2,499 categories are drawn" in source
    assert "The 30 that gained most and the 30 that gained least of 2,499" in source
    ranked = parse_results(results_of(run)).ranked
    for category in (*ranked[:150], *ranked[2499 - 150 : 2499]):
        assert f">{category.name}<" in source
    assert f">{ranked[150].name}<" not in source
    written = printed(results_of(run))
    assert "… 2,461 more" in written and ranked[0].name in written and ranked[2498].name in written
    assert len(written.splitlines()) < 50
    assert len(markdown_table(run).splitlines()) < 130


def test_order_is_by_test_gain_and_the_unscored_come_last() -> None:
    gains = {"a": 0.01, "b": -0.02, "c": 0.05, "d": None}
    items = [
        {"name": name, "status": "improved", "test": {"before": 0.5, "after": None if gain is None else 0.5 + gain}}
        for name, gain in gains.items()
    ]
    results = parse_results({"categories": items})
    assert [category.name for category in results.ranked] == ["c", "a", "b", "d"]
    first, hidden, last = results.excerpt(2)
    assert [[category.name for category in part] for part in (first, hidden, last)] == [["c"], ["a", "d"], ["b"]]
    first, hidden, last = results.excerpt(4)
    assert len(first) == 4 and not hidden and not last


def test_skipped_categories_are_grouped_by_reason(run: Path) -> None:
    items = [{"name": f"c{i}", "status": "not_fitted", "reason": f"reason {i % 20}"} for i in range(60)]
    items += [{"name": "odd", "status": "not_fitted"}, {"name": "fine", "status": "improved"}]
    groups = reasons_of(parse_results({"categories": items}), "not_fitted")
    assert sum(count for _, count, _ in groups) == 61 and groups[-1][0] == "other reasons"
    assert groups[0] == ("reason 0", 3, ["c0", "c20", "c40"])


def test_terminal_fits_and_says_what_matters(run: Path) -> None:
    written = printed(results_of(run))
    assert max(map(len, written.splitlines())) <= 100 and "…" not in written
    assert len([line for line in written.splitlines() if re.search(r"improved|kept|not fitted", line)]) == 17
    lines = cft_summary_lines(results_of(run))
    assert "95% interval +1.83 to +5.52" in lines[0] and "overstates" in lines[1]
    assert any(line.startswith("Warning: ship") for line in lines) and all("\n" not in line for line in lines)


def test_markdown(run: Path) -> None:
    (run / "run.json").unlink()
    table = markdown_table(run)
    assert "| water | not fitted | 0 | 121 |" in table and "| mean AUC | 94.10 → 95.70 | +1.60 |" in table
    assert table.count("\n| ") == 1 + 2 + 1 + 17


def test_broken_files(run: Path, tmp_path: Path) -> None:
    (run / "run.json").write_text("{")
    (run / "config.yaml").unlink()
    assert "run.json is there but could not be read" in page_of(run)
    with pytest.raises(RunError, match="not compared"):
        compare_runs([run, run], tmp_path / "both.html")
    edit(run / "results.json", lambda value: value.update(schema=9))
    with pytest.raises(RunError, match="schema 9"):
        write_report(run)
    write_json(run / "results.json", {"kind": "cft", "schema": 1})
    with pytest.raises(RunError, match=r"results\.json: has no list of 'categories'"):
        write_report(run)
    write_json(run / "results.json", {"kind": "refine", "rows": []})
    assert read_cft_run(run) is None


def test_numbers_as_a_person_reads_them() -> None:
    assert [signed(value) for value in (0.0421, -0.01, -0.0001, 0.0, None)] == ["+4.2", "−1.0", "0.0", "0.0", "–"]
    assert signed(0.0001, 2) == "+0.01"
    assert shorten("猫" * 10, 7) == "猫猫猫…" and shorten("name", 4) == "name"


@pytest.mark.parametrize("size", [0, 1, 2, 40])
def test_plots_of_little_or_odd_data(size: int) -> None:
    status = ["improved", "unchanged", "not_fitted"]
    rows = [ForestRow(f"${i}\\b <x>", status[i % 3], i / 50, (0.0, 1.0) if i % 2 else None) for i in range(size)]
    points = [Point(float(i**3), 0.5, status[i % 3]) for i in range(size)]
    bins = Bins("before", "ink", [i / 40 for i in range(size)], [0.5] * size, [10.0**i for i in range(size)])
    for svg in (
        forest_plot([*rows, ForestRow("gap")], unit="AP", key="a", alt='a "b" <c>'),
        gain_scatter(points, x_label="x", y_label="y", key="b", alt="b"),
        change_scatter([Point(0.5, 0.5, "improved")] * size, x_label="x", y_label="y", key="c", alt="c"),
        reliability_plot([bins] * 2, key="d", alt="d"),
    ):
        assert svg.startswith("<svg") and svg.endswith("</svg>") and "nan" not in svg
        Page(svg)


@pytest.mark.browser
def test_page_in_a_browser(run: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium executable")
    shot = tmp_path / "page.png"
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += " --disable-component-update --disable-sync --hide-scrollbars --window-size=1100,2400"
    command = [browser, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]
    subprocess.run([*command, write_report(run).as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(shot) as opened:
        picture = opened.convert("RGB")
    for top in range(0, 2400, 400):
        colours = picture.crop((0, top, 1100, top + 400)).quantize(32).convert("RGB").getcolors(maxcolors=64)
        assert colours is not None and len(colours) > 8
        assert max(count for count, _ in colours) < 0.97 * 1100 * 400
