"""Label Refinery as a task of timm: the training loop of timm stays as it is.

    python examples/refine_timm_task.py

A task of timm is called with a batch and returns its loss. This one puts the labels of a refinery in the place of the
given ones. timm's loaders give images that are normalised already, so the refinery is told with what.

The script shows the calls. A gain needs a first network that memorises wrong labels, which 300 steps hardly do.
"""

from __future__ import annotations

import argparse

import timm
import torch
from sklearn.datasets import load_digits
from timm.task import ClassificationTask
from torch import Tensor, nn

from labelwise import RefineryLabels

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # what the loop normalises its images with


class RefineryTask(ClassificationTask):
    """Learn from what ``labels`` say of each view; the given target is ignored."""

    def __init__(self, model: nn.Module, labels: RefineryLabels) -> None:
        super().__init__(model, criterion=nn.CrossEntropyLoss(), verbose=False)
        self.labels = labels

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        return super().forward(input, self.labels(input))


def digits() -> tuple[Tensor, Tensor]:
    """Images as a loader of timm gives them, normalised (N, 3, 32, 32), and their labels (N,)."""
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    images = nn.functional.interpolate(images, (32, 32), mode="bilinear")
    return (images - MEAN[0]) / STD[0], torch.from_numpy(bunch.target)


def view(images: Tensor) -> Tensor:
    """A random crop of a batch, as a loader of timm gives one. Without views that vary, there is nothing to refine."""
    top, left = torch.randint(0, 9, (2,)).tolist()
    return nn.functional.pad(images, (4, 4, 4, 4), value=-1)[:, :, top : top + 32, left : left + 32]


def train(task: ClassificationTask, loader: list[tuple[Tensor, Tensor]]) -> None:
    """A loop of timm: it calls the task and knows nothing else."""
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    for images, target in loader:
        result = task(images, target)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()


def main(arguments: list[str] | None = None) -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each generation")
    steps, (images, true) = parser.parse_args(arguments).steps, digits()
    torch.manual_seed(0)
    noisy = torch.where(torch.rand(len(true)) < 0.4, torch.randint(0, 10, (len(true),)), true)
    chosen = torch.randint(0, len(true), (steps, 32))
    loader = [(view(images[rows]), noisy[rows]) for rows in chosen]
    first, second = (timm.create_model("test_resnet", num_classes=10) for _ in range(2))
    train(ClassificationTask(first, nn.CrossEntropyLoss(), verbose=False), loader)
    # This network was trained here on images of MEAN and STD. Without mean and std, its pretrained_cfg would count.
    labels = RefineryLabels(first, 10, mean=MEAN, std=STD, normalised=(MEAN, STD))
    train(RefineryTask(second, labels), loader)
    right = []
    with torch.no_grad():
        for number, net in enumerate((first, second), start=1):
            right.append((net.eval()(images).argmax(1) == true).float().mean().item())
            print(f"generation {number} says the true class of {right[-1]:.1%} of the digits")
    return right


if __name__ == "__main__":
    main()
