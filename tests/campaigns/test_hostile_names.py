"""Names that attack: in every page they are text, whatever they hold, and no page has a script but ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers.audit_factory import make_audit
from helpers.cft_run_factory import make_cft_run
from helpers.evaluation_factory import multi_label_scores, single_label_scores
from helpers.experiment_factory import make_experiment
from helpers.pages import EVIL
from helpers.run_factory import make_run
from labelwise.errors import LabelwiseError
from labelwise.report.evaluate_page import write_evaluation
from labelwise.report.write import compare_runs, markdown_report, write_report
from labelwise.results import parse_results

pytestmark = pytest.mark.campaign

HOSTILE = {
    "markup": EVIL + "</title></style></svg></td><img src=x onerror=alert(1)><!-- ]]>",
    "quotes": '"\'` onmouseover=alert(1) x=\\" {{7*7}} {% raw %} ${7} &lt;b&gt; &#60;',
    "script": "</script><script>alert(1)</script>",
    "control": "".join(map(chr, [0, 1, 7, 8, 11, 12, 27, 127, 133, 8232, 8233])) + "\x1b[31mred",
    "direction": "abc\u202egnp.exe\u2066\u200f\u061c\u2067",
    "half a character": "caf\udce9\ud800",
    "long": "y" * 10_000,
    "long words": "many words " * 900,
}

KINDS = [pytest.param(kind, marks=[pytest.mark.quick] if kind == "markup" else []) for kind in HOSTILE]
"""All of them; CI looks at one."""

CLASSES = ["first", "second", "third", "fourth"]


class Structure(HTMLParser):
    """Tags and names of attributes in their order, and what stands in scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in ("script", "style"):
            self.scripts.append(data)


def audit(folder: Path) -> Path:
    return make_audit(folder, rows=40, classes=CLASSES, thumbnails=5)


def audit_of_many(folder: Path) -> Path:
    return make_audit(folder, rows=40, classes=CLASSES, many=True, thumbnails=0)


def refine(folder: Path) -> Path:
    return make_run(folder, classes=CLASSES, seeds=2, generations=2, epochs=3)


def cft(folder: Path) -> Path:
    return make_cft_run(folder, categories=CLASSES, rows=40)


MAKERS: dict[str, Callable[[Path], Path]] = {
    "refine": refine,
    "cft": cft,
    "experiment": make_experiment,
    "audit": audit,
    "audit, multi-label": audit_of_many,
}

PAIRS = [
    pytest.param(make, *kind.values, marks=kind.marks)
    for make in MAKERS
    for kind in KINDS
    if (make, *kind.values) != ("audit", "half a character")  # no list can hold it, and one without it is refused
]


def strings(value: Any, key: str = "") -> Iterator[str]:
    """Every text of a JSON value, keys of dictionaries included, but for paths, which are followed."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item, key)
    elif isinstance(value, str) and key not in ("path", "kind", "version"):
        yield value


def replaced(value: Any, texts: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {texts.get(key, key): replaced(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, texts) for item in value]
    return texts.get(value, value) if isinstance(value, str) else value


def free_texts(results: dict[str, Any]) -> list[str]:
    """The texts of results that may be anything."""
    found = []
    for text in dict.fromkeys(strings(results)):
        try:
            parse_results(replaced(results, {text: f"0 {EVIL}"}), Path("results.json"))
        except LabelwiseError:
            continue
        found.append(text)
    return found


def poison(folder: Path, name: str, *, results_alone: bool = False) -> None:
    """Every free text of every file becomes ``name``, with a number in front that keeps them apart and in order."""
    results = json.loads((folder / "results.json").read_text())
    found = sorted(free_texts(results))
    assert len(found) > 5
    texts = {text: f"{number:03d}{name}" for number, text in enumerate(found)}
    (folder / "results.json").write_text(json.dumps(replaced(results, texts)))
    if results_alone:
        return
    for path in [*folder.glob("run.json"), *folder.rglob("gallery/*.json"), *folder.rglob("metrics.jsonl")]:
        if path.name == "run.json":
            about = json.loads(path.read_text())
            texts |= {text: f"9{name}" for text in strings(about) if text not in texts}
        lines = [json.dumps(replaced(json.loads(line), texts)) for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines))
    for path in folder.glob("audit.csv"):
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        cells.map(lambda cell: texts.get(cell, cell)).to_csv(path, index=False)
    if (folder / "config.yaml").exists():
        (folder / "config.yaml").write_text(json.dumps({"name": name}))


def harmless(name: str) -> str:
    """A name of the same length, with blanks at the same places."""
    return re.sub(r"\S", "x", name)


def check(source: str, plain: str) -> None:
    """Both pages have the same structure and the same scripts, but for data, which are JSON that ends nothing."""
    page, other = Structure(source), Structure(plain)
    assert page.tags == other.tags
    ours = [text for text in other.scripts if not text.lstrip().startswith("{")]
    assert [text for text in page.scripts if not text.lstrip().startswith("{")] == ours
    for text in page.scripts:
        if text.lstrip().startswith("{"):
            json.loads(text)
            assert "<" not in text
    assert not re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", source), "control characters"


@pytest.mark.parametrize(("make", "kind"), PAIRS)
def test_names_are_text(make: str, kind: str, tmp_path: Path) -> None:
    pages = []
    for name in (HOSTILE[kind], harmless(HOSTILE[kind])):
        folder = MAKERS[make](tmp_path / ("hostile" if name == HOSTILE[kind] else "plain"))
        poison(folder, name, results_alone=kind == "half a character")  # in other files it counts as damage
        pages.append(write_report(folder).read_text(encoding="utf-8"))
        assert "<script" not in re.sub(r"`[^`]*`|\\<", "", markdown_report(folder))
    check(*pages)


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_text_in_a_comparison(kind: str, tmp_path: Path) -> None:
    pages = []
    for name in (HOSTILE[kind], harmless(HOSTILE[kind])):
        place = tmp_path / ("hostile" if name == HOSTILE[kind] else "plain")
        runs = [refine(place / text) for text in ("a", "b")]
        poison(runs[1], name, results_alone=kind == "half a character")
        pages.append(compare_runs(runs, place / "both.html").read_text(encoding="utf-8"))
    check(*pages)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [single_label_scores, multi_label_scores])
def test_names_are_text_in_scores(make: Callable[..., Any], kind: str, tmp_path: Path) -> None:
    pages = []
    for name in (HOSTILE[kind], harmless(HOSTILE[kind])):
        scores = make([f"{number}{name}" for number in range(4)], model=name).model_copy(update={"data": name})
        pages.append(write_evaluation(scores, tmp_path / "page.html").read_text(encoding="utf-8"))
        (tmp_path / "page.html").unlink()
    check(*pages)
