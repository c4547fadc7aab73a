"""A refinery labels each crop by itself, stays as it is, and sees what the student sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwise.config import ModelConfig, ViewConfig
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import Batch, MemoryLoader
from labelwise.data.sampling import BatchPlan
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.refinery.labellers import FrozenNetwork, RefineryLabels
from labelwise.training.task import SoftLabelTask

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")
N = 24


def build(
    seed: int, size: int = 8, classes: tuple[str, ...] = CLASSES, shift: float = 0.5, **args: object
) -> Classifier:
    torch.manual_seed(seed)
    spec = InputSpec("image", size, 1, (shift,), (0.25,))
    model = zoo.build(ModelConfig(name="small-narrow", args=args), classes, spec)
    if "norm" not in args:
        model.train()(torch.rand(16, 1, 8, 8))
    with torch.no_grad():
        model.net.classifier.weight *= 20  # answers that are not all alike
    return model


def views(numbers: int = 0, sizes: tuple[int, ...] = (8,), config: ViewConfig | None = None) -> Batch:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 12, 12, 1), dtype=np.uint8)
    ids = np.array([f"i{i}" for i in range(N)])
    data = Dataset("d", CLASSES, ids, ids, np.arange(N) % 3, np.full(N, "fit"), PixelArray(pixels))
    loader = MemoryLoader(data, config or ViewConfig(), CPU)
    (batch,) = loader.stream([BatchPlan(np.arange(N), np.full(N, numbers))], sizes, 0)
    return batch


def labels(*models: Classifier, classes: tuple[str, ...] = CLASSES) -> RefineryLabels:
    return RefineryLabels([FrozenNetwork(model, f"r{i}") for i, model in enumerate(models)], classes)


def test_labels_are_probabilities_without_graph():
    model = build(0)
    q = labels(model)(views())
    assert q.shape == (N, 3) and q.dtype == torch.float32
    assert not q.requires_grad and q.grad_fn is None and not q.is_inference()
    torch.testing.assert_close(q.sum(1), torch.ones(N))
    assert q.std(0).min() > 0.01
    torch.testing.assert_close(q, torch.softmax(model(views().inputs[8]), 1).detach())


def test_a_label_does_not_depend_on_the_rest_of_the_batch():
    labeller, batch = labels(build(0)), views()
    whole = labeller(batch)
    for parts in (2, 12):
        torch.testing.assert_close(torch.cat([labeller(p) for p in batch.split(parts)]), whole, atol=1e-6, rtol=1e-5)
    train_mode = build(0)
    assert not torch.allclose(torch.softmax(train_mode.train()(batch.inputs[8]), 1), whole, atol=1e-3)


def test_eval_is_locked():
    frozen = FrozenNetwork(build(0).train())
    for module in (frozen, frozen.train(), frozen.train(True)):
        assert not any(m.training for m in module.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    refinery = torch.nn.ModuleList([frozen]).train()
    assert refinery.training and not any(m.training for m in frozen.modules())


def test_training_a_student_changes_the_student_alone():
    teacher, student = build(0), build(1)
    labeller = labels(teacher)
    before, student_before = weights_hash(teacher.net), weights_hash(student.net)
    statistics = student.net.features[1].running_mean.clone()
    task = SoftLabelTask(labeller, 8)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    student.train()
    losses = []
    for _ in range(5):
        output = task(student, views())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert weights_hash(teacher.net) == before == labeller.hashes()[0]
    assert all(p.grad is None for p in teacher.parameters())
    assert not teacher.training and student.training
    assert weights_hash(student.net) != student_before
    assert (student.net.features[1].running_mean != statistics).any()
    assert losses[-1] < losses[0]
    labeller.assert_unchanged()


def test_a_changed_refinery_is_found_out():
    teacher = build(0)
    labeller = labels(teacher)
    teacher.net.features[1].running_var[0] += 1
    with pytest.raises(ModelError, match="r0 changed while it labelled"):
        labeller.assert_unchanged()


def test_an_ensemble_is_the_mean_probability():
    models = [build(0), build(1), build(2)]
    single = torch.stack([labels(model)(views()) for model in models])
    ensemble = labels(*models)
    torch.testing.assert_close(ensemble(views()), single.mean(0))
    assert ensemble.describe() == "refinery soft dynamic (mean of r0, r1, r2)"
    assert labels(models[0]).describe() == "refinery soft dynamic (r0)"


def test_a_sample_is_labelled_by_the_refinery_that_has_not_seen_it():
    models = [build(0), build(1)]
    every = labels(*models)
    single = torch.stack([labels(model)(views()) for model in models] + [every(views())])
    unseen = np.arange(N) % 3 - 1  # -1: nobody has learnt its label
    found = every.by_unseen(unseen)
    torch.testing.assert_close(found(views()), single[torch.from_numpy(unseen), torch.arange(N)])
    assert found.describe() == "refinery soft dynamic (the unseen one of r0, r1)"
    torch.testing.assert_close(every(views()), single[2])  # the others are as they were


def test_no_refinery_is_refused():
    with pytest.raises(ModelError, match=r"^RefineryLabels: give at least one network$"):
        RefineryLabels([], CLASSES)


def test_classes_in_another_order_are_put_right():
    other = build(0, classes=("c", "a", "b"))
    plain = torch.softmax(other.eval()(views().inputs[8]), 1).detach()
    torch.testing.assert_close(labels(other)(views()), plain[:, [1, 2, 0]])
    # The same network twice, once with its outputs and names permuted.
    base, permuted = build(3), build(3, classes=("c", "a", "b"))
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(permuted.net.classifier, name).copy_(getattr(base.net.classifier, name)[[2, 0, 1]])
    torch.testing.assert_close(labels(base, permuted)(views()), labels(base)(views()))


@pytest.mark.parametrize(
    ("classes", "words"),
    [(("a", "b"), "lacks 'c'"), (("a", "b", "x"), "lacks 'c'"), (("a", "b", "c", "d"), "has 'd'")],
)
def test_other_classes_are_refused(classes, words):
    with pytest.raises(ModelError, match=f"refinery r0 has other classes than the data.*{words}"):
        labels(build(0, classes=classes))


def test_a_refinery_of_another_size_and_normalisation_sees_the_same_crop():
    teacher = build(0, size=16, shift=0.1, norm="group")
    labeller = labels(teacher)
    assert labeller.sizes == (16,)
    task = SoftLabelTask(labeller, 8)
    assert task.sizes == (8, 16)
    config = ViewConfig(scale=(0.3, 0.9))
    batch, alone = views(4, task.sizes, config), views(4, (16,), config)
    for name in ("top", "left", "height", "width", "flip"):
        np.testing.assert_array_equal(getattr(batch.boxes, name), getattr(alone.boxes, name))
    assert torch.equal(batch.inputs[16], alone.inputs[16])
    expected = torch.softmax(teacher.net((batch.inputs[16] - 0.1) / 0.25), 1).detach()
    torch.testing.assert_close(labeller(batch), expected)
    # Both sizes are the same part of the image: one halved is nearly the other.
    halved = torch.nn.functional.avg_pool2d(batch.inputs[16], 2)
    correlation = torch.corrcoef(torch.stack([halved.flatten(), batch.inputs[8].flatten()]))[0, 1]
    assert correlation > 0.9
    assert torch.isfinite(task(build(1), batch).loss)


def test_the_refinery_labels_the_augmented_and_mixed_pixels():
    model = build(0)
    augmented = views(1, config=ViewConfig(erasing=1.0, rand_augment_ops=1))
    assert (augmented.inputs[8] != views(1).inputs[8]).any()
    expected = torch.softmax(model.eval()(augmented.inputs[8]), 1).detach()
    torch.testing.assert_close(labels(model)(augmented), expected)


def test_mixed_precision_gives_float32_labels():
    model = build(0)
    labeller = RefineryLabels(FrozenNetwork(model, autocast=lambda: torch.autocast("cpu", torch.bfloat16)), CLASSES)
    q = labeller(views())
    assert q.dtype == torch.float32
    torch.testing.assert_close(q.sum(1), torch.ones(N))
    assert (q - labels(model)(views())).abs().mean() < 0.05


@pytest.mark.parametrize("multi_label", [False, True])
def test_logarithms_of_a_mean_do_not_saturate(multi_label: bool) -> None:
    """Beside float64: float32 calls a probability of 1 - 1e-9 one, and its log-odds infinite."""
    spec = InputSpec("features", 2, 1, (0.0, 0.0), (1.0,))
    logits = torch.tensor([[60.0, -60.0, 3.0], [30.0, -50.0, 3.5]])
    networks = []
    for row in logits:
        net = torch.nn.Linear(2, 3)
        net.weight.data.zero_()
        net.bias.data.copy_(row)
        networks.append(Classifier(net, spec, ("a", "b", "c"), "linear", {}))
    labels = RefineryLabels(networks, multi_label=multi_label)
    batch = Batch(np.arange(1), {2: torch.zeros(1, 2)}, torch.zeros(1, dtype=torch.int64))
    found = labels.log_answer(batch)[0].double()
    exact = logits.double()
    if multi_label:
        wanted = torch.sigmoid(exact).mean(0).log() - torch.sigmoid(-exact).mean(0).log()
    else:
        wanted = torch.softmax(exact, 1).mean(0).log()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert torch.isfinite(found).all()
