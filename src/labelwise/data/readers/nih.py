"""NIH ChestX-ray14: frontal chest radiographs with 14 findings, as it is published.

A folder holds ``Data_Entry_2017_v2020.csv`` or ``Data_Entry_2017.csv``, the PNGs in ``images`` or in
``images_001/images`` to ``images_012/images``, and the official split in ``train_val_list.txt`` and ``test_list.txt``.
The sample of 5,606 images has ``sample_labels.csv`` and ``sample/images``.
Source: Wang et al. 2017, https://nihcc.app.box.com/v/ChestXray-NIHCC.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import NihConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import as_strings
from labelwise.data.readers.lists import labels_from_lists, read_lists
from labelwise.data.readers.located import image_files
from labelwise.data.readers.table import refuse_missing, rows_once, to_table
from labelwise.data.tables import read_header, read_table
from labelwise.errors import DataError

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)

_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")  # the corrected one first
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
_IMAGE, _FINDINGS, _PATIENT = "Image Index", "Finding Labels", "Patient ID"
_NONE = "No Finding"


def read(config: NihConfig) -> Samples:
    """Radiographs as image files; ids are file names, groups are patients. No image is decoded.

    A finding that is not listed is negative; ``No Finding`` is no category, but 14 negatives. The lists make the parts
    train and test, and are looked for beside the table; without them there are no parts. Images are looked for under
    ``data.root``, by default the folder of the table, which may also be given itself.

    Raises
    ------
    DataError
        Naming the file and the row or image: no table or a missing column, an unknown finding, a repeated image, an
        image that is not there (unless ``unreadable: skip``, which lists it later) or in none or both of the lists.
    """
    source = Path(config.source)
    file = _table(source) if source.is_dir() else source
    header = read_header(file)
    frame = read_table(file, (_IMAGE, _FINDINGS, _PATIENT))
    if len(frame) == 0:
        raise DataError(f"{file}: no rows")
    refuse_missing(file, header, (_IMAGE, _FINDINGS, _PATIENT))
    ids = as_strings(frame[_IMAGE])
    once = rows_once(file, frame, ids, _IMAGE)
    frame, ids = frame.iloc[once], ids[once]
    table = to_table(file, _labels(file, frame), FINDINGS)
    return Samples(
        name=source.resolve().name if source.is_dir() else source.stem,
        classes=FINDINGS,
        ids=ids,
        label=np.full(len(ids), -1, dtype=np.int64),
        part=_parts(file.parent, ids),
        source=image_files(file, _paths(file.parent if config.root is None else Path(config.root), ids), config),
        groups=_patients(file, frame),
        table=table,
    )


def _table(folder: Path) -> Path:
    file = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if file is None:
        raise DataError(f"{folder}: found none of {', '.join(_TABLES)}")
    return file


def _labels(file: Path, frame: pd.DataFrame) -> NDArray[np.float32]:
    """Labels (N, 14); ``No Finding`` is all negative."""
    found = read_lists(frame[_FINDINGS], "|", f"{file}: column {_FINDINGS!r}")
    assert found is not None, "there is a separator"
    for code in np.unique(found.rows).tolist():
        names = found.distinct[code]
        unknown = [name for name in names or [""] if name not in FINDINGS and names != [_NONE]]
        if unknown:
            reason = "cannot stand beside a finding" if unknown[0] == _NONE else "is not a finding of ChestX-ray14"
            row = frame.index[np.flatnonzero(found.rows == code)[0]]
            raise DataError(f"{file}: row {row}, column {_FINDINGS!r}: {unknown[0]!r} {reason}")
    return labels_from_lists([[] if names == [_NONE] else names for names in found.distinct], FINDINGS)[found.rows]


def _patients(file: Path, frame: pd.DataFrame) -> NDArray[np.str_]:
    patients = as_strings(frame[_PATIENT])
    blank = np.flatnonzero(patients == "")
    if len(blank):
        raise DataError(f"{file}: row {frame.index[blank[0]]} has no {_PATIENT!r}")
    return patients


def _parts(folder: Path, ids: NDArray[np.str_]) -> NDArray[np.str_]:
    present = [name for name in _LISTS.values() if (folder / name).is_file()]
    if not present:
        return np.full(len(ids), "")
    if len(present) == 1:
        raise DataError(f"{folder}: {present[0]} is there, but not the other of {' and '.join(_LISTS.values())}")
    part: dict[str, str] = {}
    for own, name in _LISTS.items():
        for image in (folder / name).read_text(encoding="utf-8").split():
            if part.setdefault(image, own) != own:
                raise DataError(f"{folder}: {image} is in both {' and '.join(_LISTS.values())}")
    for image in ids.tolist():
        if image not in part:
            raise DataError(f"{folder}: {image} is in neither {' nor '.join(_LISTS.values())}")
    return np.array([part[image] for image in ids.tolist()])


def _paths(root: Path, ids: NDArray[np.str_]) -> list[Path]:
    folders = [root / "images", *sorted(root.glob("images_*/images")), root / "sample" / "images"]
    place = {path.name: path for path in chain.from_iterable(f.iterdir() for f in reversed(folders) if f.is_dir())}
    return [place.get(name, folders[0] / name) for name in ids.tolist()]
