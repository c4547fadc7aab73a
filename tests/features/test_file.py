"""Feature files come back as they were, whoever wrote them; anything that does not fit is one clear line."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data.files import without_group
from labelwise.errors import DataError
from labelwise.features import file as module
from labelwise.features.file import FeatureSet, chunks, finish_folder, read_features, write_arrays
from labelwise.features.shards import ShardedArray

N, D, CATEGORIES = 12, 5, ("cat", "dog", "fish")
C = len(CATEGORIES)
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(N, D)).astype(np.float16)
LABELS = RNG.choice([1, 0, np.nan, -1, 0.25], size=(N, C)).astype(np.float32)
SPLIT = np.array(["fit"] * 6 + ["select"] * 3 + ["test"] * 3)
IDS = np.array([f"image-{row}" for row in range(N)])
GROUPS = np.array([f"patient-{row // 3}" for row in range(N)])
WEIGHT = RNG.normal(size=(C, D)).astype(np.float32)
BIAS = np.array([0.5, -0.5, 0], dtype=np.float32)
TRUST = RNG.random((N, C)).astype(np.float32)
ARRAYS: dict[str, Any] = {
    "features": FEATURES,
    "labels": LABELS,
    "categories": np.array(CATEGORIES),
    "split": SPLIT,
    "ids": IDS,
    "groups": GROUPS,
    "head_weight": WEIGHT,
    "head_bias": BIAS,
    "label_weight": TRUST,
}


def feature_set(**changes: Any) -> FeatureSet:
    values = {**ARRAYS, "name": "set", "categories": CATEGORIES}
    return FeatureSet(**{**values, **changes})


def save(path: Path, arrays: dict[str, Any]) -> Path:
    """A feature file written by hand."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    path.mkdir(parents=True)
    for key, array in arrays.items():
        np.save(path / f"{key}.npy", array)
    return path


def write_features(path: Path, given: FeatureSet) -> None:
    """A feature file as `labelwise features` (a folder) or NumPy (.npz) writes one."""
    fields = {field.name: getattr(given, field.name) for field in dataclasses.fields(given) if field.name != "name"}
    arrays = {key: np.asarray(value) for key, value in fields.items() if value is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    write_arrays(path, arrays)
    finish_folder(path, {"rows": len(given)})


def assert_equal(found: FeatureSet, expected: FeatureSet) -> None:
    for field in dataclasses.fields(FeatureSet):
        if field.name != "name":
            one, two = getattr(found, field.name), getattr(expected, field.name)
            assert (one is None) == (two is None), field.name
            if one is not None:
                np.testing.assert_array_equal(np.asarray(one), np.asarray(two), err_msg=field.name)


@pytest.mark.parametrize("name", ["f.npz", "f"])
@pytest.mark.parametrize("optional", [True, False])
def test_round_trip(tmp_path, name, optional):
    bare = dict.fromkeys(("head_weight", "head_bias", "label_weight"))
    written = feature_set(**({} if optional else bare))
    write_features(tmp_path / name, written)
    found = read_features(tmp_path / name)
    assert_equal(found, written)
    assert found.name == "f" and found.dim == D and len(found) == N
    assert found.features.dtype == np.float16 and found.labels.dtype == np.float32
    assert found.fingerprint() == written.fingerprint()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["hand.npz", "hand"])
def test_files_written_by_hand(tmp_path, name):
    found = read_features(save(tmp_path / name, ARRAYS))
    assert_equal(found, feature_set())
    assert found.sizes() == {"fit": 6, "select": 3, "test": 3}
    assert found.rows("select").tolist() == [6, 7, 8] and found.rows("select").dtype == np.int64


def test_the_smallest_file_has_other_types_and_no_split(tmp_path):
    arrays = {
        "features": FEATURES.astype(np.float64),
        "labels": np.eye(N, C, dtype=np.uint8),
        "categories": np.array([b"cat", b"dog", b"fish"]),
    }
    found = read_features(save(tmp_path / "f.npz", arrays))
    assert found.features.dtype == np.float32 and found.labels.dtype == np.float32
    assert found.categories == CATEGORIES
    assert found.sizes() == {"fit": N, "select": 0, "test": 0}
    assert found.ids.tolist() == found.groups.tolist() == [str(row) for row in range(N)]
    assert found.head_weight is None and found.label_weight is None


