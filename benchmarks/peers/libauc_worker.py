"""Each category's head trained by `libauc` for AUROC or AP, on one problem; runs in that library's environment.

    python libauc_worker.py IN.npz OUT.npz --method auc|ap [--steps 600] [--seed 0] [--threads 1]

IN and OUT are described in `cft_problem.py`.

How the library is used: its losses know no unknown labels, so each category is trained on its known ones alone. The
start is the given head, as the library advises (a usual loss first, then its own). `auc` is AUCMLoss, version 2, with
PESG; `ap` is APLoss with SOAP. Batches of 32, half of them positive, come from DualSampler. Scores go through a
sigmoid, as in the library's examples. Features are divided by their root mean square, so that the same learning rates
suit all data.

What may be tuned is tuned: a category gets the best of SETTINGS at the best of 20 moments, by AP on `select`. It keeps
the given head where none is better, or where its known labels are all alike.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from cft_problem import linear, read_problem, select_ap, write_heads
from libauc.losses import APLoss, AUCMLoss
from libauc.optimizers import PESG, SOAP
from libauc.sampler import DualSampler
from numpy.typing import NDArray
from torch import Tensor, nn

SETTINGS = {
    "auc": list(itertools.product((0.01, 0.1), (1e-5, 1e-2))),
    "ap": list(itertools.product((1e-4, 1e-3), (1e-5, 1e-2))),
}
"""Learning rate and weight decay; the library's own are 0.1 of PESG, 1e-3 of SOAP, and 1e-5 of both."""

BATCH, MOMENTS = 32, 20
Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description="Heads trained by libauc, on one problem.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--method", choices=sorted(SETTINGS), required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    problem = read_problem(args.source)
    scale = float(np.sqrt((problem["features_fit"].astype(np.float64) ** 2).mean()))
    fit, select = (problem[key] / np.float32(scale) for key in ("features_fit", "features_select"))
    weight = torch.from_numpy(problem["head_weight"] * np.float32(scale))
    bias = torch.from_numpy(problem["head_bias"]).clone()
    columns: dict[str, list[float]] = {"select_before": [], "select_after": [], "seconds": []}
    for c in range(len(bias)):
        known = ~np.isnan(problem["labels_fit"][:, c])
        part = torch.from_numpy(fit[known]), torch.from_numpy(problem["labels_fit"][known, c])
        chosen = select, problem["labels_select"][:, c]
        begun = time.perf_counter()
        best = given = linear(weight[c], bias[c])
        if len(part[1].unique()) == 2:
            found = (
                head
                for rate, decay in SETTINGS[args.method]
                for head in train(args.method, given, part, rate, decay, args.steps, 1000 * args.seed + c)
            )
            best = max(itertools.chain([given], found), key=lambda head: select_ap(*chosen, head))
        columns["seconds"].append(time.perf_counter() - begun)
        columns["select_before"].append(select_ap(*chosen, given))
        columns["select_after"].append(select_ap(*chosen, best))
        weight[c], bias[c] = best.weight.detach()[0], best.bias.detach()[0]
    settings = {name: getattr(args, name) for name in ("method", "steps", "seed", "threads")}
    heads = weight / scale, bias
    write_heads(args.target, heads, list(range(len(bias))), columns, settings, ("libauc",))


def train(
    method: str, given: nn.Linear, part: tuple[Tensor, Tensor], rate: float, decay: float, steps: int, seed: int
) -> Iterator[nn.Linear]:
    """The head at each of the moments."""
    features, label = part
    torch.manual_seed(seed)
    head = copy.deepcopy(given)
    options = {"lr": rate, "weight_decay": decay, "verbose": False, "device": "cpu"}
    if method == "ap":
        loss = APLoss(data_len=len(label), device="cpu")
        optimizer = SOAP(head.parameters(), mode="adam", **options)
    else:
        loss = AUCMLoss(version="v2", device="cpu")
        optimizer = PESG(head.parameters(), loss_fn=loss, **options)
    batches = draw(label.numpy(), seed)
    for step in range(1, steps + 1):
        rows = next(batches)
        scores = torch.sigmoid(head(features[rows]))
        target = label[rows][:, None]
        error = loss(scores, target, rows) if method == "ap" else loss(scores, target)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        if step % (steps // MOMENTS) == 0:
            yield copy.deepcopy(head)


def draw(label: Floats, seed: int) -> Iterator[Tensor]:
    """Rows of a batch, without end."""
    sampler = DualSampler(None, BATCH, labels=label, sampling_rate=0.5, random_seed=seed)
    while True:
        yield from torch.tensor(list(sampler)).split(BATCH)


if __name__ == "__main__":
    main()
