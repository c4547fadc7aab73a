"""Near duplicates, against brute force and copies that were made on purpose."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from labelwise.audit import duplicates
from labelwise.audit.duplicates import (
    SAME_IMAGE,
    count_duplicates,
    duplicate_table,
    duplicates_of_embeddings,
    duplicates_of_images,
    perceptual_hashes,
)


def cosines(embeddings):
    unit = embeddings - embeddings.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T


def with_copies(n, copies, seed=0):
    """(n + copies, 16) vectors, of which the last are nearly those at the beginning."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 16))
    return np.concatenate([vectors, vectors[:copies] + 0.05 * rng.standard_normal((copies, 16))])


@pytest.mark.parametrize("block", [7, 1024])
def test_pairs_are_those_of_brute_force(block, monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", block)
    vectors = with_copies(60, 9)
    cosine = cosines(vectors)
    found = duplicates_of_embeddings(vectors, 0.9)
    expected = {(i, j) for i, j in np.argwhere(cosine >= 0.9).tolist() if i < j}
    assert len(expected) == 9 and found.exact
    assert set(map(tuple, found.rows.tolist())) == expected
    np.testing.assert_allclose(found.similarity, cosine[tuple(found.rows.T)], rtol=1e-5)
    assert (np.diff(found.similarity) <= 0).all()


def test_random_hyperplanes_find_the_same_pairs(monkeypatch):
    vectors = with_copies(3000, 200)
    exact = duplicates_of_embeddings(vectors, 0.97)
    monkeypatch.setattr(duplicates, "EXACT", 0)
    found = duplicates_of_embeddings(vectors, 0.97)
    assert len(exact.rows) >= 190 and not found.exact
    assert len(found.rows) >= 0.995 * len(exact.rows)
    assert set(map(tuple, found.rows.tolist())) <= set(map(tuple, exact.rows.tolist()))


def test_many_copies_of_one_sample_stay_a_short_list():
    vectors = np.concatenate([np.random.default_rng(0).standard_normal((50, 4)), np.ones((200, 4)) * 9])
    assert len(duplicates_of_embeddings(vectors, 0.9999).rows) <= 200 * duplicates.PARTNERS


def test_no_pairs_and_rows_of_zeros():
    found = duplicates_of_embeddings(np.array([[1.0, 0], [-1, 0], [0, 0], [0, 0]]), 0.9)
    assert found.rows.shape == (0, 2) and found.similarity.shape == (0,)


def pictures(n):
    """Parts of a photo, of 80 x 70 pixels."""
    rng, photo = np.random.default_rng(3), load_sample_image("china.jpg")
    corners = zip(rng.integers(0, photo.shape[0] - 80, n), rng.integers(0, photo.shape[1] - 70, n), strict=True)
    return [photo[y : y + 80, x : x + 70] for y, x in corners]


def test_copies_of_an_image_are_found_and_others_are_not():
    images = pictures(20)
    file = io.BytesIO()
    Image.fromarray(images[3]).save(file, "JPEG", quality=50)
    resized = np.asarray(Image.fromarray(images[7]).resize((90, 100)))
    darker = (images[11] * 0.8).astype(np.uint8).mean(2).astype(np.uint8)[..., None]  # grey, with one channel
    found = duplicates_of_images([*images, np.asarray(Image.open(file)), resized, darker])
    assert set(map(tuple, found.rows.tolist())) == {(3, 20), (7, 21), (11, 22)}
    assert (found.similarity >= SAME_IMAGE).all()


def test_blank_images_are_copies_of_each_other():
    hashes = perceptual_hashes([np.full((9, 9, 3), value, np.uint8) for value in (0, 128, 255)])
    assert (hashes[1] == hashes[2]).all() and (np.abs(hashes) == 1).all()


def test_the_table_names_samples_splits_and_labels():
    ids, split = np.array(["a", "b", "c", "d"]), np.array(["fit", "fit", "test", "test"])
    pairs = duplicates.Pairs(np.array([[0, 1], [1, 2], [2, 3]]), np.float32([1.0, 0.999, 0.996]), True)
    table = duplicate_table(pairs, ids, split, ["cat", "dog", "", "dog"])
    row = {"id_a": "b", "id_b": "c", "split_a": "fit", "split_b": "test", "given_a": "dog", "given_b": ""}
    assert table.drop(columns="similarity").loc[1].to_dict() == row
    counted = count_duplicates(table, "cosine")
    assert (counted.found, counted.across_splits, counted.labels_differ) == (3, 1, 1)
