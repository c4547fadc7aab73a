"""CheXpert in miniature: its CSVs, its paths, its four kinds of labels, and its studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.data import data_config
from labelwise.config import DataConfig
from labelwise.data.dataset import Samples
from labelwise.data.readers import is_radiograph, load_dataset, read_samples
from labelwise.data.readers.chexpert import COMPETITION, OBSERVATIONS, study_of
from labelwise.data.stats import dataset_stats
from labelwise.errors import DataError
from labelwise.metrics.study import study_labels

OBSERVED = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{OBSERVED}"
SMALL = "CheXpert-v1.0-small"
TRAIN = [
    "train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "train/patient00002/study1/view1_frontal.jpg,Female,83,Frontal,AP,,,,1.0,,,-1.0,,,,,,1.0,",
    "train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,",
    "train/patient00003/study1/view1_frontal.jpg,Male,41,Frontal,AP,,,,,,1.0,,,,0.0,,,,",
    "train/patient00004/study1/view1_frontal.jpg,Female,20,Frontal,PA,1.0,0.0,,,,,0.0,,,,0.0,,,",
]
VALID = [
    "valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    "valid/patient64542/study1/view2_lateral.jpg,Male,70,Lateral,,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0",
]
TEST = [
    ("test/patient64741/study1", ("view1_frontal.jpg",), "0,1,1,1,0,0,0,0,0,0,0,0,0,1"),
    ("test/patient64742/study1", ("view1_frontal.jpg", "view2_lateral.jpg"), "0,1,0,1,0,0,0,0,1,0,0,0,0,0"),
]


def csv(file: Path, lines: list[str], header: str = HEADER, prefix: str = SMALL, draw: bool = True) -> Path:
    """A CSV beside the images that its paths name, of which the first folder is the set itself."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([header, *(f"{prefix}/{line}" if prefix else line for line in lines)]) + "\n")
    for line in lines if draw else []:
        image(file.parent / line.split(",")[0])
    return file


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (5, 4), 99).save(path)


@pytest.fixture
def root(tmp_path):
    csv(tmp_path / SMALL / "train.csv", TRAIN)
    csv(tmp_path / SMALL / "valid.csv", VALID)
    return tmp_path / SMALL


def read(source: Path, **options: Any) -> Samples:
    return read_samples(data_config({"source": str(source), "format": "chexpert", **options}))


def kinds(samples: Samples, category: str) -> list[dict[str, Any]]:
    assert samples.table is not None
    return next(row for row in samples.table.counts() if row["name"] == category)


def test_every_label_value(root):
    samples = read(root)
    assert samples.name == SMALL and samples.classes == OBSERVATIONS == tuple(OBSERVED.split(","))
    assert samples.ids[0] == f"{SMALL}/train/patient00001/study1/view1_frontal.jpg"
    assert samples.part.tolist() == ["train"] * 6 + ["val"] * 2
    assert samples.groups.tolist()[:4] == ["patient00001", "patient00002", "patient00002", "patient00002"]
    assert (samples.label == -1).all() and samples.source.channels == 1
    assert samples.source.read(7).shape == (4, 5, 1)
    wire = samples.table.to_wire()
    for row, line in enumerate([*TRAIN, *VALID]):
        cells = [np.nan if cell == "" else float(cell) for cell in line.split(",")[5:]]
        np.testing.assert_array_equal(wire[row], np.array(cells, dtype=np.float32))
    counts = {"positive": 2, "negative": 2, "unknown": 4, "uncertain": 0, "inferred": 0, "soft": 0}
    assert kinds(samples, "No Finding") == {"name": "No Finding"} | counts
    assert kinds(samples, "Consolidation")["uncertain"] == 3


@pytest.mark.parametrize("other", [None, "test.csv"])
def test_without_valid_csv_it_is_chexpert_nevertheless(root, other):
    (root / "valid.csv").unlink()
    if other:
        csv(root / other, [line.replace("valid/", "test/") for line in VALID])
    samples = read_samples(DataConfig(source=str(root)))
    assert samples.classes == OBSERVATIONS and set(samples.part.tolist()) == {"train"} | ({"test"} if other else set())


