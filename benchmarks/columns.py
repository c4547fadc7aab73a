"""Closed forms on embeddings with one column in other units, or with broken rows: accuracy and cross-entropy on test.

    python benchmarks/columns.py --data ../shared/data [--sets ucm,cifar] [--forms kernel_ridge,knn,lda,logistic]

`ucm`: 21 scenes of UC Merced, 256 of the 1,280 features of EfficientNet-Lite0, 800 rows to fit, 300 to choose, 1,000 to
test. `cifar`: CIFAR-10, 128 features, 2,000, 500 and 5,000. Three draws of rows, and of the column. Broken rows are
normal noise of size 1e4, among those to fit and to choose.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, one_hot

from labelwise.training.closed_form.candidates import Samples
from labelwise.training.closed_form.fit import SOLVERS, fit_closed_form

SIZES = {"ucm": (800, 300, 1000), "cifar": (2000, 500, 5000)}
CHANGES = [("none", 0.0), *(("column", factor) for factor in (10, 1e3, 1e4, 1e6)), ("rows", 0.001), ("rows", 0.01)]


def read(data: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if name == "cifar":
        with np.load(data / "cifar10_features_lite0_pca128.npz") as file:
            return file["features"].astype(np.float64), file["label"].astype(np.int64)
    with np.load(data / "ucm_features_lite0.npz") as file:
        scenes = [str(one).rstrip("0123456789") for one in file["ids"]]
        return file["features"][:, :256].astype(np.float64), np.unique(scenes, return_inverse=True)[1]


def scores(data: Path, name: str, form: str, kind: str, size: float, seed: int) -> tuple[float, float]:
    (x, label), (fit, select, test) = read(data, name), SIZES[name]
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(x))[: fit + select + test]
    x, label = x[rows].copy(), label[rows]
    if kind == "column":
        x[:, rng.integers(x.shape[1])] *= size
    if kind == "rows":
        broken = rng.choice(fit + select, round(size * (fit + select)), replace=False)
        x[broken] = 1e4 * rng.normal(size=(len(broken), x.shape[1]))
    y = one_hot(torch.from_numpy(label)).double()
    parts = zip(torch.from_numpy(x).split((fit, select, test)), y.split((fit, select, test)), strict=True)
    learnt, chosen, asked = (Samples(*part) for part in parts)
    with torch.no_grad():
        logits = fit_closed_form(form, {}, learnt, chosen, seed).net(asked.x.float())
    truth = asked.y.argmax(1)
    return 100 * float((logits.argmax(1) == truth).double().mean()), float(cross_entropy(logits, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="ucm,cifar")
    parser.add_argument("--forms", default=",".join(SOLVERS))
    parser.add_argument("--out", type=Path, default=Path("benchmark-columns.json"))
    options = parser.parse_args()
    found = []
    for name in options.sets.split(","):
        for form in options.forms.split(","):
            for kind, size in CHANGES:
                top1, loss = zip(
                    *(scores(options.data, name, form, kind, size, seed) for seed in range(3)), strict=True
                )
                found.append({"set": name, "form": form, "change": kind, "size": size, "top1": top1, "loss": loss})
                print(found[-1], flush=True)
    options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