def test_features_of_each_category(tmp_path):
    features = RNG.normal(size=(N, C, D)).astype(np.float32)
    found = read_features(save(tmp_path / "f", {**ARRAYS, "features": features}))
    assert found.features.shape == (N, C, D) and found.dim == D
    with pytest.raises(DataError, match=r"features: 2 categories in shape \(12, 2, 5\), there are 3"):
        feature_set(features=features[:, :2])


def test_a_folder_is_mapped(tmp_path):
    found = read_features(save(tmp_path / "f", ARRAYS))
    assert isinstance(found.features, np.memmap)
    assert not found.labels.flags.writeable and not found.label_weight.flags.writeable  # the file's own pages
    np.testing.assert_array_equal(found.labels, ARRAYS["labels"])


def test_labels_are_never_in_memory_as_a_whole(tmp_path):
    rows, categories = 40_000, 1_000  # 160 MB that take no place on the disk
    save(tmp_path / "f", {"features": np.zeros((rows, 1), np.float16), "categories": np.arange(categories)})
    np.lib.format.open_memmap(tmp_path / "f" / "labels.npy", "w+", np.float32, (rows, categories)).flush()
    tracemalloc.start()
    found = read_features(tmp_path / "f")
    found.fingerprint()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.labels.shape == (rows, categories)
    assert peak < 2 * module.CHUNK_BYTES < rows * categories * 4 / 2


def test_pieces_cover_every_row_within_their_bound():
    pieces = list(chunks(FEATURES, 2 * D * 2))
    assert [(piece.start, piece.stop) for piece in pieces] == [(row, row + 2) for row in range(0, N, 2)]
    assert [piece.start for piece in chunks(FEATURES, 1)] == list(range(N))  # at least one row


def test_features_are_never_in_memory_as_a_whole(tmp_path):
    rows, dim = 2_000, 40_000  # 160 MB that take no place on the disk
    arrays = {"labels": np.zeros((rows, 1), dtype=np.float32), "categories": np.array(["one"])}
    save(tmp_path / "f", arrays)
    np.lib.format.open_memmap(tmp_path / "f" / "features.npy", "w+", np.float16, (rows, dim)).flush()
    tracemalloc.start()
    read_features(tmp_path / "f").fingerprint()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * module.CHUNK_BYTES < rows * dim * 2 / 2


def shards(path: Path, sizes: tuple[int, ...] = (5, 0, 7), common_at_top: bool = True) -> Path:
    per_row = ("features", "labels", "split", "ids", "groups", "label_weight")
    common = {key: ARRAYS[key] for key in ("categories", "head_weight", "head_bias")}
    start = 0
    for number, size in enumerate(sizes):
        rows = {key: ARRAYS[key][start : start + size] for key in per_row}
        first = common if number == 0 and not common_at_top else {}
        save(path / f"{number:05d}", {**rows, **first})
        start += size
    if common_at_top:
        for key, array in common.items():
            np.save(path / f"{key}.npy", array)
    return path


@pytest.mark.parametrize("common_at_top", [True, False])
def test_shards_are_read_behind_one_another(tmp_path, common_at_top):
    found = read_features(shards(tmp_path / "f", common_at_top=common_at_top))
    assert isinstance(found.features, ShardedArray)
    assert all(not (part.flags.owndata and len(part)) for part in found.features.parts if len(part))
    assert_equal(found, feature_set())
    assert found.fingerprint() == feature_set().fingerprint()


@pytest.mark.parametrize(
    "rows",
    [
        0,
        -1,
        slice(None),
        slice(3, 9),
        slice(4, 4),
        slice(1, 11, 3),
        [7, 0, 7, 11, 4, 5],
        np.arange(N) % 2 == 0,
        np.arange(0),
    ],
)
def test_a_sharded_array_is_indexed_like_an_array(rows):
    sharded = ShardedArray.of([FEATURES[:5], FEATURES[5:5], FEATURES[5:]])
    np.testing.assert_array_equal(sharded[rows], FEATURES[rows])
    assert sharded.shape == FEATURES.shape and sharded.ndim == 2 and len(sharded) == N
    if not isinstance(rows, int):
        np.testing.assert_array_equal(sharded[rows, 1:3], FEATURES[rows][:, 1:3])
    with pytest.raises(IndexError):
        sharded[N]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the open files of Linux")
