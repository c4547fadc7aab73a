"""Curriculum labelling: the share of unknown labels that the refinery is surest of, growing from round to round."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import PseudoConfig, Recipe, load_recipe
from labelwise.data.readers import load_dataset
from labelwise.errors import ConfigError
from labelwise.labels.table import GIVEN, INFERRED, UNKNOWN, LabelTable
from labelwise.refinery import multi_label
from labelwise.refinery.chain import make_context, refine
from labelwise.refinery.generations import NetworkSpec, Refinery
from labelwise.refinery.multi_label import MultiLabel, fill_in
from labelwise.runs import read_json
from labelwise.training.multilabel import pseudo_labels
from labelwise.training.runtime import start_runtime


@pytest.fixture(scope="module")
def data(digit_attributes: Path) -> Path:
    return digit_attributes


def recipe(data: Path, generations: int, unknown: str, *changes: str) -> Recipe:
    base = [f"data.source={data}", "data.known={protocol: cells, share: 0.3}", "data.train_limit=200", "threads=1"]
    base += ["data.test_limit=60", "data.select_limit=60", "views={size: 8, flip: false}"]
    base += ["train={epochs: 1, batch_size: 64}"]
    chain = f"chain={{generations: {generations}, unknown: {{kind: hard, view: centre, {unknown}}}}}"
    return load_recipe(None, [*base, chain, *changes])


Filled = list[tuple[LabelTable, np.ndarray, np.ndarray]]


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Filled:
    """What every round filled in: the table, where labels were unknown, and the refinery's probabilities."""
    seen: Filled = []
    original = fill_in

    def noted(table: LabelTable, unknown: np.ndarray, probability: np.ndarray, *rest: Any) -> LabelTable:
        seen.append((original(table, unknown, probability, *rest), unknown, probability))
        return seen[-1][0]

    monkeypatch.setattr(multi_label, "fill_in", noted)
    return seen


def test_the_share_grows_from_round_to_round(data: Path, tmp_path: Path, filled: Filled) -> None:
    before = refine(recipe(data, 2, "share: 0.2"), tmp_path, quiet=True).to_json()
    results = refine(recipe(data, 4, "share: [0.2, 0.5]"), tmp_path, quiet=True).to_json()
    assert results["rows"][:2] == before["rows"]  # the round that was there stays
    labels = [row["labels"] for row in results["rows"]]
    assert labels == ["given"] + [
        f"refinery hard static, surest {share}% (generation-{i + 1})" for i, share in enumerate((20, 50, 50))
    ]
    for share, (table, unknown, probability) in zip((0.2, 0.5, 0.5), filled, strict=True):
        inferred, sure = table.source == INFERRED, np.abs(probability - 0.5)
        assert inferred.sum() == math.ceil(share * unknown.sum()) > 200
        # Nothing that was left out is surer than what was let in.
        assert sure[inferred].min() >= sure[unknown & ~inferred].max() - 1e-6
        np.testing.assert_array_equal(table.values[inferred], probability[inferred] > 0.5)
        np.testing.assert_array_equal(table.source == GIVEN, ~unknown)
    first = read_json(tmp_path / "seed-0" / "generation-1" / "network.json")["lineage"]["labels"]
    assert "refined" not in first


def test_the_share_of_every_category() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((40, 3), dtype=np.float32) ** np.array([1, 4, 20], dtype=np.float32)
    wire = np.where(rng.random((40, 3)) < 0.7, np.float32(np.nan), np.float32(0))
    table = LabelTable.from_wire(wire, ("a", "b", "c"))
    unknown = table.source == UNKNOWN
    whole, each = (
        fill_in(
            table, unknown, probability, PseudoConfig(kind="hard", view="centre", share=(0.25,), per_category=e), 0.25
        )
        for e in (False, True)
    )
    assert (whole.source == INFERRED).sum() == math.ceil(0.25 * unknown.sum())
    np.testing.assert_array_equal((each.source == INFERRED).sum(0), np.ceil(0.25 * unknown.sum(0)))
    assert (whole.source == INFERRED)[:, 2].sum() > (each.source == INFERRED)[:, 2].sum()  # the easiest category


