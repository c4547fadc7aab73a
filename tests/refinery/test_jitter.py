"""Adversarial jitter raises the KL, one view at a time, and leaves no trace in the student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from labelwise.config import JitterConfig, ModelConfig, ViewConfig
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import Batch, MemoryLoader
from labelwise.data.sampling import BatchPlan
from labelwise.losses import kl_divergence, tempered
from labelwise.models import zoo
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.refinery.jitter import AdversarialJitter, move
from labelwise.refinery.labellers import FrozenNetwork, RefineryLabels, Tempered
from labelwise.training.task import Jitter, SoftLabelTask, hardened

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")
N, SIZE = 16, 12


def build(seed: int, size: int = SIZE, name: str = "small-narrow") -> Classifier:
    torch.manual_seed(seed)
    model = zoo.build(ModelConfig(name=name), CLASSES, InputSpec("image", size, 3, (0.5,) * 3, (0.25,) * 3))
    model.train()(torch.rand(32, 3, size, size))  # statistics that are not at their start
    with torch.no_grad():
        model.net.classifier.weight *= 10
    return model


def views(sizes: tuple[int, ...] = (SIZE,), n: int = N) -> Batch:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 20, 20, 3), dtype=np.uint8)
    ids = np.array([f"i{i}" for i in range(n)])
    data = Dataset("d", CLASSES, ids, ids, np.arange(n) % 3, np.full(n, "fit"), PixelArray(pixels))
    (batch,) = MemoryLoader(data, ViewConfig(), CPU).stream(
        [BatchPlan(np.arange(n), np.zeros(n, dtype=np.int64))], sizes, 0
    )
    return batch


def labeller(*models: Classifier) -> RefineryLabels:
    return RefineryLabels(models, CLASSES)


class Counting:
    """A refinery that counts the views it is asked for."""

    def __init__(self, refinery: RefineryLabels, temperature: float = 1.0) -> None:
        self.refinery, self.asked = Tempered(refinery, temperature), 0
        self.sizes = refinery.sizes

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.asked += len(batch)
        return self.refinery(batch)

    def describe(self) -> str:
        return "counting"


def divergences(step: AdversarialJitter, refinery: RefineryLabels, batch: Batch) -> tuple[Batch, torch.Tensor]:
    """The moved views and KL (2, B) before and after, both at temperature 1."""
    moved, before = step(batch)
    return moved, torch.stack([before, step.divergence(moved, refinery(moved))])


def jitter(student: Classifier, refinery: RefineryLabels, **options: object) -> AdversarialJitter:
    return AdversarialJitter(student, refinery, JitterConfig(**({"step": 2.0} | options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "sign", "raw"])
@pytest.mark.parametrize("path", ["both", "student"])
def test_the_divergence_rises_and_is_what_it_says(norm: str, path: str) -> None:
    student, refinery, batch = build(1), labeller(build(0)), views()
    step = 2.0 if norm != "raw" else 0.5
    moved, (before, after) = divergences(jitter(student, refinery, norm=norm, path=path, step=step), refinery, batch)
    assert after.mean() > before.mean()
    if path == "both":  # the ascent is of this very sum; with the student's path alone a label may come nearer
        assert (after > before).float().mean() > 0.9
    student.eval()
    for at, told in ((batch, before), (moved, after)):
        torch.testing.assert_close(kl_divergence(refinery(at), student(at.inputs[SIZE])).detach(), told)


def test_pixels_stay_valid_and_move_no_further_than_the_step() -> None:
    student, batch = build(1), views()
    for norm in ("linf", "sign"):
        moved, _ = jitter(student, labeller(build(0)), norm=norm, step=8.0)(batch)
        change = (moved.inputs[SIZE] - batch.inputs[SIZE]).abs()
        assert moved.inputs[SIZE].min() >= 0 and moved.inputs[SIZE].max() <= 1
        assert change.amax() <= 8 / 255 + 1e-6 and change.amax(dim=(1, 2, 3)).min() > 0
        assert not moved.inputs[SIZE].requires_grad


def test_a_view_moves_alike_alone_and_among_others() -> None:
    student, refinery, batch = build(1), labeller(build(0)), views()
    for norm in ("linf", "sign", "raw"):
        step = jitter(student, refinery, norm=norm)
        whole = step(batch)[0].inputs[SIZE]
        parts = torch.cat([step(part)[0].inputs[SIZE] for part in batch.split(8)])
        # A sign may flip where a gradient is zero but for rounding.
        assert ((whole - parts).abs() > 1e-5).float().mean() < 1e-3


def test_student_and_refinery_are_untouched() -> None:
    student, refinery, batch = build(1), labeller(build(0)), views()
    student.train()
    before, modes = weights_hash(student.net), [m.training for m in student.modules()]
    jitter(student, refinery)(batch)
    assert weights_hash(student.net) == before
    assert all(p.grad is None for p in student.parameters())
    assert [m.training for m in student.modules()] == modes and student.training
    refinery.assert_unchanged()


def test_a_training_step_gives_gradients_of_the_moved_views_alone() -> None:
    """What the step leaves in ``.grad`` is the gradient of its loss; finding the move adds nothing to it."""
    refinery, batch = labeller(build(0)), views()
    grads = []
    for known in (False, True):
        student = build(1).train()
        step = jitter(student, refinery)
        if known:
            moved = step(batch)[0]
            output = SoftLabelTask(refinery, SIZE)(student, moved)
        else:
            task = SoftLabelTask(refinery, SIZE, jitter=Jitter(step, "views", 1.0))
            output = task(student, batch)
        output.loss.backward()
        grads.append([p.grad.clone() for p in student.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_a_refinery_of_another_size_sees_the_same_change() -> None:
    student, refinery = build(1), labeller(build(0, size=8))
    batch = views((8, SIZE))
    moved, (before, after) = divergences(jitter(student, refinery, step=4.0), refinery, batch)
    assert after.mean() > before.mean()
    change = moved.inputs[SIZE] - batch.inputs[SIZE]
    small = nn.functional.interpolate(change, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(moved.inputs[8], (batch.inputs[8] + small).clamp(0, 1))


def test_moves() -> None:
    gradient = torch.zeros(2, 1, 2, 2)
    gradient[0, 0] = torch.tensor([[4.0, -2.0], [0.0, 1.0]])
    linf = move(gradient, "linf", 0.1)
    torch.testing.assert_close(linf[0, 0], torch.tensor([[0.1, -0.05], [0.0, 0.025]]))
    assert linf[1].abs().max() == 0  # no gradient, no move, no NaN
    torch.testing.assert_close(move(gradient, "sign", 0.1)[0, 0], torch.tensor([[0.1, -0.1], [0.0, 0.1]]))
    torch.testing.assert_close(move(gradient, "raw", 0.1), 0.1 * gradient)


def test_policies_of_what_is_moved() -> None:
    student, refinery, batch = build(1).train(), labeller(build(0)), views()
    step = jitter(student, refinery)
    names = ("ce", "kl", "entropy", "top1", "loss", "moved", "rose", "kl_before", "kl_after")
    told = {}
    for policy, share in (("views", 0.5), ("views", 0.0), ("beside", 0.5), ("batches", 0.0), ("batches", 1.0)):
        task = SoftLabelTask(refinery, SIZE, jitter=Jitter(step, policy, share))
        assert task.names == names
        output = task(student, batch)
        told[policy, share] = dict(zip(names, output.sums.tolist(), strict=True))
        assert torch.isfinite(output.loss)
    assert [entry["moved"] for entry in told.values()] == [N / 2, 0, N, 0, N]
    assert told["views", 0.5]["rose"] >= 0.8 * N / 2
    # Beside: the plain views are told, and both losses count.
    plain = SoftLabelTask(refinery, SIZE)(student, batch)
    both = SoftLabelTask(refinery, SIZE, jitter=Jitter(step, "beside", 1.0))(student, batch)
    assert both.sums[0].item() == pytest.approx(plain.sums[0].item(), rel=1e-4)
    assert both.loss.item() > plain.loss.item() * 1.5


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("policy", "share"), [("views", 0.5), ("views", 1.0), ("batches", 1.0), ("beside", 0.5)])
def test_one_answer_at_the_moved_view_is_label_and_divergence(policy: str, share: float, hard: bool) -> None:
    refinery, batch, temperature = labeller(build(0)), views(), 3.0
    student = build(1).train()
    options = JitterConfig(step=2.0)
    step = AdversarialJitter(student, refinery, options, temperature)
    counting = Counting(refinery, temperature)
    count = round(share * N) if policy == "views" else N
    moved = step(batch.first(count))[0]
    pixels = torch.cat([moved.inputs[SIZE], batch.inputs[SIZE][count:]])
    student.eval()
    with torch.no_grad():
        before, after = (
            kl_divergence(tempered(refinery(at), temperature), student(at.inputs[SIZE]))
            for at in (batch.first(count), moved)
        )
    task = SoftLabelTask(counting, SIZE, form=hardened if hard else None, jitter=Jitter(step, policy, share))  # type: ignore[arg-type]
    output = task(student.train(), batch)
    told = dict(zip(task.names, output.sums.tolist(), strict=True))
    assert told["kl_before"] == pytest.approx(before.sum().item(), rel=1e-4)
    assert told["kl_after"] == pytest.approx(after.sum().item(), rel=1e-4)
    assert told["rose"] == (after > before).sum() and told["moved"] == count
    # The whole batch is asked for once, moved and unmoved views alike; beside, once as it was and once moved.
    assert counting.asked == (2 * N if policy == "beside" else N)
    plain = SoftLabelTask(Tempered(refinery, temperature), SIZE, form=hardened if hard else None)
    learnt = [replace(batch, inputs={SIZE: pixels})] + ([batch] if policy == "beside" else [])
    expected = sum(plain(build(1).train(), one).loss.item() for one in learnt)
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)


def test_an_answer_that_depends_on_the_batch_is_asked_for_among_the_same_views() -> None:
    refinery = RefineryLabels(FrozenNetwork(build(0), batch_statistics=True), CLASSES)
    student, batch = build(1).train(), views()
    step = jitter(student, refinery)
    moved, before = step(batch.first(N // 2))
    with torch.no_grad():
        after = kl_divergence(refinery(moved), student.eval()(moved.inputs[SIZE]))
    task = SoftLabelTask(refinery, SIZE, jitter=Jitter(step, "views", 0.5))
    told = dict(zip(task.names, task(student.train(), batch).sums.tolist(), strict=True))
    assert told["kl_before"] == pytest.approx(before.sum().item(), rel=1e-4)
    assert told["kl_after"] == pytest.approx(after.sum().item(), rel=1e-4)


def test_saturated_refineries_give_finite_moves() -> None:
    refinery = build(0)
    with torch.no_grad():
        refinery.net.classifier.weight *= 1e4
    student = build(1)
    moved, divergence = divergences(jitter(student, labeller(refinery)), labeller(refinery), views())
    assert torch.isfinite(moved.inputs[SIZE]).all() and torch.isfinite(divergence).all()


def test_no_jitter_is_the_plain_task() -> None:
    batch = views()
    a, b = (SoftLabelTask(labeller(build(0)), SIZE)(build(1).train(), replace(batch)) for _ in range(2))
    assert a.loss.item() == b.loss.item()
    assert len(a.sums) == 5
