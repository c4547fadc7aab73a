"""Which reader a source is given to."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from labelwise.data.files import read_arrays
from labelwise.errors import DataError


def test_an_unknown_source_says_what_is_understood(tmp_path, read):
    with pytest.raises(DataError, match=r"no such folder or file; understood are digits, .*hf:NAME"):
        read(tmp_path / "nothing")
    (tmp_path / "notes.doc").write_text("")
    with pytest.raises(DataError, match="not understood"):
        read(tmp_path / "notes.doc")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("annotations/instances_train2017.json", "{", r"instances_train2017\.json: truncated"),
        ("VOCdevkit/VOC2012/ImageSets/Main/train.txt", "", r"train\.txt: empty"),
        ("validation/annotations-human.csv", "", "no train/annotations-human"),
        ("oidv7-val-annotations-human-imagelabels.csv", "", "no train/annotations-human"),
        ("Data_Entry_2017.csv", "Image Index\n", r"Data_Entry_2017\.csv: no rows"),
        ("Data_Entry_2017_v2020.csv", "Image Index\n", r"v2020\.csv: no rows"),
        ("train.csv", "Path,Sex,Age,Frontal/Lateral,AP/PA\n", r"train\.csv: no rows"),
        ("train.csv", "path,label\n", "no class folders"),
    ],
)
def test_published_data_sets_are_known_by_their_files(tmp_path, read, file, content, message):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    if file == "train.csv":
        (tmp_path / "valid.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_an_npz_whose_header_promises_more_than_memory_is_told(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**38, 1024)})
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("embeddings.npy", header.getvalue() + bytes(64))
    with pytest.raises(DataError, match=r"big\.npz: larger than memory, or its header is damaged") as caught:
        read_arrays(tmp_path / "big.npz")
    assert "\n" not in str(caught.value)
