"""Stores as a whole: damage of any byte is found, parts are merged, and other programs read what is exported."""

from __future__ import annotations

import csv
import json
import resource
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.store_factory import VIEWS, make_store
from labelwise.errors import DataError, LabelwiseError, RunError
from labelwise.runs import write_json
from labelwise.store.check import damages, describe
from labelwise.store.export import export_parquet, export_tables
from labelwise.store.header import HEADER, sample_hash
from labelwise.store.merge import merge
from labelwise.store.reader import Store


@pytest.mark.parametrize("mass", [None, 0.9])
def test_one_flipped_byte_anywhere_is_found_and_named(tmp_path, mass) -> None:
    make_store(tmp_path / "store", mass=mass)
    assert damages(tmp_path / "store") == []
    rng = np.random.default_rng(0)
    for file in sorted((tmp_path / "store").iterdir()):
        before = file.read_bytes()
        places = {0, 8, 20, 30, 60, len(before) - 40, len(before) - 1, *rng.integers(0, len(before), 10).tolist()}
        for place in places:
            changed = bytearray(before)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            try:
                found = damages(tmp_path / "store")
            except LabelwiseError as error:  # a header that is no JSON any more
                found = [str(error)]
            assert len(found) == 1 and str(file) in found[0], (file, place, found)
        file.write_bytes(before)
    assert damages(tmp_path / "store") == []


def test_shards_in_another_order_are_found(tmp_path) -> None:
    make_store(tmp_path / "store")
    one, two = (tmp_path / "store" / name for name in ("00000.bin", "00001.bin"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert "in their order" in damages(tmp_path / "store")[0]


def test_several_damages_are_all_named(tmp_path) -> None:
    make_store(tmp_path / "store")
    (tmp_path / "store" / "00000.bin").unlink()
    (tmp_path / "store" / "00002.bin").write_bytes(b"LWSHARD1")
    found = damages(tmp_path / "store")
    assert ["00000.bin: this shard is missing" in found[0], "00002.bin: is no shard" in found[1]] == [True, True]
    assert describe(tmp_path / "store")["shards_there"] == 2


def test_a_header_that_promises_endless_shards_costs_no_time(tmp_path) -> None:
    make_store(tmp_path / "store")
    header = tmp_path / "store" / HEADER
    write_json(header, json.loads(header.read_text()) | {"shards": 10**12}, sealed=True)
    assert "of 1,000,000,000,000 shards are missing" in damages(tmp_path / "store")[0]
    assert describe(tmp_path / "store")["shards_there"] == 3


def test_a_merged_store_has_the_crops_of_both(tmp_path) -> None:
    ids_a, labels_a, boxes_a = make_store(tmp_path / "a", sizes=(5, 2))
    ids_b, labels_b, boxes_b = make_store(tmp_path / "b", first=7, sizes=(4,), mass=None)
    header = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    store = Store(tmp_path / "c")
    assert damages(tmp_path / "c") == [] and (header.samples, header.shards) == (11, 3)
    assert header.sample_hash == sample_hash([*ids_a, *ids_b])
    places = np.arange(11).repeat(VIEWS)
    read = store.read(places, np.tile(np.arange(VIEWS), 11))
    np.testing.assert_array_equal(read.labels.ids, np.concatenate([labels_a.ids, labels_b.ids]))
    np.testing.assert_array_equal(read.boxes.left, np.concatenate([boxes_a.left, boxes_b.left]))
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")  # again, as after a kill
    make_store(tmp_path / "a2", sizes=(3,))
    with pytest.raises(DataError, match=r"sample 'image-0-é' is in .*a and in .*a2"):
        merge([tmp_path / "a", tmp_path / "a2"], tmp_path / "d")
    make_store(tmp_path / "other", first=100, k=3)
    with pytest.raises(DataError, match=r"other: differs from .*a in k \(4, now 3\)"):
        merge([tmp_path / "a", tmp_path / "other"], tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("mass", [None, 0.9])
def test_parquet_has_a_row_for_each_crop(tmp_path, mass) -> None:
    ids, labels, boxes = make_store(tmp_path / "store", mass=mass)
    store = Store(tmp_path / "store")
    export_parquet(store, tmp_path / "labels.parquet")
    table = pq.read_table(tmp_path / "labels.parquet")
    frame = table.to_pandas()
    assert frame["id"].tolist() == ids.repeat(VIEWS).tolist() and frame["view"].tolist() == list(range(VIEWS)) * len(
        ids
    )
    assert frame["left"].tolist() == boxes.left.tolist() and frame["flip"].tolist() == boxes.flip.tolist()
    for row, (classes, values) in enumerate(zip(frame["classes"], frame["log_probabilities"], strict=True)):
        count = len(classes)
        assert count == 4 if mass is None else np.exp(labels.values[row, :count]).sum() >= mass or count == 4
        assert classes.tolist() == labels.ids[row, :count].tolist()
        np.testing.assert_allclose(values, labels.values[row, :count], rtol=1e-3)
    assert json.loads(table.schema.metadata[b"labelwise_store"])["classes"][0] == "class-0"
    with pytest.raises(RunError, match="nothing is overwritten"):
        export_parquet(store, tmp_path / "labels.parquet")


def test_tables_of_images(tmp_path) -> None:
    ids, labels, boxes = make_store(tmp_path / "store")
    store = Store(tmp_path / "store")
    assert export_tables(store, tmp_path / "npz", "npz") == len(ids)
    assert export_tables(store, tmp_path / "csv", "csv") == len(ids)
    rows = slice(7 * VIEWS, 8 * VIEWS)
    found = np.load(tmp_path / "npz" / f"{ids[7]}.npz")
    np.testing.assert_array_equal(found["classes"], labels.ids[rows])
    np.testing.assert_allclose(found["log_probabilities"], labels.values[rows], rtol=1e-3)
    np.testing.assert_array_equal(found["boxes"][:, 1], boxes.left[rows])
    with open(tmp_path / "csv" / f"{ids[7]}.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * VIEWS and [int(line["class"]) for line in lines[:4]] == labels.ids[7 * VIEWS].tolist()
    with pytest.raises(RunError, match="is not empty"):
        export_tables(store, tmp_path / "npz", "npz")


def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path, monkeypatch) -> None:
    make_store(tmp_path / "store")
    store = Store(tmp_path / "store")
    monkeypatch.setattr(type(store.shards[0]), "ids", lambda self: np.array(["../x"] * self.samples))
    with pytest.raises(DataError, match="leads out of the folder"):
        export_tables(store, tmp_path / "out", "csv")


def test_an_open_store_keeps_no_file_open(tmp_path) -> None:
    """A store of a large data set has more shards than a process may open files."""
    make_store(tmp_path / "store", sizes=(1,) * 80)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 40, before[1]))
    try:
        store = Store(tmp_path / "store")
        assert len(store.read(np.arange(80), np.zeros(80, dtype=np.int64))) == 80
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
