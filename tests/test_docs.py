"""The documentation says what the code does: links, commands, options, recipes and examples are checked."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer.testing
import yaml

from labelwise.cli import app
from labelwise.config import Recipe, load_recipe
from labelwise.experiment.config import load_experiment
from labelwise.settings import Section, resolve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")])
GROUPED = (
    *(["audit", "run"], ["audit", "apply"], ["audit", "export"]),
    *(["recipes", "list"], ["recipes", "show"], ["recipes", "copy"]),
)
LEARNING = [ROOT / "README.md", DOCS / "how-it-works.md", *(DOCS / "tutorial").glob("*"), *(DOCS / "how-to").glob("*")]
WIDEST = 110


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = load_hooks()
GENERATED = {(DOCS / path).resolve(): text() for path, text in HOOKS.PAGES.items()}
for notebook in HOOKS.NOTEBOOKS:
    shown, pictures = HOOKS.notebook_page(notebook)
    GENERATED |= {notebook.resolve().with_suffix(".md"): shown} | {notebook.parent / name: "" for name in pictures}


def read(page: Path) -> str:
    """The text of a page; of a notebook, what the site shows of it."""
    return GENERATED[page.resolve().with_suffix(".md")] if page.suffix == ".ipynb" else page.read_text()


def prose(text: str) -> list[str]:
    """The lines of a page that are neither fenced nor indented code nor a table."""
    lines, fenced, before = [], False, ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.lstrip().startswith("|") and not (line.startswith("    ") and not before.strip()):
            lines.append(line)
            before = line
    return lines


def blocks(text: str, language: str) -> list[str]:
    return [textwrap.dedent(found) for found in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def anchors(text: str) -> set[str]:
    headings = [line.lstrip("#").strip() for line in prose(text) if re.match(r"#+ ", line)]
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = "\n".join(prose(read(page))) + "\n".join(re.findall(r"^\|.*", read(page), re.MULTILINE))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        generated = file in GENERATED and page.is_relative_to(DOCS)
        assert generated or file.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(GENERATED[file] if generated else file.read_text()), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_are_short_enough(page):
    whole = re.compile(r"`[^`]+`\W*|!\[.*")  # a command on a line of its own, a picture
    long = [line for line in prose(read(page)) if len(line) > WIDEST and not whole.fullmatch(line)]
    assert not long, long[0]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_and_lists_are_seen_as_such(page):
    """A row stands alone in its line, what belongs to an item of a list is indented by four spaces, and the next item
    comes after a blank line then."""
    before, block, fenced = "", "", False
    for line in read(page).splitlines():
        fenced ^= line.lstrip().startswith("```")
        assert fenced or "|---" not in line or re.fullmatch(r"[ |:-]+", line), line
        assert fenced or before.strip() or not re.match(r" {1,3}\S", line), line
        block = line if not before.strip() else block
        assert fenced or not (re.match(r"\d+\. ", line) and block.startswith("    ")), line
        before = line


def test_every_extra_is_named_where_labelwise_is_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`\w+`.*?) \|", (DOCS / "install.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(extras) - {"dev", "docs"}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def commands(text: str) -> list[str]:
    """Commands of labelwise in code blocks, each whole, without its comment."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return re.findall(r"(?:^    |`)(?:\w+=\S+ )?(?:torchrun .* -m )?(labelwise [a-z][^`\n]*)", joined, re.MULTILINE)


@functools.cache
def help_of(*words: str) -> typer.testing.Result:
    """What a command says of itself; drawing it takes longer than all else here."""
    return typer.testing.CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page, monkeypatch):
    monkeypatch.setenv("LABELWISE_DATA", "data")
    for command in commands(read(page)):
        words = shlex.split(command, comments=True)[1:]
        name = words[:2] if words[0] in ("data", "store") or words[:2] in GROUPED else words[:1]
        name = ["audit", "run"] if name == ["audit"] else name  # the second word may be left out
        told = help_of(*name)
        assert told.exit_code == 0, f"{command}: no such command"
        for word in words:
            if word.startswith("--"):
                flag = word.partition("=")[0]
                assert re.search(rf"(?<![\w-]){flag}(?![\w-])", told.stdout), f"{command}: no option {flag}"
        if name in (["refine"], ["train"], ["data", "stats"]):
            recipe = next((ROOT / word for word in words if word.startswith("recipes/")), None)
            load_recipe(recipe, [words[i + 1] for i, word in enumerate(words) if word == "--set"])


def recipes_in(page: Path) -> list[dict[str, Any]]:
    """Whole recipes, parts of them, and options in a line of code such as `chain: {members: 5}`."""
    text = page.read_text()
    sections = set(Recipe.model_fields)
    inline = [code for code in re.findall(r"`([a-z]+: \{[^`]*\})`", text) if "..." not in code]
    values = [yaml.safe_load(block) for block in [*blocks(text, "yaml"), *inline]]
    return [value for value in values if set(value) & sections and "rows" not in value]


@pytest.mark.parametrize("page", LEARNING, ids=name_of)
def test_recipes_of_the_documentation_are_valid(page):
    for values in recipes_in(page):
        resolve(Recipe, values)


