"""Coverage of the 95% intervals of gains in AP, AUC and top-1, by simulation: how often do they hold the true gain?

    python benchmarks/intervals.py [--categories 400] [--rows 400] [--out intervals.json]

Scores are normal; positives are higher by 1.5. Two heads see the same signal with noise of their own: of equal size
(no true gain), or of size 1.5 and 0.5. Every category is one replicate; the true gain is the mean over 6,000
replicates. `groups`: rows come in groups of two that share half of their noise. `mean`: the interval of the mean over
40 categories of 1 to 5 positives each, whose categories share the noise of an image; `lone`: of 3 to 40 categories, one
of which has a single positive. `clear`: of 300 categories with equal heads and 100 with unequal ones, what is called
clear at a false discovery rate of 5%. `top1`: right answers of two networks with several seeds each, whose skill varies
with the seed by 0, 0.1 or 0.4 (where a sample's difficulty varies by 1.5, and chance by 1). `seeds`: the mean AP or AUC
of three categories of 30 positives, of two models with several seeds each, in which the positives are higher by 1.5 and
a number of the seed's own, that varies by 0, 0.1 or 0.4.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from labelwise.metrics.bootstrap import paired_interval, ranking_gain_intervals
from labelwise.metrics.few import discoveries
from labelwise.metrics.paired import MeanRanking
from labelwise.metrics.ranking import ranking

Doubles = NDArray[np.float64]
POSITIVES = (1, 2, 3, 5, 7, 10, 20, 50, 100)
NOISE = {"equal": (1.0, 1.0), "unequal": (1.5, 0.5)}
OFFSET = 1.5
REPLICATES = 6000  # that the true gain is the mean of


def heads(rng: np.random.Generator, labels: Doubles, skill: str, shared: Doubles | float = 0.0) -> tuple[Any, Any]:
    """Scores (N, C) of two heads; ``shared`` is noise of the first that its rows or columns have in common."""
    signal = OFFSET * labels + rng.normal(size=labels.shape)
    first, second = (signal + size * rng.normal(size=labels.shape) for size in NOISE[skill])
    return first + shared, second


def true_gain(rng: np.random.Generator, labels: Doubles, skill: str, metric: Any, shared: Any) -> float:
    """Mean gain over many replicates of the same shape."""
    found = []
    for _ in range(max(1, REPLICATES // labels.shape[1])):
        before, after = heads(rng, labels, skill, shared(labels.shape))
        found.append(np.mean(np.diff([ranking(s.T, labels.T).of(metric).numpy() for s in (before, after)], axis=0)))
    return float(np.mean(found))


def by_category(rows: int, categories: int, draws: int, grouped: bool) -> list[dict[str, Any]]:
    rng, found = np.random.default_rng(0), []
    groups = np.arange(rows) // (2 if grouped else 1)

    def shared(shape: tuple[int, ...]) -> Any:
        return 0.7 * rng.normal(size=shape)[groups] if grouped else 0.0

    for metric, skill, count in ((m, s, p) for m in ("ap", "auc") for s in NOISE for p in POSITIVES):
        labels = np.zeros((rows, categories))
        labels[: count * (2 if grouped else 1)] = 1
        before, after = heads(rng, labels, skill, shared(labels.shape))
        gains = ranking_gain_intervals(before, after, labels, metric=metric, groups=groups, draws=draws)
        truth = 0.0 if skill == "equal" and not grouped else true_gain(rng, labels, skill, metric, shared)
        low, high = gains.interval.T
        held = None if np.isnan(low).all() else float(np.mean((low <= truth) & (truth <= high)))
        found.append({"metric": metric, "skill": skill, "positives": count, "grouped": grouped, "coverage": held})
        print(found[-1], flush=True)
    return found


def of_means(rows: int, repeats: int, draws: int) -> list[dict[str, Any]]:
    counts = {f"1 to {most}, 40 categories": [1 + c % most for c in range(40)] for most in (1, 2, 5)}
    lone = ((3, 5), (5, 5), (10, 5), (40, 5), (10, 30), (40, 30))
    counts |= {f"1, others {k}, {number} categories": [1] + [k] * (number - 1) for number, k in lone}
    rng, found = np.random.default_rng(1), []

    def shared(shape: tuple[int, ...]) -> Any:
        return 0.7 * rng.normal(size=(shape[0], 1))

    for metric, skill, kind in ((m, s, k) for m in ("ap", "auc") for s in NOISE for k in counts):
        runs = []
        for _ in range(repeats):
            labels = np.zeros((rows, len(counts[kind])))
            for c, positives in enumerate(counts[kind]):
                labels[rng.choice(rows // 4, positives, replace=False), c] = 1
            before, after = heads(rng, labels, skill, shared(labels.shape))
            gains = ranking_gain_intervals(before, after, labels, metric=metric, draws=draws)
            runs.append((gains.mean_gain, *gains.mean_interval))
        gain, low, high = np.array(runs).T
        given = ~np.isnan(low)
        held = float(np.mean(((low <= gain.mean()) & (gain.mean() <= high))[given])) if given.any() else None
        told = {"given": float(given.mean()), "coverage": held, "width": float(np.mean(high - low))}
        found.append({"metric": metric, "skill": skill, "mean": True, "positives": kind, **told})
        print(found[-1], flush=True)
    return found


def of_top1(repeats: int) -> list[dict[str, Any]]:
    rng, found = np.random.default_rng(3), []
    skills = ((1.0, 1.0), (1.0, 1.5), (3.0, 4.0))
    for skill, samples, seeds, among in itertools.product(skills, (30, 100, 1000), (1, 2, 3, 5, 10), (0.0, 0.1, 0.4)):
        if seeds == 1 and among:
            continue  # one network each: the interval is theirs
        truth = float(np.diff(ndtr(np.array(skill) / np.sqrt(1.5**2 + 1 + among**2)))[0])
        held = []
        for _ in range(repeats):
            easy = 1.5 * rng.normal(size=samples)
            first, second = (
                easy + own + among * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, samples)) > 0
                for own in skill
            )
            low, high = paired_interval(second.astype(np.float64) - first)
            held.append((low <= truth <= high, high - low))
        coverage, width = np.mean(held, axis=0).tolist()
        told = {"metric": "top1", "skill": skill, "samples": samples, "seeds": seeds, "among": among}
        found.append(told | {"coverage": coverage, "width": width})
        print(found[-1], flush=True)
    return found


def of_seeds(rows: int, repeats: int, draws: int) -> list[dict[str, Any]]:
    rng, found = np.random.default_rng(4), []
    labels = np.zeros((rows, 3))
    labels[:30] = 1
    kinds = itertools.product(("ap", "auc"), NOISE, (2, 3, 5), (0.0, 0.1, 0.4))
    for metric, skill, seeds, among in kinds:
        ranks, runs = MeanRanking(labels, metric=metric, draws=draws), []
        for _ in range(repeats):
            common = OFFSET * labels + rng.normal(size=labels.shape)
            sides = [
                [
                    ranks(common + among * rng.normal() * labels + size * rng.normal(size=labels.shape))
                    for _ in range(seeds)
                ]
                for size in NOISE[skill]
            ]
            gain = ranks.gain(*sides)
            runs.append((gain.gain, *gain.interval))
        gain, low, high = np.array(runs).T
        truth = 0.0 if skill == "equal" else gain.mean()
        coverage = float(np.mean((low <= truth) & (truth <= high)))
        told = {"metric": metric, "skill": skill, "seeds": seeds, "among": among}
        found.append(told | {"coverage": coverage, "width": float(np.mean(high - low))})
        print(found[-1], flush=True)
    return found


def called_clear(rows: int, draws: int) -> list[dict[str, Any]]:
    rng, found = np.random.default_rng(2), []
    for metric, count in ((m, p) for m in ("ap", "auc") for p in (5, 10, 30, 100)):
        labels = np.zeros((rows, 400))
        labels[:count] = 1
        parts = [heads(rng, labels[:, :300], "equal"), heads(rng, labels[:, 300:], "unequal")]
        before, after = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        clear = discoveries(ranking_gain_intervals(before, after, labels, metric=metric, draws=draws).p_value)
        called = {"equal": int(clear[:300].sum()), "unequal": int(clear[300:].sum())}
        found.append({"metric": metric, "positives": count, "clear": called})
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", type=int, default=400, help="replicates")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=200, help="of a mean over categories")
    parser.add_argument("--out", type=Path, default=Path("benchmark-intervals.json"))
    options = parser.parse_args()
    rows = [
        *by_category(options.rows, options.categories, options.draws, grouped=False),
        *by_category(options.rows, options.categories, options.draws, grouped=True),
        *of_means(options.rows, options.repeats, options.draws),
        *called_clear(options.rows, options.draws),
        *of_top1(5 * options.repeats),
        *of_seeds(options.rows, 2 * options.repeats, options.draws // 5),
    ]
    options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
