"""CheXpert: chest radiographs with 14 observations, from the CSVs that it is published with.

A folder holds ``train.csv``, ``valid.csv`` (or ``val_labels.csv``) and ``test.csv`` (or ``test_labels.csv``, or
``groundtruth.csv``), or is one such file. At full size it holds the folders of the publisher: ``CheXpert-v1.0 batch 1
(validate & csv)`` with the CSVs, and others with the patients of train. Columns: ``Path`` of a view, or ``Study`` of
all views in a folder; ``Frontal/Lateral``; one a category, where 1 is positive, 0 negative, -1 uncertain and blank
unmentioned (unknown). Source: Irvin et al. 2019, https://stanfordmlgroup.github.io/competitions/chexpert/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import ChexpertConfig
from labelwise.config.formats import BATCHES
from labelwise.data.dataset import Samples
from labelwise.data.files import as_strings
from labelwise.data.readers.folder import look_under
from labelwise.data.readers.located import image_files
from labelwise.data.readers.table import parse_label_columns, refuse_missing, rows_once, to_table
from labelwise.data.tables import read_header, read_table
from labelwise.errors import DataError

OBSERVATIONS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The categories that the competition scores: the mean of their AUCs over studies."""

_FILES = {
    "train": ("train.csv",),
    "val": ("valid.csv", "val_labels.csv"),
    "test": ("test.csv", "test_labels.csv", "groundtruth.csv"),
}
_PROJECTION = "Frontal/Lateral"
_VIEW = re.compile(r"((?:.*/)?(patient[^/]+)/study[^/]+)/[^/]*")


@dataclass(frozen=True)
class _Part:
    """Views of one CSV and their labels (N, 14); ``missing`` names studies without a view."""

    name: str
    ids: NDArray[np.str_]
    paths: list[Path]
    labels: NDArray[np.float32]
    missing: list[str]


def read(config: ChexpertConfig) -> Samples:
    """Views as image files; ids are the paths as the CSV writes them, groups are patients. No image is decoded.

    Paths start at ``data.root``, otherwise at the folder of the CSVs; the first folder of a path
    (``CheXpert-v1.0-small``) is dropped where there is no such folder. Views of a CSV of studies are all images in the
    study's folder. ``data.projection`` goes by ``Frontal/Lateral``, or without that column by the name of the view.

    Raises
    ------
    DataError
        Naming the CSV and the row, column or path: no CSV or a missing column, a cell that is no label, a path without
        a patient and a study, a repeated or missing image (unless ``unreadable: skip``, which lists it), no view of the
        projection, no label at all.
    """
    source = Path(config.source)
    files = _files(source)
    root = Path(config.root) if config.root is not None else files[0][0].parent
    if config.root is None and root.match(BATCHES):
        root = root.parent
    parts = [_read_part(file, name, root, config) for file, name in files]
    ids = np.concatenate([part.ids for part in parts])
    table = to_table(source, np.concatenate([part.labels for part in parts]), OBSERVATIONS)
    return Samples(
        name=source.resolve().name if source.is_dir() else source.stem,
        classes=table.categories,
        ids=ids,
        label=np.full(len(ids), -1, dtype=np.int64),
        part=np.repeat([part.name for part in parts], [len(part.ids) for part in parts]),
        source=image_files(source, [path for part in parts for path in part.paths], config),
        groups=np.array([_study_and_patient(name)[1] for name in ids.tolist()]),
        unreadable=tuple(study for part in parts for study in part.missing),
        table=table,
    )


def study_of(name: str) -> str:
    """The study of a view, ``.../patientX/studyY`` of ``.../patientX/studyY/view1_frontal.jpg``.

    Raises
    ------
    DataError
        For a path without a patient's and a study's folder.
    """
    return _study_and_patient(name)[0]


def _study_and_patient(name: str) -> tuple[str, str]:
    match = _VIEW.fullmatch(name)
    if match is None:
        raise DataError(f"{name!r} is not a CheXpert path; expected .../patientX/studyY/view1_frontal.jpg")
    return match[1], match[2]


