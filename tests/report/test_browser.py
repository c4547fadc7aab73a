"""Pages as a browser draws them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from helpers.cft_run_factory import UCM, make_cft_run
from helpers.run_factory import make_run
from labelwise.report.write import write_report

CLASSES = ["aeroplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.mark.browser
@pytest.mark.parametrize(("kind", "width"), [("refine", 1100), ("refine", 500), ("cft", 1100)])
def test_page_in_a_browser(tmp_path: Path, kind: str, width: int) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium executable")
    run = tmp_path / "run"
    make_run(run, classes=CLASSES) if kind == "refine" else make_cft_run(run, categories=UCM)
    shot = tmp_path / "page.png"
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += f" --disable-component-update --disable-sync --hide-scrollbars --window-size={width},2400"
    command = [browser, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]
    subprocess.run([*command, write_report(run).as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(shot) as opened:
        picture = opened.convert("RGB")
    assert picture.size == (width, 2400)
    for top in range(0, 2400, 400):
        band = picture.crop((0, top, width, top + 400)).quantize(32).convert("RGB")
        colours = band.getcolors(maxcolors=64)
        assert colours is not None and len(colours) > 8
        assert max(count for count, _ in colours) < 0.97 * width * 400
