"""Regret of choices: how far what a rule chooses is from the best candidate of the same run, on test.

    python benchmarks/regret.py RUN... --sizes 50 100 200 1000 --draws 20 --json regret.json

Each RUN is a finished folder of `labelwise refine --baselines`. Nothing is trained: networks keep their answers on
`select`. The candidates are the generations and everything that the controls were chosen from. A size draws so many of
the select samples, which stands for a smaller `select`. A run with `chain.choose: folds` has one more line, `folds`, in
which all fit samples judge, too. Rules:

    accuracy     highest accuracy (mAP) on select, the first of equals; controls first among themselves, by accuracy and
                 then likelihood; the chain wins ties. The rule of labelwise before choices by likelihood.
    likelihood   labelwise's rule: calibrated likelihood and a stated order (labelwise.refinery.summary.preferred).
    last, control   the last generation, and the likeliest control: what knows only one side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from labelwise.config import load_recipe
from labelwise.data.dataset import Dataset
from labelwise.metrics.multilabel import hard_labels
from labelwise.metrics.ranking import average_precision
from labelwise.refinery.checks import prepare
from labelwise.refinery.choice import Answers, Judgement, judging_folds
from labelwise.refinery.summary import preferred
from labelwise.results import Row, read_row
from labelwise.results.refine import number_of

RULES = ("accuracy", "likelihood", "last", "control")


@dataclass(frozen=True)
class Drawn(Judgement):
    """A judgement that rests on the samples of ``index`` alone, counted among those that judge; None: on all."""

    index: NDArray[np.int64] | None = None

    def answers(self, row: Row) -> Answers:
        samples, logits = super().answers(row)
        return (samples, logits) if self.index is None else (samples[self.index], logits[self.index])

    def scores(self, row: Row) -> tuple[float, float]:
        """Accuracy (mAP), and the raw log-likelihood that decides between equals."""
        samples, logits = self.answers(row)
        if self.dataset.table is None:
            label = self.dataset.label[samples]
            own = np.arange(len(label)), label
            return float((logits.argmax(1) == label).mean()), float(log_softmax(logits, axis=1)[own].mean())
        labels = hard_labels(self.dataset.table.take(samples))
        return float(np.nanmean(average_precision(logits.T, labels.T))), 0.0


def read(run: Path) -> tuple[str, int, Dataset, list[list[Row]]]:
    """The name of the table, the number of folds that judge, the data, and the candidates of every seed of a run:
    generations, and what the controls were chosen from."""
    recipe, dataset = prepare(load_recipe(run / "config.yaml"), True)
    column = getattr(recipe.data, "labels", None)
    name = recipe.name if column is None else f"{recipe.name}, {column.column}"
    name += "" if dataset.table is None else f", {recipe.data.known.share:.0%} known"
    seeds = []
    for folder in sorted(run.glob("seed-*")):
        rows = [row for path in sorted(folder.glob("*/row.json")) if (row := read_row(path)).test is not None]
        generations = sorted((row for row in rows if row.role == "generation"), key=lambda row: row.generation or 0)
        # Of a chain of several networks only the one that is kept at its end competes.
        generations = [row for row in generations if row.network == generations[-1].network]
        controls = [row.model_copy(update={"role": "control"}) for row in rows if row.role in ("candidate", "control")]
        seeds.append([*generations, *controls])
    return name, judging_folds(recipe), dataset, seeds


def chosen(rows: Sequence[Row], judgement: Drawn) -> dict[str, Row]:
    """What each rule chooses."""
    generations = [row for row in rows if row.role == "generation"]
    kinds: dict[str, list[Row]] = {}
    for row in rows[len(generations) :]:
        kinds.setdefault(row.name.split("-")[0], []).append(row)
    scores = {row.name: judgement.scores(row) for row in rows}
    control = max(
        (max(own, key=lambda row: scores[row.name]) for own in kinds.values()), key=lambda r: scores[r.name][0]
    )
    chain = max(generations, key=lambda row: scores[row.name][0])
    found = preferred(rows, judgement)
    assert found.control is not None
    return {
        "accuracy": chain if scores[chain.name][0] >= scores[control.name][0] else control,
        "likelihood": found.best[0],
        "last": generations[-1],
        "control": found.control[0],
    }


def judgements(
    drawn: Drawn, folds: int, row: Row, draws: int, sizes: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[str, Drawn]]:
    """The name of a size, and a judgement by so many of the select samples, for every draw; then one by all folds."""
    held_out = len(drawn.answers(row)[0])
    for size in (size for size in sizes if size <= held_out):
        for _ in range(1 if size == held_out else draws):
            yield str(size), replace(drawn, index=np.sort(rng.choice(held_out, size, replace=False)))
    if folds > 1:
        yield "folds", replace(drawn, folds=folds)


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
        name, folds, dataset, seeds = read(run)
        metric = "test_top1" if dataset.table is None else "test_map"
        for rows in seeds:
            test = {row.name: 100 * (number_of(row, metric) or 0.0) for row in rows}
            best, control = max(test.values()), max(test[row.name] for row in rows if row.role == "control")
            for size, judgement in judgements(Drawn(dataset, run), folds, rows[0], args.draws, args.sizes, rng):
                for rule, row in chosen(rows, judgement).items():
                    cell = found.setdefault(f"{name}; {size}", {})
                    cell.setdefault(rule, []).append((best - test[row.name], test[row.name] - control))
    print("| table, size of select | " + " | ".join(RULES) + " |\n|---|" + "---:|" * len(RULES))
    means = {}
    for cell, rules in found.items():
        means[cell] = {rule: tuple(np.mean(rules[rule], axis=0).round(2).tolist()) for rule in RULES}
        print(f"| {cell} | " + " | ".join(f"{a:.2f} ({b:+.2f})" for a, b in means[cell].values()) + " |")
    for size in [*map(str, args.sizes), "folds"]:
        own = [cell for cell in means if cell.endswith(f"; {size}")]
        if own:
            mean = [np.mean([means[cell][rule] for cell in own], axis=0) for rule in RULES]
            print(f"| **mean of {len(own)}, {size}** | " + " | ".join(f"{a:.2f} ({b:+.2f})" for a, b in mean) + " |")
    if args.json:
        args.json.write_text(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()
