"""The page of `labelwise evaluate`."""

import re
from pathlib import Path

import pytest

from helpers.evaluation_factory import multi_label_scores, single_label_scores
from helpers.pages import EVIL, Page
from labelwise.errors import RunError
from labelwise.report.evaluate_page import write_evaluation
from labelwise.report.formats import percent, percent2
from labelwise.report.page import check_page_file

NAMES = ["cat", "dog", "deer", "frog", "[fish]"]


def first_column(source: str, heading: str) -> list[str]:
    """The names of the rows of the table with this heading."""
    table = re.search(rf'aria-label="{heading}">(.*?)</table>', source, flags=re.DOTALL)
    assert table
    return re.findall(r'<th scope="row"[^>]*><span class="clip">(.*?)</span>', table[1])


def test_classes_are_listed_with_the_lowest_first(tmp_path: Path) -> None:
    scores = single_label_scores(NAMES)
    source = write_evaluation(scores, tmp_path / "page.html").read_text()
    page = Page(source)
    assert not page.addresses and "script" not in page.tags
    top1 = {entry.name: entry.top1 for entry in scores.per_class if entry.top1 is not None}
    assert first_column(source, "Every class") == [*sorted(top1, key=lambda name: top1[name]), "[fish]"]
    mean = percent2(sum(top1.values()) / len(top1))
    for shown in (percent2(scores.top1), percent2(scores.ece), mean):
        assert f'<dd class="big">{shown}</dd>' in source
    assert "over 4 classes" in source and "200 images" in source and "Top-5" not in source


def test_tuned_thresholds_stand_beside_the_others(tmp_path: Path) -> None:
    scores = multi_label_scores(NAMES)
    source = write_evaluation(scores, tmp_path / "page.html").read_text()
    Page(source)
    cat = scores.categories[0]
    assert cat.tuned is not None
    row = next(line for line in source.split("<tr>") if "cat</span>" in line and ">0.500<" in line)
    values = [f"{found.threshold:.3f}" if key == "threshold" else percent(getattr(found, key))
              for found in (cat, cat.tuned) for key in ("threshold", "precision", "recall", "f1")]  # fmt: skip
    assert re.findall(r'<td><span class="clip">(.*?)</span>', row) == values
    assert first_column(source, "Ranking and calibration of every category")[-1] == "[fish]"
    assert "Every category by study" in source and "4 of 5 categories" in source
    alone = scores.model_copy(update={"tuned": None, "studies": None})
    source = write_evaluation(alone, tmp_path / "page.html").read_text()
    assert "uned" not in source and "by study" not in source


@pytest.mark.parametrize("make", [single_label_scores, multi_label_scores])
def test_hostile_names_are_escaped(tmp_path: Path, make) -> None:
    scores = make([EVIL, "W" * 400, "two\nlines", "", "</svg>", "last"], model=EVIL)
    scores = scores.model_copy(update={"data": EVIL})
    source = write_evaluation(scores, tmp_path / "page.html").read_text()
    Page(source)
    assert "<script" not in source and "&lt;script&gt;alert" in source
    assert not re.search(r">[^<{]*\b(nan|inf|none)\b", source, flags=re.IGNORECASE)


def test_only_a_page_is_replaced(tmp_path: Path) -> None:
    page = write_evaluation(single_label_scores(NAMES), tmp_path / "page.html")
    check_page_file(page, "--page")
    (tmp_path / "notes.html").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    for name, said in (
        ("notes.html", "give another --page"),
        ("folder.html", "is a folder"),
        ("p.txt", "in .html"),
    ):
        with pytest.raises(RunError, match=rf"^--page .*{name}.*{said}"):
            check_page_file(tmp_path / name, "--page")
