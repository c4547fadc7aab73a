"""The loop beside one that is written out by hand, left alone and interrupted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import ModelConfig, Recipe, TrainConfig, ViewConfig
from labelwise.data.counter_rng import derive_seed
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import MemoryLoader
from labelwise.data.notes import tell
from labelwise.data.sampling import Shard, plan_training
from labelwise.models import zoo
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.progress import Progress
from labelwise.refinery.labellers import StoredLabels
from labelwise.training import fit as module
from labelwise.training.fit import CLEARLY, FitInput, FitResult, fit, learning_rate, make_average
from labelwise.training.runtime import Runtime, start_runtime
from labelwise.training.task import SoftLabelTask
from labelwise.training.trackers import Curves

CLASSES, N, SIZE, SEED = ("a", "b", "c"), 23, 6, 7
VIEWS = ViewConfig(size=SIZE, scale=(0.5, 1.0))
OPTIONS: dict[str, Any] = {"epochs": 3, "lr": 0.2, "warmup_epochs": 1, "weight_decay": 0, "channels_last": False}
AVERAGED = TrainConfig(**OPTIONS, batch_size=6, micro_batches=2, clip_grad=0.5, ema=0.6, keep="best")
PLAIN = TrainConfig(**OPTIONS, batch_size=11, keep="last")  # a sample is left over, and no batch of one is made of it


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{i}" for i in range(N)])
    label = np.where(np.arange(N) % 5 == 0, -1, np.arange(N) % 3)  # some have none
    pixels = rng.integers(0, 256, (N, 8, 8, 1), dtype=np.uint8)
    return Dataset("d", CLASSES, ids, ids, label, np.full(N, "fit"), PixelArray(pixels))


def network() -> Classifier:
    torch.manual_seed(0)
    spec = InputSpec("image", SIZE, 1, (0.5,), (0.25,))
    model = zoo.build(ModelConfig(name="small-narrow"), CLASSES, spec)
    model.net.features.append(torch.nn.Dropout(0.3))
    return model


def given() -> tuple[SoftLabelTask, FitInput]:
    data = dataset()
    answers = torch.softmax(torch.randn(N, 3, generator=torch.Generator().manual_seed(1)), 1)
    task = SoftLabelTask(StoredLabels(answers, "row", "x"), SIZE, unlabelled=True)
    return task, FitInput(MemoryLoader(data, VIEWS, torch.device("cpu")), np.arange(N), VIEWS, SEED)


def scores(model: Classifier) -> dict[str, float]:
    """Numbers that depend on the weights, and whose best is not at the end."""
    total = float(sum(p.detach().double().sum() for p in model.net.parameters()))
    return {"top1": abs(math.sin(50 * total)), "nll": total}


def by_hand(config: TrainConfig) -> tuple[list[dict[str, Any]], dict[int, dict[str, torch.Tensor]]]:
    """The record of every epoch, and the weights that are scored after it."""
    model, (task, data) = network(), given()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=config.momentum, nesterov=config.nesterov)
    average, records, weights = make_average(model, config.ema), [], {}
    scored = model if average is None else average.module
    model.train()
    for epoch in range(config.epochs):
        plans = plan_training(data.rows, config.batch_size, VIEWS, SEED, epoch, Shard(0, 1))
        told, seen = torch.zeros(len(task.names)), 0
        for step, batch in enumerate(data.loader.stream(plans, (SIZE,), SEED)):
            torch.manual_seed(derive_seed(SEED, "dropout", epoch, step, 0))
            rate = learning_rate(config, epoch * len(plans) + step, len(plans))
            optimizer.param_groups[0]["lr"] = rate
            for part in batch.split(config.micro_batches):
                output = task(model, part)
                (output.loss * len(part) / len(batch)).backward()
                told += output.sums
            if config.clip_grad:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad)
            optimizer.step()
            optimizer.zero_grad()
            if average is not None:
                average.update_parameters(model)
            seen += len(batch)
        train = dict(zip(task.names, (told / seen).tolist(), strict=True))
        train["top1"] /= train["labelled"]
        record = {"epoch": epoch + 1, "lr": rate, "train": train, "select": scores(scored)}
        if average is not None and epoch + 1 == config.epochs:
            record["unaveraged"] = scores(model)
        records.append(record)
        weights[epoch + 1] = {k: v.clone() for k, v in scored.net.state_dict().items()}
    return records, weights


class Following(Progress):
    """Keeps what it is told; ``stop`` ends the run after so many steps."""

    def __init__(self, stop: int = -1) -> None:
        super().__init__("fit", quiet=True)
        self.stop, self.told = stop, []  # type: ignore[var-annotated]

    def start(self, total: int, before: int = 0) -> None:
        self.told.append((total, before))

    def advance(self, count: int = 1, *, worked: bool = True) -> None:
        self.told.append((count, worked))
        if len(self.told) == self.stop + 2:  # after the start and what lies behind
            raise KeyboardInterrupt


class Kept(Curves):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def begin(self, network: str, earlier: Any = ()) -> None:
        self.told.append((network, list(earlier)))

    def log(self, record: dict[str, Any]) -> None:
        self.told.append(record)


def run(
    config: TrainConfig, folder: Path, select: Any = scores, stop: int = -1, scaled: bool = False
) -> tuple[Classifier, FitResult, Following, Runtime]:
    """One go at training; with ``scaled`` gradients as in mixed precision."""
    started = start_runtime(Recipe(data={"source": "digits"}))  # type: ignore[arg-type]
    runtime, progress = replace(started, curves=Kept()), Following(stop)
    if scaled:
        runtime.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4, growth_interval=3)
    folder.mkdir(exist_ok=True)
    model, (task, data) = network(), given()
    tell.cache_clear()
    result = fit(model, task, data, config, folder=folder, runtime=runtime, select=select, progress=progress)
    return model, result, progress, runtime


def records(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(record.pop("seconds") > 0 for record in found)
    return found


def close(found: Any, expected: Any) -> None:
    """The same keys, and numbers that differ by rounding alone."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            close(found[key], expected[key])
    else:
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_averaged_weights_and_the_best_epoch_are_those_of_a_loop_by_hand(tmp_path: Path) -> None:
    expected, weights = by_hand(AVERAGED)
    model, result, progress, runtime = run(AVERAGED, tmp_path / "a")
    for found, record in zip(records(tmp_path / "a"), expected, strict=True):
        close(found, record)
    ranks = [(record["select"]["top1"], -record["select"]["nll"]) for record in expected]
    own = expected[-1]["unaveraged"]["top1"]
    assert max(ranks)[0] + CLEARLY > own  # else the weights themselves are kept
    best = 1 + ranks.index(max(ranks))
    assert best < 3 and (result.epochs, result.kept_epoch, result.fitted) == (3, best, None)
    assert result.images_per_second == pytest.approx(3 * N / result.seconds)
    for name, value in model.net.state_dict().items():
        torch.testing.assert_close(value, weights[best][name], rtol=1e-4, atol=1e-5)
    assert progress.told == [(12, 0), (0, False)] + [(1, True)] * 12
    assert isinstance(runtime.curves, Kept)
    (begun, *told) = runtime.curves.told
    assert begun == (f"{tmp_path.name}/a", [])
    for found, record in zip(told, expected, strict=True):
        close({key: value for key, value in found.items() if key != "seconds"}, record)