def test_shards_keep_no_files_open(tmp_path):
    path, before = shards(tmp_path / "f"), len(list(Path("/proc/self/fd").iterdir()))
    found = read_features(path)
    assert isinstance(found.features, ShardedArray) and len(found.features.parts) == 3
    assert len(list(Path("/proc/self/fd").iterdir())) == before and not found.features.parts[0].flags.owndata


def test_shards_that_do_not_belong_together(tmp_path):
    path = shards(tmp_path / "f")
    np.save(path / "00002" / "features.npy", FEATURES[:7, :3])
    with pytest.raises(DataError, match="'features' of the shards does not fit together"):
        read_features(path)
    (path / "00002" / "features.npy").unlink()
    with pytest.raises(DataError, match=r"00002: no 'features', other shards have it"):
        read_features(path)


def test_an_unfinished_folder_is_refused(tmp_path):
    write_features(tmp_path / "f", feature_set())
    assert json.loads((tmp_path / "f" / "features.json").read_text())["rows"] == N
    (tmp_path / "f" / "features.json").rename(tmp_path / "f" / "run.json")
    with pytest.raises(DataError, match=r"f: unfinished"):
        read_features(tmp_path / "f")
    path = shards(tmp_path / "sharded")
    (path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="sharded: unfinished"):
        read_features(path)


def test_writing_again_leaves_nothing_of_before(tmp_path):
    write_features(tmp_path / "f", feature_set())
    write_features(tmp_path / "f", feature_set(head_weight=None, head_bias=None, label_weight=None))
    assert read_features(tmp_path / "f").head_weight is None


def fault(key: str, index: tuple[int, ...], value: float) -> np.ndarray:
    array = ARRAYS[key].copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "no 'labels'; it has categories, features"),
        ({"features": FEATURES[:-1]}, r"labels: shape \(12, 3\), expected \(11, 3\)"),
        ({"features": FEATURES[0]}, r"features: shape \(5,\), expected \(N, D\)"),
        ({"features": FEATURES[:0]}, r"features: shape \(0, 5\)"),
        ({"features": FEATURES.astype(str)}, "features: <U32 are not numbers"),
        (
            {"features": fault("features", (7, 2), np.nan)},
            r"features: row 7 \('image-7'\), column 2 is nan; leave the row out",
        ),
        ({"features": fault("features", (3, 0), np.inf)}, r"features: row 3 \('image-3'\)"),
        (
            {"labels": fault("labels", (4, 1), 2)},
            r"labels: 2 in row 4 \('image-4'\), category 'dog'; expected 1, 0, NaN",
        ),
        ({"labels": fault("labels", (4, 1), -0.5)}, "labels: -0.5 in row 4"),
        ({"labels": fault("labels", (0, 0), np.inf)}, "labels: inf in row 0"),
        ({"labels": LABELS[:, :2]}, r"labels: shape \(12, 2\), expected \(12, 3\) \(12 rows, 3 categories"),
        ({"labels": LABELS.astype(str)}, "labels: <U32 are not numbers"),
        ({"categories": np.array(["cat", "dog", "cat"])}, "categories: 'cat' appears twice"),
        ({"split": np.where(SPLIT == "test", "holdout", SPLIT)}, r"split: row 9 \('image-9'\) says 'holdout', not fit"),
        ({"split": np.full(N, "test")}, "split: no row is fit"),
        ({"split": SPLIT[:5]}, r"split: shape \(5,\), expected \(12,\)"),
        ({"ids": np.array(["a", "b", *["same"] * 3, *IDS[5:]])}, "ids: 'same' appears 3 times, first in row 2"),
        ({"groups": np.roll(GROUPS, 1)}, "groups: 'patient-1' is in fit and in select"),
        ({"head_weight": WEIGHT[:, :4]}, r"head_weight: shape \(3, 4\), expected \(3, 5\)"),
        ({"head_weight": None}, "head_bias is given without head_weight"),
        ({"head_bias": None}, "head_weight is given without head_bias"),
        ({"head_bias": fault("head_bias", (1,), np.nan)}, "head_bias: NaN or infinite values for category 'dog'"),
        (
            {"label_weight": fault("label_weight", (2, 2), -1)},
            r"label_weight: -1 in row 2 \('image-2'\), category 'fish'",
        ),
        ({"label_weight": fault("label_weight", (2, 2), np.nan)}, "label_weight: nan in row 2"),
    ],
)
@pytest.mark.parametrize("name", ["bad.npz", "bad"])
def test_what_does_not_fit_is_refused(tmp_path, changes, message, name):
    arrays = {key: value for key, value in {**ARRAYS, **changes}.items() if value is not None}
    with pytest.raises(DataError, match=message) as caught:
        read_features(save(tmp_path / name, arrays))
    text = str(caught.value)
    assert str(tmp_path / name) in text and "\n" not in text