def _files(source: Path) -> list[tuple[Path, str]]:
    """The CSVs of a folder, or the one that is given, each with its part; "" where its name does not tell."""
    if not source.is_dir():
        return [(source, next((part for part, names in _FILES.items() if source.name in names), ""))]
    folders = [source, *sorted(source.glob(BATCHES))]
    found = [
        (file, part)
        for part, names in _FILES.items()
        if (file := next(filter(None, (_first(folder, names) for folder in folders)), None)) is not None
    ]
    if not found:
        raise DataError(f"{source}: found none of {', '.join(name for names in _FILES.values() for name in names)}")
    return found


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_part(file: Path, name: str, root: Path, config: ChexpertConfig) -> _Part:
    header = read_header(file)
    column = "Path" if "Path" in header else "Study"
    frame = read_table(file, (column, _PROJECTION, *OBSERVATIONS))
    if len(frame) == 0:
        raise DataError(f"{file}: no rows")
    refuse_missing(file, header, OBSERVATIONS)
    if column not in header:
        raise DataError(f"{file}: no column 'Path' or 'Study'; it has {', '.join(header)}")
    ids = as_strings(frame[column])
    once = rows_once(file, frame, ids, column)
    frame, ids = frame.iloc[once], ids[once]
    labels = parse_label_columns(file, frame, OBSERVATIONS)
    for row, entry in zip(frame.index, ids.tolist(), strict=True):
        try:
            _study_and_patient(f"{entry}/" if column == "Study" else entry)
        except DataError as error:
            raise DataError(f"{file}: row {row}: {error}") from None
    paths, rows, missing = _below(root, ids), np.arange(len(ids)), list[str]()
    if column == "Study":
        ids, paths, rows, missing = _views(file, ids, paths, config)
    if config.projection != "all":
        kept = np.flatnonzero(_projections(file, frame, ids, rows) == config.projection)
        ids, paths, rows = ids[kept], [paths[row] for row in kept], rows[kept]
        if len(kept) == 0:
            raise DataError(f"{file}: no {config.projection} radiograph (data.projection)")
    return _Part(name, ids, paths, labels[rows], missing)


def _below(root: Path, names: NDArray[np.str_]) -> list[Path]:
    """Where the paths of a CSV lie, with or without the folder they begin with."""
    parted = [name.partition("/") for name in names.tolist()]
    present = {first: (root / first).is_dir() for first in {first for first, _, _ in parted}}
    below = [name if present[first] else rest for name, (first, _, rest) in zip(names.tolist(), parted, strict=True)]
    batches = _batches(root)
    return [batches.get(name.split("/")[1], root) / name.split("/", 1)[1] if batches else root / name for name in below]


def _batches(root: Path) -> dict[str, Path]:
    """The folder of every patient in the batches of the full size; none where the root has no batches.

    Raises
    ------
    DataError
        If a patient is in two of them.
    """
    found: dict[str, Path] = {}
    for batch in sorted(root.glob(BATCHES)):
        for folder in (batch, batch / "train", batch / "valid"):
            for patient in folder.glob("patient*"):
                if found.setdefault(patient.name, folder) != folder:
                    raise DataError(f"{root}: {patient.name} is in {found[patient.name]} and in {folder}")
    return found


def _views(
    file: Path, studies: NDArray[np.str_], folders: list[Path], config: ChexpertConfig
) -> tuple[NDArray[np.str_], list[Path], NDArray[np.int64], list[str]]:
    """Ids, paths and row of every view of some studies, and what is to be said about studies without one."""
    ids: list[str] = []
    paths: list[Path] = []
    rows: list[int] = []
    missing: list[str] = []
    for row, (study, folder) in enumerate(zip(studies.tolist(), folders, strict=True)):
        views = look_under(folder)[0] if folder.is_dir() else []
        if not views:
            missing.append(f"{study}: no images in {folder}")
        ids += [f"{study}/{view.relative_to(folder).as_posix()}" for view in views]
        paths += views
        rows += [row] * len(views)
    if missing and (config.unreadable == "fail" or not ids):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"{file}: {missing[0]}{more}; set data.root to the folder where the paths start")
    return np.array(ids, dtype=np.str_), paths, np.array(rows, dtype=np.int64), missing


def _projections(file: Path, frame: pd.DataFrame, ids: NDArray[np.str_], rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """``frontal`` or ``lateral`` of every view (N,)."""
    if _PROJECTION in frame:
        found = [str(value).strip().lower() for value in frame[_PROJECTION].to_numpy()[rows]]
    else:
        found = [Path(name).stem.lower().rpartition("_")[2] for name in ids.tolist()]
    for name, projection in zip(ids.tolist(), found, strict=True):
        if projection not in ("frontal", "lateral"):
            where = _PROJECTION if _PROJECTION in frame else "the name of the view"
            raise DataError(f"{file}: {name}: {where} says {projection!r}, expected frontal or lateral")
    return np.array(found)
