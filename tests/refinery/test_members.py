"""Members and fold networks: trained where somebody asks them, each with the weights of the one of its number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.config import Recipe, load_recipe
from labelwise.data.dataset import Dataset, Features
from labelwise.data.folds import folds_of
from labelwise.errors import ConfigError
from labelwise.refinery import context as context_module
from labelwise.refinery import network as network_module
from labelwise.refinery.chain import refine
from labelwise.refinery.generations import generation_of, generations_with_members

BASE = ("model.name=mlp", "train={epochs: 1, batch_size: 32, warmup_epochs: 0}")
N = 90


def recipe(*changes: str) -> Recipe:
    return load_recipe(None, [*BASE, *changes])


def data() -> Dataset:
    ids = np.array([f"i{i}" for i in range(N)])
    label, split = np.arange(N) % 3, np.repeat(["fit", "select", "test"], [60, 15, 15])
    values = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32) + label[:, None]
    return Dataset("points", ("a", "b", "c"), ids, ids, label, split, Features(values.astype(np.float32)))


def run(out: Path, chain: str) -> dict[str, dict[str, Any]]:
    """Rows by the network's name, without ``generation-``, each with its lineage."""
    rows = refine(recipe(f"chain={chain}"), out, quiet=True, dataset=data()).to_json()["rows"]
    found = {}
    for row in rows:
        lineage = json.loads((out / row["path"] / "network.json").read_text())["lineage"]
        found[row["name"].removeprefix("generation-")] = row | {"lineage": lineage}
    return found


def labellers(row: dict[str, Any]) -> list[str]:
    return [refinery["name"].removeprefix("generation-") for refinery in row["lineage"]["refineries"]]


# who is trained


@pytest.mark.parametrize(
    ("generations", "networks", "asked"),
    [
        (1, "[]", set()),
        (4, "[]", {1, 2, 3}),
        (3, "[{}, {labelled_by: 0}, {labelled_by: 1}]", {1}),
        (3, "[{}, {labelled_by: 0}, {labelled_by: 0}]", set()),
        (5, "[{}, {}, {labelled_by: 1}]", {1}),  # the last step is repeated
        (3, "[{}, {}, {labelled_by: 1, start_from: 2}]", {1}),  # the last generation has no members to start
        (4, "[{}, {labelled_by: 0}, {labelled_by: 1, start_from: 2}, {}]", {1, 2, 3}),
        (4, "[{}, {labelled_by: 0, start_from: 1}, {labelled_by: 0, start_from: 2}, {labelled_by: 3}]", {1, 2, 3}),
        (4, "[{}, {labelled_by: 0, start_from: 1}, {labelled_by: 0, start_from: 2}, {labelled_by: 2}]", {1, 2}),
    ],
)
def test_generations_whose_members_are_needed(generations: int, networks: str, asked: set[int]) -> None:
    found = generations_with_members(recipe(f"chain={{generations: {generations}, networks: {networks}, members: 2}}"))
    assert found - {0} == asked


def test_members_that_nobody_asks_are_not_trained(tmp_path: Path) -> None:
    rows = run(tmp_path / "run", "{generations: 3, members: 2, networks: [{}, {labelled_by: 0}, {labelled_by: 1}]}")
    assert list(rows) == ["1", "1-member-2", "2", "3"]
    assert labellers(rows["3"]) == ["1", "1-member-2"] and labellers(rows["2"]) == []


def test_a_longer_chain_trains_the_members_that_it_asks(tmp_path: Path) -> None:
    short = run(tmp_path / "run", "{generations: 2, members: 2}")
    rows = run(tmp_path / "run", "{generations: 3, members: 2}")
    assert list(short) == ["1", "1-member-2", "2"]
    assert list(rows) == ["1", "1-member-2", "2", "2-member-2", "3"]
    assert all(rows[name] == row for name, row in short.items())


# whose weights they start from


def test_members_start_from_the_member_of_their_number(tmp_path: Path) -> None:
    """Generation 2 labels nothing, but generation 3 starts from it and labels the last one."""
    networks = "[{}, {labelled_by: 0}, {labelled_by: 1, start_from: 2}, {}]"
    rows = run(tmp_path / "run", f"{{generations: 4, members: 2, networks: {networks}}}")
    assert list(rows) == ["1", "1-member-2", "2", "2-member-2", "3", "3-member-2", "4"]
    for later, earlier in (("3", "2"), ("3-member-2", "2-member-2")):
        assert rows[later]["lineage"]["start"] == rows[earlier]["weights_hash"]
    assert not any("start" in rows[name]["lineage"] for name in ("1", "2", "2-member-2", "4"))
    assert labellers(rows["4"]) == ["3", "3-member-2"]


