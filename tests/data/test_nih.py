"""ChestX-ray14 in miniature, and the packed sample of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.data import data_config
from labelwise.config import DataConfig
from labelwise.data.dataset import Samples
from labelwise.data.readers import load_dataset, read_samples
from labelwise.data.readers.nih import FINDINGS
from labelwise.errors import DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171",
    "00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143",
    "00000004_000.png,Mass|Nodule|Pleural_Thickening,0,4,82,M,AP,2500,2048,0.168,0.168",
]
IMAGES = [row.split(",")[0] for row in ROWS]
NEW, OLD = "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"


def make(root: Path, rows: list[str] = ROWS, header: str = HEADER, table: str = NEW, lists: int = 3) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / table).write_text("\n".join([header, *rows]) + "\n")
    for i, name in enumerate(IMAGES):
        folder = root / "images" if table == NEW else root / f"images_{i % 2 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 10 * i).save(folder / name)
    if lists:
        (root / "train_val_list.txt").write_text("\n".join(IMAGES[:lists]) + "\n")
        (root / "test_list.txt").write_text("\n".join(IMAGES[lists:]))
    return root


def read(source: Path, **options: Any) -> Samples:
    return read_samples(data_config({"source": str(source), "format": "nih", **options}))


@pytest.mark.parametrize("table", [NEW, OLD])
def test_the_published_layouts(tmp_path, table):
    """The first edition ends its lines with a comma, and its archives keep their folders."""
    comma = "," if table == OLD else ""
    root = make(tmp_path / "nih.v1", [row + comma for row in ROWS], HEADER + comma, table)
    samples = read_samples(DataConfig(source=str(root)))
    assert samples.name == "nih.v1" and samples.classes == FINDINGS and len(FINDINGS) == 14
    assert samples.ids.tolist() == IMAGES
    assert samples.part.tolist() == ["train"] * 3 + ["test"] * 2
    assert samples.groups.tolist() == ["1", "1", "2", "3", "4"]
    wire = samples.table.to_wire()
    for labels, row in zip(wire, ROWS, strict=True):
        positive = {FINDINGS[c] for c in np.flatnonzero(labels == 1)}
        assert positive == set(row.split(",")[1].split("|")) - {"No Finding"}
    assert set(np.unique(wire)) == {0, 1}  # complete: what is not listed is negative
    assert samples.source.channels == 1
    assert [int(samples.source.read(i)[0, 0, 0]) for i in range(5)] == [0, 10, 20, 30, 40]


def test_the_sample_and_a_table_one_folder_below(tmp_path):
    make(tmp_path, lists=0).joinpath(NEW).rename(tmp_path / "sample_labels.csv")
    (tmp_path / "sample").mkdir()
    (tmp_path / "images").rename(tmp_path / "sample" / "images")
    samples = read_samples(DataConfig(source=str(tmp_path)))
    assert samples.classes == FINDINGS and samples.ids.tolist() == IMAGES and samples.source.channels == 1
    (tmp_path / "sample_labels.csv").rename(tmp_path / "sample" / "sample_labels.csv")
    with pytest.raises(DataError, match=r"sample_labels\.csv is a table of nih.*give .*sample as data\.source"):
        read_samples(DataConfig(source=str(tmp_path)))
    assert read_samples(data_config({"source": str(tmp_path), "format": "folder"})).classes == ("sample",)


def test_without_lists_there_are_no_parts(tmp_path):
    root = make(tmp_path, lists=0)
    assert set(read(root).part.tolist()) == {""}
    dataset = load_dataset(DataConfig(source=str(root), format="nih", test_share=0.4, select_share=0.3), partial=True)
    assert sum(dataset.sizes().values()) == 5 and dataset.sizes()["test"] > 0
    assert len(set(dataset.split[dataset.groups == "1"])) == 1


def test_a_table_of_some_images_elsewhere(tmp_path):
    make(tmp_path / "nih")
    file = tmp_path / "some.csv"
    file.write_text("\n".join([HEADER, *ROWS[1:3]]))
    samples = read(file, root=str(tmp_path / "nih"))
    assert samples.name == "some" and samples.ids.tolist() == IMAGES[1:3] and set(samples.part.tolist()) == {""}
    for name in ("train_val_list.txt", "test_list.txt"):
        (tmp_path / "nih" / name).rename(tmp_path / name)
    assert read(file, root=str(tmp_path / "nih")).part.tolist() == ["train"] * 2


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "no rows"),
        (
            ROWS,
            HEADER.replace("Finding Labels", "Findings"),
            "no column 'Finding Labels'; it has Image Index, Findings",
        ),
        (ROWS, HEADER.replace("Patient ID", "Patient"), "no column 'Patient ID'"),
        (
            [ROWS[0], ROWS[1].replace("Emphysema", "Cough")],
            HEADER,
            "row 1, column 'Finding Labels': 'Cough' is not a finding",
        ),
        ([ROWS[0].replace("Cardiomegaly", "")], HEADER, "row 0, column 'Finding Labels': '' is not a finding"),
        ([ROWS[1].replace("Emphysema", "No Finding")], HEADER, "'No Finding' cannot stand beside a finding"),
        (
            [*ROWS, ROWS[2].replace(",2,81", ",9,81")],
            HEADER,
            r"00000002_000\.png' is listed twice, in rows that differ",
        ),
        ([ROWS[0], ROWS[2].replace(",2,", ",,")], HEADER, "row 1 has no 'Patient ID'"),
        ([ROWS[0].replace("00000001_000.png", "")], HEADER, "row 0 has no path in 'Image Index'"),
    ],
)
def test_bad_tables(tmp_path, rows, header, message):
    with pytest.raises(DataError, match=message) as caught:
        read(make(tmp_path, rows, header))
    assert NEW in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match=rf"found none of {NEW}, {OLD}, sample_labels"):
        read(tmp_path)
    root = make(tmp_path)
    (root / "images" / IMAGES[3]).unlink()
    with pytest.raises(DataError, match=r"00000003_000\.png is listed but not there; set data\.root"):
        read(root)
    dataset = load_dataset(DataConfig(source=str(root), format="nih", unreadable="skip", select_share=0), partial=True)
    assert len(dataset) == 4 and "00000003_000.png: no such image" in dataset.unreadable[0]


def test_bad_lists(tmp_path):
    root = make(tmp_path)
    (root / "test_list.txt").write_text("\n".join(IMAGES[2:]))
    with pytest.raises(DataError, match=r"00000002_000\.png is in both train_val_list\.txt and test_list\.txt"):
        read(root)
    (root / "test_list.txt").write_text("\n".join(IMAGES[4:]))
    with pytest.raises(DataError, match=r"00000003_000\.png is in neither"):
        read(root)
    (root / "test_list.txt").unlink()
    with pytest.raises(DataError, match=r"train_val_list\.txt is there, but not the other"):
        read(root)


@pytest.mark.realdata
def test_the_packed_sample(shared_data):
    """1,000 radiographs in an .npz, whose own split parts eight patients."""
    file = shared_data / "nih_cxr64.npz"
    options = {"source": str(file), "group_column": "patient", "memory": "no"}
    samples = read_samples(data_config(options))
    with np.load(file) as arrays:
        assert samples.groups.tolist() == [str(patient) for patient in arrays["patient"].tolist()]
    assert samples.table is not None and len(samples.classes) == 14
    assert {name.lower() for name in samples.classes} == {name.lower() for name in FINDINGS}
    with pytest.raises(DataError, match="a group must lie in one split"):
        load_dataset(data_config(options), partial=True)
    dataset = load_dataset(data_config(options | {"split_column": ""}), partial=True)
    assert len(dataset) == 1000
    for split in ("fit", "select", "test"):
        others = dataset.groups[dataset.split != split]
        assert not np.isin(dataset.groups[dataset.rows(split)], others).any()
