"""A checkpoint goes to a hub with a card that says what its run says, and comes back as it was."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml

from helpers.run_factory import make_run
from labelwise.config import ModelConfig
from labelwise.errors import ConfigError
from labelwise.export.push import push
from labelwise.inference.predict import predict
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.results import RefineResults, read_results_as
from labelwise.runs import read_json, write_json

NAMES = ("cat", "dog", "fish")
SPEC = InputSpec("image", 32, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), "bicubic")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the hub: one folder a repository."""
    root = tmp_path / "hub"

    class Api:
        def __init__(self, **_: Any) -> None: ...

        def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
            if not name.startswith("me/"):
                raise PermissionError("403 Forbidden:\nno rights")
            (root / name).mkdir(parents=True, exist_ok=exist_ok)
            (root / "private").write_text(str(private))
            return f"https://hub.example/{name}"

        def file_exists(self, name: str, file: str) -> bool:
            return (root / name / file).exists()

        def upload_folder(
            self, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str
        ) -> None:
            for file in folder_path.iterdir():
                if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                    shutil.copy(file, root / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(root / name))
    return root


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """A checkpoint that is the second generation of a run."""
    run = make_run(tmp_path / "run", classes=list(NAMES), seeds=2, generations=2, epochs=2, pictures=False)
    torch.manual_seed(0)
    model = zoo.build(ModelConfig(name="test_resnet"), NAMES, SPEC)
    checkpoint.save(run / "best", model, {"eval_crop": 0.9, "data": "digits, 40% wrong", "labels": "refined"})
    results = read_json(run / "results.json")
    row = next(row for row in results["rows"] if row["name"] == "generation-2")
    row["weights_hash"] = checkpoint.weights_hash(model.net)
    write_json(run / "results.json", results)
    return run / "best"


def test_there_and_back(hub, best, labelwise, tmp_path):
    np.savez(tmp_path / "new.npz", images=np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8))
    done = labelwise("push", best, "me/net", "--private")
    assert done.code == 0 and "https://hub.example/me/net" in done.out and (hub / "private").read_text() == "True"
    assert sorted(f.name for f in (hub / "me/net").iterdir()) == [
        "README.md", "config.json", "model.json", "model.safetensors",
    ]  # fmt: skip
    there, here = predict("hf-hub:me/net", tmp_path / "new.npz"), predict(best, tmp_path / "new.npz")
    assert there.classes == NAMES and (there.logits == here.logits).all()
    (hub / "me/net" / "model.json").unlink()  # as timm sees it
    assert (predict("hf-hub:me/net", tmp_path / "new.npz").logits == here.logits).all()


def test_the_card_says_what_the_run_says(hub, best):
    done = push(best, "me/net", dry_run=True)
    assert done.address is None and not hub.exists()
    text = (done.folder / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "tags": ["image-classification", "labelwise", "timm"],
        "pipeline_tag": "image-classification",
        "library_name": "timm",
    }
    results = read_results_as(best.parent, RefineResults)
    row = next(row for row in results.rows if row.name == "generation-2")
    assert row.test is not None and row.test.top1 is not None and results.comparison is not None
    assert f"Test top-1: {row.test.top1:.2%} (95% interval " in body and "of 10,000 samples" in body
    for words in ("cat, dog, fish", "digits, 40% wrong", results.comparison.sentence, "Lowest classes: "):
        assert words in body
    assert 'timm.create_model("hf-hub:me/net", pretrained=True)' in body


def test_a_checkpoint_from_elsewhere_claims_no_scores(hub, tmp_path):
    model = zoo.build(ModelConfig(name="small-narrow"), NAMES, SPEC)
    checkpoint.save(tmp_path / "alone", model, {"task": "multi-label", "thresholds": {"cat": 0.1}})
    push(tmp_path / "alone", "me/alone")
    text = (hub / "me/alone" / "README.md").read_text()
    assert "None is known here." in text and "multi-label" in text and "timm" not in text
    assert "threshold of their own, in `model.json`: 1\n" in text and "Test" not in text


def test_a_card_that_somebody_wrote_stays(hub, best):
    (hub / "me/net").mkdir(parents=True)
    (hub / "me/net" / "README.md").write_text("mine")
    push(best, "me/net")
    assert (hub / "me/net" / "README.md").read_text() == "mine" and (hub / "me/net" / "model.json").exists()


def test_what_the_hub_refuses_is_one_line(hub, best, labelwise):
    done = labelwise("push", best, "you/net")
    [line] = done.err
    assert done.code == 1 and "did not take you/net (PermissionError: 403 Forbidden: no rights)" in line
    with pytest.raises(ConfigError, match="'net' is no name on the hub; expected USER/NAME"):
        push(best, "net")
