"""Nearest neighbours: the mean label of the samples that are nearest, nearer ones counting more."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.data.counter_rng import generator
from labelwise.models.closed_form import NearestNeighbours, squared_distances
from labelwise.training.closed_form.candidates import BLOCK, Candidate, Samples, location, set_layer, set_samples

NEIGHBOURS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)
"""knn: numbers of neighbours."""


def knn(fit: Samples, asked: Tensor | None, args: dict[str, Any], seed: int) -> Iterator[Candidate]:
    """The weighted mean label of the nearest samples; with many samples, of a random part of them."""
    _, spread = location(fit.x)
    template = NearestNeighbours(fit.y.shape[1], fit.x.shape[1], **args)
    drawn = torch.from_numpy(generator(seed, "samples").permutation(len(fit.x))[: len(template.samples)])
    samples, labels = fit.x[drawn] / spread, fit.y[drawn]
    numbers = [args["neighbours"]] if args.get("neighbours") else NEIGHBOURS
    most = min(max(numbers), len(samples) - (asked is None))
    parts = []
    for rows in torch.arange(len(fit.x if asked is None else asked)).split(BLOCK):
        distance = squared_distances((fit.x if asked is None else asked)[rows] / spread, samples)
        if asked is None:  # nobody answers for itself
            distance[rows[:, None] == drawn] = torch.inf
        nearest = distance.topk(most, largest=False).indices
        weighted = labels[nearest].cumsum(1).cumsum(1)  # of k neighbours the nearest counts k times, the last once
        parts.append(weighted / torch.arange(1, most + 1).cumsum(0)[:, None])
    means = torch.cat(parts)
    for k in dict.fromkeys(min(k, most) for k in numbers):
        yield Candidate(f"{k} neighbours", partial(_network, samples, labels, 1 / spread, k), means[:, k - 1])


def _network(samples: Tensor, labels: Tensor, scale: float, neighbours: int) -> nn.Module:
    made = NearestNeighbours(labels.shape[1], samples.shape[1], len(samples), neighbours).double()
    set_layer(made.classifier, labels.T, labels.new_zeros(labels.shape[1]))
    set_samples(made.samples, samples, made.scale, scale)
    return made
