"""Every recipe and every row of every table makes one training step, on stand-in data of the kind that it wants.

What two of them have in common is tried once, and a large network with the first labels that it meets: small ones take
its place with the others. Networks that take any image size are tried on small images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import ModelConfig, Recipe, load_recipe
from labelwise.data.dataset import Dataset, Features, PixelArray
from labelwise.data.sampling import plan_training
from labelwise.experiment.config import Cell, ExperimentConfig, cell_recipe
from labelwise.labels.table import GIVEN, UNKNOWN, LabelTable
from labelwise.refinery.chain import make_context
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import NetworkSpec, Refinery, generation_of
from labelwise.refinery.labellers import FrozenNetwork, RefineryLabels
from labelwise.refinery.network import build_model, with_prior
from labelwise.settings import changed, read_mapping, resolve
from labelwise.training.runtime import start_runtime

FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))
MULTI_LABEL = ("chexpert", "nih", "coco", "open_images", "voc")
SAMPLES, CLASSES, FEATURES = 12, 4, 16
FULL_SIZE = ("paper-alexnet",)  # without its form for small images it takes 224 px alone


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for file in FILES:
        for name in re.findall(r"\$\{(LABELWISE_\w+)\}", file.read_text()):
            monkeypatch.setenv(name, "stand-in")
    monkeypatch.chdir(FOLDER.parent)


def recipes_of(file: Path) -> Iterator[Recipe]:
    """The recipe itself, or those of all rows of a table in its first columns (one of each axis) and all named ones."""
    if file.parent.name != "tables":
        yield load_recipe(file)
        return
    config = resolve(ExperimentConfig, read_mapping(file))
    first = {column.number: i for i, column in reversed(list(enumerate(config.columns)))}
    named = [i for i, column in enumerate(config.columns) if column.axis.columns]
    for row in config.rows:
        for column in {*first.values(), *named}:
            yield cell_recipe(config, Cell(row, column, 0))


def names_of(recipe: Recipe) -> set[str]:
    models = [step.model or recipe.model for step in recipe.chain.networks] or [recipe.model]
    return {model.name for model in models if not model.small_images}


def stand_in(recipe: Recipe, size: int) -> Dataset:
    draw = np.random.default_rng(0)
    ids = np.array([f"i{i}" for i in range(SAMPLES)])
    split = np.repeat(["fit", "select", "test"], [8, 2, 2])
    policies = [p for p in (recipe.labels.unknown, recipe.labels.uncertain) if isinstance(p, dict)]
    named = [name for policy in policies for name in policy]
    classes = tuple(dict.fromkeys([*named, *(f"c{i}" for i in range(CLASSES))]))
    count = len(classes)
    source: Any = Features(draw.normal(size=(SAMPLES, FEATURES)).astype(np.float32))
    if "mlp" not in names_of(recipe):
        source = PixelArray(draw.integers(0, 256, (SAMPLES, size, size, 3), dtype=np.uint8))
    label, table = np.arange(SAMPLES) % CLASSES, None
    if recipe.data.format in MULTI_LABEL or "ucm" in recipe.data.source or "nih" in recipe.data.source:
        values = draw.integers(0, 2, (SAMPLES, count)).astype(np.float32)
        known = draw.random((SAMPLES, count)) < 0.6
        table = LabelTable(
            np.where(known, values, np.float32(np.nan)), np.where(known, GIVEN, UNKNOWN).astype(np.uint8), classes
        )
        label = np.full(SAMPLES, -1)
    return Dataset("stand-in", classes, ids, ids, label, split, source, table=table)


def small(recipe: Recipe) -> tuple[Recipe, int]:
    """The same with one epoch, on images as small as its networks take; random weights stand for pretrained ones."""
    size = 224 if names_of(recipe) & set(FULL_SIZE) else min(recipe.views.size or 32, 64)
    chain, train = recipe.chain, recipe.train.model_copy(update={"epochs": 1, "precision": "no"})
    model = recipe.model.model_copy(update={"init": "random"})
    views = recipe.views.model_copy(update={"size": None if "mlp" in names_of(recipe) else size})
    return recipe.model_copy(update={"train": train, "model": model, "views": views, "chain": chain}), size


def tree_at_hand(recipe: Recipe, folder: Path) -> Recipe:
    """A taxonomy of the stand-in's classes for one of classes that it does not have."""
    if recipe.train.taxonomy is None:
        return recipe
    assert Path(recipe.train.taxonomy.file).exists()
    (folder / "tree.csv").write_text("child,parent\nc0,a\nc1,a\nc2,b\nc3,b\na,root\nb,root\n")
    taxonomy = recipe.train.taxonomy.model_copy(update={"file": str(folder / "tree.csv")})
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"taxonomy": taxonomy})})


