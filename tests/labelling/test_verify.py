"""Verification finds every changed byte, other images and other networks, and nothing where nothing has changed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from labelwise.errors import DataError, ModelError
from labelwise.labelling.run import label, prepare
from labelwise.labelling.verify import compare_again
from labelwise.runs import read_json
from labelwise.store.check import damages
from labelwise.store.reader import Store


@pytest.mark.parametrize("source", ["arrays", "photos"])
@pytest.mark.parametrize("changes", [{}, {"boxes": False, "precision": "uint8"}, {"k": 4, "mass": 0.8}, {"k": "all"}])
def test_a_store_agrees_with_what_it_was_made_of(request, source, changes, request_for, tmp_path) -> None:
    asked = request_for(request.getfixturevalue(source), settings=("data.workers=0",), **changes)
    label(prepare(asked, tmp_path / "store"), quiet=True)
    assert damages(tmp_path / "store") == []
    found = compare_again(tmp_path / "store", None, (), 64)
    assert found.same and found.crops == min(64, 3 * Store(tmp_path / "store").header.samples)
    assert found.pixels_differ == 0 and found.probes >= 8
    assert 0 < found.largest < (0.03 if "precision" in changes else 0.002)
    assert "pixels of their crops are identical" in found.in_words()


def test_other_images_and_networks_are_told(request_for, network, photos, tmp_path) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    asked = request_for(root, settings=("data.workers=0",))
    label(prepare(asked, tmp_path / "store"), quiet=True)
    with pytest.raises(DataError, match="was made with another refineries"):
        compare_again(tmp_path / "store", None, (network(5),), 8)
    for path in root.rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        Image.fromarray(255 - pixels).save(path)
    found = compare_again(tmp_path / "store", None, (), 64)
    assert not found.same and found.images_differ == found.probes and found.largest > found.bound
    assert "are other ones" in found.in_words()
    next(root.rglob("*.png")).unlink()
    with pytest.raises(DataError, match="which is not in"):
        compare_again(tmp_path / "store", None, (), 8)


def test_what_a_strangers_store_names_runs_no_code(request_for, tmp_path) -> None:
    """run.json may name the network as the recipe's own, which is trusted when a user labels."""
    from labelling.test_processes import fragile

    model = fragile(tmp_path / "net", tmp_path / "marker")
    label(prepare(request_for(models=(model,), trust=True), tmp_path / "store"), quiet=True)
    facts = read_json(tmp_path / "store" / "run.json")
    facts["recipe"]["model"] |= {
        "name": "helpers.fragile_network:Fragile",
        "args": {"marker": str(tmp_path / "marker")},
    }
    (tmp_path / "store" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="is not run unless you trust it"):
        compare_again(tmp_path / "store", None, (), 8)
    assert compare_again(tmp_path / "store", None, (), 8, trust_code=True).same


def test_the_command_says_what_it_found(labelwise, request_for, tmp_path) -> None:
    store = tmp_path / "store"
    label(prepare(request_for(), store), quiet=True)
    done = labelwise("store", "verify", store, "--json")
    assert done.code == 0 and json.loads(done.out)["replay"]["pixels_differ"] == 0
    content = bytearray((store / "00002.bin").read_bytes())
    content[100] ^= 4
    (store / "00002.bin").write_bytes(content)
    done = labelwise("store", "verify", store)
    assert done.code == 1 and "00002.bin: a byte has changed" in done.out
    done = labelwise("store", "info", store, "--json")
    assert json.loads(done.out)["shards_there"] == 4
    facts = read_json(store / "run.json")
    (store / "run.json").write_text(json.dumps(facts | {"models": ["nowhere"]}))
    content[100] ^= 4
    (store / "00002.bin").write_bytes(content)
    done = labelwise("store", "verify", store)
    assert done.code == 0 and "only checksums were compared" in done.out
    done = labelwise("store", "verify", store, "--model", "nowhere")
    assert done.code == 1 and done.err[0].startswith("error: nowhere")
