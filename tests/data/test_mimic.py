"""MIMIC-CXR-JPG in miniature: the labels of studies joined with the lists of their images."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.data import data_config
from labelwise.data.notes import tell
from labelwise.data.readers import is_radiograph, studies_of
from labelwise.data.readers.chexpert import OBSERVATIONS
from labelwise.errors import DataError

START = "mimic-cxr-2.0.0-"
COLUMNS = sorted(OBSERVATIONS)  # in the order of the published file
STUDIES = [("10000032", "50414267"), ("10000032", "53189527"), ("10000764", "57375967"), ("19999987", "55368167")]
SPLITS = ["train", "train", "validate", "test"]
POSITIONS = ["PA", "LATERAL"]
LABELS = ["1.0", "0.0", "", "-1.0"]


def tables() -> dict[str, list[str]]:
    """The lines of the published files: two images of each study, the labels of study i begin with LABELS[i]."""
    found = {
        "chexpert": [f"subject_id,study_id,{','.join(COLUMNS)}"],
        "metadata": ["dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows"],
        "split": ["dicom_id,study_id,subject_id,split"],
    }
    for i, (subject, study) in enumerate(STUDIES):
        found["chexpert"].append(f"{subject},{study},{LABELS[i]},{','.join(['0.0', '1.0', ''] * 4)},")
        for v, position in enumerate(POSITIONS):
            found["metadata"].append(f'{i}{v}-abc,{subject},{study},"CHEST (PA AND LAT), 2 VIEWS",{position},2544')
            found["split"].append(f"{i}{v}-abc,{study},{subject},{SPLITS[i]}")
    return found


@pytest.fixture
def mimic(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Write the files; each of ``changes`` is a file's lines, or None to leave it out."""

    def write(packed: bool = False, flat: bool = False, **changes: list[str] | None) -> Path:
        for name, lines in (tables() | changes).items():
            if lines is not None:
                text = "".join(f"{line}\n" for line in lines).encode()
                path = tmp_path / f"{START}{name}.csv{'.gz' if packed else ''}"
                path.write_bytes(gzip.compress(text) if packed else text)
        for i, (subject, study) in enumerate(STUDIES):
            for v in range(2):
                folder = tmp_path if flat else tmp_path / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
                draw(folder / f"{i}{v}-abc.jpg", "L")
        return tmp_path

    return write


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("as_file", [False, True])
def test_labels_of_studies_are_joined_with_their_images(mimic, read, packed, flat, as_file):
    root = mimic(packed, flat)
    source = root / f"{START}chexpert.csv{'.gz' if packed else ''}" if as_file else root
    samples = read(source)
    assert samples.classes == OBSERVATIONS
    assert samples.ids[1] == "files/p10/p10000032/s50414267/01-abc.jpg"
    assert samples.groups.tolist() == [subject for subject, _ in STUDIES for _ in range(2)]
    assert samples.part.tolist() == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    first = samples.table.values[:, OBSERVATIONS.index("Atelectasis")]
    np.testing.assert_array_equal(first, np.repeat([1, 0, np.nan, np.nan], 2))
    assert samples.table.source[4, 8] != samples.table.source[6, 8]  # unknown is not uncertain
    np.testing.assert_array_equal(samples.table.values[:, OBSERVATIONS.index("Consolidation")], 1)
    assert samples.source.read(7).shape == (6, 6, 1)
    assert samples.name == (f"{START}chexpert" if as_file else root.name)


def test_a_view_is_of_its_study_and_is_not_mirrored(mimic, load):
    dataset = load(mimic())
    config = data_config({"source": str(mimic())})
    assert is_radiograph(config)
    assert studies_of(config, dataset.ids).tolist()[:2] == ["files/p10/p10000032/s50414267"] * 2


