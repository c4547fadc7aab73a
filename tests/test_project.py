"""The files that keep the project: they can be read, agree with each other and name no machine."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import labelwise

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "labelwise"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]
TEXTS = [".editorconfig", ".pre-commit-config.yaml", "Makefile", "pyproject.toml", "requirements.lock", ".ci/run"]
TEXTS += [str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github").rglob("*")) if path.is_file()]


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps() -> list[dict[str, Any]]:
    return [step for path in WORKFLOWS for job in read(path)["jobs"].values() for step in job["steps"]]


def targets() -> dict[str, str]:
    """Targets that ``make`` prints, with their descriptions."""
    printed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in printed.splitlines()]
    return {target: words for _, target, words in lines}


def test_make_prints_every_target() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert list(targets()) == phony.split()
    assert {"demo", "test"} <= set(targets())


def test_the_pipeline_runs_make_test() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"


def test_workflows_call_targets_that_exist() -> None:
    called = {name for step in steps() for name in re.findall(r"^make (\w+)$", step.get("run", ""), re.M)}
    assert {"test", "build"} <= called <= set(targets())


def test_actions_are_pinned_by_version() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used and [name for name in used if not re.fullmatch(r"[\w./-]+@v\d+(\.\d+)*", name)] == []


def test_workflows_try_every_python_that_is_stated() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    stated = [name.rpartition(" ")[2] for name in project["classifiers"] if ":: Python :: 3." in name]
    matrix = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == stated
    assert project["requires-python"] == f">={stated[0]}"


def test_a_gpu_is_asked_for_only_where_there_is_one() -> None:
    gpu = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["gpu"]
    assert gpu["if"] == "vars.GPU_RUNNER != ''" and gpu["runs-on"] == "${{ vars.GPU_RUNNER }}"
    assert (ROOT / gpu["steps"][-2]["run"].split()[0]).is_file()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_for_issues_ask_something(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    questions = [item["id"] for item in form["body"]]
    assert len(set(questions)) == len(questions) >= 3
    assert any(item.get("validations", {}).get("required") for item in form["body"])


def test_hooks_are_those_of_make() -> None:
    [repository] = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    commands = [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    assert commands == ["ruff check --fix", "ruff format", "mypy"]


@pytest.mark.parametrize("name", TEXTS)
def test_no_address_of_a_registry_and_no_path_of_a_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"index-url [^\s-]|https?://|/work/|/root/|/home/|/tmp/", text) == []


def test_tests_mirror_the_source() -> None:
    tests = ROOT / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")} - {Path(), Path("campaigns")}
    assert {folder for folder in folders if not (SOURCE / folder / "__init__.py").is_file()} == set()
    packages = [path.parent.name for path in SOURCE.glob("*/__init__.py")]
    assert [name for name in packages if not (tests / name).is_dir() and not any(tests.glob(f"test_{name}*.py"))] == []


def test_the_changelog_and_the_citation_name_this_version_and_its_date() -> None:
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    released = [name for name in sections if name != "Unreleased"]
    cited = read(ROOT / "CITATION.cff")
    assert released[0] == f"{labelwise.__version__} ({cited['date-released']})" and cited["version"] in released[0]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(20\d\d-\d\d-\d\d\)", name) for name in released)
    assert sections.count("Unreleased") == (sections[0] == "Unreleased")
