"""MIMIC-CXR-JPG: chest radiographs of one hospital, labelled study by study with the 14 observations of CheXpert.

    ROOT/mimic-cxr-2.0.0-chexpert.csv[.gz]   subject_id, study_id, a column an observation (or -negbio, by another tool)
    ROOT/mimic-cxr-2.0.0-metadata.csv[.gz]   dicom_id, subject_id, study_id, ViewPosition: the images of every study
    ROOT/mimic-cxr-2.0.0-split.csv[.gz]      dicom_id, subject_id, study_id, split: train, validate or test
    ROOT/files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg

Source: Johnson et al. 2019, https://physionet.org/content/mimic-cxr-jpg/.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelwise.config import MimicConfig
from labelwise.data.dataset import Samples
from labelwise.data.files import as_strings, parse_parts, refuse_repeated
from labelwise.data.notes import assume, tell
from labelwise.data.readers.chexpert import OBSERVATIONS
from labelwise.data.readers.located import locate
from labelwise.data.readers.table import parse_label_columns, refuse_missing, to_table
from labelwise.data.tables import read_header, read_table
from labelwise.errors import DataError

_LABELS = re.compile(r"(.*-)(?:chexpert|negbio)(\.csv(?:\.gz)?)", re.IGNORECASE)
_FRONTAL = ("PA", "AP", "AP AXIAL", "AP LLD", "AP RLD", "PA LLD", "PA RLD")
_LATERAL = ("LATERAL", "LL")
_IDS = ("dicom_id", "study_id", "subject_id")


def read(config: MimicConfig) -> Samples:
    """Radiographs as image files, each with the labels of its study; ids are their paths, groups are subjects.

    - ``data.source`` is the folder above, or the CSV of the labels; the two others lie beside it. Without the split,
      there are no parts. Without the metadata, the images are those of the split, and ``data.projection`` cannot be
      chosen.
    - Images are under ``data.root`` or else the folder of the CSV: in ``files``, or all in one folder.
    - Images of a study without labels are left out, which a line on stderr counts.

    Raises
    ------
    DataError
        Naming the file and the row, column or image: no table of labels, or neither of the others, a missing column, a
        cell that is no label, an image or study twice, an image that is not there (unless ``unreadable: skip``), no
        image of the projection.
    """
    source = Path(config.source)
    file = _label_file(source) if source.is_dir() else source
    study_ids, labels = _labels(file)
    images, where = _images(file, config)
    place = pd.Index(study_ids).get_indexer(images["study_id"])
    if not (place >= 0).any():
        raise DataError(f"{file}: none of its studies has an image in {where}")
    if (left := int((place < 0).sum())) or not np.isin(np.arange(len(study_ids)), place).all():
        empty = len(study_ids) - len(np.unique(place[place >= 0]))
        tell(f"{file}: left out: {left:,} images of studies without labels, {empty:,} studies without an image")
    images, place = images[place >= 0], place[place >= 0]
    ids = [
        f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg"
        for dicom, study, subject in images[list(_IDS)].itertuples(index=False)
    ]
    part = images["split"].to_numpy() if "split" in images else np.full(len(images), "")
    table = to_table(file, labels[place], OBSERVATIONS)
    root = file.parent if config.root is None else Path(config.root)
    return Samples(
        name=source.resolve().name if source.is_dir() else source.name.partition(".csv")[0],
        classes=table.categories,
        ids=np.array(ids, dtype=np.str_),
        label=np.full(len(ids), -1, dtype=np.int64),
        part=parse_parts(part, f"{where}: split"),
        source=locate(file, root, ids, config),
        groups=as_strings(images["subject_id"]),
        table=table,
    )


def _label_file(folder: Path) -> Path:
    found = sorted(path for path in folder.glob("*.csv*") if _LABELS.fullmatch(path.name))
    if not found:
        raise DataError(f"{folder}: no mimic-cxr-2.0.0-chexpert.csv[.gz] in it")
    chosen = next((path for path in found if "chexpert" in path.name.lower()), found[0])
    assume(f"{folder}: labels are those of {chosen.name}")
    return chosen


def _labels(file: Path) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """The studies and their labels (N, 14)."""
    frame = _rows(file, ("study_id", *OBSERVATIONS))
    studies = as_strings(frame["study_id"])
    refuse_repeated(studies.tolist(), f"{file}: study_id")
    return studies, parse_label_columns(file, frame, OBSERVATIONS)


def _images(file: Path, config: MimicConfig) -> tuple[pd.DataFrame, Path]:
    """The images of all studies, with their split if there is one, and the file that lists them."""
    metadata, split = (_beside(file, name) for name in ("metadata", "split"))
    listed = metadata or split
    if listed is None:
        name = _LABELS.fullmatch(file.name)
        start = name[1] if name else "mimic-cxr-2.0.0-"
        raise DataError(
            f"{file}: neither {start}metadata.csv nor {start}split.csv (or .csv.gz) is beside it; they say which images"
            " a study has"
        )
    if config.projection != "all" and metadata is None:
        raise DataError(f"{file}: data.projection needs the file of the metadata beside it; leave it at all")
    position = ("ViewPosition",) if config.projection != "all" else ()
    images = _rows(listed, (*_IDS, *position, *(() if metadata else ("split",))))
    refuse_repeated(images["dicom_id"], f"{listed}: dicom_id")
    if metadata and split:
        parts = _rows(split, ("dicom_id", "split")).set_index("dicom_id")["split"]
        refuse_repeated(parts.index, f"{split}: dicom_id")
        images["split"] = parts.reindex(images["dicom_id"]).to_numpy()
        if (missing := images["split"].isna()).any():
            raise DataError(f"{split}: dicom_id {images['dicom_id'][missing].iloc[0]!r} of {listed.name} is not in it")
    if config.projection != "all":
        kept = images["ViewPosition"].str.upper().isin(_FRONTAL if config.projection == "frontal" else _LATERAL)
        images = images[kept]
        if not len(images):
            raise DataError(f"{listed}: no {config.projection} radiograph (data.projection)")
        assume(
            f"{listed}: {config.projection} are {', '.join(_FRONTAL if config.projection == 'frontal' else _LATERAL)}"
        )
    if split is None:
        assume(f"{file}: no split file beside it, so no image has a part")
    return images, listed


def _beside(file: Path, name: str) -> Path | None:
    """The file of a name beside the labels, packed or not."""
    match = _LABELS.fullmatch(file.name)
    starts = (
        [match[1]] if match else sorted({path.name.partition(name)[0] for path in file.parent.glob(f"*-{name}.csv*")})
    )
    paths = (file.with_name(f"{start}{name}{ending}") for start in starts for ending in (".csv", ".csv.gz"))
    return next((path for path in paths if path.is_file()), None)


def _rows(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    refuse_missing(path, read_header(path), columns)
    frame = read_table(path, columns)
    if len(frame) == 0:
        raise DataError(f"{path}: no rows")
    for name in set(_IDS) & set(columns):
        frame[name] = frame[name].astype(str).str.strip()
        if (blank := np.flatnonzero(frame[name] == "")).size:
            raise DataError(f"{path}: row {blank[0]} has no {name!r}")
    return frame
