"""Units, wide columns, offsets and outliers cost no gain; ordinary features pass as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.solver_inputs import make_inputs, with_fit

from labelwise.cft.solvers.inputs import SolverInput, hold_out
from labelwise.cft.solvers.robust import RobustScaling, prepare
from labelwise.errors import InputError
from labelwise.features.shards import Rows


def changed(inputs: SolverInput, change: Any) -> SolverInput:
    return with_fit(inputs, features=change(np.array(inputs.fit.features)))


def test_ordinary_features_pass_as_they_are() -> None:
    inputs = make_inputs()
    found = prepare(inputs)
    assert found.inputs is inputs and found.notes == []
    weight, bias = found.to_features(inputs.weight, inputs.bias)
    assert weight is inputs.weight and bias is inputs.bias


def test_a_head_answers_the_same_on_scaled_features() -> None:
    inputs = changed(make_inputs(own=True), lambda z: z * np.array([1e5, 1, 1, 1, 1, 1], np.float32) + 7)
    scaling = RobustScaling.of(inputs.fit.features, 0)
    assert scaling is not None and scaling.wide == [0]
    z = torch.from_numpy(np.array(inputs.fit.features))
    weight = inputs.weight / torch.tensor([1e5, 1, 1, 1, 1, 1])
    on_scaled, bias = scaling.head_on_scaled(weight, inputs.bias)
    expected = torch.einsum("ncd,cd->nc", z, weight) + inputs.bias
    found = torch.einsum("ncd,cd->nc", scaling(z), on_scaled) + bias
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    back = scaling.head_on_features(on_scaled, bias)
    torch.testing.assert_close(back[0], weight)
    torch.testing.assert_close(back[1], inputs.bias, atol=1e-4, rtol=1e-4)


def spoil_value(z: Any) -> Any:
    z[5, 2] = 1e8
    return z


def spoil_row(z: Any) -> Any:
    z[5] *= 15  # no value of it is an outlier by itself
    return z


@pytest.mark.parametrize(("change", "column"), [(spoil_value, 2), (spoil_row, None)])
def test_an_outlier_becomes_its_columns_median_and_is_named(change: Any, column: int | None) -> None:
    inputs = changed(make_inputs(dim=40), change)
    found = prepare(inputs)
    assert found.scaling is not None
    (note,) = found.notes
    assert note.startswith("features: outliers in 1 of 60 fit rows count as missing (their columns' medians): row 5 (")
    seen = np.asarray(found.inputs.fit.features[:])
    assert (seen[5] == 0).sum() == (40 if column is None else 1)
    raw = np.asarray(inputs.fit.features) - found.scaling.centre.numpy()
    np.testing.assert_allclose(np.delete(seen, 5, 0), np.delete(raw, 5, 0), atol=1e-6)
    if column is not None:
        assert f"column {column} is 1e+08, " in note


def test_a_row_is_named_by_its_number_in_the_file() -> None:
    inputs = make_inputs()
    z = spoil_value(np.array(inputs.fit.features))
    fit = dataclasses.replace(
        inputs.fit, features=Rows(z, np.arange(60)[::-1].copy()), labels=inputs.fit.labels.flip(0)
    )
    first, second = hold_out(fit, 0)
    notes = prepare(dataclasses.replace(inputs, fit=first, select=second)).notes
    assert [note.partition("medians): ")[2].startswith("row 5 (column 2 ") for note in notes] == [True]


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e6])
def test_units_do_not_matter(partial: Any, factor: float) -> None:
    toy = partial(0, categories=2, dim=6)
    plain = toy.fitted().decision_function(toy.test[0])
    scaled = [(z * np.float32(factor), y) for z, y in (toy.fit, toy.select, toy.test)]
    tuner = toy.fitted(features=scaled[0][0], select=scaled[1], head_weight=toy.weight / np.float32(factor))
    for before, after in zip(plain.T, tuner.decision_function(scaled[2][0]).T, strict=True):
        assert np.corrcoef(before, after)[0, 1] > 0.999


@pytest.mark.parametrize("own_head", [True, False])
def test_spoiled_rows_and_a_wide_column_cost_little(partial: Any, own_head: bool) -> None:
    toy = partial(0, categories=3)
    column = np.ones(24, np.float32)
    column[4] = 1e6

    def spoiled(side: Any, rows: int) -> Any:
        z = side[0] * column
        z[:rows] = np.random.default_rng(1).normal(size=(rows, 24)) * 1e9
        return z.astype(np.float32), side[1]

    head = {"head_weight": toy.weight / column} if own_head else {"head_weight": None, "head_bias": None}
    plain = toy.fitted(**({} if own_head else head)).score(*toy.test)
    fit, select, test = spoiled(toy.fit, 3), spoiled(toy.select, 2), spoiled(toy.test, 0)
    tuner = toy.fitted(features=fit[0], select=select, **head)
    assert tuner.score(*test) > plain - 0.04
    assert len(tuner.warnings_) >= 3  # rows of fit, rows of select, the column


def test_what_float32_cannot_hold_is_refused() -> None:
    inputs = make_inputs()
    with pytest.raises(InputError, match=r"features: they vary by 1.*e-40 only, too little for float32"):
        prepare(changed(inputs, lambda z: z * np.float32(1e-40)))
    with pytest.raises(InputError, match=r"head: logits of category \d reach \de\+3[78]|head: logits"):
        prepare(dataclasses.replace(inputs, weight=inputs.weight * 1e37))


def test_rare_ones_set_the_scale_of_sparse_features() -> None:
    z = (np.random.default_rng(0).random((500, 6)) < 0.01).astype(np.float32)
    scaling = RobustScaling.of(z, 0)
    assert scaling is not None and scaling.scale.tolist() == [1.0] * 6
    assert RobustScaling.of(np.ones((9, 3), np.float32), 0) is None
