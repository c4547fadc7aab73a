"""Principal coordinates are those of a singular value decomposition, whatever holds the features."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from labelwise.cft.solvers import coordinates as module
from labelwise.cft.solvers.coordinates import Coordinates, principal_coordinates
from labelwise.errors import DataError
from labelwise.features.shards import Rows


def features(n: int, dim: int, seed: int = 0, decay: float = 0.9) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows whose standard deviations along rotated axes fall off geometrically, away from the origin."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return (rng.normal(size=(n, dim)) * decay ** np.arange(dim) @ rotation + 1).astype(np.float32)


def assert_principal(found: Coordinates, z: np.ndarray[Any, Any], rank: int, tolerance: float = 1e-4) -> None:
    """The same subspace, variances and centre as scikit-learn's, in units in which the variances sum to one."""
    z = z.astype(np.float64)
    oracle = PCA(min(rank, *z.shape), svd_solver="full").fit(z)
    total = z.var(0).sum()
    assert found.rank == min(rank, len(z) - 1, z.shape[1])
    components = oracle.components_[: found.rank]
    expected = ((z - z.mean(0)) @ components.T).std(0) / np.sqrt(total)
    np.testing.assert_allclose(found.deviation, expected, rtol=tolerance, atol=1e-6)
    directions = found.directions.double().numpy() * np.sqrt(total)
    np.testing.assert_allclose(directions.T @ directions, np.eye(found.rank), atol=tolerance)
    # cosines of the principal angles between the two subspaces
    np.testing.assert_allclose(np.linalg.svd(components @ directions)[1], 1, atol=tolerance)
    np.testing.assert_allclose(found.centre, z.mean(0), atol=1e-4)


@pytest.mark.parametrize(
    ("n", "dim", "rank"),
    [(60, 12, 12), (60, 12, 500), (12, 40, 40), (12, 40, 4), (300, 80, 5), (80, 300, 5)],
    ids=["all", "rank above D", "N below D", "N below D, few", "iterated", "iterated, N below D"],
)
def test_subspace_and_variances_are_those_of_sklearn(n: int, dim: int, rank: int) -> None:
    z = features(n, dim)
    assert_principal(principal_coordinates(z, rank), z, rank, tolerance=2e-3)


def test_variances_of_the_sample_sum_to_one_and_fall() -> None:
    z = features(100, 8)
    found = principal_coordinates(z, 8)
    x = found.transform(z)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0, correction=0), found.deviation, rtol=1e-4)
    assert float((found.deviation**2).sum()) == pytest.approx(1, abs=1e-5)
    assert bool((found.deviation.diff() <= 0).all())


def test_transform_and_to_features_are_the_same_logit() -> None:
    z = features(50, 10)
    found = principal_coordinates(z, 6)
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 6, generator=generator), torch.randn(3, generator=generator)
    full, full_bias = found.to_features(weight, bias)
    assert full.shape == (3, 10)
    np.testing.assert_allclose(
        torch.from_numpy(z) @ full.T + full_bias, found.transform(z) @ weight.T + bias, atol=1e-4
    )


def test_every_container_gives_the_same_coordinates(tmp_path: Path) -> None:
    z = features(90, 7)
    np.save(tmp_path / "z.npy", z)
    rows = np.arange(90, dtype=np.int64)
    expected = principal_coordinates(z, 7)
    containers: dict[str, Any] = {
        "memory map": np.load(tmp_path / "z.npy", mmap_mode="r"),
        "float64": z.astype(np.float64),
        "tensor": torch.from_numpy(z),
        "rows": Rows(np.concatenate([z, z + 9]), rows),
        "rows of a map": Rows(np.load(tmp_path / "z.npy", mmap_mode="r"), rows),
    }
    for name, container in containers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = principal_coordinates(container, 7)
            x = found.transform(container)
        assert torch.equal(found.directions, expected.directions), name
        assert torch.equal(x, expected.transform(z)), name


def test_half_precision_is_added_up_wider() -> None:
    z = (features(90, 7) * 200 + 3000).astype(np.float16)  # a sum of ninety of them is no float16
    found = principal_coordinates(z, 7)
    assert_principal(found, z, 7, tolerance=1e-3)
    assert bool(torch.isfinite(found.transform(torch.from_numpy(z))).all())


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    z = features(50, 6)
    found = principal_coordinates(z, 6)
    whole = found.transform(z)
    monkeypatch.setattr(module, "CHUNK_VALUES", 6 * 7)  # 7 rows at once, the last chunk has 1
    np.testing.assert_allclose(found.transform(z), whole, atol=1e-6)


def test_features_of_each_category_share_directions() -> None:
    z = features(120, 5).reshape(40, 3, 5)
    found = principal_coordinates(z, 5)
    assert_principal(found, z.reshape(120, 5), 5)
    x = found.transform(z)
    assert x.shape == (40, 3, 5)
    np.testing.assert_allclose(x[:, 1], found.transform(np.ascontiguousarray(z[:, 1])), atol=1e-6)


def test_a_sample_of_the_rows_stands_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_ROWS", 400)
    z = features(2000, 5)
    found = principal_coordinates(z, 2, seed=1)
    components = PCA(2).fit(z).components_
    cosines = np.linalg.svd(components @ (found.directions / found.directions.norm(dim=0)).numpy())[1]
    assert cosines.min() > 0.95
    assert torch.equal(found.directions, principal_coordinates(z, 2, seed=1).directions)
    own = principal_coordinates(z.reshape(500, 4, 5), 2)  # 100 rows of 4 vectors
    assert own.directions.shape == (5, 2)


@pytest.mark.parametrize("dim", [10, 60])
def test_directions_without_variance_are_left_out(dim: int) -> None:
    z = np.repeat(features(8, dim, decay=1.0), 4, axis=0)  # 32 rows that span 7 directions
    z[:, 0] = 5.0
    found = principal_coordinates(z, 60)
    real = np.linalg.svd(z.astype(np.float64) - z.mean(0, dtype=np.float64))[1] / np.sqrt(32)
    real = np.sort(real[real > 1e-6 * real[0]])[::-1]
    assert len(real) == 7
    length = found.directions.norm(dim=0)
    np.testing.assert_allclose(length, length[0].expand_as(length), rtol=1e-4)
    np.testing.assert_allclose(found.deviation[:7], real / np.sqrt((real**2).sum()), rtol=1e-3)
    assert bool((found.deviation > 0).all()) and bool((found.deviation[7:] < 1e-3).all())
    if dim == 60:
        assert found.rank == 7
    assert bool(torch.isfinite(found.transform(features(5, dim, seed=3))).all())


def test_equal_rows_are_refused() -> None:
    with pytest.raises(DataError, match="all fit rows are equal"):
        principal_coordinates(np.ones((9, 4), np.float32), 4)
