"""Regret of choices: how far what a rule chooses is from the best candidate of the same run, on test.

    python benchmarks/regret.py RUN... --sizes 50 100 200 1000 --draws 20 --json regret.json

Each RUN is a finished folder of `labelwise refine --baselines`. Nothing is trained: networks keep their answers on
`select`. The candidates are the generations and everything that the controls were chosen from. A size draws so many of
the select samples, which stands for a smaller `select`. Rules:

    accuracy     highest accuracy (mAP) on select, the first of equals; controls first among themselves, by accuracy and
                 then likelihood; the chain wins ties. The rule of labelwise before choices by likelihood.
    likelihood   labelwise's rule: calibrated likelihood and a stated order (labelwise.metrics.choosing).
    last, control   the last generation, and the likeliest control: what knows only one side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from labelwise.config import load_recipe
from labelwise.data.dataset import Dataset
from labelwise.metrics.choosing import choose, known_likelihood, label_likelihood
from labelwise.metrics.multilabel import hard_labels
from labelwise.metrics.ranking import average_precision
from labelwise.refinery.checks import prepare
from labelwise.refinery.summary import FIRST
from labelwise.results import read_row

RULES = ("accuracy", "likelihood", "last", "control")


@dataclass(frozen=True)
class Candidate:
    """A trained network: its kind, its logits on select, and its score on test in percent."""

    kind: str
    generation: int
    logits: NDArray[np.float64]
    test: float


@dataclass(frozen=True)
class Judges:
    """The select samples: given labels, of one class or of many categories."""

    label: NDArray[np.int64] | None
    table: NDArray[np.float32] | None

    def take(self, index: NDArray[np.int64]) -> Judges:
        return Judges(*(None if part is None else part[index] for part in (self.label, self.table)))

    def likelihood(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.label is not None:
            return label_likelihood(logits, self.label)
        assert self.table is not None
        return known_likelihood(logits, self.table)

    def scores(self, logits: NDArray[np.float64]) -> tuple[float, float]:
        """Accuracy (mAP), and the raw log-likelihood that decides between equals."""
        if self.label is not None:
            own = np.arange(len(logits)), self.label
            return float((logits.argmax(1) == self.label).mean()), float(log_softmax(logits, axis=1)[own].mean())
        assert self.table is not None
        return float(np.nanmean(average_precision(logits.T, self.table.T))), 0.0


def read(run: Path) -> Iterator[tuple[str, Judges, list[Candidate]]]:
    """The name of the table, the judges and the candidates of every seed of a run."""
    recipe, dataset = prepare(load_recipe(run / "config.yaml"), True)
    column = getattr(recipe.data, "labels", None)
    name = recipe.name if column is None else f"{recipe.name}, {column.column}"
    name += "" if dataset.table is None else f", {recipe.data.known.share:.0%} known"
    for folder in sorted(run.glob("seed-*")):
        rows = [read_row(path) for path in sorted(folder.glob("*/row.json"))]
        last = max((row for row in rows if row.role == "generation"), key=lambda row: row.generation or 0)
        candidates, judges = [], np.empty(0, np.int64)
        for row in rows:
            # Of a chain of several networks only the one that is kept at its end competes.
            if row.role == "member" or (row.role == "generation" and row.network != last.network) or row.test is None:
                continue
            with np.load(run / row.path / "predictions.npz") as stored:
                judges, logits = stored["judges"], stored["judged"].astype(np.float64)
            score = row.test.top1 if dataset.table is None else row.test.map
            kind = row.name.split("-")[0] if row.role == "candidate" else row.name
            candidates.append(Candidate(kind, row.generation or 0, logits, 100 * (score or 0.0)))
        yield name, _judges(dataset, judges), candidates


def _judges(dataset: Dataset, rows: NDArray[np.int64]) -> Judges:
    if dataset.table is None:
        return Judges(dataset.label[rows], None)
    return Judges(None, hard_labels(dataset.table.take(rows)))


def chosen(judges: Judges, logits: Sequence[NDArray[np.float64]], candidates: Sequence[Candidate]) -> dict[str, int]:
    """The index of the candidate that each rule chooses."""
    generations = sorted((i for i, c in enumerate(candidates) if c.generation), key=lambda i: candidates[i].generation)
    kinds: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        if not candidate.generation:
            kinds.setdefault(candidate.kind, []).append(i)
    likelihoods = [judges.likelihood(z) for z in logits]
    mean = [float(values.mean()) for values in likelihoods]
    scores = [judges.scores(z) for z in logits]
    old_control = max((max(own, key=lambda i: scores[i]) for own in kinds.values()), key=lambda i: scores[i][0])
    old_chain = max(generations, key=lambda i: scores[i][0])
    control = max((i for own in kinds.values() for i in own), key=lambda i: mean[i])
    later = generations[::-1]
    chain = later[choose([likelihoods[i] for i in later]).chosen]
    order = [chain, control]
    if ridge := kinds.get(FIRST):
        control = (ridge[0], control)[choose([likelihoods[ridge[0]], likelihoods[control]]).chosen]
        order = [control, chain] if control == ridge[0] else [chain, control]
    return {
        "accuracy": old_chain if scores[old_chain][0] >= scores[old_control][0] else old_control,
        "likelihood": order[choose([likelihoods[i] for i in order]).chosen],
        "last": later[0],
        "control": control,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, default=[50, 100, 200, 1000])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run in args.runs:
        rng = np.random.default_rng(0)
        for name, judges, candidates in read(run):
            best = max(c.test for c in candidates)
            control = max(c.test for c in candidates if not c.generation)
            held_out = len(candidates[0].logits)
            for size in (size for size in args.sizes if size <= held_out):
                for _ in range(1 if size == held_out else args.draws):
                    index = np.sort(rng.choice(held_out, size, replace=False))
                    logits = [c.logits[index] for c in candidates]
                    for rule, i in chosen(judges.take(index), logits, candidates).items():
                        cell = found.setdefault(f"{name}; {size}", {})
                        regret = best - candidates[i].test, candidates[i].test - control
                        cell.setdefault(rule, []).append(regret)
    print("| table, size of select | " + " | ".join(RULES) + " |\n|---|" + "---:|" * len(RULES))
    means = {}
    for cell, rules in found.items():
        means[cell] = {rule: tuple(np.mean(rules[rule], axis=0).round(2).tolist()) for rule in RULES}
        print(f"| {cell} | " + " | ".join(f"{a:.2f} ({b:+.2f})" for a, b in means[cell].values()) + " |")
    for size in args.sizes:
        own = [cell for cell in means if cell.endswith(f"; {size}")]
        if own:
            mean = [np.mean([means[cell][rule] for cell in own], axis=0) for rule in RULES]
            print(f"| **mean of {len(own)}, {size}** | " + " | ".join(f"{a:.2f} ({b:+.2f})" for a, b in mean) + " |")
    if args.json:
        args.json.write_text(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()
