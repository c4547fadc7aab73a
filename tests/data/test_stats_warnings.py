"""Warnings about partly known labels: silent on random blanks, loud on planted ones, and said by `data stats`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import chi2, chi2_contingency, false_discovery_control

from labelwise.config import DataConfig
from labelwise.data.readers import load_dataset
from labelwise.data.stats import dataset_stats, render_stats
from labelwise.labels import missingness
from labelwise.labels.missingness import (
    benjamini_hochberg,
    label_warnings,
    not_at_random,
    not_scored,
    only_positives_known,
    prevalence_shifts,
    too_few_to_choose,
)
from labelwise.labels.protocols import (
    keep_hcp,
    keep_positives,
    keep_single_positive,
    keep_uniform,
    keep_uniform_by_cell,
)
from labelwise.labels.table import LabelTable

NAMES = ("even", "rare", "half", "like half", "frequent", "fifth")


def correlated(seed: int, n: int = 600) -> LabelTable:
    """Complete labels of six categories, two of them nearly the same. Hide with other seeds: the generator is one."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 6)) < [0.5, 0.06, 0.5, 0.5, 0.85, 0.2]
    labels[:, 3] = np.where(rng.random(n) < 0.85, labels[:, 2], labels[:, 3])
    return LabelTable.from_wire(labels, NAMES)


def blank(table: LabelTable, category: int, chance: np.ndarray, seed: int = 0) -> LabelTable:
    """Hide a category's labels, each with its own chance."""
    keep = np.ones(table.values.shape, dtype=bool)
    keep[:, category] = np.random.default_rng(seed).random(len(table)) >= chance
    return table.hide(keep)


# random blanks


@pytest.mark.parametrize("protocol", ["uniform", "cells", "hcp"])
def test_random_blanks_are_no_warning(protocol):
    """Of 90 tables, 1 in 100 may have one by chance: more than 4 are a sign that something is wrong."""
    warned = 0
    for seed in range(90):
        table, share = correlated(seed), (0.1, 0.5, 0.9)[seed % 3]
        keep = {
            "uniform": lambda table=table, share=share, seed=seed: keep_uniform(table, share, 10_000 + seed),
            "cells": lambda table=table, share=share, seed=seed: keep_uniform_by_cell(table, share, 10_000 + seed),
            "hcp": lambda table=table, share=share, seed=seed: keep_hcp(table.values.shape, share, 10_000 + seed),
        }[protocol]()
        hidden = table.hide(keep)
        assert only_positives_known(hidden) == ()
        warned += bool(not_at_random(hidden))
    assert warned <= 4


def test_p_values_keep_their_level():
    """Of all effects, however small, any is found in a fifth of random tables where the level is a fifth."""
    tables = [correlated(seed).hide(keep_uniform(correlated(seed), 0.5, 10_000 + seed)) for seed in range(150)]
    found = sum(bool(not_at_random(table, level=0.2, smallest=0)) for table in tables)
    assert 3 <= found <= 47  # 30 expected at most; 47 is exceeded once in 2,000


def test_random_splits_do_not_shift():
    warned = 0
    for seed in range(60):
        table = correlated(seed).hide(keep_uniform(correlated(seed), 0.5, 10_000 + seed))
        split = np.random.default_rng(seed).choice(["fit", "select", "test"], len(table), p=[0.6, 0.2, 0.2])
        warned += bool(prevalence_shifts(table, split, level=0.2, smallest=0))
    assert warned <= 24  # 12 expected at most


@pytest.mark.parametrize("blank_rows", [0.5, 0.95])
def test_wholly_blank_samples_say_nothing(blank_rows):
    table = correlated(0, 2000)
    keep = np.repeat(np.random.default_rng(1).random((2000, 1)) >= blank_rows, 6, axis=1)
    assert not_at_random(table.hide(keep)) == []


# planted blanks


@pytest.mark.parametrize("seed", range(5))
def test_blanks_that_go_with_another_label(seed):
    table = correlated(seed)
    hidden = blank(table, 0, np.where(table.values[:, 2] == 1, 0.7, 0.3), seed)
    first = not_at_random(hidden)[0]
    assert first.category == "even" and first.other in ("half", "like half")
    assert first.shares == pytest.approx((0.3, 0.7), abs=0.1) and first.effect < -0.5 and first.p_value < 1e-6
    assert {found.category for found in not_at_random(hidden)} == {"even"}