def test_plain_training_keeps_the_last_weights(tmp_path: Path) -> None:
    expected, weights = by_hand(PLAIN)
    model, result, _, _ = run(PLAIN, tmp_path / "a", select=None)
    for found, record in zip(records(tmp_path / "a"), expected, strict=True):
        record.pop("select")
        close(found, record)
    assert result.kept_epoch == 3
    for name, value in model.net.state_dict().items():
        torch.testing.assert_close(value, weights[3][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [AVERAGED, PLAIN], ids=["averaged", "plain"])
def test_an_interrupted_run_ends_as_one_that_was_left_alone(config: TrainConfig, tmp_path: Path) -> None:
    config = config.model_copy(update={"checkpoint_seconds": 0})
    whole, result, _, alone = run(config, tmp_path / "a", scaled=True)
    steps = N // config.batch_size + (config.batch_size == 6)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "b", stop=steps + 2, scaled=True)
    assert len(records(tmp_path / "b")) == 1
    again, resumed, progress, scaled = run(config, tmp_path / "b", scaled=True)
    behind = steps + 1  # the step of the interrupt is done again
    assert progress.told[:2] == [(3 * steps, behind), (behind, False)] and len(progress.told) == 2 + 3 * steps - behind
    assert records(tmp_path / "b") == records(tmp_path / "a")
    assert resumed.kept_epoch == result.kept_epoch
    assert isinstance(scaled.curves, Kept)
    assert [len(earlier) for _, earlier in scaled.curves.told[:1]] == [1]
    scalers = [runtime.accelerator.scaler for runtime in (scaled, alone)]
    assert scalers[0].state_dict() == scalers[1].state_dict()
    assert scalers[0].get_scale() > 4
    for name, value in again.net.state_dict().items():
        assert torch.equal(value, whole.net.state_dict()[name]), name


@pytest.mark.parametrize(("own", "told"), [(CLEARLY, True), (CLEARLY * 0.99, False)])
def test_what_is_clearly_better_than_the_average_is_told(
    own: float, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"epoch": 1, "unaveraged": {"top1": own}, "select": {"top1": 0.0}}
    tell.cache_clear()
    module._compare_average(SimpleNamespace(best=None), network(), record, "last", "n")  # type: ignore[arg-type]
    assert ("warning: n: averaged weights have top-1 0.000" in capsys.readouterr().err) == told
