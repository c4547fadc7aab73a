"""Whose samples are drawn (`chain.refined.trust`), and answers to several views, in a chain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import RefinedLabelsConfig, load_recipe
from labelwise.data.folds import folds_of
from labelwise.data.loaders import Batch, Mix
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan
from labelwise.errors import ConfigError
from labelwise.labels.trust import trust_weights
from labelwise.refinery import network as network_module
from labelwise.refinery.chain import make_context, refine
from labelwise.refinery.context import TrainingContext, fixed_views, load_refinery
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import refinery_labels
from labelwise.refinery.single_label import refined_labels
from labelwise.training.runtime import start_runtime
from labelwise.training.task import halved

BASE = (
    "data={source: digits, train_limit: 200, test_limit: 50, noise: {kind: uniform, rate: 0.3}}",
    "views={scale: [0.5, 1.0], flip: false}",
    "train={epochs: 2, batch_size: 32, warmup_epochs: 0.5, channels_last: false}",
    "threads=1",
)
FOLDED = "chain={generations: 2, folds: 3, refined: {trust: graded}}"


def lineage(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "seed-0/generation-2/network.json").read_text())["lineage"])


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain whose second generation draws samples by the fold networks of the first."""
    out = tmp_path_factory.mktemp("folded") / "run"
    refine(load_recipe(None, [*BASE, FOLDED]), out, quiet=True)
    return out


def context_of(out: Path) -> TrainingContext:
    recipe = load_recipe(None, [*BASE, FOLDED])
    return make_context(recipe, load_dataset(recipe.data), start_runtime(recipe, out), out / "seed-0", 0, quiet=True)


def network_of(context: TrainingContext, options: RefinedLabelsConfig, folds: bool) -> NetworkSpec:
    names = [f"generation-1-fold-{i}" for i in (1, 2, 3)]
    refineries = [
        load_refinery(name, context.folder / name, number if folds else None) for number, name in enumerate(names)
    ]
    recipe = context.recipe
    return NetworkSpec("x", "generation", recipe.model, recipe.train, 2, tuple(refineries), refined_labels=options)


def plan_of(context: TrainingContext, network: NetworkSpec) -> Any:
    model = network_module.build_model(context, network.model)
    return context.problem.plan(context, network, model, refinery_labels(context, network))


@pytest.mark.parametrize("rule", ["consensus", "graded", "mixture"])
def test_the_network_that_has_not_seen_a_sample_judges_its_label(rule: Any, folded: Path) -> None:
    context = context_of(folded)
    rows, label = context.dataset.rows("fit"), context.dataset.label
    [batch] = context.loader.stream([BatchPlan(rows)], (8,), 0)
    alone = []
    for number in range(3):
        network = network_of(context, RefinedLabelsConfig(), True)
        one = replace(network, refineries=network.refineries[number : number + 1])
        alone.append(refinery_labels(context, one)(batch).numpy())  # type: ignore[misc]
    unseen = np.stack(alone)[folds_of(context.dataset, 3, 0)[rows], np.arange(len(rows))]
    options = RefinedLabelsConfig(trust=rule)
    found = plan_of(context, network_of(context, options, True)).sample_weight
    np.testing.assert_allclose(found, trust_weights(unseen, label[rows], rule), atol=1e-4)
    own = plan_of(context, network_of(context, options, False)).sample_weight  # all have seen it, or who knows
    np.testing.assert_allclose(own, trust_weights(np.mean(alone, 0), label[rows], rule), atol=1e-4)
    assert np.abs(own - found).max() > 1e-3
    assert plan_of(context, network_of(context, RefinedLabelsConfig(), True)).sample_weight is None


def test_classes_are_balanced_by_what_is_drawn(folded: Path) -> None:
    context = context_of(folded)
    network = network_of(context, RefinedLabelsConfig(trust="consensus"), True)
    label = context.dataset.label[context.dataset.rows("fit")]
    trust = plan_of(context, network).sample_weight
    even = replace(network, train=network.train.model_copy(update={"balance": "sampler"}))
    found = plan_of(context, even).sample_weight
    mass = [found[label == k].sum() for k in range(10)]
    np.testing.assert_allclose(mass, np.mean(mass))
    ratio = found[trust > 0] / trust[trust > 0]
    assert all(np.ptp(ratio[label[trust > 0] == k]) < 1e-9 for k in range(10))


