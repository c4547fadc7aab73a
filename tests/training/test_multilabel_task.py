"""The multi-label loss: torch's on what is known, nothing at all on what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from labelwise.config import ModelConfig, Recipe, TrainConfig, ViewConfig
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import Batch, Mix, make_loader
from labelwise.errors import DataError
from labelwise.labels import strategies
from labelwise.labels.table import LabelTable
from labelwise.losses import binary_cross_entropy
from labelwise.models import zoo
from labelwise.models.checkpoint import weights_hash
from labelwise.progress import Progress
from labelwise.training.fit import FitInput, fit
from labelwise.training.input_spec import measure_input_spec
from labelwise.training.multilabel import MultiLabelTask, ranking_scores
from labelwise.training.partial_losses import PlainLoss
from labelwise.training.runtime import start_runtime

N, B, C, S = 10, 6, 3, 4
ROWS = np.array([7, 2, 0, 9, 4, 5])
CPU = torch.device("cpu")


def table(unknown: float = 0.4, weighted: bool = False) -> LabelTable:
    """Labels of all kinds: 0, 1, soft, unknown, uncertain."""
    rng = np.random.default_rng(0)
    wire = rng.integers(0, 2, (N, C)).astype(np.float32)
    wire[rng.random((N, C)) < unknown] = np.nan
    wire[ROWS[0]], wire[ROWS[1]] = (0.3, 1, -1), (np.nan, np.nan, np.nan)
    weight = rng.random((N, C)).astype(np.float32) if weighted else None
    return LabelTable.from_wire(wire, ("a", "b", "c"), weight)


def batch(mix: Mix | None = None) -> Batch:
    return Batch(ROWS, {S: torch.arange(B, dtype=torch.float32)[:, None]}, torch.full((B,), -1), mix=mix)


class Logits(nn.Module):
    """A network that answers sample i with row i of its parameter."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(B, C, generator=torch.Generator().manual_seed(0)) * scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[x[:, 0].long()]


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_is_torch_s_on_the_known_labels(weighted: bool) -> None:
    labels, net = table(weighted=weighted), Logits()
    output = MultiLabelTask(labels, ROWS, S, CPU)(net, batch())
    given = torch.from_numpy(labels.given()[ROWS])
    weight = torch.ones(B, C) if labels.weight is None else torch.from_numpy(labels.weight[ROWS])
    known = ~given.isnan()
    assert 0 < known.sum() < B * C
    each = functional.binary_cross_entropy_with_logits(net.logits[known], given[known], reduction="none")
    expected = (each * weight[known]).sum() / weight[known].sum()
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.sums, B * expected.detach()[None])


def test_unknown_labels_have_no_gradient() -> None:
    labels, net = table(), Logits()
    MultiLabelTask(labels, ROWS, S, CPU)(net, batch()).loss.backward()
    known = torch.from_numpy(labels.known[ROWS])
    assert net.logits.grad is not None
    assert (net.logits.grad[~known] == 0).all() and (net.logits.grad[known] != 0).all()


def test_inferred_labels_count() -> None:
    labels, net = strategies.unknown(table(), "negative"), Logits()
    MultiLabelTask(labels, ROWS, S, CPU)(net, batch()).loss.backward()
    uncertain = np.isnan(labels.values[ROWS])
    assert uncertain.sum() == 1
    assert net.logits.grad is not None
    np.testing.assert_array_equal(net.logits.grad.numpy() == 0, uncertain)


@pytest.mark.parametrize("scale", [1e4, 1e30, float("inf")])
def test_finite_at_any_logit(scale: float) -> None:
    labels, net = table(), Logits(scale)
    known = torch.from_numpy(labels.known[ROWS])
    if np.isinf(scale):  # where nothing is known, even that must not matter
        net.logits.data[known] = 1.0
    output = MultiLabelTask(labels, ROWS, S, CPU)(net, batch())
    output.loss.backward()
    assert torch.isfinite(output.loss) and torch.isfinite(output.sums).all()
    assert net.logits.grad is not None and torch.isfinite(net.logits.grad).all()


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_of_a_batch_have_its_gradient(parts: int) -> None:
    """Though their numbers of known labels differ."""
    task, whole, split = MultiLabelTask(table(), ROWS, S, CPU), Logits(), Logits()
    task(whole, batch()).loss.backward()
    pieces = batch().split(parts)
    for piece in pieces:
        (task(split, piece).loss * piece.weight / len(pieces)).backward()
    torch.testing.assert_close(split.logits.grad, whole.logits.grad)


