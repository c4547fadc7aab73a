"""A stranger's files run no code: not their networks, not the arguments of these, nothing in the working folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from torch import nn

from labelwise.config import ModelConfig, load_recipe
from labelwise.errors import ModelError, RunError
from labelwise.inference.predict import predict
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.models.foreign import refuse_foreign
from labelwise.refinery import budget
from labelwise.refinery.chain import refine
from labelwise.refinery.pretrained import check_refinery
from labelwise.results.refine import Best
from labelwise.runs import read_json

DIGITS = InputSpec("image", 8, 1, (0.5,), (0.5,))
CLASSES = tuple("0123456789")
MINE = f"{__name__}:linear"
CODE = "from pathlib import Path\nPath('ran').touch()\ndef build(k, c): raise SystemExit('ran')\n"


def linear(classes: int, channels: int, side: int = 8) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, classes))


def card_of(folder: Path, **network: Any) -> Path:
    """A checkpoint that says another network."""
    checkpoint.save(folder, zoo.build(ModelConfig(name=MINE), CLASSES, DIGITS), {})
    card = read_json(folder / "model.json")
    (folder / "model.json").write_text(json.dumps(card | {"network": card["network"] | network}))
    return folder


def test_a_network_of_code_is_built_where_it_is_trusted_alone(tmp_path):
    folder = card_of(tmp_path / "model")
    with pytest.raises(ModelError, match=rf"code, {MINE}, .* give --trust-code"):
        checkpoint.load(folder)
    assert checkpoint.load(folder, trust=True)[0].name == MINE
    assert checkpoint.load(folder, [ModelConfig(), ModelConfig(name=MINE)])[0].name == MINE
    with pytest.raises(ModelError, match="trust-code"):
        checkpoint.load(folder, [ModelConfig(name=MINE, args={"side": 9})])


def test_no_module_is_imported_that_is_not_trusted(tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder = card_of(tmp_path / "model", name="evil_module:build")
    for use in (lambda: predict(folder, tmp_path), lambda: check_refinery(str(folder), CLASSES, DIGITS)):
        with pytest.raises(ModelError, match="trust-code"):
            use()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "args",
    [
        {"checkpoint_path": "evil"},
        {"pretrained_cfg_overlay": {"file": "evil"}},
        {"pretrained_cfg": {"url": "https://example.org"}},
        {"act_layer": "../evil.pkl"},
        {"sizes": [1, "/etc/passwd"]},
    ],
)
def test_arguments_name_no_file_and_no_address(args):
    with pytest.raises(ModelError, match=r"model\.args"):
        refuse_foreign("resnet18", args, False, "model.json")
    refuse_foreign("resnet18", args, [ModelConfig(name="resnet18", args=args)], "model.json")


def test_a_card_asks_for_no_download(tmp_path):
    folder = card_of(tmp_path, init="pretrained")
    assert checkpoint.load(folder, trust=True)[0].name == MINE


def test_a_run_trusts_the_code_of_its_recipe_and_of_no_refinery(tmp_path):
    changes = ["data={source: digits, train_limit: 60, test_limit: 20}", "train={epochs: 1, batch_size: 16}"]
    own = load_recipe(None, [*changes, f"model.name={MINE}", "chain.generations=2"])
    refine(own, tmp_path / "own", quiet=True)
    outside = [*changes, f"chain.refinery=[{tmp_path / 'own' / 'seed-0' / 'generation-1'}]", "chain.generations=1"]
    with pytest.raises(ModelError, match="trust-code"):
        refine(load_recipe(None, outside), tmp_path / "other", quiet=True)
    refine(load_recipe(None, [*outside, "chain.trust_code=true"]), tmp_path / "other", quiet=True)


def test_the_plan_in_a_run_folder_brings_no_code(tmp_path):
    request = budget.Request("digits", "small-narrow", "2epochs")
    asked = load_recipe(None)
    for change in ("model.name=evil:build", "chain.trust_code=true"):
        with pytest.raises(RunError, match="does not ask for"):
            budget._refuse_other_code(load_recipe(None, [change]), request, asked, tmp_path)
    budget._refuse_other_code(load_recipe(None, ["model.name=resnet18"]), request, asked, tmp_path)


@pytest.mark.parametrize("path", ["/etc", "../other", "seed-0/../../x", "\\\\host\\x", "C:/x", "a\\..\\..\\x"])
def test_paths_of_results_stay_in_their_folder(path):
    with pytest.raises(ValidationError, match="inside the run folder"):
        Best(name="a", role="network", seed=0, path=path, why="", seconds=0.0)


def test_the_working_folder_is_imported_from_with_trust_code_alone(tmp_path):
    (tmp_path / "typer.py").write_text(CODE)
    (tmp_path / "torch.py").write_text(CODE)
    module = [sys.executable, "-m", "labelwise"]
    done = subprocess.run([*module, "--help"], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0 and not (tmp_path / "ran").exists(), done.stderr


def test_an_own_module_is_found_in_the_working_folder(tmp_path, monkeypatch, labelwise: Callable[..., Any]):
    text = Path(__file__).read_text()
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\n\n\n" + text[text.index("def linear") :].split("\n\n\n")[0]
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sets = [
        "data={source: digits, train_limit: 60, test_limit: 20}",
        "train={epochs: 1}",
        "model.name=nets_of_mine:linear",
    ]
    command = ["train", *(word for one in sets for word in ("--set", one)), "--quiet", "--out", "run"]
    refused = labelwise(*command)
    assert refused.code == 1 and "modules of the working folder need --trust-code" in refused.err[0]
    assert labelwise(*command, "--trust-code").code == 0
    assert labelwise("evaluate", "run/best", "--data", "digits").code == 1
    assert labelwise("evaluate", "run/best", "--data", "digits", "--trust-code").code == 0