def test_an_option_is_in_the_lineage_and_the_samples_are_drawn(
    folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lineage(folded)["refined"] == {"trust": "graded"} and lineage(folded)["trusted_by"] == "unseen"
    weights: list[Any] = []
    plain = network_module.fit

    def noting(model: Any, task: Any, data: Any, *rest: Any, **options: Any) -> Any:
        weights.append(data.sample_weight)
        return plain(model, task, data, *rest, **options)

    monkeypatch.setattr(network_module, "fit", noting)
    changes = "chain={generations: 2, refined: {trust: consensus, kind: top2, views: 3}}"
    results = refine(load_recipe(None, [*BASE, changes]), tmp_path / "run", quiet=True)
    assert results.rows[1].labels == "refinery top2 dynamic (generation-1), mean of 3 views, trust consensus"
    assert weights[0] is None and set(weights[1].tolist()) >= {0.0, 1.0}
    assert lineage(tmp_path / "run")["refined"] == {"trust": "consensus", "kind": "top2", "views": 3}
    assert "trusted_by" not in lineage(tmp_path / "run")


def batch_of(context: TrainingContext, number: int | None) -> Batch:
    rows = context.dataset.rows("fit")[:20]
    [batch] = context.loader.stream([BatchPlan(rows, None if number is None else np.full(20, number))], (8,), 0)
    return batch


def test_answers_to_several_views_are_averaged(folded: Path) -> None:
    context = context_of(folded)
    refinery = refinery_labels(context, network_of(context, RefinedLabelsConfig(), False))
    assert refinery is not None and (fixed_views(0), fixed_views(1)) == ([], [None]) and len(set(fixed_views(4))) == 4
    here, others = batch_of(context, 5), [refinery(batch_of(context, number)) for number in fixed_views(3)]
    several = refined_labels(context, refinery, RefinedLabelsConfig(views=3))
    torch.testing.assert_close(several(here), (refinery(here) + others[0] + others[1]) / 3, atol=1e-5, rtol=1e-4)
    image = refined_labels(context, refinery, RefinedLabelsConfig(views=3, per="image"))
    torch.testing.assert_close(image(here), torch.stack(others).mean(0), atol=1e-5, rtol=1e-4)
    top2 = refined_labels(context, refinery, RefinedLabelsConfig(views=3, per="image", kind="top2"))
    torch.testing.assert_close(top2(here), halved(torch.stack(others).mean(0)))

    mixed = replace(here, mix=Mix(torch.arange(20).flip(0), torch.full((20,), 0.6)))
    rest = (others[0] + others[1]) * 0.6 + (others[0] + others[1]).flip(0) * 0.4
    torch.testing.assert_close(several(mixed), (refinery(here) + rest) / 3, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("chain.refined={trust: some}", "trust"),
        ("chain.refined={views: 0}", "views"),
        ("chain.refined={views: 2, jitter: {step: 1}}", "the moved view itself: set views: 1"),
        ("chain.refined={views: 2, per: category}", "set crops in place of views"),
        ("chain.unknown={agreement: decide}", "set views: 2 or more"),
    ],
)
def test_options_that_contradict_each_other_are_refused(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_recipe(None, [change])
    assert "\n" not in str(error.value)


def test_what_the_data_or_the_norm_forbid_is_refused(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    np.savez(tmp_path / "two.npz", features=features, labels=np.arange(60) % 2, classes=np.array(["a", "b"]))
    two = load_recipe(None, [f"data.source={tmp_path / 'two.npz'}", "chain={generations: 2, refined: {kind: top2}}"])
    with pytest.raises(ConfigError, match="kind top2: with two classes all labels would be alike"):
        refine(two, tmp_path / "a", quiet=True)
    batch = load_recipe(None, [*BASE, FOLDED, "chain.refined.norm=batch"])
    with pytest.raises(ConfigError, match="with trust and folds, each refinery sees a part"):
        refine(batch, tmp_path / "b", quiet=True)
