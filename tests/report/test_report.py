"""Reports from synthetic run folders: complete, incomplete, hostile, and seen by a browser."""

import io
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from helpers.pages import EVIL, Page, edit, page_of
from helpers.run_factory import make_run, write_json
from labelwise.errors import RunError
from labelwise.report.html import compare_runs, write_report
from labelwise.report.plots import Line, change_plot, curve_plot, generation_plot
from labelwise.report.read import read_run
from labelwise.report.summary import entries_of, verdict_of
from labelwise.report.terminal import results_table, summary_lines

CLASSES = ["aeroplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "digits-noisy", classes=CLASSES)


def test_full_report(run: Path) -> None:
    source = page_of(run)
    page = Page(source)
    for text in (
        "not clearly better",
        "simulated (40% uniform)",
        "60.0% of the given training labels",
        "no clear difference",
    ):
        assert text in source
    for text in (
        "chosen on <em>select</em>",
        "What to do.",
        "broken.jpg",
        "recipes/digits/noisy.yaml",
        "generations: 5",
    ):
        assert text in source
    assert source.count('class="marked"') == 2
    assert source.count('class="card crop') == 18
    assert len(page.images) == 1 + 4 + 8 + 1 + 18
    assert all(image.get("alt") or image.get("aria-label") for image in page.images)
    assert len(page.ids) == len(set(page.ids))
    assert "<td>62.7 " in source


def test_self_contained_and_reproducible(run: Path, tmp_path: Path) -> None:
    source = page_of(run)
    page = Page(source)
    assert "script" not in page.tags and "link" not in page.tags
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    assert "default-src 'none'" in source
    assert str(tmp_path) not in source
    assert page_of(run) == source
    assert not list(run.glob("*.part"))


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "evil", classes=[EVIL, *CLASSES[1:]], seeds=1)
    (run / "config.yaml").write_text(f"data: '{EVIL}'")
    edit(run / "run.json", lambda value: value["data"].update(name=EVIL))
    edit(run / "results.json", lambda value: value["comparison"].update(sentence=EVIL))
    for source in (page_of(run), compare_runs([run, run], tmp_path / "both.html").read_text()):
        assert "<script" not in source
        assert "&lt;script&gt;alert" in source
        Page(source)


def test_one_seed_hundred_classes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "many", classes=[f"class {i}" for i in range(100)], seeds=1, pictures=False)
    source = page_of(run)
    assert "One seed, so no deviation is known" in source
    assert "of 100" in source and "class 99" in source
    assert "± " not in source
    assert source.count('class="noimage"') == 18 and "<img" not in source
    assert "train/00003" in source


def test_only_results(tmp_path: Path) -> None:
    row = {"name": "generation-1", "role": "generation", "generation": 1, "seed": 0, "test": {"top1": 0.5}}
    write_json(tmp_path / "bare" / "results.json", {"schema": 1, "kind": "refine", "rows": [row]})
    source = page_of(tmp_path / "bare")
    Page(source)
    assert "No control was trained" in source
    assert "50.0" in source


def test_no_rows_and_odd_types(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"rows": [], "summary": 3, "comparison": [], "regime": "x", "splits": None}
    write_json(tmp_path / "odd" / "results.json", odd)
    Page(page_of(tmp_path / "odd"))
    odd["rows"] = [{}, 7, {"name": 3, "seed": None, "test": [], "fit": {"top1": "high"}, "path": "../../outside"}]
    write_json(tmp_path / "odd" / "results.json", odd)
    Page(page_of(tmp_path / "odd"))


@pytest.mark.parametrize(
    "key", ["fit", "select", "test", "seconds", "kept_epoch", "path", "labels", "generation", "role", "seed"]
)
def test_any_key_of_a_row_may_be_missing(run: Path, key: str) -> None:
    def drop(value: dict[str, Any]) -> None:
        for row in value["rows"]:
            row.pop(key, None)

    edit(run / "results.json", drop)
    Page(page_of(run))


@pytest.mark.parametrize("part", ["summary", "comparison", "regime", "splits", "task", "kind", "schema"])
def test_any_part_of_the_results_may_be_missing(run: Path, part: str) -> None:
    edit(run / "results.json", lambda value: value.pop(part))
    Page(page_of(run))


def test_summary_is_made_from_rows_where_it_is_missing(run: Path) -> None:
    whole = json.loads((run / "results.json").read_text())
    bare = {**whole, "summary": []}
    for with_summary, without in zip(entries_of(whole), entries_of(bare), strict=True):
        assert with_summary.name == without.name and with_summary.marked == without.marked
        for key in ("test_top1", "fit_top1", "test_nll"):
            assert with_summary.stats[key].mean == pytest.approx(without.stats[key].mean)
            assert with_summary.stats[key].std == pytest.approx(without.stats[key].std)


def test_non_finite_numbers(run: Path) -> None:
    text = (run / "results.json").read_text()
    text = re.sub(r'"(top1|nll|ece|mean|noise_auroc)": [\d.]+', r'"\1": NaN', text)
    text = re.sub(r'"(seconds|difference)": [\d.]+', r'"\1": Infinity', text)
    (run / "results.json").write_text(text)
    metrics = run / "seed-0" / "generation-1" / "metrics.jsonl"
    metrics.write_text(
        '{"epoch": 1, "train": {"top1": NaN}}\n{"epoch": 2, "train": {"top1": -Infinity}}\n{"epoch": 3, "tr'
    )
    source = page_of(run)
    assert not re.search(r">\s*(nan|inf)", source, flags=re.IGNORECASE)