def test_the_scheme_is_told_the_epoch_and_not_the_view() -> None:
    told = []

    class Noting(PlainLoss):
        def __call__(self, logits: torch.Tensor, *rest: Any) -> torch.Tensor:
            told.append(rest[-1])
            return super().__call__(logits, *rest)

    task = MultiLabelTask(table(), ROWS, S, CPU, partial_loss=Noting(binary_cross_entropy))
    views = replace(batch(), numbers=np.zeros(len(ROWS), dtype=np.int64), epoch=7)
    for part in (views, *views.split(2)):
        task(Logits(), part)
    assert told == [7, 7, 7]


def test_mixed_views_know_what_both_parts_know() -> None:
    partner = torch.tensor([1, 0, 3, 2, 5, 4])
    share = torch.tensor([0.7, 0.7, 0.2, 0.2, 0.5, 0.5])
    labels, net = table(), Logits()
    MultiLabelTask(labels, ROWS, S, CPU)(net, batch(Mix(partner, share))).loss.backward()
    given = torch.from_numpy(labels.given()[ROWS])
    mixed = share[:, None] * given + (1 - share[:, None]) * given[partner]
    count = labels.known[ROWS].sum()
    expected = torch.where(mixed.isnan(), 0.0, (net.logits.sigmoid() - mixed) / count)
    torch.testing.assert_close(net.logits.grad, expected.detach())


def test_refuses_labels_that_are_all_unknown() -> None:
    nothing = table().hide(np.zeros((N, C), dtype=bool))
    with pytest.raises(DataError, match="no label of the fit split is known"):
        MultiLabelTask(nothing, ROWS, S, CPU)


def test_scores_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(1)
    wire = rng.integers(0, 2, (40, 3)).astype(np.float32)
    wire[rng.random(wire.shape) < 0.3] = np.nan
    wire[:, 2] = np.nan  # nothing is known of the last category
    logits = rng.normal(size=wire.shape).astype(np.float32)
    found = ranking_scores(torch.from_numpy(logits), LabelTable.from_wire(wire, ("a", "b", "c")))
    known = ~np.isnan(wire)
    pairs = [(wire[known[:, c], c], logits[known[:, c], c]) for c in (0, 1)]
    assert found["map"] == pytest.approx(np.mean([average_precision_score(*pair) for pair in pairs]))
    assert found["mauc"] == pytest.approx(np.mean([roc_auc_score(*pair) for pair in pairs]))
    probability = 1 / (1 + np.exp(-logits[known].astype(np.float64)))
    assert found["nll"] == pytest.approx(log_loss(wire[known], probability), rel=1e-5)


def test_the_loop_keeps_the_epoch_of_the_best_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """THE loop trains it: the best epoch is the one that ``select`` says, and the progress line names its scores."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (12, 8, 8, 1)).astype(np.uint8)
    labels = LabelTable.from_wire(rng.integers(0, 2, (12, C)), ("a", "b", "c"))
    names, split = np.arange(12).astype(np.str_), np.full(12, "fit")
    data = Dataset("noise", labels.categories, names, names, np.full(12, -1), split, PixelArray(pixels), table=labels)
    recipe = Recipe(threads=1, views=ViewConfig(size=8))
    runtime = start_runtime(recipe)
    model = zoo.build(ModelConfig(name="small-narrow"), data.classes, measure_input_spec(data, recipe.views))
    maps, hashes = iter((0.2, 0.9, 0.4)), []

    def select(candidate: nn.Module) -> dict[str, float]:
        hashes.append(weights_hash(candidate.net))
        return {"map": next(maps), "nll": 1.0}

    config = TrainConfig(epochs=3, batch_size=4, keep="best", channels_last=False)
    rows = data.rows("fit")
    task = MultiLabelTask(labels, rows, 8, runtime.device)
    with Progress("net") as progress:
        result = fit(
            model,
            task,
            FitInput(make_loader(data, recipe.views, runtime.device), rows, recipe.views, 0),
            config,
            folder=tmp_path,
            runtime=runtime,
            select=select,
            progress=progress,
        )
    assert result.kept_epoch == 2 and weights_hash(model.net) == hashes[1] != hashes[2]
    assert "train loss 0." in (shown := capsys.readouterr().err) and "select mAP 0.4" in shown
