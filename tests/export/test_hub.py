"""A network is pushed to a hub over HTTP by the real client, and timm and labelwise fetch the same network again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from helpers.hub import TOKEN, local_hub
from labelwise.config import ModelConfig
from labelwise.inference.predict import predict
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec

NAMES = ("cat", "dog", "fish")

# The client reads the address of the hub when it is imported, so somebody with another address is another process.
SOMEBODY = """
import json, os, sys
from importlib.util import find_spec
import numpy as np, timm, torch
from huggingface_hub import constants
from typer.testing import CliRunner
from labelwise import predict
from labelwise.cli import app

run = CliRunner().invoke
os.environ["HF_TOKEN"] = "hf_wrong"
refused = run(app, ["push", "best", "me/net"])
os.environ["HF_TOKEN"] = sys.argv[1]
constants.HF_HUB_DISABLE_XET = False  # as it is by default
by_xet = run(app, ["push", "best", "me/net", "--private"]) if find_spec("hf_xet") else refused
constants.HF_HUB_DISABLE_XET = True
pushed = run(app, ["push", "best", "me/net", "--private"])
assert pushed.exit_code == 0, (pushed.output, pushed.exception)
again = run(app, ["push", "best", "me/net"])
assert again.exit_code == 0, (again.output, again.exception)
x = torch.from_numpy(np.load("x.npy"))
with torch.no_grad():
    logits = {name: timm.create_model(name, pretrained=True).eval()(x).numpy() for name in sys.argv[2:]}
for name in ("hf-hub:me/net", "hf_hub:me/net"):
    found = predict(name, "new.npz")
    assert found.classes == ("cat", "dog", "fish"), found.classes
    logits[f"labelwise {name}"] = found.logits
np.savez("logits.npz", **logits)
missing = run(app, ["predict", "hf-hub:me/other", "new.npz"])
told = {"refused": refused.exception, "by_xet": by_xet.exception, "pushed": pushed.stdout, "missing": missing.exception}
print(json.dumps({key: str(value) for key, value in told.items()}))
"""


def test_a_network_goes_to_the_hub_and_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = InputSpec("image", 32, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3), "bicubic")
    model = zoo.build(ModelConfig(name="test_resnet"), NAMES, spec)
    checkpoint.save(tmp_path / "best", model, {"eval_crop": 0.9})
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "new.npz", images=rng.integers(0, 256, (5, 40, 40, 3), dtype=np.uint8))
    x = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    at_home = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    names = ["hf-hub:me/net", "hf_hub:me/net", f"local-dir:{tmp_path / 'best' / 'export'}"]
    with local_hub() as (address, hub):
        settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-W", "ignore", "-c", SOMEBODY, TOKEN, *names]
        done = subprocess.run(command, cwd=tmp_path, env=at_home | settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])

    assert list(hub.files) == ["me/net"] and hub.private == {"me/net": True}
    kept = hub.files["me/net"]
    assert sorted(kept) == ["README.md", "config.json", "model.json", "model.safetensors"]
    assert kept["model.safetensors"] == (tmp_path / "best" / "export" / "model.safetensors").read_bytes()
    assert sum(request.startswith("PUT /lfs/") for request in hub.asked) >= 1  # weights are no part of the commit
    assert f"{address}/me/net" in told["pushed"]

    assert "push: the Hugging Face hub did not take me/net" in told["refused"] and "401" in told["refused"]
    assert "set HF_HUB_DISABLE_XET=1 for a hub that takes large files by Git LFS alone" in told["by_xet"]
    assert "hf-hub:me/other: cannot be fetched from the Hugging Face hub" in told["missing"]

    with np.load(tmp_path / "logits.npz") as file:
        logits = dict(file)
    with torch.no_grad():
        expected = model.net.eval()(torch.from_numpy(x)).numpy()
    for name in names:
        np.testing.assert_allclose(logits[name], expected, rtol=0, atol=1e-6)
    seen = predict(tmp_path / "best", tmp_path / "new.npz").logits
    for name in names[:2]:
        assert (logits[f"labelwise {name}"] == seen).all()