def test_samples_that_nobody_looked_at_do_not_compete() -> None:
    """Those of other splits have no probability."""
    table = LabelTable.from_wire([[np.nan], [np.nan], [1], [np.nan], [np.nan]], ("a",))
    probability = np.array([0.4, np.nan, 0.99, 0.05, np.nan], dtype=np.float32)[:, None]
    found = fill_in(table, table.source == UNKNOWN, probability, PseudoConfig(kind="hard", view="centre"), 0.5)
    np.testing.assert_array_equal(found.values[:, 0], [np.nan, np.nan, 1, 0, np.nan])


def test_positives_alone() -> None:
    table = LabelTable.from_wire(np.full((5, 1), np.nan, dtype=np.float32), ("a",))
    probability = np.array([0.9, 0.01, 0.6, 0.8, 0.7], dtype=np.float32)[:, None]
    options = PseudoConfig(kind="hard", view="centre", share=(0.5,), positive_only=True, weight=0.25)
    found = fill_in(table, table.source == UNKNOWN, probability, options, 0.5)
    np.testing.assert_array_equal(found.values[:, 0], [1, np.nan, np.nan, 1, np.nan])
    assert found.weight is not None and found.weight[:, 0].tolist() == [0.25, 1, 1, 0.25, 1]
    options = PseudoConfig(kind="hard", low=0.5, high=0.65, positive_only=True)
    labels = pseudo_labels(torch.from_numpy(probability), options)
    np.testing.assert_array_equal(labels[:, 0], [1, np.nan, np.nan, 1, 1])


def test_a_refinery_from_outside_begins_with_the_first_share(data: Path, tmp_path: Path) -> None:
    def shares(options: Recipe, generations: range) -> list[Any]:
        context = make_context(options, load_dataset(options.data), start_runtime(options), tmp_path, 0)
        network = NetworkSpec(
            "g", "generation", options.model, options.train, refineries=(Refinery("p", tmp_path, ""),)
        )
        networks = [replace(network, generation=generation) for generation in generations]
        return [MultiLabel().lineage(context, network)["labels"].get("share") for network in networks]

    options = "share: [0.1, 0.6]"
    assert shares(recipe(data, 3, options), range(2, 4)) == [0.1, 0.6]
    assert shares(recipe(data, 3, options, f"chain.refinery=[{tmp_path}]"), range(1, 4)) == [0.1, 0.6, 0.6]
    assert shares(recipe(data, 3, "low: 0.1"), range(2, 4)) == [None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{kind: hard, share: 0.2}", "share ranks the hard labels of whole images: set kind: hard and view: centre"),
        ("{kind: hard, view: each, share: [0.2]}", "set kind: hard and view: centre"),
        ("{view: centre, share: 0.2}", "set kind: hard and view: centre"),
        ("{kind: hard, view: centre, share: 0.2, high: 0.9}", "share and low, high are two rules"),
        ("{kind: hard, view: centre, share: 1.5}", r"share\.0: expected a number less than or equal to 1, got 1\.5"),
        (
            "{kind: hard, view: centre, share: [0.2, -0.1]}",
            r"share\.1: expected a number greater than or equal to 0",
        ),
        ("{kind: hard, view: centre, share: most}", "share: expected a list, got 'most'"),
        ("{kind: hard, per_category: true}", "per_category is for a share"),
        ("{positive_only: true}", "positive_only is for hard labels"),
    ],
)
def test_options_that_do_not_fit(options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"chain\.unknown.*{message}") as caught:
        load_recipe(None, [f"chain.unknown={options}"])
    assert "\n" not in str(caught.value)
