"""Labels that a reviewer has corrected, in a chain: no generation refines them away."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from labelwise.config import RefinedLabelsConfig, load_recipe
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan
from labelwise.errors import RunError
from labelwise.refinery import network as network_module
from labelwise.refinery.chain import make_context, refine
from labelwise.refinery.context import TrainingContext, load_refinery
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import refinery_labels
from labelwise.results import open_run
from labelwise.training.runtime import start_runtime

BASE = (
    "data={source: digits, train_limit: 200, test_limit: 50, noise: {kind: uniform, rate: 0.4}}",
    "views={scale: [0.8, 1.0], flip: false}",
    "train={epochs: 2, batch_size: 32, warmup_epochs: 0.5, channels_last: false}",
    "threads=1",
)
REVIEWED = 30


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits whose first 30 wrong labels of ``fit`` a reviewer has put right, and 20 more that were inferred."""
    data = load_dataset(load_recipe(None, BASE).data)
    assert data.true_label is not None
    label, kind = data.label.copy(), np.full(len(data), "given", dtype="<U8")
    wrong = np.flatnonzero((data.label != data.true_label) & (data.split == "fit"))
    label[wrong[: REVIEWED + 20]] = data.true_label[wrong[: REVIEWED + 20]]
    kind[wrong[:REVIEWED]], kind[wrong[REVIEWED : REVIEWED + 20]] = "reviewed", "inferred"
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    names = [data.classes[k] for k in label]
    pd.DataFrame({"id": data.ids, "label": names, "provenance": kind}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reviewed") / "run"
    refine(load_recipe(None, [*BASE, f"data.labels.file={labels}", "chain.generations=2"]), out, quiet=True)
    return out


def context_of(labels: Path, run: Path) -> TrainingContext:
    recipe = load_recipe(None, [*BASE, f"data.labels.file={labels}", "chain.generations=2"])
    return make_context(recipe, load_dataset(recipe.data), start_runtime(recipe, run), run / "seed-0", 0, quiet=True)


def plan_of(context: TrainingContext, options: RefinedLabelsConfig) -> Any:
    recipe = context.recipe
    refinery = load_refinery("generation-1", context.folder / "generation-1")
    spec = NetworkSpec("x", "generation", recipe.model, recipe.train, 2, (refinery,), refined_labels=options)
    model = network_module.build_model(context, spec.model)
    return context.problem.plan(context, spec, model, refinery_labels(context, spec))


@pytest.mark.parametrize(
    "options",
    [{}, {"kind": "hard"}, {"kind": "top2"}, {"per": "image"}, {"per": "category"}, {"given": 0.2}, {"temperature": 3}],
    ids=str,
)
def test_the_refined_label_of_a_reviewed_sample_is_its_given_one(labels, run, options):
    context = context_of(labels, run)
    data, rows = context.dataset, context.dataset.rows("fit")
    plan = plan_of(context, RefinedLabelsConfig.model_validate(options))
    [batch] = context.loader.stream([BatchPlan(rows, np.zeros(len(rows), np.int64))], plan.task.sizes, 0)
    target = plan.task.target(batch)
    given = torch.nn.functional.one_hot(torch.from_numpy(data.label[rows]), 10).float()
    kept = torch.from_numpy(data.reviewed[rows])
    assert kept.sum() == REVIEWED and torch.equal(target[kept], given[kept])
    assert not torch.isclose(target[~kept], given[~kept]).all(1).any() or options.get("kind") == "hard"


@pytest.mark.parametrize("rule", ["consensus", "graded", "mixture"])
def test_a_reviewed_sample_is_drawn_as_often_as_any(labels, run, rule):
    context = context_of(labels, run)
    weight = plan_of(context, RefinedLabelsConfig(trust=rule)).sample_weight
    kept = context.dataset.reviewed[context.dataset.rows("fit")]
    assert (weight[kept] == 1).all() and weight.max() <= 1 and weight[~kept].min() < 1


def test_the_run_says_so_and_continues_only_with_the_same_corrections(labels, run, tmp_path):
    rows = open_run(run).results.rows
    assert [row.labels for row in rows] == [
        "given",
        f"refinery soft dynamic (generation-1), {REVIEWED} reviewed labels kept",
    ]
    (run / "results.json").unlink()
    shutil.rmtree(run / "seed-0" / "generation-2")
    options = [*BASE, "chain.generations=2"]
    refine(load_recipe(None, [*options, f"data.labels.file={labels}"]), run, quiet=True)
    assert [row.weights_hash for row in open_run(run).results.rows] == [row.weights_hash for row in rows]
    before = (run / "results.json").read_bytes()
    other = pd.read_csv(labels, dtype=str).replace({"provenance": "inferred"}, "reviewed")
    other.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(RunError):
        refine(load_recipe(None, [*options, f"data.labels.file={tmp_path / 'labels.csv'}"]), run, quiet=True)
    assert (run / "results.json").read_bytes() == before
