"""Category-wise fine-tuning by its authors' own library, `mlcpl`, on one problem; runs in that library's environment.

    python mlcpl_worker.py IN.npz OUT.npz --method bp-bce|bp-asl|ga [--categories 0,1,2] [--epochs 5000]
                           [--patience 300] [--seed 0] [--threads 1]

IN and OUT are described in `cft_problem.py`. OUT also has per category: iterations (0: the library skipped it),
last_loss (NaN for the GA and for skipped ones; a NaN elsewhere means that the library's loss broke down).

How the library is used: `mlcpl.cft.CFT` on the CPU with full batches, one call per category, which is what its own
loop over categories does (`seconds` is around that call alone); a fresh `mlcpl.cft.BP` with Adam at 1e-4, or
`mlcpl.cft.GAForLinear` as it comes. It seeds nothing, so torch and numpy are seeded before every category. Where the
library leaves a choice, it gets the one that is best for it:

- The metric is the one of the authors' scripts, torchmetrics' binary_average_precision on raw logits, without argument
  checks (faster, same value) and with integer targets (it refuses the floats that the library passes). Scores outside
  [0, 1] go through a float32 sigmoid inside torchmetrics, so logits above about 17 tie: the library's own way, kept.
- bp-bce uses PyTorch's BCEWithLogitsLoss: unknown labels are gone by then, it is faster than the library's own BCE on
  probabilities and stays finite where that one returns NaN gradients (logits above about 17).
- bp-asl uses the library's asymmetric loss with the settings of the paper's code (gamma 0 and 4, clip 0.05, sum).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import mlcpl
import numpy as np
import torch
from cft_problem import linear, read_problem, select_ap, write_heads
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_average_precision

LEARNING_RATE = 1e-4
METHODS = ("bp-bce", "bp-asl", "ga")


def metric(logits: Tensor, target: Tensor) -> Tensor:
    """Average precision of (N, 1) logits as the library's scripts compute it."""
    return binary_average_precision(logits, target.long(), validate_args=False)


def optimizer(method: str) -> Any:
    """The library's optimiser of the name; its defaults are for a GPU, hence ``device``."""
    if method == "ga":
        return mlcpl.cft.GAForLinear(metric=metric, device="cpu")
    loss = (
        nn.BCEWithLogitsLoss(reduction="sum")
        if method == "bp-bce"
        else mlcpl.losses.PartialAsymmetricWithLogitLoss(clip=0.05, gamma_pos=0, gamma_neg=4, reduction="sum")
    )
    return mlcpl.cft.BP(
        loss_fn=loss, optimizer_class=torch.optim.Adam, optimizer_kwargs={"lr": LEARNING_RATE}, device="cpu"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Category-wise fine-tuning through mlcpl, on one problem.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--categories", type=lambda text: [int(c) for c in text.split(",")], help="default: all")
    parser.add_argument("--epochs", type=int, default=5000)
    parser.add_argument("--patience", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    problem = read_problem(args.source)
    count = len(problem["head_bias"])
    categories = list(range(count)) if args.categories is None else args.categories
    if not all(0 <= c < count for c in categories):
        raise SystemExit(f"--categories: {args.source} has categories 0 to {count - 1}")
    fit, fit_label, select, select_label, weight, bias = (torch.from_numpy(array) for array in problem.values())
    new_weight, new_bias = weight.clone(), bias.clone()
    columns: dict[str, list[float]] = {
        "select_before": [],
        "select_after": [],
        "seconds": [],
        "iterations": [],
        "last_loss": [],
    }

    for c in categories:
        torch.manual_seed(1000 * args.seed + c)
        np.random.seed(1000 * args.seed + c)  # noqa: NPY002 - the library would draw from the global generator
        old, method = linear(weight[c], bias[c]), optimizer(args.method)
        with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
            begun = time.perf_counter()
            (new,), (records,) = mlcpl.cft.CFT(
                [old],
                training_data=(fit, fit_label[:, c : c + 1]),
                validation_data=(select, select_label[:, c : c + 1]),
                optimizer=method,
                epochs=args.epochs,
                early_stopping=args.patience,
                validation_metric=metric,
                device="cpu",
            )
            seconds = time.perf_counter() - begun
        new_weight[c], new_bias[c] = new.weight.detach()[0], new.bias.detach()[0]
        label = problem["labels_select"][:, c]
        columns["select_before"].append(select_ap(problem["features_select"], label, old))
        columns["select_after"].append(select_ap(problem["features_select"], label, new))
        columns["seconds"].append(seconds)
        columns["iterations"].append(len(records))
        columns["last_loss"].append(float(records[-1].get("loss", np.nan)) if records else float("nan"))

    settings = {name: getattr(args, name) for name in ("method", "epochs", "patience", "seed", "threads")}
    heads = new_weight, new_bias
    write_heads(args.target, heads, categories, columns, settings, ("mlcpl", "torchmetrics"))


if __name__ == "__main__":
    main()