def test_the_learning_pages_hold_recipes_and_commands():
    """So that the checks above cannot pass because they find nothing."""
    assert sum(len(recipes_in(page)) for page in LEARNING) > 20
    assert sum(len(commands(page.read_text())) for page in LEARNING) > 40


def test_the_table_of_the_how_to_is_valid(tmp_path):
    [table] = blocks((DOCS / "how-to" / "experiments.md").read_text(), "yaml")
    (tmp_path / "table.yaml").write_text(table)
    assert load_experiment(tmp_path / "table.yaml", []).reference == "given"


def test_the_recipe_of_the_tutorial_is_the_one_in_the_repository():
    [shown] = blocks((DOCS / "tutorial" / "first-refine.md").read_text(), "yaml")
    told = yaml.safe_load(shown)
    kept = yaml.safe_load((ROOT / "recipes" / "digits" / "noise40.yaml").read_text())
    assert told == {key: value for key, value in kept.items() if key != "description"}


def test_the_data_of_the_tutorial_are_as_few_as_it_says(tmp_path, monkeypatch):
    page = (DOCS / "tutorial" / "first-cft.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(blocks(page, "python")[0], {})
    with np.load("attributes.npz") as file:
        column = list(file["categories"]).index("two closed loops")
        labels = file["labels"][file["split"] == "fit", column]
    assert f"two closed loops    {(labels == 1).sum()}/{(labels == 0).sum()} " in page


def test_the_tutorial_and_the_notebook_on_the_same_data_tell_the_same_scores():
    page, notebook = (read(DOCS / name) for name in ("tutorial/first-cft.md", "notebooks/partly-known.ipynb"))
    [told] = re.findall(r"mAP on test: (\S+)% → (\S+)%,", page)
    [shown] = re.findall(r"mAP on test: (\S+)% → (\S+)%\n", notebook)
    assert [f"{float(score):.1f}" for score in told] == list(shown)
    [control] = re.findall(r"on the known labels: mAP on test ([\d.]+)%", notebook)
    assert f"This control reaches {control}% mAP on test, more than the {shown[1]}% of fine-tuning." in page


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "how-to" / "fine-tune-a-head.md"], ids=name_of)
def test_the_python_example_runs_as_it_is_written(page, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    features, weight = rng.standard_normal((600, 8)).astype("float32"), rng.standard_normal((3, 8)).astype("float32")
    labels = (features @ weight.T + rng.standard_normal((600, 3)) > 0).astype("float32")
    split = np.repeat(["fit", "select", "test"], 200)
    labels[(split == "fit")[:, None] & (rng.random(labels.shape) > 0.5)] = np.nan
    head = {"head_weight": rng.standard_normal((3, 8)).astype("float32"), "head_bias": np.zeros(3, "float32")}
    np.savez(tmp_path / "features.npz", features=features, labels=labels, split=split, categories=list("abc"), **head)
    monkeypatch.chdir(tmp_path)
    [code] = blocks(page.read_text(), "python")
    exec(code, {})
    scores = np.array(eval(re.search(r"tensor\((\[.*?\])", capsys.readouterr().out, re.DOTALL)[1]))
    assert scores.shape == (3,) and (scores > 0.8).all()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page):
    """`refinery/chain.py`, `recipes/digits/clean.yaml`: paths of the package or of the repository."""
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|sh|md|txt))`", read(page)):
        assert any((top / path).exists() for top in (ROOT, ROOT / "src" / "labelwise")), path
    for path in re.findall(r"\brecipes/[\w./-]+\.(?:yaml|json|csv)\b", read(page)):
        assert (ROOT / path).exists(), path


def test_the_reference_names_every_command_and_option():
    parts = HOOKS.cli_page().split("\n## labelwise ")[1:]
    groups = {"data", "audit", "store", "recipes"}
    told = "".join(help_of(*words).stdout for words in [(), *zip(groups, strict=True)])
    names = {part.partition("\n")[0].split()[-1] for part in parts}
    assert names | groups == set(re.findall(r"^[^\w-]*([a-z]+)  +[A-Z]", told, re.MULTILINE))
    for part in parts:
        told = help_of(*part.partition("\n")[0].split()).stdout
        flags = set(re.findall(r"^\| `(--[\w-]+)` \|", part, re.MULTILINE))
        assert flags | {"--help"} == set(re.findall(r"^\W*?(--[\w-]+)", told, re.MULTILINE))


def test_the_reference_of_recipes_names_every_key_with_its_default():
    page = HOOKS.recipe_page()

    def keys(section: type[Section]) -> set[str]:
        return set(section.model_fields)

    told = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    inner = set(re.findall(r"^## `[\w.\[\]]*?(\w+)(?:\[\])?`", page, re.MULTILINE))
    assert keys(Recipe) <= told | inner
    assert "| `lr` | number above 0 | `0.05` |" in page
    assert "## `data`, `format: table`" in page and page.count("| `label_columns` |") == 1
    assert "## `chain.refined.jitter`" in page and "## `chain.networks[]`" in page
