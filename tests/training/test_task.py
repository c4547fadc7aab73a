"""Targets that need no network, and the numbers that a step reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from labelwise.data.loaders import Batch, Mix
from labelwise.losses import reverse_kl
from labelwise.refinery.labellers import GivenLabels, StoredLabels
from labelwise.training.task import GivenShare, Jitter, SoftLabelTask, _count, halved, hardened

B, K, S = 6, 4, 8


def batch(mix: bool = False) -> Batch:
    torch.manual_seed(0)
    given = torch.tensor([0, 1, 2, 3, 1, 1])
    partner = torch.tensor([1, 0, 3, 2, 5, 4])
    share = torch.tensor([0.7, 0.7, 0.2, 0.2, 0.5, 0.5])
    return Batch(np.arange(B), {S: torch.rand(B, 1, S, S)}, given, mix=Mix(partner, share) if mix else None)


class Says:
    """A labeller that answers with fixed rows and wants another size."""

    sizes = (5,)

    def __init__(self, target: torch.Tensor) -> None:
        self.target = target

    def __call__(self, batch: Batch) -> torch.Tensor:
        return self.target

    def describe(self) -> str:
        return "fixed"


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(S * S, K))


def test_given_and_smoothed_labels():
    one_hot = functional.one_hot(batch().given, K).float()
    assert torch.equal(GivenLabels(K)(batch()), one_hot)
    smoothed = GivenLabels(K, 0.2)(batch())
    torch.testing.assert_close(smoothed, 0.8 * one_hot + 0.05)
    torch.testing.assert_close(smoothed.sum(1), torch.ones(B))
    assert GivenLabels(K).describe() == "given" and GivenLabels(K, 0.1).describe() == "given, smoothed 0.1"


def test_mixed_labels():
    target = GivenLabels(K)(batch(mix=True))
    torch.testing.assert_close(target[0], torch.tensor([0.7, 0.3, 0, 0]))
    torch.testing.assert_close(target[3], torch.tensor([0, 0, 0.8, 0.2]))
    torch.testing.assert_close(target[4], torch.tensor([0, 1.0, 0, 0]))
    torch.testing.assert_close(GivenLabels(K, 0.4)(batch(mix=True)), 0.6 * target + 0.1)


def test_stored_labels_by_row_and_by_class():
    table = torch.softmax(torch.randn(B + 3, K), 1)
    views = replace(batch(mix=True), rows=np.array([7, 0, 3, 8, 1, 1]))
    plain = replace(views, mix=None)
    by_row, by_class = StoredLabels(table, "row", "x"), StoredLabels(table[:K], "class", "y")
    assert torch.equal(by_row(plain), table[[7, 0, 3, 8, 1, 1]])
    assert torch.equal(by_class(plain), table[[0, 1, 2, 3, 1, 1]])
    torch.testing.assert_close(by_row(views)[0], 0.7 * table[7] + 0.3 * table[0])
    torch.testing.assert_close(by_class(views)[3], 0.2 * table[3] + 0.8 * table[2])
    assert (by_row.describe(), by_class.describe(), by_row.sizes) == ("x", "y", ())


def test_hard_labels_are_the_likeliest_class():
    net, q = network(), torch.softmax(torch.randn(B, K), 1)
    q[2] = 1 / K  # the first of equals
    output = SoftLabelTask(Says(q), S, form=hardened)(net, batch())
    expected = functional.cross_entropy(net(batch().inputs[S]), torch.tensor([*q.argmax(1)]))
    torch.testing.assert_close(output.loss, expected)
    assert q[2].argmax() == 0 and output.sums[2] == 0  # no entropy


def test_the_two_likeliest_classes_have_a_half_each():
    q = torch.softmax(torch.randn(B, K), 1)
    expected = torch.tensor([[0.5 * (sum(other > own for other in row) < 2) for own in row] for row in q.tolist()])
    assert torch.equal(halved(q), expected) and (halved(q).sum(1) == 1).all()
    level = halved(torch.full((2, K), 1 / K))
    assert (level.sum(1) == 1).all() and set(level.unique().tolist()) == {0.0, 0.5}


def test_loss_and_sums():
    net, q = network(), torch.softmax(torch.randn(B, K), 1)
    task = SoftLabelTask(Says(q), S)
    assert task.sizes == (5, S)
    output = task(net, batch())
    sums = dict(zip(task.names, output.sums.tolist(), strict=True))
    logits = net(batch().inputs[S])
    expected = functional.cross_entropy(logits, q)
    torch.testing.assert_close(output.loss, expected)
    assert sums["ce"] == pytest.approx(B * expected.item(), rel=1e-5)
    assert sums["entropy"] == pytest.approx(-(q * q.log()).sum().item(), rel=1e-5)
    assert sums["kl"] == pytest.approx(sums["ce"] - sums["entropy"], rel=1e-4)
    assert sums["top1"] == (logits.argmax(1) == batch().given).sum()
    assert output.loss.requires_grad and not output.sums.requires_grad


def test_label_smoothing_is_torch_s():
    net = network()
    output = SoftLabelTask(GivenLabels(K, 0.3), S)(net, batch())
    expected = functional.cross_entropy(net(batch().inputs[S]), batch().given, label_smoothing=0.3)
    torch.testing.assert_close(output.loss, expected)


def test_class_weights_weigh_the_loss_and_not_the_report():
    net, weight = network(), torch.tensor([0.5, 1.0, 2.0, 4.0])
    output = SoftLabelTask(GivenLabels(K), S, weight)(net, batch())
    logits = net(batch().inputs[S])
    expected = functional.cross_entropy(logits, batch().given, weight=weight, reduction="none").mean()
    torch.testing.assert_close(output.loss, expected)
    assert output.sums[0].item() == pytest.approx(
        functional.cross_entropy(logits, batch().given, reduction="sum").item()
    )


def test_class_weights_weigh_the_given_label_beside_an_answer_too():
    net, weight, q = network(), torch.tensor([0.5, 1.0, 2.0, 4.0]), Says(torch.softmax(torch.randn(B, K), 1))
    output = SoftLabelTask(q, S, weight, given=GivenShare(GivenLabels(K), 0.3))(net, batch())
    log_p = torch.log_softmax(net(batch().inputs[S]), 1)
    mixed = 0.7 * q.target + 0.3 * functional.one_hot(batch().given, K)
    torch.testing.assert_close(output.loss, -(weight * mixed * log_p).sum(1).mean())


def test_weighted_parts_have_the_gradient_of_the_batch():
    task = SoftLabelTask(GivenLabels(K), S)
    gradients = []
    for parts in (1, 2, 3):
        net = network()
        pieces = batch(mix=True).split(parts)
        for piece in pieces:
            (task(net, piece).loss * piece.weight / len(pieces)).backward()
        gradients.append(net[1].weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


@pytest.mark.parametrize("mix", [False, True])
def test_an_unlabelled_sample_learns_the_answer_alone_and_counts_in_no_accuracy(mix):
    net, q = network(), Says(torch.softmax(torch.randn(B, K), 1))
    views = batch(mix)
    bare = replace(views, given=views.given.clone().index_fill_(0, torch.tensor([1, 4]), -1))
    task = SoftLabelTask(q, S, given=GivenShare(GivenLabels(K), 0.3), unlabelled=True)
    output = task(net, bare)
    logits = net(views.inputs[S])
    of_answer = functional.cross_entropy(logits, q.target, reduction="none")
    of_given = functional.cross_entropy(logits, GivenLabels(K)(views), reduction="none")
    labelled = torch.tensor([not mix, False, True, True, False, not mix])  # of a mixed view both samples
    expected = torch.where(labelled, 0.7 * of_answer + 0.3 * of_given, of_answer)
    torch.testing.assert_close(output.loss, expected.mean())
    sums = dict(zip(task.names, output.sums.tolist(), strict=True))
    right = logits.argmax(1) == views.given
    assert sums["labelled"] == 4 and sums["top1"] == right[[0, 2, 3, 5]].sum()


def test_the_given_label_has_its_share_of_the_loss_smoothed_as_it_is_told():
    net, q, own = network(), Says(torch.softmax(torch.randn(B, K), 1)), GivenLabels(K, 0.2)
    plain, given = SoftLabelTask(q, S)(net, batch()), SoftLabelTask(own, S)(net, batch())
    mixed = SoftLabelTask(q, S, given=GivenShare(own, 0.3))(net, batch())
    torch.testing.assert_close(mixed.loss, 0.7 * plain.loss + 0.3 * given.loss)
    torch.testing.assert_close(mixed.sums[0], plain.sums[0])  # ce is told against the labeller's answer


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_reviewed_sample_learns_its_given_label_alone_whatever_form_and_loss_the_others_have(weight: float) -> None:
    net, q = network(), Says(torch.softmax(torch.randn(B, K), 1))
    reviewed = torch.tensor([True, False, False, False, True, False])
    given = GivenShare(GivenLabels(K), weight, reviewed)
    logits = net(batch().inputs[S])
    of_given = functional.cross_entropy(logits, batch().given, reduction="none")
    loss = SoftLabelTask(q, S, form=halved, loss=reverse_kl, given=given)(net, batch()).loss
    others = (1 - weight) * reverse_kl(logits, halved(q.target)) + weight * of_given
    torch.testing.assert_close(loss, torch.where(reviewed, of_given, others).mean())


def test_of_a_mixed_view_the_reviewed_part_keeps_its_label_and_the_rest_is_answered() -> None:
    q = Says(torch.full((B, K), 1 / K))
    reviewed = torch.tensor([True, False, True, True, False, False])
    target = SoftLabelTask(q, S, given=GivenShare(GivenLabels(K), 0.0, reviewed)).target(batch(mix=True))
    torch.testing.assert_close(target[0], torch.tensor([0.7, 0, 0, 0]) + 0.3 / K)  # the other part has class 1
    torch.testing.assert_close(target[1], torch.tensor([0.3, 0, 0, 0]) + 0.7 / K)
    torch.testing.assert_close(target[2], torch.tensor([0, 0, 0.2, 0.8]))
    torch.testing.assert_close(target[4], torch.full((K,), 1 / K))
    torch.testing.assert_close(target.sum(1), torch.ones(B))


@pytest.mark.parametrize(
    ("share", "views"), [(0.5, 2), (0.1, 8), (0.015, 64), (0.3, 11), (0.5, 64), (1.0, 7), (0.0, 8)]
)
def test_small_shares_are_kept_on_average_and_pairs_together(share: float, views: int) -> None:
    torch.manual_seed(0)
    counts = [_count(Jitter(None, "views", share), views) for _ in range(2000)]  # type: ignore[arg-type]
    assert np.mean(counts) == pytest.approx(share * views, abs=0.1)
    assert all(count % 2 == 0 or count == views for count in counts)


def test_a_share_of_batches_moves_all_views_or_none() -> None:
    torch.manual_seed(0)
    counts = [_count(Jitter(None, "batches", 0.3), 9) for _ in range(1000)]  # type: ignore[arg-type]
    assert set(counts) == {0, 9} and np.mean(counts) == pytest.approx(0.3 * 9, abs=0.5)
    assert _count(Jitter(None, "beside", 0.3), 9) == 9  # type: ignore[arg-type]