def one_step(context: TrainingContext, generation: int, tried: set[str]) -> None:
    """Build the network of a generation and those that label it, and train it on one batch."""
    recipe, step = context.recipe, generation_of(context.recipe, generation)
    count = 0 if step.labelled_by == 0 and not recipe.chain.refinery else max(recipe.chain.folds, recipe.chain.members)
    train = step.train.model_copy(update={"epochs": 1})
    fold = recipe.chain.folds > 1
    refineries = tuple(Refinery(f"r{i}", Path("nowhere"), "", i if fold else None) for i in range(min(count, 2)))
    context = replace(context, recipe=recipe.model_copy(update={"chain": _two(recipe)})) if fold else context
    own = plain_network(step.model, tried)
    network = NetworkSpec(
        "x",
        "generation",
        own,
        train,
        generation,
        refineries,
        refined_labels=step.refined_labels,
        unseen_labels=fold and recipe.chain.fold_labels == "unseen",
    )
    kind = str([changed(s) for s in (step.model, step.refined_labels, recipe.labels, recipe.chain, recipe.views)])
    kind += f"{count} {train.taxonomy} {train.label_smoothing} {train.balance} {train.only} {context.problem}"
    if kind in tried:
        return
    tried.add(kind)
    small = ModelConfig(name="mlp" if step.model.name == "mlp" else "small-narrow")
    model, *others = [build_model(context, m) for m in (own, *[small] * len(refineries))]
    unseen = context.folds if network.unseen_labels else None
    multi_label = context.dataset.table is not None
    by_batch = step.refined_labels.norm == "batch"
    frozen = [FrozenNetwork(other, batch_statistics=by_batch) for other in others]
    labels = RefineryLabels(frozen, multi_label=multi_label, unseen=unseen) if frozen else None
    plan = context.problem.plan(context, with_prior(context, network), model, labels)
    plans = plan_training(context.dataset.rows("fit"), 8, recipe.views, 0, 0, context.runtime.shard)
    batch = next(iter(context.loader.stream(plans, plan.task.sizes, 0)))
    if train.only and own is step.model:
        model.train_only(train.only)
    output = plan.task(model.train(), batch)
    output.loss.backward()
    plan.assert_unchanged()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.isfinite(output.loss) and len(output.sums) == len(plan.task.names)
    norm = torch.nn.utils.get_total_norm(grads)
    assert grads and torch.isfinite(norm) and norm > 0


def plain_network(model: ModelConfig, tried: set[str]) -> ModelConfig:
    """``model`` the first time, then a small one in its place."""
    kind = str(changed(model))
    if kind in tried and model.name != "mlp":
        return ModelConfig(name="small-narrow")
    tried.add(kind)
    return model


def _two(recipe: Recipe) -> Any:
    """Two folds are enough to try."""
    return recipe.chain.model_copy(update={"folds": 2})


TRIED: set[str] = set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_one_step_of_every_generation(file: Path, tmp_path: Path) -> None:
    found = 0
    for number, plain in enumerate(recipes_of(file)):
        recipe, size = small(plain)
        recipe = tree_at_hand(recipe, tmp_path)
        folder = tmp_path / str(number)
        context = make_context(recipe, stand_in(recipe, size), start_runtime(recipe, folder), folder, 0, quiet=True)
        for generation in range(1, min(recipe.chain.generations, 3) + 1):
            one_step(context, generation, TRIED)
            found += 1
    assert found