def test_best_is_chosen_on_select_not_on_test(run: Path) -> None:
    def swap(value: dict[str, Any]) -> None:
        value["comparison"] = None
        for item in value["summary"]:
            item["select_top1"]["mean"] = 0.9 if item["name"] in ("generation-2", "long-given") else 0.1
            item["test_top1"]["mean"] = 0.1 if item["name"] in ("generation-2", "long-given") else 0.9

    edit(run / "results.json", swap)
    results = json.loads((run / "results.json").read_text())
    assert [entry.name for entry in entries_of(results) if entry.marked] == ["generation-2", "long-given"]


@pytest.mark.parametrize(
    ("interval", "tone"), [([0.001, 0.02], "gain"), ([-0.02, -0.001], "loss"), ([-0.1, 0.1], "mixed"), (None, "open")]
)
def test_verdict(interval: list[float] | None, tone: str) -> None:
    comparison = {"chain": "generation-3", "control": "early-stop", "difference": 0.012, "interval": interval}
    found = verdict_of({"rows": [], "comparison": comparison})
    assert found.tone == tone
    assert "generation-3" in found.sentence and "+1.2" in found.sentence


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


def test_broken_neighbours_become_notes(run: Path) -> None:
    (run / "run.json").write_text("{")
    (run / "config.yaml").unlink()
    (run / "seed-0" / "gallery" / "gallery.json").write_text("{")
    source = page_of(run)
    assert "run.json is there but could not be read" in source
    assert "seed 1" in source


def test_gallery_never_leaves_its_folder(run: Path) -> None:
    (run / "secret.png").write_bytes((run / "seed-0" / "gallery" / "000.png").read_bytes())
    (run / "seed-0" / "gallery" / "text.png").write_text("no picture")
    files = ["../../secret.png", "text.png", "gone.png", 5, "a\0b"]

    def point(value: dict[str, Any]) -> None:
        for item, file in zip(value["items"], files, strict=False):
            item["file"] = file
        value["items"] = value["items"][: len(files)]

    edit(run / "seed-0" / "gallery" / "gallery.json", point)
    gallery = read_run(run).gallery
    assert gallery is not None and len(gallery.items) == len(files)
    assert all(item.picture is None for item in gallery.items)


def test_gallery_marks_who_is_right(run: Path) -> None:
    item = {"file": None, "id": "a", "given": "cat", "true": "cat", "top": [["dog", 0.7], ["cat", 1.4], ["x", None]]}
    items = [item, {**item, "true": "dog"}, {**item, "true": "ship"}, {**item, "true": None, "top": [["cat", 0.9]]}]
    write_json(run / "seed-0" / "gallery" / "gallery.json", {"refinery": "generation-4", "items": items})
    source = page_of(run)
    counts = [
        source.count(said)
        for said in ("refinery is wrong", ">refinery is right<", "neither is right", "crop differs mistaken")
    ]
    assert counts == [1, 1, 1, 1]
    assert "width:100.0%" in source and "width:140" not in source


def test_multi_label_rows(run: Path) -> None:
    text = (run / "results.json").read_text().replace("top1", "map").replace("single-label", "multi-label")
    (run / "results.json").write_text(text)
    source = page_of(run)
    assert "mAP by generation" in source and "top-1 accuracy" not in source


def test_compare(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", classes=CLASSES, seeds=1, generations=3)
    (other / "config.yaml").write_text("data:\n  name: digits\ntrain:\n  epochs: 60\n")
    out = compare_runs([run, other], tmp_path / "pages" / "both.html")
    source = out.read_text()
    Page(source)
    assert "train.epochs" in source and "data.name" not in source
    assert "not the same data" not in source
    edit(other / "run.json", lambda value: value["data"].update(fingerprint="different"))
    assert "not the same data" in compare_runs([run, other], out).read_text()
    assert "digits-noisy (1)" in compare_runs([run, run], out).read_text()
    with pytest.raises(RunError, match="at least one"):
        compare_runs([], out)


def test_terminal(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(results))
    written = console.export_text()
    assert written.count("★ ") == 3
    for text in ("62.7 ± 0.5", "generation-5", "label-smoothing", "41.2 s", "AUROC"):
        assert text in written
    assert "…" not in written
    lines = summary_lines(results)
    assert "not clearly better" in lines[0] and "overfit" in lines[1]
    assert all("\n" not in line for line in lines)
    assert results_table({"rows": []}).row_count == 0 and len(summary_lines({"rows": []})) == 1


@pytest.mark.parametrize("values", [[], [None], [0.5], [0.5, 0.5], [0.2, None, 0.4], [-1e9, 1e9]])
def test_plots_of_little_or_odd_data(values: list[float | None]) -> None:
    line = Line("$a\\b$", "test", range(1, len(values) + 1), values, [values, values])
    levels = [(f"control {i}", 0.5) for i in range(8)]
    for svg in (
        generation_plot([line, line], levels, key="a", alt='a "b" <c>'),
        curve_plot([line], key="b", alt="b", limits=(0, 1), kept=[3.0]),
        change_plot(["x"] * len(values), [value or 0.0 for value in values], key="c", alt="c"),
    ):
        assert svg.startswith("<svg") and svg.endswith("</svg>")
        assert "nan" not in svg
        Page(svg)


def test_plots_have_own_ids_and_page_colours() -> None:
    line = Line("猫 & <dog>", "test", [1, 2], [0.1, math.pi])
    one, two = (Page(generation_plot([line, line], key=key, alt="x")) for key in ("one", "two"))
    assert not set(one.ids) & set(two.ids)
    svg = generation_plot([line, line], key="one", alt="x")
    assert "var(--plot-test, #" in svg and "猫 &amp; &lt;dog&gt;" in svg


@pytest.mark.browser
@pytest.mark.parametrize("width", [1100, 500])
def test_page_in_a_browser(run: Path, tmp_path: Path, width: int) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium executable")
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
