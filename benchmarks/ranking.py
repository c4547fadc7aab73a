"""AP and AUC together: labelwise beside scikit-learn, torchmetrics and torcheval, in one run.

    python benchmarks/ranking.py --out ranking.json              # about two minutes on two cores
    python benchmarks/ranking.py --threads 1                     # everybody on one thread
    pip install --no-deps --target PEERS torchmetrics torcheval lightning-utilities
    PYTHONPATH=PEERS python benchmarks/ranking.py                # with the peers that are no dependency
    python benchmarks/ranking.py --device cuda                   # all but scikit-learn on a GPU

Everything is measured in this process, interleaved, on the same scores and labels, and compared as a ratio within each
repetition; the table gives the median ratio and its range. Each tool is used as its documentation does: scikit-learn
and torchmetrics row by row, torcheval batched. Scores are probabilities, so that no tool has to rescale them. "best of
the peers" takes, in each repetition, the fastest AP and the fastest AUC of any peer.

Candidates of several categories (80 x 50 x 8,000) are too many for the peers: all tools are compared on the first few
categories, and labelwise runs the whole besides. Every value is compared with scikit-learn's.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from labelwise.metrics.ranking import ranking
from labelwise.runs import environment, write_json

OURS, BEST = "labelwise", "best of the peers"
Metric = Callable[[Tensor, Tensor], Any]
Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((1, 50, 20_000), (80, 50, 8_000))
"""Categories, candidates of each, samples."""


@dataclass(frozen=True)
class Tool:
    """AP and AUC of (C, P, N) scores with (C, 1, N) labels; `both` where one call gives the two."""

    ap: Metric | None = None
    auc: Metric | None = None
    both: Metric | None = None


def by_row(score: Metric, scores: Tensor, labels: Tensor) -> Tensor:
    """A metric of one row, in a loop."""
    rows = [[float(score(row, label)) for row in block] for block, (label,) in zip(scores, labels, strict=True)]
    return torch.tensor(rows, dtype=torch.float64)


def by_category(score: Metric, scores: Tensor, labels: Tensor) -> Tensor:
    """A metric of many rows at once, category by category."""
    values = [score(block, label.expand_as(block)) for block, label in zip(scores, labels, strict=True)]
    return torch.stack(values).double()


def scikit_learn() -> Tool:
    def ap(row: Tensor, label: Tensor) -> float:
        return average_precision_score(label.numpy(force=True), row.numpy(force=True))

    def auc(row: Tensor, label: Tensor) -> float:
        return roc_auc_score(label.numpy(force=True), row.numpy(force=True))

    return Tool(partial(by_row, ap), partial(by_row, auc))


def torchmetrics() -> Tool:
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    return Tool(partial(by_row, binary_average_precision), partial(by_row, binary_auroc))


def torcheval() -> Tool:
    from torcheval.metrics.functional import binary_auprc, binary_auroc

    def batched(metric: Callable[..., Tensor], block: Tensor, labels: Tensor) -> Tensor:
        return metric(block, labels, num_tasks=len(block))

    return Tool(*(partial(by_category, partial(batched, metric)) for metric in (binary_auprc, binary_auroc)))


def labelwise() -> Tool:
    def both(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        found = ranking(scores, labels)
        return found.ap, found.auc

    return Tool(both=both)


def problem(shape: Shape, device: str) -> tuple[Tensor, Tensor]:
    """Probabilities that know something of labels with 10% positives."""
    categories, rows, samples = shape
    rng = np.random.default_rng(0)
    labels = rng.random((categories, 1, samples)) < 0.1
    logits = rng.standard_normal((categories, rows, samples), dtype=np.float32) + labels
    arrays = (1 / (1 + np.exp(-logits)), labels.astype(np.int64))
    return torch.from_numpy(arrays[0]).to(device), torch.from_numpy(arrays[1]).to(device)


def shapes(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, shape.split("x"))) for shape in text.split(","))


def timed(metric: Metric, scores: Tensor, labels: Tensor) -> tuple[float, Any]:
    started = time.perf_counter()
    value = metric(scores, labels)
    if scores.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started, value


def compare(tools: dict[str, Tool], scores: Tensor, labels: Tensor, repeats: int) -> list[dict[str, Any]]:
    """A row for each tool and for the best of the peers; one untimed repetition first, which checks the values."""
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in tools}
    expected: dict[str, Tensor] = {}
    worst: dict[str, float] = {}
    for repetition in range(repeats + 1):
        for name, tool in tools.items():
            if tool.both is not None:
                spent, (ap, auc) = timed(tool.both, scores, labels)
                values, took = {"ap": ap, "auc": auc}, {"both": spent}
            else:
                assert tool.ap is not None and tool.auc is not None
                took, values = {}, {}
                for key, metric in (("ap", tool.ap), ("auc", tool.auc)):
                    took[key], values[key] = timed(metric, scores, labels)
                took["both"] = took["ap"] + took["auc"]
            values = {key: value.cpu() for key, value in values.items()}
            expected = expected or values
            worst[name] = max(float((values[key] - expected[key]).abs().max()) for key in values)
            if repetition:
                seconds[name].append(took)
    peers = [seconds[name] for name in tools if name != OURS]
    seconds[BEST] = [
        {"both": sum(min(r[key] for r in each) for key in ("ap", "auc"))} for each in zip(*peers, strict=True)
    ]
    return [
        {
            "name": name,
            "seconds": {key: statistics.median(took[key] for took in runs) for key in runs[0]},
            "times_ours": spread([took["both"] / own["both"] for took, own in zip(runs, seconds[OURS], strict=True)]),
            "largest_difference": worst.get(name),
        }
        for name, runs in seconds.items()
    ]


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        found = row["seconds"]
        each = "".join(f"{1e3 * found[key]:10.1f}" if key in found else f"{'':10}" for key in ("ap", "auc", "both"))
        ratio = "{median:7.1f} ({min:.1f} to {max:.1f})".format(**row["times_ours"])
        differs = "" if row["largest_difference"] is None else f"   {row['largest_difference']:.1e}"
        print(f"  {row['name']:20}{each}   {ratio:24}{differs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmark-ranking.json"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--categories", type=int, default=2, help="on which all tools are compared, of the 80")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; scikit-learn stays on the CPU")
    parser.add_argument("--shapes", type=shapes, default=SHAPES, help="default: 1x50x20000,80x50x8000")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tools = {"scikit-learn": scikit_learn()}
    for make in (torchmetrics, torcheval):
        if importlib.util.find_spec(make.__name__):
            tools[make.__name__] = make()
        else:
            print(f"{make.__name__}: not installed")
    tools[OURS] = labelwise()
    results = []
    for shape in options.shapes:
        part = min(shape[0], options.categories)
        scores, labels = problem(shape, options.device)
        rows = compare(tools, scores[:part], labels[:part], options.repeats)
        whole = [timed(ranking, scores, labels)[0] for _ in range(options.repeats)]
        name = " x ".join(f"{size:,}" for size in shape)
        where = f"threads: {options.threads}, {options.device}"
        print(f"{name}, 10% positive; {part} of {shape[0]} categories, {where}; median milliseconds")
        print(f"  {'':20}{'AP':>10}{'AUC':>10}{'both':>10}   times ours (range)        largest difference")
        show(rows)
        print(f"  {OURS}, categories: {shape[0]}{'':14}{1e3 * statistics.median(whole):.1f} ms")
        results.append({"shape": shape, "compared": part, "rows": rows, "whole_seconds": statistics.median(whole)})
    facts = {"threads": options.threads, "repeats": options.repeats, "device": options.device}
    write_json(options.out, {"benchmark": "ranking", **facts, "results": results, "environment": environment()})


if __name__ == "__main__":
    main()
