"""The report of a refine run from synthetic run folders: complete, small, hostile, with damaged neighbours."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import confusion_matrix

from helpers.pages import EVIL, Page, edit, page_of
from helpers.results_file import write_results
from helpers.run_factory import ADVICE, make_run, write_json
from labelwise.errors import RunError
from labelwise.report.confusion import confusion_of
from labelwise.report.read import read_gallery
from labelwise.report.refine import networks_of, results_table, summary_lines, verdict_of
from labelwise.report.table import terminal
from labelwise.report.write import compare_runs, markdown_report
from labelwise.results import RefineResults, Stat, read_results

CLASSES = ["aeroplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "digits-noisy", classes=CLASSES)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "digits-noisy"))


def results_of(run: Path) -> RefineResults:
    results = read_results(run)
    assert isinstance(results, RefineResults)
    return results


def test_full_report(run: Path) -> None:
    source = page_of(run)
    page = Page(source)
    for text in (
        "not clearly better",
        "simulated (40% uniform)",
        "60.0% of the given training labels",
        "no clear difference",
        "chosen on <em>select</em>",
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
    assert re.search(r">62\.7 <", source)


def test_the_confusion_of_two_generations_is_that_of_their_answers(run: Path) -> None:
    both = []
    for name in ("generation-1", "generation-5"):
        stored = [np.load(run / f"seed-{seed}" / name / "predictions.npz") for seed in range(3)]
        label, answer = (np.concatenate([one[key] for one in stored]) for key in ("label", "prediction"))
        both.append(confusion_matrix(label, answer, normalize="true"))
    found = confusion_of(
        CLASSES, {n: [run / f"seed-{s}" / n for s in range(3)] for n in ("generation-1", "generation-5")}
    )
    assert found is not None
    np.testing.assert_allclose([found.before, found.after], both)
    worst = max((max(both[0][k, j], both[1][k, j]), k, j) for k in range(10) for j in range(10) if k != j)
    assert list(found.changes.rows[0].values[:2]) == [CLASSES[worst[1]], CLASSES[worst[2]]]
    source = page_of(run)
    assert "What is taken for what" in source and source.count('class="steps"') == 18
    (run / "seed-1" / "generation-5" / "predictions.npz").unlink()
    assert "What is taken for what" not in page_of(run)


def test_the_only_advice_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    pages = [page_of(run), compare_runs([run], tmp_path / "one.html").read_text(), markdown_report(run)]
    pages.append("\n".join(summary_lines(results_of(run))))
    for source in pages:
        assert source.count(ADVICE) == 1
        assert "usually help" not in source and source.count("What to do.") <= 1


def test_the_first_lines_say_what_the_page_is_about(run: Path) -> None:
    top = page_of(run).split("<main>")[0]
    assert "does training on refined labels make the network better?" in top and "relabel every training crop" in top


def test_a_single_network_is_not_told_as_a_chain(run: Path) -> None:
    edit(run / "results.json", lambda value: value.update(kind="train", comparison=None, rows=value["rows"][:1]))
    source = page_of(run)
    assert "One network was trained on the given labels" in source and "Label Refinery: does" not in source


def test_self_contained_and_reproducible(run: Path, tmp_path: Path) -> None:
    source = page_of(run)
    page = Page(source)
    assert "script" not in page.tags and "link" not in page.tags
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    assert "default-src 'none'" in source
    assert str(tmp_path) not in source
    assert page_of(run) == source
    assert not list(run.glob("*.tmp"))


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
    assert "top-1 accuracy in %, one seed" in source
    assert "of 100" in source and "class 99" in source
    assert "± " not in source
    assert source.count('class="noimage"') == 18 and "<img" not in source
    assert "train/00003" in source


def test_without_the_neighbours_of_the_results(run: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "bare", results_of(run).model_copy(update={"comparison": None, "regime": None}))
    source = page_of(tmp_path / "bare")
    Page(source)
    assert "No control was trained" in source and "Learning curves" not in source and "memorise" not in source
    assert "63.2 " in source and "<h1>bare</h1>" in source


def test_numbers_that_are_not_known_are_dashes(run: Path) -> None:
    text = (run / "results.json").read_text()
    text = re.sub(r'"(top1|nll|ece|mean|noise_auroc|difference)": -?[\d.]+', r'"\1": null', text)
    (run / "results.json").write_text(text)
    metrics = run / "seed-0" / "generation-1" / "metrics.jsonl"
    line = '{"epoch": 1, "lr": 0.1, "train": {"top1": NaN}, "seconds": 1.0}\n'
    metrics.write_text(line + line.replace("NaN", "-Infinity") + '{"epoch": 3, "tr')
    source = page_of(run)
    assert not re.search(r">\s*(nan|inf|none)\b", source, flags=re.IGNORECASE)


def test_best_is_chosen_on_select_not_on_test(run: Path) -> None:
    results = results_of(run)

    def swapped(name: str) -> dict[str, Stat]:
        high = name in ("generation-2", "long-given")
        values = (0.9, 0.1) if high else (0.1, 0.9)
        return dict(zip(("select_top1", "test_top1"), (Stat(mean=v, std=None) for v in values), strict=True))

    summary = tuple(entry.model_copy(update=swapped(entry.name)) for entry in results.summary)
    results = results.model_copy(update={"comparison": None, "summary": summary})
    assert [network.name for network in networks_of(results) if network.marked] == ["generation-2", "long-given"]


@pytest.mark.parametrize(
    ("interval", "tone", "badge"),
    [
        ((0.001, 0.02), "gain", "beats the best control"),
        ((-0.02, -0.001), "loss", "worse than the best control"),
        ((-0.1, 0.1), "mixed", "no clear difference"),
        ((None, None), "open", "no interval"),
    ],
)
def test_verdict(run: Path, interval: tuple[float, float], tone: str, badge: str) -> None:
    results = results_of(run)
    assert results.comparison is not None
    comparison = results.comparison.model_copy(update={"interval": interval})
    found = verdict_of(results.model_copy(update={"comparison": comparison}))
    assert (found.tone, found.badge, found.sentence) == (tone, badge, comparison.sentence)


def test_damaged_neighbours_become_notes(run: Path) -> None:
    (run / "run.json").write_text("{")
    (run / "config.yaml").unlink()
    (run / "seed-0" / "gallery" / "gallery.json").write_text('{"items": [{"file": 5}]}')
    (run / "seed-0" / "generation-1" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    source = page_of(run)
    for name in ("run.json", "gallery.json", "metrics.jsonl of generation-1"):
        assert f"{name} is there but could not be read" in source
    assert "seed 1" in source


def test_gallery_never_leaves_its_folder(run: Path) -> None:
    gallery = run / "seed-0" / "gallery"
    (run / "secret.png").write_bytes((gallery / "000.png").read_bytes())
    (gallery / "text.png").write_text("no picture")
    item = {"id": "a", "given": "cat", "top": [["dog", 0.7]]}
    files = ["000.png", "../../secret.png", "text.png", "gone.png", "a\0b", None]
    write_json(gallery / "gallery.json", {"items": [{**item, "file": file} for file in files]})
    found = read_gallery(run / "seed-0", [])
    assert found is not None and [crop.picture is not None for crop in found.items] == [True] + [False] * 5


def test_a_row_never_leads_out_of_the_run(run: Path, tmp_path: Path) -> None:
    def lead_out(value: dict) -> None:
        for row in value["rows"]:
            row["path"] = "../../outside"

    edit(run / "results.json", lead_out)
    with pytest.raises(RunError, match=r"rows\.0\.path: expected a path inside the run folder"):
        page_of(run)


def test_a_link_never_leads_out_of_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()

    def lead_out(value: dict) -> None:
        for row in value["rows"]:
            row["path"] = "link"

    before = page_of(run)
    (run / "link").symlink_to(tmp_path / "outside")
    edit(run / "results.json", lead_out)
    assert page_of(run) == before


def test_gallery_marks_who_is_right(run: Path) -> None:
    item = {"file": None, "id": "a", "given": "cat", "true": "cat", "top": [["dog", 0.7], ["cat", 0.3]]}
    items = [item, {**item, "true": "dog"}, {**item, "true": "ship"}, {**item, "true": None, "top": [["cat", 0.9]]}]
    write_json(run / "seed-0" / "gallery" / "gallery.json", {"refinery": "generation-4", "items": items})
    source = page_of(run)
    counts = [
        source.count(said)
        for said in ("refinery is wrong", ">refinery is right<", "neither is right", "crop differs mistaken")
    ]
    assert counts == [1, 1, 1, 1]
    write_json(run / "seed-0" / "gallery" / "gallery.json", {"items": [{**item, "top": [["dog", 1.4]]}]})
    notes: list[str] = []
    assert read_gallery(run / "seed-0", notes) is None and len(notes) == 1


def test_multi_label_rows(run: Path) -> None:
    def multi_label(value: dict) -> None:
        for row in value["rows"]:
            del row["test"]["per_class"]
        for entry in value["summary"]:
            for split in ("fit", "select", "test"):
                entry[f"{split}_map"], entry[f"{split}_top1"] = entry[f"{split}_top1"], None

    edit(run / "results.json", multi_label)
    text = (run / "results.json").read_text().replace('"top1"', '"map"').replace("single-label", "multi-label")
    (run / "results.json").write_text(text)
    source = page_of(run)
    assert "mAP by generation" in source and "top-1 accuracy" not in source and "Accuracy" not in source


def test_terminal(run: Path) -> None:
    results = results_of(run)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(results_table(results, brief=True)))
    written = console.export_text()
    assert written.count("★ ") == 3
    for text in ("62.7 ± 0.5", "generation-5", "label-smoothing", "41.4 s", "AUROC"):
        assert text in written
    assert "…" not in written and max(map(len, written.splitlines())) <= 80
    lines = summary_lines(results)
    assert "not clearly better" in lines[0] and "overfit" in lines[1]
    assert all("\n" not in line for line in lines)


def test_markdown_leaves_members_out_and_has_two_digits(run: Path) -> None:
    def add(value: dict) -> None:
        value["summary"].append({**value["summary"][0], "name": "generation-1.1", "role": "member"})

    edit(run / "results.json", add)
    table = markdown_report(run)
    assert "| early-stop | 63.99 ± 0.37 | 61.49 ± 0.69 | 62.72 ± 0.50 |" in table
    assert "generation-1.1" not in table and "generation-1.1" in page_of(run)
    assert "40.0% of the given fit labels are wrong" in table
