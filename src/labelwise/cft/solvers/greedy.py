"""The published solvers together: every category keeps the head that is best on ``select``.

This is the greedy combination of the authors' own library (arXiv 2401.16991): the trained head, gradient descent with
BCE and with ASL, and the genetic algorithm, each with its published settings.
"""

from __future__ import annotations

import torch

from labelwise.cft.candidate_heads import Objective
from labelwise.cft.evidence import Evidence, steps_in_words
from labelwise.cft.solvers.backprop import fit_backprop
from labelwise.cft.solvers.genetic_paper import fit_genetic_paper
from labelwise.cft.solvers.grid import Step
from labelwise.cft.solvers.inputs import Problem
from labelwise.cft.solvers.iterate import Optimised


def fit_greedy(
    problem: Problem, objective: Objective, *, budget: int, step: Step
) -> tuple[torch.Tensor, torch.Tensor, list[str], list[Evidence]]:
    """Run the three solvers and choose per category.

    Returns
    -------
    weight (C, D), bias (C,), and per category the solver that won and the score of each
    """
    results: dict[str, Optimised] = {
        "backprop (bce)": fit_backprop(problem, objective, loss="bce", budget=budget, step=step),
        "backprop (asl)": fit_backprop(problem, objective, loss="asl", budget=budget, step=step),
        "genetic": fit_genetic_paper(problem, objective, budget=budget, step=step),
    }
    found = list(results.values())
    score = torch.stack([result.score_after for result in found], dim=1)
    best = torch.nan_to_num(score, nan=-1.0).argmax(1)
    everyone = torch.arange(len(best), device=best.device)
    weight = torch.stack([result.weight for result in found])[best, everyone]
    bias = torch.stack([result.bias for result in found])[best, everyone]
    words = [steps_in_words(name, result)[0] for name, result in results.items()]
    methods: list[str] = []
    evidence: list[Evidence] = []
    for c, (winner, scores) in enumerate(zip(best.tolist(), score.tolist(), strict=True)):
        methods.append(words[winner][c])
        evidence.append(tuple((words[k][c], scores[k], float(k == winner)) for k in range(len(words))))
    return weight, bias, methods, evidence
