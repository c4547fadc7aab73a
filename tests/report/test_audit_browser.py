"""A reviewer works with the page of an audit: sorts, filters, decides, and downloads corrections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from helpers.audit_factory import CLASSES, audit_frame, make_audit, write_audit
from helpers.pages import EVIL
from labelwise.report.write import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from conftest import Done

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 10,000 labels."""
    folder = tmp_path_factory.mktemp("audit")
    return write_report(make_audit(folder, rows=10_000, thumbnails=30))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """What the page shows."""
    return audit_frame(10_000, CLASSES)


def ids(page: Page) -> list[str]:
    return page.locator("#rows tr td:nth-child(3) bdi").all_text_contents()


def corrections(page: Page, folder: Path) -> pd.DataFrame:
    """What "download corrections" writes, as text."""
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "corrections.csv"
    waiting.value.save_as(folder / "corrections.csv")
    return pd.read_csv(folder / "corrections.csv", dtype=object, keep_default_na=False)


def applied(labelwise: Callable[..., Done], folder: Path) -> pd.DataFrame:
    """Labels by id, as `labelwise audit apply` makes them of the downloaded corrections."""
    options = ("--corrections", folder / "corrections.csv", "--out", folder / "labels.csv")
    done = labelwise("audit", "apply", folder / "audit", *options)
    assert done.code == 0, done.err
    return pd.read_csv(folder / "labels.csv", dtype=object, keep_default_na=False).set_index("id")


def test_sorting_by_every_column(browser: Browser, audit: Path, frame: pd.DataFrame) -> None:
    from helpers.browser import opened

    verdicts = {name: place for place, name in enumerate(sorted(frame["verdict"].unique()))}
    with opened(browser, audit) as page:
        assert ids(page) == frame["id"].head(50).tolist()
        for key, falls in (("score", True), ("id", False), ("given", False), ("verdict", False), ("agreement", True)):
            values = frame["verdict"].map(verdicts) if key == "verdict" else frame[key]
            for ascending in (not falls, falls):
                page.click(f"th[data-sort={key}] button")
                order = values.sort_values(ascending=ascending, kind="stable").index
                assert ids(page) == frame["id"][order[:50]].tolist(), (key, ascending)
                said = page.get_attribute(f"th[data-sort={key}]", "aria-sort")
                assert said == ("ascending" if ascending else "descending")
        page.select_option("#sort", "p_suggested")
        assert ids(page) == frame.sort_values("p_suggested", ascending=False, kind="stable")["id"].head(50).tolist()


def test_filters_and_pages(browser: Browser, audit: Path, frame: pd.DataFrame) -> None:
    from helpers.browser import opened

    with opened(browser, audit) as page:
        assert page.locator("#rows tr").count() == 50  # of 10,000 rows
        page.click("#forth")
        assert ids(page) == frame["id"][50:100].tolist()
        page.click("#last")
        assert ids(page) == frame["id"].tail(50).tolist()
        assert page.inner_text("#where") == "9,951 to 10,000 of 10,000"
        page.select_option("#verdict", label="ambiguous")
        page.select_option("#class", label="cat")
        page.select_option("#split", label="test")
        page.fill("#least", "0.45")
        page.fill("#text", " TRAIN/0 ")
        kept = frame[(frame["verdict"] == "ambiguous") & (frame["split"] == "test") & (frame["score"] >= 0.45)]
        kept = kept[((kept["given"] == "cat") | (kept["suggested"] == "cat")) & kept["id"].str.startswith("train/0")]
        assert 3 < len(kept) <= 50
        assert ids(page) == kept["id"].tolist()
        page.fill("#text", "nowhere")
        assert page.inner_text("#where") == "0 to 0 of 0"
        assert page.is_disabled("#accept") and "No label passes" in page.inner_text("#detail")