def test_blanks_that_go_with_the_own_label_show_through_a_like_category():
    table = correlated(1, 1500)
    hidden = blank(table, 2, np.where(table.values[:, 2] == 1, 0.2, 0.8))
    [found] = not_at_random(hidden)
    assert (found.category, found.other) == ("half", "like half") and found.effect > 0.5
    alone = blank(table, 0, np.where(table.values[:, 0] == 1, 0.2, 0.8))
    assert not_at_random(alone) == []  # what cannot be seen


def test_blanks_that_go_with_the_number_of_known_labels():
    rng = np.random.default_rng(0)
    diligence = rng.choice([0.3, 0.9], (1500, 1))
    hidden = correlated(2, 1500).hide(rng.random((1500, 6)) < diligence)
    found = not_at_random(hidden)
    assert {entry.category for entry in found} == set(NAMES)
    known = hidden.known
    number = int(np.ceil(np.median(known.sum(axis=1)[known.any(axis=1)])))
    for entry in found:
        c = NAMES.index(entry.category)
        others = known.sum(axis=1) - known[:, c]  # the comparison, written out
        many, few = known[others >= number, c].mean(), known[(others > 0) & (others < number), c].mean()
        assert entry.other == number and entry.shares == pytest.approx((many, few)) and entry.effect > 0.3
    assert f"with at least {number} other known labels" in label_warnings(hidden, np.full(1500, "fit"))[0]


def test_trifles_are_no_warning_however_many_samples_show_them():
    table = correlated(0, 40_000)
    hidden = blank(table, 0, np.where(table.values[:, 2] == 1, 0.53, 0.5))
    assert not_at_random(hidden) == [] and len(not_at_random(hidden, smallest=0)) >= 1


def test_uncertain_labels_are_no_blanks():
    table = correlated(0)
    wire = table.to_wire()
    wire[(table.values[:, 2] == 1) & (np.random.default_rng(0).random(len(table)) < 0.5), 0] = -1
    assert not_at_random(LabelTable.from_wire(wire, NAMES)) == []


@pytest.mark.parametrize("protocol", [keep_single_positive, lambda table: keep_positives(table, 0.5)])
def test_only_positives_known(protocol):
    table = correlated(0)
    hidden = table.hide(protocol(table))
    assert set(only_positives_known(hidden)) == set(NAMES) and not_at_random(hidden) == []
    lines = label_warnings(hidden, np.full(len(table), "fit"))
    assert len(lines) == 1 and "only positives are known of 6 of 6 categories ('even'" in lines[0]
    assert lines[0].index("'like half'") < lines[0].index("...")


def test_few_positives_among_other_known_labels_may_be_chance():
    table = correlated(0, 200)
    keep = np.ones((200, 6), dtype=bool)
    keep[:, 0] = False
    keep[np.flatnonzero(table.values[:, 0] == 1)[:9], 0] = True
    assert only_positives_known(table.hide(keep)) == ()
    keep[np.flatnonzero(table.values[:, 0] == 1)[:10], 0] = True
    assert only_positives_known(table.hide(keep)) == ("even",)
    complete = LabelTable.from_wire(np.ones((50, 1)), ("always",))
    assert only_positives_known(complete) == ()  # no blank hides a negative


def test_prevalence_that_differs_between_splits():
    table, split = correlated(0, 900), np.repeat(["fit", "select", "test"], 300)
    fewer = np.where((split == "test") & (np.random.default_rng(0).random(900) < 0.6), 0.0, table.values[:, 0])
    values = table.values.copy()
    values[:, 0] = fewer
    [found] = prevalence_shifts(LabelTable.from_wire(values, NAMES), split)
    assert (found.category, found.split) == ("even", "test") and found.effect > 0.4
    assert found.shares == pytest.approx((values[:300, 0].mean(), values[600:, 0].mean()))
    assert prevalence_shifts(LabelTable.from_wire(values, NAMES), np.full(900, "fit")) == []


def test_too_little_to_choose_on_and_to_score():
    values = np.zeros((60, 3))
    values[:19, 0] = values[:20, 1] = 1
    table = LabelTable.from_wire(values, ("19", "20", "none"))
    assert too_few_to_choose(table) == ("19", "none") and not_scored(table) == ("none",)
    empty = table.take(np.arange(0))
    assert too_few_to_choose(empty) == not_scored(empty) == ()


# the parts


