"""``import labelwise`` is cheap and offers every public name, for people and for type checkers."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labelwise

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "pydantic", "pandas", "sklearn", "timm", "yaml", "typer", "rich")


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, labelwise; dir(labelwise); print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", labelwise.__all__)
def test_every_public_name_is_what_it_is_called(name):
    value = getattr(labelwise, name)
    assert value.__name__ == name and value.__module__.startswith("labelwise.")
    assert name in dir(labelwise)
    assert value.__doc__


def test_a_star_import_brings_all_public_names():
    space: dict[str, object] = {}
    exec("from labelwise import *", space)
    assert set(labelwise.__all__) <= set(space)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'refin'"):
        labelwise.refin  # noqa: B018
    with pytest.raises(ImportError, match="refin"):
        exec("from labelwise import refin")


def test_type_checkers_and_the_interpreter_import_from_the_same_modules():
    """The block under TYPE_CHECKING and the table that the interpreter reads say the same."""
    tree = ast.parse(Path(labelwise.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == labelwise._MODULES
    assert sorted(typed) == sorted(labelwise.__all__)


def public_callables() -> list[tuple[str, Any]]:
    """Every public function, class and method, by its full name."""
    found = []
    for name in labelwise.__all__:
        value = getattr(labelwise, name)
        if name in ("AuditConfig", "LabelwiseError", "Recipe"):  # options are fields, which the reference describes
            continue
        found.append((name, value))
        if inspect.isclass(value):
            own = [key for key in vars(value) if not key.startswith("_") and callable(getattr(value, key))]
            methods = [key for key in own if not re.fullmatch(r"set_\w+_request", key)]  # made by scikit-learn
            found += [(f"{name}.{key}", getattr(value, key)) for key in methods]
    return found


@pytest.mark.parametrize(("name", "value"), public_callables(), ids=lambda one: one if isinstance(one, str) else "")
def test_docstrings_name_every_argument(name, value):
    described = inspect.getdoc(value) or ""
    parameters = described.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    named = {
        word for line in parameters.splitlines() if " : " in line for word in re.split(r",\s*", line.split(" : ")[0])
    }
    arguments = {key for key in inspect.signature(value).parameters if key not in ("self", "cls", "args", "kwargs")}
    assert arguments - {"_"} <= named, f"{name}: not described: {sorted(arguments - named)}"


def test_from_a_recipe_to_predictions_with_public_names_alone(tmp_path):
    tiny = ["data={source: digits, train_limit: 90, test_limit: 40}", "train={epochs: 1}", "threads=1"]
    labelwise.train(labelwise.load_recipe(None, tiny), f"{tmp_path}/run", quiet=True)
    row = labelwise.open_run(f"{tmp_path}/run").results.rows[0]
    model = tmp_path / "run" / row.path
    found = labelwise.evaluate(model, labelwise.load_recipe(None, tiny))
    assert found.top1 == pytest.approx(row.test.top1) and found.split == "test"
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    predictions = labelwise.predict(model, tmp_path / "images.npz")
    assert predictions.probability.shape == (5, 10) and predictions.top(3).shape == (5, 3)
    np.testing.assert_allclose(predictions.probability.sum(axis=1), 1, rtol=1e-5)
    data = labelwise.extract_features(model, labelwise.load_recipe(None, tiny), tmp_path / "features", quiet=True)
    assert data.head_weight is not None and data.features.shape == (len(data), data.head_weight.shape[1])
    assert data.fingerprint() == labelwise.read_features(f"{tmp_path}/features").fingerprint()
    with pytest.raises(labelwise.LabelwiseError, match=r"nowhere\.npz"):
        labelwise.read_features(tmp_path / "nowhere.npz")


DEEPER = {"labelwise.demo"}
"""What pages and examples may import beside the public names: the demo's own data, which the tutorial uses."""


def python_of(page: Path) -> list[str]:
    """The Python code that a page, a notebook or an example shows."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return [text] if page.suffix == ".py" else re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_pages_notebooks_and_examples_use_public_names_alone():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
    imported: dict[str, set[str]] = {}
    for page in [*pages, *(ROOT / "examples").glob("*.py")]:
        for node in (node for code in python_of(page) for node in ast.walk(ast.parse(code))):
            if isinstance(node, ast.Import):
                modules = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules = {str(node.module)}
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "labelwise":
                modules = {"labelwise" if node.attr in labelwise.__all__ else f"labelwise.{node.attr}"}
            else:
                continue
            imported.setdefault(page.name, set()).update(name for name in modules if name.startswith("labelwise"))
    assert set().union(*imported.values()) == {"labelwise", *DEEPER}, imported
