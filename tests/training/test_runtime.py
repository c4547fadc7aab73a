"""What a network is shown when it is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwise.config import DataConfig, Recipe, TrainConfig, ViewConfig
from labelwise.data.dataset import Dataset
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset
from labelwise.models.classifier import Classifier
from labelwise.training.input_spec import measure_input_spec
from labelwise.training.runtime import predict_logits, start_runtime


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DataConfig(source="digits", train_limit=60, test_limit=30))


class Sees(torch.nn.Module):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("view", [None, 7])
def test_mixed_precision_is_of_the_network_alone(view: int | None, digits: Dataset) -> None:
    views = ViewConfig(size=8, scale=(0.3, 1.0), rand_augment_ops=2)
    shown = {}
    for precision in ("no", "bf16"):
        runtime = start_runtime(Recipe(train=TrainConfig(precision=precision)))
        torch.manual_seed(0)
        model = Classifier(Sees(), measure_input_spec(digits, views), digits.classes, "sees", {})
        loader = make_loader(digits, views, runtime.device)
        logits = predict_logits(model, loader, np.arange(40), runtime, view=view)
        assert logits.dtype == torch.float32
        shown[precision] = torch.cat(model.net.seen)
    assert shown["bf16"].dtype == torch.float32 and torch.equal(shown["bf16"], shown["no"])
    start_runtime(Recipe())


def test_normalisation_is_measured_on_all_classes_of_images_in_files(tmp_path) -> None:
    from PIL import Image

    for split, number in (("train", 150), ("val", 2)):
        for name, level in (("dark", 10), ("light", 240)):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(number):
                Image.new("L", (8, 8), level).save(tmp_path / split / name / f"{i}.png")
    data = load_dataset(DataConfig(source=str(tmp_path), memory="no", channels=1))
    assert data.in_files
    spec = measure_input_spec(data, ViewConfig(size=8))
    assert spec.mean[0] == pytest.approx((10 + 240) / 2 / 255, abs=0.1)
    assert spec.std[0] == pytest.approx((240 - 10) / 2 / 255, abs=0.05)
