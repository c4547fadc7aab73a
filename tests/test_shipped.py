"""The recipes that come with the package have names, and commands take them in place of a file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from labelwise.config import load_recipe
from labelwise.errors import ConfigError
from labelwise.shipped import by_name, copy_recipe, in_a_line, recipe_file, recipes

ROOT = Path(__file__).parents[1]


def test_every_recipe_of_the_repository_has_its_name():
    found = recipes()
    assert set(found.values()) == set((ROOT / "recipes").rglob("*.yaml")) and len(found) > 40
    assert found["digits/noise40"] == ROOT / "recipes" / "digits" / "noise40.yaml"
    assert all(in_a_line(file) for name, file in found.items() if name.startswith("digits/"))
    assert in_a_line(found["digits/noise40"]).startswith("scikit-learn digits; 40% of the training labels")


def test_the_wheel_holds_them_where_the_package_looks():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"] == {"recipes": "labelwise/recipes"}


def test_commands_take_a_name_and_a_file_of_that_name_comes_first(labelwise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_file = labelwise("train", ROOT / "recipes" / "digits" / "clean.yaml", "--print-config")
    assert labelwise("train", "digits/clean", "--print-config").out == by_file.out != ""
    Path("digits").mkdir()
    Path("digits/clean").write_text("name: mine\n")
    assert by_name(Path("digits/clean")) == Path("digits/clean")
    assert load_recipe(by_name(Path("digits/noise40")), []).name == "digits-noise40"
    assert by_name(Path("nowhere.yaml")) == Path("nowhere.yaml")


def test_list_show_and_copy(labelwise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {line.split()[0] for line in labelwise("recipes", "list").out.splitlines()} == set(recipes())
    monkeypatch.setenv("COLUMNS", "60")
    cut = [line for line in labelwise("recipes", "list").out.splitlines() if len(line) >= 60]
    assert cut and all(line.endswith("…") for line in cut)
    text = recipe_file("digits/noise40").read_text()
    assert labelwise("recipes", "show", "digits/noise40.yaml").out == text
    assert labelwise("recipes", "copy", "digits/noise40").out.strip() == "digits/noise40 -> noise40.yaml"
    assert Path("noise40.yaml").read_text() == text
    [line] = labelwise("recipes", "copy", "digits/noise40").err
    assert line == "error: recipes copy: noise40.yaml is there already; give another --out"
    assert copy_recipe("digits/clean", tmp_path) == tmp_path / "clean.yaml"
    monkeypatch.setenv("COMP_WORDS", "labelwise recipes show digits/noise")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv("_LABELWISE_COMPLETE", "complete_bash")
    assert set(labelwise().out.split()) == {name for name in recipes() if name.startswith("digits/noise")}
    with pytest.raises(ConfigError, match=r"there is no 'digits/noise41'; did you mean digits/noise40"):
        recipe_file("digits/noise41")