@pytest.mark.parametrize("place", ["CheXpert-v1.0 batch 1 (validate & csv)", ""])
def test_the_folders_that_the_full_size_is_published_in(tmp_path, place):
    first, small = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)", "CheXpert-v1.0"
    csv(tmp_path / place / "train.csv", TRAIN, prefix=small, draw=False)
    csv(tmp_path / place / "valid.csv", VALID, prefix=small, draw=False)
    for line in [*TRAIN, *VALID]:
        part, patient, *rest = line.split(",")[0].split("/")
        batch = "2 (train 1)" if patient < "patient00003" else "3 (train 2)"
        folder = first / "valid" if part == "valid" else tmp_path / f"CheXpert-v1.0 batch {batch}"
        image(folder.joinpath(patient, *rest))
    samples = read_samples(DataConfig(source=str(tmp_path)))
    assert samples.ids.tolist() == [f"{small}/{line.split(',')[0]}" for line in [*TRAIN, *VALID]]
    assert samples.part.tolist() == ["train"] * len(TRAIN) + ["val"] * len(VALID)
    assert all(samples.source.read(row).shape == (4, 5, 1) for row in range(len(samples)))
    image(tmp_path / "CheXpert-v1.0 batch 4 (train 3)" / "patient00001" / "study9" / "view1_frontal.jpg")
    with pytest.raises(DataError, match=r"patient00001 is in .*2 \(train 1\) and in .*4 \(train 3\)"):
        read_samples(DataConfig(source=str(tmp_path)))


def test_stats_and_the_competition(root):
    options = {"source": str(root), "format": "chexpert", "categories": COMPETITION, "select_share": 0.3}
    dataset = load_dataset(data_config(options), partial=True)
    assert dataset.classes == ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
    assert dataset.sizes()["test"] == 2
    for group in np.unique(dataset.groups):
        assert len(set(dataset.split[dataset.groups == group])) == 1
    rows = {row["name"]: row for row in dataset_stats(dataset)["categories"]}
    assert rows["Cardiomegaly"]["test"] == {"positive": 1, "negative": 1, "unknown": 0, "uncertain": 0}


def test_radiographs_are_known_by_their_format(root):
    found = DataConfig(source=str(root))
    assert read_samples(found).classes == OBSERVATIONS
    assert is_radiograph(found) and is_radiograph(DataConfig(source="anything", format="nih"))
    assert not is_radiograph(DataConfig(source="digits")) and not is_radiograph(
        DataConfig(source="a.csv", format="table")
    )


@pytest.mark.parametrize(("projection", "expected"), [("frontal", [5, 1]), ("lateral", [1, 1])])
def test_projections(root, projection, expected):
    samples = read(root, projection=projection)
    assert [int((samples.part == part).sum()) for part in ("train", "val")] == expected
    assert all(name.endswith(f"_{projection}.jpg") for name in samples.ids.tolist())
    assert len(samples.table) == len(samples.source) == len(samples)


def test_paths_start_with_the_set_its_parts_or_at_the_root(tmp_path, root):
    expected = read(root).ids.tolist()
    assert read(root, root=str(tmp_path)).ids.tolist() == expected  # the first folder is there
    elsewhere = tmp_path / "labels"
    for file in ("train.csv", "valid.csv"):
        elsewhere.mkdir(exist_ok=True)
        (root / file).rename(elsewhere / file)
    assert read(elsewhere, root=str(root)).ids.tolist() == expected
    assert read(elsewhere / "train.csv", root=str(root)).source.read(0).shape == (4, 5, 1)
    with pytest.raises(DataError, match=r"view1_frontal\.jpg is listed but not there \(and 7 more\); set data\.root"):
        read(elsewhere)


def test_one_csv(root):
    samples = read(root / "valid.csv")
    assert samples.name == "valid" and samples.part.tolist() == ["val"] * 2
    (root / "train.csv").rename(root / "fold1.csv")
    assert set(read(root / "fold1.csv").part.tolist()) == {""}


@pytest.mark.parametrize("layout", ["views", "views without metadata", "studies"])
def test_all_layouts_of_the_test_labels(root, layout):
    """The test set has labels a view, with or without the columns of the training CSV, and labels a study."""
    views = [(f"{study}/{view}", labels) for study, names, labels in TEST for view in names]
    for name, _ in views:
        image(root / name)
    if layout == "views":
        projection = ["Lateral" if "lateral" in name else "Frontal" for name, _ in views]
        lines = [f"{name},Male,50,{view},AP,{labels}" for (name, labels), view in zip(views, projection, strict=True)]
        csv(root / "test.csv", lines, draw=False)
    elif layout == "views without metadata":  # whose paths start with test/
        csv(root / "test_labels.csv", [f"{n},{labels}" for n, labels in views], f"Path,{OBSERVED}", "", draw=False)
    else:
        lines = [f"{study},{labels}" for study, _, labels in TEST]
        csv(root / "groundtruth.csv", lines, f"Study,{OBSERVED}", "CheXpert-v1.0", draw=False)
    samples = read(root)
    rows = np.flatnonzero(samples.part == "test")
    assert [name.split("test/")[1] for name in samples.ids[rows].tolist()] == [
        "patient64741/study1/view1_frontal.jpg",
        "patient64742/study1/view1_frontal.jpg",
        "patient64742/study1/view2_lateral.jpg",
    ]
    studies, labels = study_labels(samples.table.given()[rows], [study_of(name) for name in samples.ids[rows]])
    assert [name.split("test/")[1] for name in studies.tolist()] == ["patient64741/study1", "patient64742/study1"]
    assert labels.tolist() == [[float(cell) for cell in line.split(",")] for _, _, line in TEST]
    assert (read(root, projection="lateral").part == "test").sum() == 1