def test_deciding_by_keyboard_survives_a_reload_and_is_downloaded(
    browser: Browser, audit: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    from helpers.browser import opened

    with opened(browser, audit) as page:
        assert page.is_disabled("#download")
        for key in "ara":
            page.keyboard.press(key)
        page.keyboard.press("u")  # takes back the third, and goes there
        page.keyboard.press("j")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("k")
        page.keyboard.press("o")
        page.keyboard.type("truc")
        page.keyboard.press("Enter")
        assert not page.is_visible("#choose")
        page.reload()
        assert page.inner_text("#download") == "Download 3 corrections"
        assert page.locator("#rows tr.done").count() == 3
        page.select_option("#state", "decided")
        assert ids(page) == frame["id"].iloc[[0, 1, 3]].tolist()
        found = corrections(page, tmp_path)
        expected = {"id": frame["id"].iloc[[0, 1, 3]].tolist()}
        expected["label"] = [frame["suggested"][0], frame["given"][1], "truck"]
        assert found.to_dict("list") == expected
        page.select_option("#state", "")
        page.fill("#text", "train")
        page.keyboard.press("r")  # a letter typed into a field decides nothing
        assert page.inner_text("#download") == "Download 3 corrections"
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("#clear")
        assert page.is_disabled("#download")


def test_gallery_shows_pictures_and_takes_decisions(browser: Browser, audit: Path, frame: pd.DataFrame) -> None:
    from helpers.browser import opened

    with opened(browser, audit, width=390) as page:
        assert page.is_checked("#gallery") and page.locator("#cards li.crop").count() == 50
        assert page.locator("#cards img").count() == 30
        page.locator("#cards li.crop").nth(4).click()
        assert frame["id"][4] in page.inner_text("#detail")
        page.wait_for_function("document.querySelector('#detail img').naturalWidth === 96")
        page.click("#accept")
        assert page.locator("#cards li.crop.done").count() == 1
        assert frame["id"][5] in page.inner_text("#detail")


def test_cells_are_confirmed_refuted_and_answered(
    browser: Browser, labelwise: Callable[..., Done], tmp_path: Path
) -> None:
    from helpers.browser import opened

    path = write_report(make_audit(tmp_path / "audit", rows=30, many=True, thumbnails=0))
    frame = audit_frame(30, CLASSES, many=True)
    opposite = frame["suggested"].map({"0": "1", "1": "0"})
    with opened(browser, path) as page:
        assert not page.is_visible("#other")
        for number in range(30):
            page.keyboard.press("ra"[number % 2])
        found = corrections(page, tmp_path)
    rejected = frame["given"].where(frame["given"] != "", opposite)
    frame["label"] = np.where(np.arange(30) % 2 == 0, rejected, frame["suggested"])
    assert (frame["given"] == "").any()
    pd.testing.assert_frame_equal(found, frame[["id", "category", "label"]], check_dtype=False)
    labels = applied(labelwise, tmp_path)
    for row in frame.itertuples():
        assert labels[row.category][row.id] == row.label


def test_hostile_names_are_only_names(browser: Browser, labelwise: Callable[..., Done], tmp_path: Path) -> None:
    from helpers.browser import opened

    names = [EVIL, "</script><img src=x onerror=alert(1)>", "‮abc", "x" * 10_000, 'a "b",\nc']
    frame = audit_frame(12, names)
    frame["id"] = [f"{name}</td><b onclick='x'>,{number}" for number, name in zip(range(12), 3 * names, strict=False)]
    write_audit(tmp_path / "audit", frame, names)
    with opened(browser, write_report(tmp_path / "audit"), width=390) as page:
        page.check("#gallery")
        page.check("#list")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("#review b, #review script, #review td img").count() == 0
        page.keyboard.press("o")
        assert page.locator("#choices li").count() == len(names)
        page.keyboard.press("Escape")
        for _ in range(12):
            page.keyboard.press("a")
        found = corrections(page, tmp_path)
    assert found["id"].tolist() == frame["id"].tolist()
    assert found["label"].tolist() == frame["suggested"].tolist()
    assert applied(labelwise, tmp_path)["label"].to_dict() == dict(zip(frame["id"], frame["suggested"], strict=True))


def test_a_browser_that_keeps_nothing_says_so(browser: Browser, tmp_path: Path) -> None:
    from helpers.browser import opened

    path = write_report(make_audit(tmp_path / "audit", rows=5, thumbnails=0))
    refuse = "Storage.prototype.setItem = Storage.prototype.getItem = () => { throw new Error('no') }"
    with opened(browser, path, before=refuse) as page:
        page.keyboard.press("a")
        assert "download the corrections before you close it" in page.inner_text("#said")
        assert len(corrections(page, tmp_path)) == 1
