"""`cft.py rules`: which of many candidate heads should a category adopt?"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cft_common import Cache, Part, Problem, code_mark, make_problem, read_cifar, read_ucm, spread, table, write_result
from torch import Tensor

from labelwise.cft.adoption import adopt_best, adopt_mean
from labelwise.cft.solvers.coordinates import principal_coordinates
from labelwise.cft.solvers.inputs import blocks
from labelwise.cft.solvers.logistic import STEPS, THOROUGH, fit_logistic
from labelwise.metrics.ranking import ranking

TEN = 10
_BUDGET = 1 << 27
Rule = Callable[[Tensor, Tensor], Tensor]


def _mean_of_ten(score: Tensor, positives: Tensor) -> Tensor:
    return torch.zeros_like(score).scatter_(1, score.topk(TEN, dim=1).indices, 1 / TEN)


def _one_for_all(score: Tensor, positives: Tensor) -> Tensor:
    best = int(score.nanmean(0).argmax())
    return torch.nn.functional.one_hot(torch.full((len(score),), best), score.shape[1]).to(score)


RULES: dict[str, Rule] = {
    "one setting for all": _one_for_all,
    "best per category": lambda score, positives: adopt_best(score).share,
    "mean of the 10 best": _mean_of_ten,
    "shrunken softmax": lambda score, positives: torch.nn.functional.pad(
        adopt_mean(score[:, 1:], positives).share[:, 1:], (1, 0)
    ),
}
"""Shares (C, 1 + L) of the heads, the old one first, from AP (C, 1 + L) on select and the positives (C,) there."""


def rules(options: argparse.Namespace) -> None:
    cache = Cache(options.cache)
    parts = read_ucm() if options.data == "ucm" else read_cifar()
    entries, rows = [], []
    for share in options.shares:
        found: dict[str, list[dict[str, float]]] = {rule: [] for rule in RULES}
        for seed, swap in itertools.product(options.seeds, (False, True)):
            settings = {
                "cell": "rules",
                "data": options.data,
                "share": share,
                "seed": seed,
                "light": options.light,
                "swap": swap,
            }
            problem = make_problem(parts, share, seed, cache, light=options.light, swap=swap)
            cell = cache.get(settings | {"code": code_mark()}, lambda p=problem, s=seed: _compare(p, s))
            for rule in RULES:
                found[rule].append(cell[rule])
        for rule, cells in found.items():
            # Mean over the two directions of a seed: a difference in difficulty between the splits cancels.
            select, report = (
                np.array([cell[key] for cell in cells]).reshape(-1, 2).mean(1) for key in ("select", "report")
            )
            over = select - report
            entry = {"share": share, "rule": rule, "report_gain": report.tolist(), "overstatement": over.tolist()}
            entries.append(entry)
            rows.append([f"{share} % known, {rule}", spread(report), f"{select.mean():+.2f}", spread(over)])
    heads = ["rule", "report gain", "select gain", "overstatement"]
    table(f"{len(THOROUGH)} candidates and the old head, both directions, {len(options.seeds)} seeds", heads, rows)
    facts = {"data": options.data, "seeds": options.seeds, "light": options.light}
    write_result(options.out, "rules", {**facts, "candidates": len(THOROUGH), "rows": entries})


def _compare(problem: Problem, seed: int) -> dict[str, Any]:
    """Mean gain in points on both splits under every rule; as in `auto` a head that is not better on select is left."""
    weight, bias = _candidates(problem, seed)
    on_select, on_report = (_logits(weight, bias, part) for part in (problem.select, problem.test))
    labels, report_labels = (torch.from_numpy(part[1]).T.contiguous() for part in (problem.select, problem.test))
    ranked = ranking(on_select, labels[:, None])
    deviation = on_select.std(2).clamp_min(1e-6)
    before = ranking(on_report[:, 0], report_labels).ap
    found = {}
    for name, rule in RULES.items():
        factor = (rule(ranked.ap, ranked.positives[:, 0]) / deviation).float()
        select = ranking(torch.einsum("cl,cln->cn", factor, on_select), labels).ap - ranked.ap[:, 0]
        report = ranking(torch.einsum("cl,cln->cn", factor, on_report), report_labels).ap - before
        adopted = select > 0
        gains = {"select": torch.where(adopted, select, 0.0), "report": torch.where(adopted, report, 0.0)}
        found[name] = {key: 100 * float(gain.nanmean()) for key, gain in gains.items()}
    return found


def _candidates(problem: Problem, seed: int) -> tuple[Tensor, Tensor]:
    """The old head and every candidate on features: (C, 1 + L, D) and (C, 1 + L)."""
    features, labels = problem.fit
    table = torch.from_numpy(labels)
    coordinates = principal_coordinates(features, max(c.rank for c in THOROUGH), seed=seed)
    x = coordinates.transform(features)
    old_weight, old_bias = torch.from_numpy(problem.base.weight), torch.from_numpy(problem.base.bias)
    old = torch.from_numpy(features) @ old_weight.T + old_bias
    pull = torch.tensor([c.pull for c in THOROUGH])
    weight = torch.empty(len(old_bias), 1 + len(THOROUGH), features.shape[1])
    bias = torch.empty(weight.shape[:2])
    weight[:, 0], bias[:, 0] = old_weight, old_bias
    for block in blocks(x, table, None, torch.arange(len(old_bias)), len(THOROUGH), _BUDGET):
        own = block.categories
        heads = fit_logistic(block, THOROUGH, coordinates, block.take(old), max_steps=STEPS)
        on_features, feature_bias = coordinates.to_features(heads.weight.transpose(1, 2), heads.bias)
        weight[own, 1:] = on_features + pull[:, None] * old_weight[own, None]
        bias[own, 1:] = feature_bias + pull * old_bias[own, None]
    return weight, bias


def _logits(weight: Tensor, bias: Tensor, part: Part) -> Tensor:
    """(C, 1 + L, n)."""
    flat = weight.flatten(0, 1) @ torch.from_numpy(part[0]).T
    return flat.view(*weight.shape[:2], -1) + bias[..., None]
