"""Nearest neighbours and outliers, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from labelwise.audit import neighbours
from labelwise.audit.neighbours import nearest, outlier_scores, weights


@pytest.mark.parametrize("largest", [1 << 25, 200])
def test_neighbours_are_those_of_scikit_learn_in_other_groups(largest, monkeypatch):
    monkeypatch.setattr(neighbours, "LARGEST", largest)
    rng = np.random.default_rng(0)
    vectors, groups = rng.standard_normal((90, 6)) + 2, rng.integers(0, 30, 90)
    centred = vectors - vectors.mean(0)
    distance, index = NearestNeighbors(n_neighbors=90, metric="cosine").fit(centred).kneighbors(centred)
    seen = []
    for found in nearest(vectors, groups, 5, seed=0, width=100):
        for row, own, cosine in zip(found.rows, found.index, found.cosine, strict=True):
            others = groups[index[row]] != groups[row]
            assert own.tolist() == index[row][others][:5].tolist()
            np.testing.assert_allclose(cosine, 1 - distance[row][others][:5], atol=1e-5)
        seen += found.rows.tolist()
    assert seen == list(range(90))


def test_a_group_of_everything_has_no_neighbours_and_no_weight():
    found = next(nearest(np.random.default_rng(0).standard_normal((4, 3)), np.zeros(4), 9, seed=0))
    assert found.index.shape == (4, 4) and not weights(found.cosine, 10.0).any()


def test_outlier_scores_are_distances_to_the_nearest_neighbours():
    vectors = np.random.default_rng(0).standard_normal((300, 8)) + 3
    vectors[:30, 0] += 40  # a far direction, but of thirty samples: together they are a class
    vectors[299] = 3 - 40 * np.eye(8)[5]
    centred = vectors - vectors.mean(0)
    nearest = NearestNeighbors(n_neighbors=20, metric="cosine").fit(centred).kneighbors()[0].mean(1)
    spread = (np.quantile(nearest, 0.75) - np.median(nearest)) / 0.6745
    score = outlier_scores(vectors)
    np.testing.assert_allclose(score, (nearest - np.median(nearest)) / spread, atol=1e-3)
    assert score.argmax() == 299


def test_outliers_are_found_among_a_sample_of_the_samples(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((900, 3))
    vectors[:450, 0] += 9
    vectors[450:, 0] -= 9
    vectors[5] = [0, 0, 90]
    whole = outlier_scores(vectors)
    monkeypatch.setattr(neighbours, "OUTLIER_REFERENCES", 300)
    assert outlier_scores(vectors).argmax() == whole.argmax() == 5


def test_equal_samples_have_no_outlier():
    assert outlier_scores(np.ones((30, 4))).tolist() == [0] * 30