@pytest.mark.parametrize(("projection", "kept"), [("frontal", 0), ("lateral", 1)])
def test_projections(mimic, read, projection, kept):
    samples = read(mimic(), projection=projection)
    assert [Path(name).stem for name in samples.ids.tolist()] == [f"{i}{kept}-abc" for i in range(4)]


def test_without_one_of_the_lists(mimic, read):
    assert set(read(mimic(split=None)).part.tolist()) == {""}


def test_the_split_alone_says_which_images_there_are(mimic, read):
    root = mimic(metadata=None)
    assert len(read(root)) == 8
    with pytest.raises(DataError, match=r"chexpert\.csv: data\.projection needs the file of the metadata beside it"):
        read(root, projection="frontal")


def test_what_has_no_partner_is_left_out_and_counted(mimic, read, capsys):
    lines = tables()
    tell.cache_clear()
    samples = read(
        mimic(chexpert=lines["chexpert"][:-1], metadata=[line for line in lines["metadata"] if "1-" not in line])
    )
    assert len(samples) == 3
    read(mimic(chexpert=[*lines["chexpert"][:-1], lines["chexpert"][-1].replace("55368167", "50000000")]))
    assert capsys.readouterr().err.splitlines() == [
        f"{samples_file(mimic)}: left out: 1 images of studies without labels, 0 studies without an image",
        f"{samples_file(mimic)}: left out: 2 images of studies without labels, 1 studies without an image",
    ]


def samples_file(mimic: Callable[..., Path]) -> Path:
    return mimic() / f"{START}chexpert.csv"


LINES = tables()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": None, "split": None}, r"neither mimic-cxr-2\.0\.0-metadata\.csv nor mimic"),
        ({"chexpert": LINES["chexpert"][:1]}, r"chexpert\.csv: no rows"),
        ({"chexpert": [*LINES["chexpert"], LINES["chexpert"][1]]}, "study_id '50414267' is listed twice"),
        ({"chexpert": [line.replace("1.0", "2.0") for line in LINES["chexpert"]]}, "row 0, .*'2.0' is not a label"),
        ({"chexpert": ["subject_id,study_id,Pleural Other", "1,2,0"]}, "no column 'No Finding'"),
        ({"chexpert": [LINES["chexpert"][0], "1,2" + ",0.0" * 14]}, r"none of its studies has an image in .*meta"),
        ({"metadata": ["dicom_id,subject_id", "1,2"]}, r"metadata\.csv: no column 'study_id'"),
        ({"metadata": [*LINES["metadata"], ",1,2,x,PA,3"]}, r"metadata\.csv: row 8 has no 'dicom_id'"),
        ({"metadata": [*LINES["metadata"], LINES["metadata"][1]]}, "dicom_id '00-abc' is listed twice"),
        ({"split": LINES["split"][:-1]}, r"split\.csv: dicom_id '31-abc' of .*metadata\.csv is not in it"),
        ({"split": [line.replace("validate", "later") for line in LINES["split"]]}, "row 4 says later"),
    ],
)
def test_bad_files(mimic, read, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        read(mimic(**changes))
    assert START in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_image_and_no_projection(mimic, read):
    root = mimic(metadata=[line.replace("LATERAL", "") for line in LINES["metadata"]])
    with pytest.raises(DataError, match=r"metadata\.csv: no lateral radiograph \(data\.projection\)"):
        read(root, projection="lateral")
    next(root.glob("files/p19/**/30-abc.jpg")).unlink()
    with pytest.raises(DataError, match=r"files/p19/p19999987/s55368167/30-abc\.jpg is listed but not there"):
        read(root)
    for table in root.glob("*.csv"):
        table.unlink()
    with pytest.raises(DataError, match=r"looks like MIMIC-CXR, so its folders are no classes; give its mimic-cxr-2"):
        read(root)
    with pytest.raises(DataError, match=r"no mimic-cxr-2\.0\.0-chexpert\.csv\[\.gz\] in it"):
        read(root, format="mimic")
