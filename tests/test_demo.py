"""The demonstration: its data, and both halves of it in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelwise import demo
from labelwise.config import DataConfig, TrainConfig
from labelwise.data.readers import load_dataset
from labelwise.refinery.chain import refine
from labelwise.report.refine import found_line
from labelwise.results import open_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "some-digits.npz"
    demo.write_digit_attributes(path, 0.3, seed=3)
    return path


def test_only_labels_to_learn_from_are_hidden(data: Path) -> None:
    dataset = load_dataset(DataConfig(source=str(data)), partial=True)
    digits = load_dataset(DataConfig(source="digits", select_share=0.25))
    table = dataset.table
    assert table is not None and table.categories == tuple(demo.ATTRIBUTES)
    known = table.known
    assert known[dataset.split != "fit"].all()
    assert known[dataset.split == "fit"].mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(dataset.split, digits.split)
    for column, members in enumerate(demo.ATTRIBUTES.values()):
        rows = known[:, column]
        np.testing.assert_array_equal(table.values[rows, column], np.isin(digits.label[rows], members))


def test_prevalences_differ_and_every_split_has_both_kinds(tmp_path: Path) -> None:
    demo.write_digit_attributes(tmp_path / "x.npz", 0.1, seed=0)
    dataset = load_dataset(DataConfig(source=str(tmp_path / "x.npz")), partial=True)
    assert dataset.table is not None
    for split in ("fit", "select", "test"):
        assert dataset.table.take(dataset.rows(split)).trainable().all()
    prevalence = np.nanmean(dataset.table.values, axis=0)
    assert prevalence.min() < 0.15 and prevalence.max() > 0.45


def test_both_halves_in_small(tmp_path: Path) -> None:
    recipe = demo.refine_recipe(seed=1)
    chain = recipe.chain.model_copy(update={"folds": 2})
    train = TrainConfig(epochs=4, batch_size=64, lr=0.1, channels_last=False)
    baselines = recipe.baselines.model_copy(update={"early_stop_epochs": (4, 8)})
    small = recipe.model_copy(update={"chain": chain, "train": train, "baselines": baselines})
    results = refine(small, tmp_path, quiet=True)
    assert results.best is not None
    [best] = [row.fit for row in results.rows if row.name == results.best.name]
    assert 300 < (best.wrong_labels or 0) < 420  # 40% of 900, drawn
    assert best.wrong_found is not None and best.wrong_labels is not None and 0 < best.wrong_found <= best.wrong_labels
    assert f"{best.wrong_found:.0f} of the {best.wrong_labels:.0f} wrong labels" in (found_line(results) or "")
    found = demo.refit_heads(tmp_path / "best", tmp_path, known=0.3, seed=1, quiet=True)
    assert open_run(tmp_path / "cft").results == found.results and found.results.base == "assume-negative"
    tuned, scratch = found.results.mean.test, found.control.mean.test
    assert tuned is not None and scratch is not None and tuned.after is not None and tuned.before is not None
    assert tuned.after > tuned.before, "unknown labels taken for negative must have cost something"
    line = demo.control_line(found)
    assert f"{scratch.before:.2%}" in line and f"{tuned.after:.2%}" in line
    assert demo.refit_heads(tmp_path / "best", tmp_path, known=0.3, seed=1, quiet=True) == found  # nothing anew