def test_studies_without_images(root):
    lines = [f"{study},{labels}" for study, _, labels in TEST]
    file = csv(root / "groundtruth.csv", lines, f"Study,{OBSERVED}", "CheXpert-v1.0", draw=False)
    image(root / "test/patient64742/study1/view1_frontal.jpg")
    with pytest.raises(DataError, match=r"groundtruth\.csv: CheXpert-v1\.0/test/patient64741/study1: no images in"):
        read(root)
    samples = read(root, unreadable="skip")
    assert (samples.part == "test").sum() == 1 and "patient64741" in samples.unreadable[0]
    (root / "test/patient64742/study1/view1_frontal.jpg").unlink()
    with pytest.raises(DataError, match=r"no images in .* \(and 1 more\)"):
        read(file, unreadable="skip")


@pytest.mark.parametrize(
    ("name", "study"),
    [
        (f"{SMALL}/train/patient00002/study10/view2_lateral.jpg", f"{SMALL}/train/patient00002/study10"),
        ("patient1/study1/view1.dcm", "patient1/study1"),
        ("patients/patient1/study1/view1.png", "patients/patient1/study1"),
    ],
)
def test_the_study_of_a_view(name, study):
    assert study_of(name) == study


@pytest.mark.parametrize("name", ["view1.jpg", "patient1/view1.jpg", "study1/patient1/view1.jpg", ""])
def test_what_is_no_view(name):
    with pytest.raises(DataError, match=r"not a CheXpert path; expected \.\.\./patientX/studyY"):
        study_of(name)


FIRST = TRAIN[0]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], HEADER, "no rows"),
        (TRAIN, HEADER.replace("Pneumonia", "Pneumonitis"), "no column 'Pneumonia'; it has Path, Sex"),
        (TRAIN, HEADER.replace("Path", "File"), "no column 'Path' or 'Study'; it has File, Sex"),
        ([FIRST.replace("1.0,,", "2.0,,")], HEADER, "row 0, column 'No Finding': '2.0' is not a label"),
        (
            [FIRST, FIRST + "0"],
            HEADER,
            r"train/patient00001/study1/view1_frontal\.jpg' is listed twice, in rows that dif",
        ),
        (
            [*TRAIN[:2], "view1.jpg,Male,41,Frontal,AP" + "," * 13 + ",1"],
            HEADER,
            r"row 2: .*view1\.jpg' is not a CheXpert path",
        ),
        ([FIRST.split("AP")[0] + "AP" + "," * 14], HEADER, "every label is blank in No Finding, Enl"),
    ],
)
def test_bad_csv(tmp_path, lines, header, message):
    file = csv(tmp_path / "train.csv", lines, header)
    with pytest.raises(DataError, match=message) as caught:
        read(file)
    assert "train.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_bad_projections(tmp_path):
    odd = FIRST.replace("Frontal", "Oblique")
    with pytest.raises(DataError, match=r"patient00001.*: Frontal/Lateral says 'oblique', expected frontal or lateral"):
        read(csv(tmp_path / "train.csv", [odd]), projection="frontal")
    assert len(read(tmp_path / "train.csv")) == 1
    with pytest.raises(DataError, match=r"train\.csv: no lateral radiograph \(data\.projection\)"):
        read(csv(tmp_path / "train.csv", [FIRST]), projection="lateral")
    file = csv(tmp_path / "val_labels.csv", [f"patient1/study1/view1.jpg{',0' * 14}"], f"Path,{OBSERVED}", "")
    with pytest.raises(DataError, match=r"the name of the view says 'view1'"):
        read(file, projection="frontal")


def test_missing_files_and_images(tmp_path, root):
    with pytest.raises(DataError, match=r"found none of train\.csv, valid\.csv"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"no\.csv: no such file"):
        read(tmp_path / "no.csv")
    (root / FIRST.split(",")[0]).unlink()
    with pytest.raises(DataError, match=r"patient00001.* is listed but not there; set data\.root"):
        read(root)
    assert len(read(root, unreadable="skip")) == 8  # and is listed when the images are surveyed
