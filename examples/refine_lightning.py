"""Label Refinery in a LightningModule.

    pip install lightning
    python examples/refine_lightning.py

The refinery is asked in ``training_step``. It is no submodule: Lightning neither trains nor saves it.
"""

from __future__ import annotations

import argparse
import logging

import lightning
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from labelwise import RefineryLabels

MEAN, STD = (0.305,), (0.376,)  # of the digits' pixels in [0, 1]


class Student(lightning.LightningModule):
    """Learns from the given labels, or from what ``labels`` say of the images."""

    def __init__(self, labels: RefineryLabels | None = None) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))
        self.labels = labels

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        images, given = batch
        target = given if self.labels is None else self.labels(images)
        normalised = (images - MEAN[0]) / STD[0]
        return cross_entropy(self.net(normalised), target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    """Raw pixels (B, 1, 8, 8) in [0, 1]; 40% of the labels are replaced (simulated noise)."""
    bunch, rng = load_digits(), np.random.default_rng(0)
    label = bunch.target.copy()
    wrong = rng.random(len(label)) < 0.4
    label[wrong] = rng.integers(0, 10, wrong.sum())
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    return DataLoader(TensorDataset(images, torch.from_numpy(label)), batch_size=64, shuffle=True)


def fit(student: Student, steps: int) -> Student:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(accelerator="cpu", max_steps=steps, enable_model_summary=False, **quiet)
    trainer.fit(student, loader())
    return student


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each generation")
    steps = parser.parse_args(arguments).steps
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(0)
    first = fit(Student(), steps)
    labels = RefineryLabels(first.net, 10, mean=MEAN, std=STD)
    second = fit(Student(labels), steps)
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    with torch.no_grad():
        answers = second.eval().net((images - MEAN[0]) / STD[0]).argmax(1).numpy()
    right = float((answers == bunch.target).mean())
    print(f"generation 2 says the true class of {right:.1%} of all digits")
    return right


if __name__ == "__main__":
    main()