def test_g_test_and_correction_against_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 60, 50).astype(float), rng.integers(0, 90, 50).astype(float)
    found = missingness._g_test(first, np.full(50, 60.0), second, np.full(50, 90.0))
    p = missingness._tail(found)
    for c in range(50):
        counts = np.array([[first[c], 60 - first[c]], [second[c], 90 - second[c]]])
        if (counts.sum(0) == 0).any():
            assert np.isnan(found[c])
            continue
        expected = chi2_contingency(counts, correction=False, lambda_="log-likelihood")
        if expected.expected_freq.min() < 5:
            assert np.isnan(found[c])
        else:
            rows, columns = (150 / counts.sum(axis=axis) for axis in (0, 1))
            statistic = expected.statistic / (1 + (rows.sum() - 1) * (columns.sum() - 1) / 900)
            assert (found[c], p[c]) == pytest.approx((statistic, chi2.sf(statistic, 1)))
    assert np.isfinite(found).sum() > 10
    corrected = benjamini_hochberg(p.reshape(5, 10)).ravel()
    tested = ~np.isnan(p)
    np.testing.assert_allclose(corrected[tested], false_discovery_control(p[tested]))
    assert np.isnan(corrected[~tested]).all()


def test_rows_in_parts(monkeypatch):
    table = correlated(0)
    hidden = blank(table, 0, np.where(table.values[:, 2] == 1, 0.7, 0.3))
    whole = not_at_random(hidden)
    monkeypatch.setattr(missingness, "ROWS_AT_ONCE", 7)
    assert not_at_random(hidden) == whole


def test_blanks_of_fit_alone_are_looked_at():
    """A test split labelled by another rule is no fault of what is learnt from."""
    table = correlated(0)
    hidden = blank(table, 0, np.where(table.values[:, 2] == 1, 0.9, 0.0))
    values = np.concatenate([correlated(1).to_wire(), hidden.to_wire()])
    split = np.repeat(["fit", "test"], 600)
    assert label_warnings(LabelTable.from_wire(values, NAMES), split) == []
    assert len(label_warnings(LabelTable.from_wire(values, NAMES), split[::-1])) == 1


def test_at_most_so_many_lines():
    rng = np.random.default_rng(0)
    driver = rng.random(500) < 0.5
    wire = (rng.random((500, 31)) < 0.5).astype(np.float64)
    wire[:, 0] = driver
    wire[:, 1:][rng.random((500, 30)) < np.where(driver, 0.9, 0.2)[:, None]] = np.nan
    table = LabelTable.from_wire(wire, tuple(f"c{i}" for i in range(31)))
    lines = label_warnings(table, np.full(500, "fit"))
    assert len(lines) == 11 and lines[-1] == "20 more categories whose blanks are not random"
    assert "known for" in lines[0] and "'c0'" in lines[0]


@pytest.mark.parametrize("n", [0, 3])
def test_tables_with_nothing_in_them(n):
    table = LabelTable.from_wire(np.full((n, 2), np.nan), ("a", "b"))
    assert label_warnings(table, np.full(n, "fit")) == []


# data stats


def test_stats_say_it(tmp_path: Path):
    table = correlated(0)
    hidden = blank(table, 0, np.where(table.values[:, 2] == 1, 0.7, 0.1))
    split = np.repeat([0, 1, 2], [400, 60, 140])
    path = tmp_path / "m.npz"
    images = np.zeros((600, 2, 2), np.uint8)
    np.savez(path, images=images, labels=hidden.to_wire(), categories=np.array(NAMES), split=split)
    stats = dataset_stats(load_dataset(DataConfig(source=str(path)), partial=True))
    assert any("blanks of 'even' are probably not random" in line for line in stats["warnings"])
    assert any(line.startswith("select: fewer than 20") and "'rare'" in line for line in stats["warnings"])
    console = Console(file=io.StringIO(), width=300, record=True)
    console.print(render_stats(stats))
    shown = console.export_text()
    assert shown.index("Warning: ") > shown.index("trainable") and all(line in shown for line in stats["warnings"])


def test_single_label_data_have_none():
    stats = dataset_stats(load_dataset(DataConfig(source="digits", train_limit=50, test_limit=20)))
    assert stats["warnings"] == []


@pytest.mark.realdata
def test_real_data(shared_data):
    """Complete labels: nothing to warn of but a category rare in select; hidden at random no more, but by rule."""
    dataset = load_dataset(DataConfig(source=str(shared_data / "ucm_multilabel_128.npz"), memory="no"), partial=True)
    table = dataset.table
    [line] = label_warnings(table, dataset.split)
    assert line.startswith("select:") and "1 of 17 categories ('tanks')" in line
    fit = table.take(dataset.rows("fit"))
    assert not_at_random(fit.hide(keep_uniform(fit, 0.3))) == []
    assert only_positives_known(fit.hide(keep_single_positive(fit))) == table.categories
