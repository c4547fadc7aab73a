"""Reports of category-wise fine-tuning from synthetic run folders: complete, incomplete, hostile, huge, seen."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers.cft_run_factory import UCM, make_cft_run
from helpers.pages import EVIL, Page, edit, page_of
from labelwise.report import cft
from labelwise.report.cft import Run, clear_line, overstatement_line, overstatement_of, reasons_of, verdict_of
from labelwise.report.table import terminal
from labelwise.report.write import markdown_report
from labelwise.results import CftResults, read_results
from labelwise.results.cft import CategoryScores, MeanScore, SplitMeans


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_cft_run(tmp_path / "ucm-cft", categories=UCM)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_cft_run(tmp_path / "small-cft", categories=UCM[:5])


def results_of(run: Path) -> CftResults:
    results = read_results(run)
    assert isinstance(results, CftResults)
    return results


def printed(run: Path, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal(cft.category_table(Run(results_of(run)), "terminal")))
    return console.export_text()


def means(before: float, after: float, interval: tuple[float, float] | None = None, scored: int = 17) -> MeanScore:
    return MeanScore(before=before, after=after, scored=scored, gain_interval=interval)


def with_means(run: Path, test: MeanScore | None, select: MeanScore, objective: str = "ap") -> Run:
    mean = SplitMeans(select=select, test=test)
    return Run(results_of(run).model_copy(update={"mean": mean, "objective": objective}))


def with_categories(run: Path, changes: list[dict[str, Any]]) -> Run:
    """Categories that differ in name, status, reason and scores on test."""
    first = results_of(run).categories[0]
    own = tuple(first.model_copy(update=change) for change in changes)
    return Run(results_of(run).model_copy(update={"categories": own}))


def on_test(after: float | None, interval: tuple[float, float] | None = None) -> CategoryScores:
    return CategoryScores(before=0.5, after=after, positives=9, negatives=9, gain_interval=interval)


def test_full_page_in_its_order(run: Path) -> None:
    source = page_of(run)
    page = Page(source)
    test = results_of(run).mean.test
    assert test is not None
    headline = f"{100 * (test.before or 0):.2f} → {100 * (test.after or 0):.2f}"
    order = [
        "better on test",
        "overstates the gain by",
        "12 got a new head, 4 kept the old one and 1 could not be fitted, in 1.2 s",
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
    assert len(page.images) == 4 + 8 and all(image.get("aria-label") for image in page.images)
    assert len(page.ids) == len(set(page.ids))
    assert 'class="badge gain">improved' in source and 'class="badge mixed">not fitted' in source


def test_the_first_lines_say_what_the_page_is_about(run: Path) -> None:
    top = page_of(run).split("<main>")[0]
    assert "are the new heads better than the old ones?" in top and "one category at a time" in top


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
        ((0.01, 0.08), "gain", "+1.00 to +8.00"),
        ((-0.08, -0.01), "loss", "−8.00 to −1.00"),
        ((-0.01, 0.08), "mixed", "includes 0"),
        ((0.0, 0.0), "mixed", "same as before"),
        (None, "open", "too few positives or negatives for an interval"),
    ],
)
def test_verdict(small: Path, interval: tuple[float, float] | None, tone: str, said: str) -> None:
    found = verdict_of(with_means(small, means(0.5, 0.54, interval), means(0.5, 0.6)))
    assert found.tone == tone and said in found.sentence


def test_overstatement_is_named_either_way_and_when_the_categories_differ(small: Path) -> None:
    def line(gain: float, scored: int = 17) -> str:
        run = with_means(small, means(0.5, 0.53, (0.0, 0.1)), means(0.5, 0.5 + gain, scored=scored), "auc")
        assert overstatement_of(run) == pytest.approx(gain - 0.03)
        return overstatement_line(run)

    assert "mean AUC gained +5.00 points: select overstates the gain by 2.00" in line(0.05)
    assert "understates it by 1.00" in line(0.02)
    assert "as much as on test" in line(0.03) and "difference is one" not in line(0.03)
    assert "15 categories on select and 17 on test" in line(0.05, scored=15)


def test_what_test_makes_of_the_improved_categories(small: Path) -> None:
    cases = [
        ((0.01, 0.2), "better"),
        ((0.02, 0.2), "better"),
        ((-0.2, -0.1), "worse"),
        ((0.01, 0.1), None),
        (None, None),
    ]
    items = [
        {"name": str(i), "status": "improved", "test": on_test(0.6, ends).model_copy(update={"clear": clear})}
        for i, (ends, clear) in enumerate(cases)
    ]
    items.append({"name": "kept", "status": "unchanged", "test": on_test(0.5, (0.0, 0.0))})
    said = clear_line(with_categories(small, items))
    assert "Of the 4 with a new head" in said and "2 are clearly better" in said
    assert "1 clearly worse" in said and "1 cannot be told" in said
    assert said.endswith("1 have too few positives or negatives in test to tell.")


def test_without_a_test_split(run: Path) -> None:
    def drop(value: dict[str, Any]) -> None:
        for part in (value["mean"], value["other"], *value["categories"]):
            part.pop("test")
        value["splits"]["test"] = 0
        del value["calibration"], value["reliability"]

    edit(run / "results.json", drop)
    source = page_of(run)
    Page(source)
    assert "nothing independent was measured" in source and "too good by construction" in source
    assert "Overstatement" not in source and "95% interval" not in source
    assert "nothing independent" in cft.summary_lines(results_of(run))[0]
    assert "interval" not in printed(run) and "interval" in printed(make_cft_run(run / "tested", categories=UCM))
    assert "95% interval" not in markdown_report(run)


def test_a_test_split_that_scores_nothing(run: Path) -> None:
    def empty(value: dict[str, Any]) -> None:
        value["mean"]["test"] = {"before": None, "after": None, "gain_interval": None, "scored": 0}
        for item in value["categories"]:
            item["test"] = {"before": None, "after": None, "gain_interval": None, "positives": 0, "negatives": 0}

    edit(run / "results.json", empty)
    source = page_of(run)
    assert "No category could be scored on test" in source and "Gain of AP on" not in source


def test_non_finite_numbers_are_dashes(run: Path) -> None:
    text = re.sub(
        r'"(before|after|gain|probability|ece_after)": [\d.]+', r'"\1": NaN', (run / "results.json").read_text()
    )
    (run / "results.json").write_text(text)
    source = page_of(run)
    assert not re.search(r">[^<{]*\b(nan|inf|none)\b", source, flags=re.IGNORECASE)


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    names = [EVIL, "W" * 400, "猫" * 60, "two\nlines", "", "_a_ | $x^2$ </svg>", "last"]
    run = make_cft_run(tmp_path / "evil", categories=names)

    def poison(value: dict[str, Any]) -> None:
        value.update(name=EVIL, warnings=[EVIL], method=EVIL, base=EVIL)
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
    table = markdown_report(run)
    assert not re.search(r"(?<!\\)<", table)
    rows = [line for line in table.splitlines() if line.startswith("| ")][3:]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {11}
    written = printed(run)
    assert max(map(len, written.splitlines())) <= 100
    assert "+15.0 to +23.3" in written and "not fitted" in written and "WWWWW" in written and "…" in written


def test_thousands_of_categories_stay_a_small_page(tmp_path: Path) -> None:
    run = make_cft_run(tmp_path / "large", categories=[f"category {i:04d}" for i in range(2500)])
    source = page_of(run)
    Page(source)
    assert len(source) < 1_500_000
    assert "2,200 categories are left out here" in source and "2,000 of 2,499 categories are drawn" in source
    assert "The 30 that gained most and the 30 that gained least of 2,499" in source
    ranked = Run(results_of(run)).ranked
    for category in (*ranked[:150], *ranked[2499 - 150 : 2499]):
        assert f">{category.name}</span>" in source
    assert f">{ranked[150].name}</span>" not in source
    written = printed(run)
    assert "… 2,461 more" in written and ranked[0].name in written and ranked[2498].name in written
    assert len(written.splitlines()) < 50
    assert len(markdown_report(run).splitlines()) < 130


def test_order_is_by_test_gain_and_the_unscored_come_last(small: Path) -> None:
    gains = {"a": 0.01, "b": -0.02, "c": 0.05, "d": None}
    items = [{"name": n, "test": on_test(None if gain is None else 0.5 + gain)} for n, gain in gains.items()]
    run = with_categories(small, items)
    assert [category.name for category in run.ranked] == ["c", "a", "b", "d"]
    first, hidden, last = run.excerpt(2)
    assert [[category.name for category in part] for part in (first, hidden, last)] == [["c"], ["a", "d"], ["b"]]
    first, hidden, last = run.excerpt(4)
    assert len(first) == 4 and not hidden and not last


def test_skipped_categories_are_grouped_by_reason(small: Path) -> None:
    items = [{"name": f"c{i}", "status": "not_fitted", "reason": f"reason {i % 20}"} for i in range(60)]
    items += [{"name": "odd", "status": "not_fitted", "reason": ""}, {"name": "fine", "status": "improved"}]
    groups = reasons_of(with_categories(small, items), "not_fitted")
    assert sum(count for _, count, _ in groups) == 61 and groups[-1][0] == "other reasons"
    assert groups[0] == ("reason 0", 3, ["c0", "c20", "c40"])


def test_terminal_fits_and_says_what_matters(run: Path) -> None:
    written = printed(run)
    assert max(map(len, written.splitlines())) <= 100 and "…" not in written
    assert len([line for line in written.splitlines() if re.search(r"improved|kept|not fitted", line)]) == 17
    lines = cft.summary_lines(results_of(run))
    assert "95% interval +1.83 to +5.52" in lines[0] and "overstates" in lines[1]
    assert any(line.startswith("Warning: ship") for line in lines) and all("\n" not in line for line in lines)


def test_markdown(run: Path) -> None:
    (run / "run.json").unlink()
    table = markdown_report(run)
    assert "| water | not fitted | 0/121 | 1,164 |" in table and "| mean AUC | 94.10 → 95.70 | +1.60 |" in table
    assert table.count("\n| ") == 1 + 2 + 1 + 17


def test_damaged_neighbours_become_notes(run: Path) -> None:
    (run / "run.json").write_text("{")
    (run / "config.yaml").unlink()
    assert "run.json is there but could not be read" in page_of(run)
