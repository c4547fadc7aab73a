"""What a network starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from labelwise.config import load_recipe
from labelwise.errors import ModelError
from labelwise.models import checkpoint
from labelwise.refinery.chain import train

RECIPE = (
    "data={source: digits, train_limit: 90, test_limit: 40}",
    "views={flip: false}",
    "train={epochs: 1, batch_size: 32, channels_last: false, warmup_epochs: 0}",
)


def test_weights_of_another_library_start_a_network_by_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_recipe(None, [*RECIPE]), tmp_path / "first", quiet=True)
    [file] = (tmp_path / "first" / "best").rglob("model.safetensors")
    own = checkpoint.load(file)[0].net.state_dict()
    renamed, start = tmp_path / "other.pt", [*RECIPE, "train.lr=1e-9", "train.weight_decay=0"]
    torch.save({f"_m{i}.{key.rpartition('.')[2]}": own[key] for i, key in enumerate(own)}, renamed)
    with pytest.raises(ModelError, match=r"model.init_by_order=true"):
        train(load_recipe(None, [*start, f"model.init={renamed}"]), tmp_path / "refused", quiet=True)
    capsys.readouterr()
    recipe = load_recipe(None, [*start, f"model.init={renamed}", "model.init_by_order=true"])
    train(recipe, tmp_path / "second", quiet=True)
    assert "matched by order and shape alone" in capsys.readouterr().err
    [found] = (tmp_path / "second" / "best").rglob("model.safetensors")
    for key, value in load_file(found).items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(value, own[key], atol=1e-5, rtol=1e-4)
