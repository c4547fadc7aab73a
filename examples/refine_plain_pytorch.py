"""Label Refinery in a plain PyTorch loop.

    python examples/refine_plain_pytorch.py

Handwritten digits of scikit-learn; 40% of the training labels are replaced (simulated noise). Generation 1 learns from
these labels. Generation 2 is the same network, and learns from what generation 1 says of every view that it sees.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from labelwise import RefineryLabels

MEAN, STD = (0.305,), (0.376,)  # of the digits' pixels in [0, 1]


def digits(noise: float = 0.4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (N, 1, 8, 8) in [0, 1] and their noisy labels, test images and their true labels."""
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    label, rng = bunch.target.copy(), np.random.default_rng(0)
    wrong = rng.random(1000) < noise
    label[:1000][wrong] = (label[:1000][wrong] + rng.integers(1, 10, wrong.sum())) % 10
    labels = torch.from_numpy(label)
    return images[:1000], labels[:1000], images[1000:], labels[1000:]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10)]
    return nn.Sequential(*layers)


def views(images: Tensor) -> Tensor:
    """The images, moved by at most one pixel."""
    row, column = torch.randint(0, 3, (2,)).tolist()
    return nn.functional.pad(images, (1, 1, 1, 1))[:, :, row : row + 8, column : column + 8]


def normalise(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN).view(1, -1, 1, 1)) / torch.tensor(STD).view(1, -1, 1, 1)


def train(net: nn.Module, images: Tensor, target: Callable[[Tensor, Tensor], Tensor], steps: int) -> None:
    """``target`` gives the labels of views (B, 1, 8, 8) of the samples with these indices (B,)."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for _ in range(steps):
        chosen = torch.randint(0, len(images), (64,))
        seen = views(images[chosen])
        loss = cross_entropy(net(normalise(seen)), target(seen, chosen))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(arguments: list[str] | None = None) -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each generation")
    steps = parser.parse_args(arguments).steps
    images, labels, test_images, test_labels = digits()
    first, second = network(), network()
    train(first, images, lambda seen, chosen: labels[chosen], steps)
    refinery = RefineryLabels(first, 10, mean=MEAN, std=STD)
    train(second, images, lambda seen, chosen: refinery(seen), steps)
    accuracy = []
    with torch.no_grad():
        for number, net in enumerate((first, second), start=1):
            answers = net.eval()(normalise(test_images)).argmax(1)
            accuracy.append((answers == test_labels).float().mean().item())
            print(f"generation {number}: {accuracy[-1]:.1%} of the test digits are right")
    return accuracy


if __name__ == "__main__":
    main()
