"""A changed bit of a JSON file that labelwise wrote is found, or changes nothing that the file says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from labelwise import runs
from labelwise.errors import RunError
from labelwise.sealed import seal, unseal

CONTENT: dict[str, Any] = {
    "network": {"name": "small", "args": {"width": 8}},
    "classes": ["cat", "hund", "é", "日"],
    "mean": [0.1, 1e-7, None],
    "schema": 1,
    "checked": True,
}


def test_a_bit_of_every_byte(tmp_path):
    file = tmp_path / "model.json"
    runs.write_json(file, CONTENT, sealed=True)
    whole = file.read_bytes()
    found = 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            read = runs.read_json(file)
        except RunError:
            found += 1
        else:  # white space, or the name of the checksum itself
            assert {key: value for key, value in read.items() if key in CONTENT} == CONTENT
    assert found > 0.9 * (len(whole) - whole.count(b" ") - whole.count(b"\n"))
    file.write_bytes(whole)
    assert runs.read_json(file) == CONTENT


def test_what_is_written_is_what_was_meant(tmp_path):
    value = {"b": (1, 2.5), 3: {10: "x", 9: "y"}, "a": math.inf}
    runs.write_json(tmp_path / "x.json", value, sealed=True)
    assert runs.read_json(tmp_path / "x.json") == {"b": [1, 2.5], "3": {"10": "x", "9": "y"}, "a": None}


def test_a_file_that_was_changed_on_purpose(tmp_path):
    file = tmp_path / "x.json"
    runs.write_json(file, CONTENT, sealed=True)
    changed = json.loads(file.read_text()) | {"classes": ["chat"]}
    file.write_text(json.dumps(changed))
    with pytest.raises(RunError, match=r"x\.json: damaged .*if you changed it, delete its 'checksum'"):
        runs.read_json(file)
    del changed["checksum"]
    file.write_text(json.dumps(changed))
    assert runs.read_json(file)["classes"] == ["chat"]


def test_the_order_of_keys_is_not_content():
    sealed = seal(CONTENT)
    assert unseal(dict(reversed(sealed.items()))) == CONTENT
    assert unseal([1]) == [1] and unseal(CONTENT) == CONTENT


def test_a_key_of_that_name_is_not_replaced():
    with pytest.raises(ValueError, match="'checksum' of its own"):
        seal({"checksum": "of a store"})
