"""Every page as a browser draws it: wide, narrow, dark; pictures of them are kept in ``build/screenshots``."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from helpers.audit_factory import make_audit
from helpers.cft_run_factory import UCM, make_cft_run
from helpers.evaluation_factory import multi_label_scores, single_label_scores
from helpers.experiment_factory import make_experiment
from helpers.run_factory import make_run
from labelwise.report.evaluate_page import write_evaluation
from labelwise.report.write import compare_runs, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CLASSES = ["aeroplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
KINDS = ("refine", "cft", "experiment", "compare", "audit", "audit-cells", "evaluate", "evaluate-categories")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of every kind."""
    folder = tmp_path_factory.mktemp("pages")
    run = make_run(folder / "refine", classes=CLASSES)
    other = make_run(folder / "other", classes=CLASSES, seeds=1, generations=3, epochs=4)
    (other / "config.yaml").write_text("data:\n  name: digits\ntrain:\n  epochs: 60\n")
    return {
        "refine": write_report(run),
        "cft": write_report(make_cft_run(folder / "cft", categories=UCM)),
        "experiment": write_report(make_experiment(folder / "experiment")),
        "compare": compare_runs([run, other], folder / "both.html"),
        "audit": write_report(make_audit(folder / "audit", rows=200)),
        "audit-cells": write_report(make_audit(folder / "audit-cells", rows=200, many=True)),
        "evaluate": write_evaluation(single_label_scores(CLASSES), folder / "evaluate.html"),
        "evaluate-categories": write_evaluation(multi_label_scores(UCM), folder / "evaluate-categories.html"),
    }


@pytest.mark.browser
@pytest.mark.parametrize("look", ["wide", "narrow", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_page_in_a_browser(browser: "Browser", pages: dict[str, Path], kind: str, look: str) -> None:
    from helpers.browser import opened, screenshot

    width = 390 if look == "narrow" else 1280
    with opened(browser, pages[kind], width=width, dark=look == "dark") as page:
        shot = screenshot(page, f"{kind}-{look}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unlabelled = "[...document.querySelectorAll('button, input, select')].filter(e => e.offsetParent && "
        unlabelled += "!(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length"
        assert page.evaluate(unlabelled) == 0
        page.emulate_media(media="print")  # paper is light, whatever the screen is
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 35, 48)"
    with Image.open(shot) as found:
        picture = found.convert("RGB")
    assert picture.width == width
    ground = sum(picture.getpixel((2, 2))) / 3
    assert ground < 60 if look == "dark" else ground > 220
    for top in range(0, min(2000, picture.height - 399), 400):
        part = picture.crop((0, top, width, top + 400)).reduce(2).quantize(32).convert("RGB")
        colours = part.getcolors(maxcolors=64)
        assert colours is not None and len(colours) > 8
        assert max(count for count, _ in colours) < 0.97 * part.width * part.height


@pytest.mark.browser
def test_a_fault_of_a_page_is_seen(browser: "Browser", tmp_path: Path) -> None:
    from helpers.browser import opened

    path = tmp_path / "bad.html"
    for source in (
        "<script>missing()</script>",
        "<script>console.error('no')</script>",
        "<img src='http://[::1]:1/x'>",
    ):
        path.write_text(f"<!doctype html>{source}")
        with pytest.raises(AssertionError):
            with opened(browser, path):
                pass