def test_object_arrays_are_not_loaded(tmp_path):
    names = np.array([*CATEGORIES], dtype=object)
    np.savez(tmp_path / "f.npz", **{**ARRAYS, "categories": names})
    save(tmp_path / "f", {**ARRAYS, "categories": names})
    for path in (tmp_path / "f.npz", tmp_path / "f"):
        with pytest.raises(DataError, match="pickled objects"):
            read_features(path)


@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_truncated_files(tmp_path, share):
    write_features(tmp_path / "f.npz", feature_set())
    write_features(tmp_path / "f", feature_set())
    for file, path in (("f.npz", "f.npz"), ("f/features.npy", "f")):
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=path):
            read_features(tmp_path / path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_features(tmp_path / "none.npz")
    with pytest.raises(DataError, match="no 'features'; it has nothing"):
        read_features(tmp_path)


def test_the_fingerprint_sees_every_part():
    before = feature_set().fingerprint()
    other = {
        "features": FEATURES * 2,
        "labels": np.where(np.isnan(LABELS), 1, LABELS).astype(np.float32),
        "categories": ("cat", "dog", "bird"),
        "split": np.where(SPLIT == "test", "select", SPLIT),
        "ids": np.char.add(IDS, "x"),
        "groups": IDS,
        "head_weight": WEIGHT + 1,
        "head_bias": BIAS + 1,
        "label_weight": None,
    }
    assert len({feature_set(**{key: value}).fingerprint() for key, value in other.items()} | {before}) == 1 + len(other)
    assert feature_set(name="renamed").fingerprint() == before


@pytest.mark.realdata
def test_real_features(shared_data):
    found = read_features(shared_data / "ucm_features_lite0.npz")
    assert found.sizes() == {"fit": 1285, "select": 395, "test": 420}
    assert (found.dim, len(found.categories), found.features.dtype) == (1280, 17, np.float16)
    assert found.ids[0] == "agricultural00" and found.head_weight is None


def test_every_shard_is_checked(tmp_path: Path) -> None:
    path = shards(tmp_path / "other", common_at_top=False)
    np.save(path / "00002" / "categories.npy", np.array(CATEGORIES)[[1, 0, 2]])
    with pytest.raises(DataError, match=r"00002: categories differs .* for category 0 \('dog', not 'cat'\)"):
        read_features(path)
    path = shards(tmp_path / "head", common_at_top=True)
    np.save(path / "00002" / "head_weight.npy", WEIGHT + np.eye(C, D, 1, dtype=np.float32))
    with pytest.raises(DataError, match="00002: head_weight differs from that of other shards for category 0"):
        read_features(path)
    path = shards(tmp_path / "gap")
    (path / "00001").rename(path / "aside")
    with pytest.raises(DataError, match="gap: shard 00001 is missing, 00002 is there"):
        read_features(path)


def test_names_that_are_not_utf8_and_missing_groups(tmp_path: Path) -> None:
    latin = np.array([b"a", "é".encode("latin-1"), b"c"])
    with pytest.raises(DataError, match=r"categories: entry 1, b'\\xe9', is not UTF-8"):
        read_features(save(tmp_path / "latin.npz", ARRAYS | {"categories": latin}))
    groups = np.array([7.0, np.nan, np.nan, *[3.0] * 3, *[np.nan] * 6])
    found = read_features(save(tmp_path / "groups.npz", ARRAYS | {"groups": groups}))
    assert found.groups.tolist()[:6] == ["7.0", "no group: image-1", "no group: image-2", *["3.0"] * 3]
    assert without_group(found.groups) == 8
