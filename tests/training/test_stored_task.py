"""The task of stored labels does what the one of dense labels does with the same labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.losses.test_sparse import dense
from torch import nn

from labelwise.config import RefinedLabelsConfig
from labelwise.data.loaders import Batch, Mix
from labelwise.data.replay import ViewLabels
from labelwise.losses import distillation
from labelwise.losses.sparse import sparse_target
from labelwise.refinery.labellers import GivenLabels
from labelwise.training.stored import StoredAnswers, StoredLabelTask
from labelwise.training.task import GivenShare, SoftLabelTask, halved, hardened

B, K, S, M = 6, 5, 8, 3


class Says:
    sizes: tuple[int, ...] = ()

    def __init__(self, target: torch.Tensor) -> None:
        self.target = target

    def __call__(self, batch: Batch) -> torch.Tensor:
        return batch.mixed(self.target)

    def describe(self) -> str:
        return "fixed"


def make(k: int | None, mix: bool) -> Batch:
    torch.manual_seed(0)
    q = torch.softmax(2 * torch.randn(B, K), 1)
    best = q.topk(k or K, dim=1)
    labels = ViewLabels(None, q.log()) if k is None else ViewLabels(best.indices, best.values.log())
    mixed = Mix(torch.tensor([1, 0, 3, 2, 5, 4]), torch.tensor([0.7, 0.7, 0.2, 0.2, 0.5, 0.5]))
    given = torch.tensor([0, 1, 2, -1, 1, 4])
    return Batch(np.arange(B), {S: torch.rand(B, 1, S, S)}, given, mix=mixed if mix else None, labels=labels)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(S * S, K))


def gradient(output, model: nn.Module) -> torch.Tensor:
    model.zero_grad()
    output.loss.backward()
    return model[1].weight.grad.clone()


FORMS = {"soft": None, "hard": hardened, "top2": halved}


@pytest.mark.parametrize("k", [M, None])
@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("extra", ["", "weights", "kd", "given", "temperature"])
def test_loss_gradient_and_sums_are_those_of_dense_labels(k, mix, kind, extra):
    batch, model = make(k, mix), network()
    t = 3.0 if extra in ("kd", "temperature") else 1.0
    options = RefinedLabelsConfig(kind=kind, temperature=t, loss="kd" if extra == "kd" else "kl")
    weight = torch.tensor([0.5, 1.0, 2.0, 0.7, 1.0]) if extra in ("weights", "given") else None
    given = GivenShare(GivenLabels(K, 0.1), 0.3) if extra == "given" else None
    ours = StoredLabelTask(S, K, options, class_weight=weight, given=given, unlabelled=True)
    label = dense(sparse_target(batch.labels.ids, batch.labels.values, K, temperature=t), K)
    formed = label if FORMS[kind] is None else FORMS[kind](label)
    loss = (lambda z, q: distillation(z, q, t)) if extra == "kd" else None
    theirs = SoftLabelTask(Says(formed), S, weight, loss=loss, given=given, unlabelled=True)
    a, b = ours(model, batch), theirs(model, batch)
    assert ours.names == theirs.names and ours.sizes == theirs.sizes
    torch.testing.assert_close(a.loss, b.loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(a.sums, b.sums, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient(a, model), gradient(b, model), rtol=1e-5, atol=1e-6)


def test_parts_of_a_batch_have_the_gradient_of_the_whole():
    batch, model, task = make(M, True), network(), StoredLabelTask(S, K)
    whole = gradient(task(model, batch), model)
    parts = batch.split(3)
    pieces = [gradient(task(model, part), model) * part.weight / 3 for part in parts]
    torch.testing.assert_close(torch.stack(pieces).sum(0), whole)


def test_stored_log_odds_answer_for_every_category():
    batch = make(None, True)
    batch = replace(batch, labels=ViewLabels(None, torch.linspace(-30, 30, B * K).view(B, K)))
    probability = torch.sigmoid(batch.labels.values)
    torch.testing.assert_close(StoredAnswers("x")(batch)[2], 0.2 * probability[2] + 0.8 * probability[3])
    assert StoredAnswers("store x").describe() == "store x"
