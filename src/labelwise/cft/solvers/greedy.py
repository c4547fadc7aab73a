"""The published solvers together: every category keeps the head that is best on ``select``.

This is the greedy combination of the authors' own library (arXiv 2401.16991): the trained head, gradient descent with
BCE and with ASL, and the genetic algorithm, each with its published settings.
"""

from __future__ import annotations

import torch

from labelwise.cft.evidence import Evidence, NewHeads, heads_of_steps
from labelwise.cft.solvers.backprop import fit_backprop
from labelwise.cft.solvers.genetic_paper import fit_genetic_paper
from labelwise.cft.solvers.inputs import SolverInput


def fit_greedy(inputs: SolverInput) -> NewHeads:
    """Run the three solvers, and choose per category; ``method`` and ``evidence`` name the solver that won."""
    results = [
        fit_backprop(inputs, loss="bce"),
        fit_backprop(inputs, loss="asl"),
        fit_genetic_paper(inputs),
    ]
    score = torch.stack([result.score_after for result in results], dim=1)
    best = torch.nan_to_num(score, nan=-1.0).argmax(1)
    everyone = torch.arange(len(best), device=best.device)
    weight = torch.stack([result.weight for result in results])[best, everyone]
    bias = torch.stack([result.bias for result in results])[best, everyone]
    names = ("backprop (bce)", "backprop (asl)", "genetic")
    words = [heads_of_steps(name, result).method for name, result in zip(names, results, strict=True)]
    methods: list[str] = []
    evidence: list[Evidence] = []
    for c, (winner, scores) in enumerate(zip(best.tolist(), score.tolist(), strict=True)):
        methods.append(words[winner][c])
        evidence.append(tuple((words[k][c], scores[k], float(k == winner)) for k in range(len(words))))
    return NewHeads(weight, bias, methods, evidence)