def test_a_fold_network_never_meets_its_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[int]] = {}
    plain = network_module.fit

    def noted(model: Any, task: Any, data: Any, *rest: Any, folder: Path, **named: Any) -> Any:
        seen[folder.name.removeprefix("generation-")] = set(data.rows.tolist())
        return plain(model, task, data, *rest, folder=folder, **named)

    monkeypatch.setattr(network_module, "fit", noted)
    networks = "[{}, {labelled_by: 1, start_from: 1}, {}]"
    rows = run(tmp_path / "run", f"{{generations: 3, folds: 2, fold_labels: unseen, networks: {networks}}}")
    by_hash = {row["weights_hash"]: name for name, row in rows.items()}

    def ever_seen(name: str) -> set[int]:
        start = rows[name]["lineage"].get("start")
        return seen[name] | (ever_seen(by_hash[start]) if start else set())

    fold = folds_of(data(), 2, 0)
    assert by_hash[rows["2"]["lineage"]["start"]] == "1"
    for number in (0, 1):
        name = f"2-fold-{number + 1}"
        assert by_hash[rows[name]["lineage"]["start"]] == f"1-fold-{number + 1}"
        assert len(ever_seen(name)) == 30 and not ever_seen(name) & set(np.flatnonzero(fold == number).tolist())
    assert labellers(rows["3"]) == ["2-fold-1", "2-fold-2"]


def test_folds_are_drawn_once_for_all_networks_of_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    plain = context_module.folds_of
    monkeypatch.setattr(context_module, "folds_of", lambda *given: drawn.append(given[1:]) or plain(*given))
    run(tmp_path / "run", "{generations: 2, folds: 3, fold_labels: unseen}")
    assert drawn == [(3, 0)] * 2  # once for all checks of networks, once for training


# the network itself


def test_a_step_without_a_model_is_the_recipe_s() -> None:
    options = recipe("model.name=small-resnet", "chain={generations: 3, networks: [{model: {name: small-wide}}, {}]}")
    names = [generation_of(options, generation).model.name for generation in (1, 2, 3)]
    assert names == ["small-wide", "small-resnet", "small-resnet"]


# what it trains on


def test_a_network_has_views_of_its_own(tmp_path: Path) -> None:
    own = "{generations: 2, networks: [{views: {mixup: 1.0, feature_dropout: 0.5}}, {}]}"
    first = run(tmp_path / "own", own)
    assert first["1"]["lineage"]["views"] == {"feature_dropout": 0.5, "mixup": 1.0}
    assert first["2"]["lineage"]["views"] == {}
    alone = refine(
        recipe("views={mixup: 1.0, feature_dropout: 0.5}", "chain.generations=1"),
        tmp_path / "b",
        quiet=True,
        dataset=data(),
    ).to_json()
    plain = refine(recipe("chain.generations=1"), tmp_path / "c", quiet=True, dataset=data()).to_json()
    hashes = [found["rows"][0]["weights_hash"] for found in (alone, plain)]
    assert first["1"]["weights_hash"] == hashes[0] != hashes[1]


def test_views_as_the_recipe_has_them_are_the_same_network(tmp_path: Path) -> None:
    rows = [
        run(tmp_path / str(i), f"{{generations: 1, networks: [{{views: {v}}}]}}")["1"]
        for i, v in enumerate(("{}", "{mixup: 0}"))
    ]
    assert rows[0]["lineage"] == rows[1]["lineage"]


def test_controls_train_on_the_views_of_the_network_that_the_chain_ends_with(tmp_path: Path) -> None:
    wanted = recipe("chain={generations: 2, networks: [{}, {views: {mixup: 1.0}}]}", "baselines.kinds=[long]")
    rows = refine(wanted, tmp_path, quiet=True, dataset=data(), baselines=True).to_json()["rows"]
    lineage = {
        row["role"]: json.loads((tmp_path / row["path"] / "network.json").read_text())["lineage"] for row in rows
    }
    assert lineage["control"]["views"] == {"mixup": 1.0}


@pytest.mark.parametrize(
    ("views", "message"),
    [("{size: 32}", "chain.networks.0.views.size: all networks"), ("{mixed: 1}", "chain.networks.0.views.mixed")],
)
def test_views_that_a_network_cannot_have(views: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(f"chain.networks=[{{views: {views}}}]")
