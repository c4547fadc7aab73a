"""Where samples come from, and how they are split.

Every format has a class of its own: the options that all formats share, and those that only its reader has. A recipe's
``data`` becomes the class of its ``format``; ``auto`` is found out from the source.
"""

from __future__ import annotations

import codecs
import math
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter, field_validator, model_validator

from labelwise.config.formats import BUILTIN, TABLE_ENDINGS, Format, expand_braces, find_format
from labelwise.config.given import KnownConfig, LabelColumnConfig, NoiseConfig, VotesConfig
from labelwise.config.types import PositiveFloat, PositiveInt, Rate, UnreadablePolicy
from labelwise.errors import DataError
from labelwise.settings import Section


def usable_cores() -> int:
    """The cores that this process may use; all of them where the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DataConfig(Section):
    """Where the samples come from, and how they are split into fit, select and test: the options of every format.

    In Python, this class is a source whose format is found out when it is read.
    """

    source: str = Field("digits", description=f"a path, hf:NAME, or {' | '.join(BUILTIN)}")
    format: Literal["auto", Format] = Field("auto", description="Layout of the data. auto: found out from the source.")
    categories: tuple[str, ...] = Field(
        (), description="Multi-label data: the categories to keep, in this order. Default: all."
    )
    labels: LabelColumnConfig | None = Field(
        None, description="Other labels that replace the given ones of the training part, or corrected labels."
    )
    unlabelled: str | None = Field(
        None,
        description="Images without labels that a refinery labels: a folder, a table of paths, or an .npz file.",
    )
    labelled: PositiveInt | None = Field(
        None,
        description="Keep the labels of only this number of fit samples, for experiments. The rest is unlabelled.",
    )
    votes: VotesConfig | None = Field(
        None,
        description="Single-label data: what several people said about each sample. Votes are only scored against.",
    )
    known: KnownConfig = Field(
        KnownConfig(), description="Multi-label data: which labels stay known. The others are hidden, for experiments."
    )
    noise: NoiseConfig = Field(
        NoiseConfig(), description="Single-label data: wrong labels that are simulated, for experiments."
    )
    classes: PositiveInt | None = Field(
        None, description="Single-label data: keep only this number of classes, from the first."
    )
    train_limit: PositiveInt | None = Field(
        None, description="Keep only this number of training samples. They are drawn by split_seed."
    )
    select_limit: PositiveInt | None = Field(None, description="Keep only this number of select samples.")
    test_limit: PositiveInt | None = Field(None, description="Keep only this number of test samples.")
    select_share: Rate = Field(
        0.1, description="Share of the training part that is held out as select, where the data has no select part."
    )
    test_share: Rate = Field(
        0.2, description="Share of the training part that is held out as test, where the data has no test part."
    )
    split_seed: int = Field(0, ge=0, description="Seed of everything that is held out or limited.")
    unreadable: UnreadablePolicy = Field(
        "fail",
        description="What happens with an unreadable image. fail: the command stops. skip: the image is left "
        "out and listed.",
    )
    channels: Literal["auto", 1, 3] = Field(
        "auto", description="Channels of the images: 1 (grey) or 3 (RGB). auto: as they are stored."
    )
    value_range: Literal["auto", "full"] | tuple[float, float] = Field(
        "auto",
        description="Values of 16-bit and floating point images that become black and white. full: 0 and 65535, or 0 "
        "and 1. auto: those of the training images, where they use less than a quarter of that.",
    )
    max_pixels: PositiveInt = Field(
        178_956_970, description="Largest image that is read, in pixels. Larger ones are refused as unreadable."
    )
    memory: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether decoded images are held in memory. auto: where all have one size and fit the limit.",
    )
    memory_limit_gb: PositiveFloat = Field(4.0, description="Limit of the decoded images in memory, in GB.")
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        2, description="Number of processes that decode image files. auto: as many as pay, by a measurement."
    )

    @property
    def decoders(self) -> int:
        """Number of processes where nothing is measured: ``workers``, or one a core."""
        return usable_cores() if self.workers == "auto" else self.workers

    @field_validator("value_range")
    @classmethod
    def _rising(cls, value: str | tuple[float, float]) -> str | tuple[float, float]:
        if not isinstance(value, str) and not -math.inf < value[0] < value[1] < math.inf:
            raise ValueError(f"low must be below high, got {list(value)}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _of_this_format(cls, values: Any) -> Any:
        """Refuse options of other formats. One that has its default value says nothing, and is left out."""
        if not isinstance(values, dict):
            return values
        kept = dict(values)
        for key in [key for key in values if key not in cls.model_fields]:
            owners = [name for name, other in _CLASSES.items() if key in other.model_fields]
            if not owners:
                continue  # refused as an unknown key
            default = _CLASSES[owners[0]].model_fields[key].default
            if kept.pop(key) not in (default, list(default) if isinstance(default, tuple) else default):
                name = next((name for name, own in _CLASSES.items() if own is cls), None)
                read = (
                    f"this source is read as {name}"
                    if name
                    else f"the format of {values.get('source')!r} is not known: correct data.source or set data.format"
                )
                raise ValueError(f"data.{key} is an option of format {' or '.join(owners)}; {read}")
        return kept


class _RootedConfig(DataConfig):
    root: str | None = Field(None, description="Folder where relative image paths start, or where the images are.")


class _ColumnsConfig(DataConfig):
    split_column: str = Field(
        "split",
        description='Column or key that says the split of a sample. An .npz file: "" leaves its own split aside.',
    )
    group_column: str | None = Field(
        None, description="Column or key of a group, such as a patient. A split never separates samples of one group."
    )


class FolderConfig(DataConfig):
    """A folder of class folders."""

    format: Literal["auto", "folder"] = "folder"


class NpzConfig(_ColumnsConfig):
    """An .npz file of images or embeddings."""

    format: Literal["auto", "npz"] = "npz"


class EmbeddingsConfig(_ColumnsConfig):
    """An .npz file whose embeddings are read, even where it has images too."""

    format: Literal["embeddings"] = "embeddings"


class TableConfig(_RootedConfig, _ColumnsConfig):
    """A CSV or Parquet file with one image per row."""

    format: Literal["auto", "table"] = "table"
    encoding: str = Field("utf-8", description="Encoding of a table of text, such as cp1252.")
    image_column: str = Field("path", description="Column of the image paths.")
    label_column: str = Field("label", description="Column of the class, or of the list of positive categories.")
    label_columns: tuple[str, ...] = Field(
        (),
        description="Multi-label data: columns of the categories. Cells are 1, 0, blank (unknown) or -1 "
        '(uncertain). "*" means all other columns.',
    )
    label_separator: str | None = Field(
        None, description="Multi-label data: text that separates the positive categories in label_column."
    )
    unlisted: Literal["negative", "unknown"] = Field(
        "negative", description="Multi-label data: what a category is that the list of a sample does not name."
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(
                f"{value!r} is no encoding that Python knows; usual are utf-8, cp1252 and latin-1"
            ) from None
        return value


class BuiltinConfig(_RootedConfig):
    """A well-known data set, by its name."""

    format: Literal["auto", "builtin"] = "builtin"
    download: bool = Field(True, description="Download the set where it is not in root.")


class HubConfig(DataConfig):
    """A data set of the Hugging Face hub."""

    format: Literal["auto", "hf"] = "hf"
    image_column: str = Field("path", description="Column of the images. path stands for image or img.")
    label_column: str = Field("label", description="Column of the class.")


class ChexpertConfig(_RootedConfig):
    """CheXpert's CSV files."""

    format: Literal["auto", "chexpert"] = "chexpert"
    projection: Literal["all", "frontal", "lateral"] = Field("all", description="Which radiographs are kept.")


class MimicConfig(_RootedConfig):
    """MIMIC-CXR-JPG's CSV files."""

    format: Literal["auto", "mimic"] = "mimic"
    projection: Literal["all", "frontal", "lateral"] = Field("all", description="Which radiographs are kept.")


class NihConfig(_RootedConfig):
    """NIH ChestX-ray14 as it is published."""

    format: Literal["auto", "nih"] = "nih"


class CocoConfig(_RootedConfig):
    """MS-COCO's instances files."""

    format: Literal["auto", "coco"] = "coco"


class OpenImagesConfig(_RootedConfig):
    """Open Images' human-verified labels."""

    format: Literal["auto", "open_images"] = "open_images"


class VocConfig(_RootedConfig):
    """Pascal VOC's development kit."""

    format: Literal["auto", "voc"] = "voc"


class WebDatasetConfig(DataConfig):
    """Tars in the layout of WebDataset: a tar, a folder of tars, or a range such as ``shards/{000..127}.tar``."""

    format: Literal["auto", "webdataset"] = "webdataset"
    label_member: Literal["auto", "cls", "json", "txt", "none"] = Field(
        "auto",
        description="Member of a sample that holds its label. auto: .cls, else .json with label_key, else .txt. "
        "none: the images have no labels.",
    )
    label_key: str | None = Field(
        None, description="Key of the label in a .json member; a list makes multi-label data. Default: label or cls."
    )
    order: Literal["shuffled", "tars"] = Field(
        "shuffled",
        description="Order of the training samples. tars: tar by tar, in a random order; for disks and networks that "
        "are slow at random places. Images in memory are always shuffled as a whole.",
    )
    window: PositiveInt = Field(
        8,
        description="order tars: Number of tars whose samples are shuffled together. The file cache should hold them.",
    )


_CLASSES: dict[str, type[DataConfig]] = {
    "folder": FolderConfig,
    "npz": NpzConfig,
    "embeddings": EmbeddingsConfig,
    "table": TableConfig,
    "builtin": BuiltinConfig,
    "hf": HubConfig,
    "chexpert": ChexpertConfig,
    "mimic": MimicConfig,
    "nih": NihConfig,
    "coco": CocoConfig,
    "open_images": OpenImagesConfig,
    "voc": VocConfig,
    "webdataset": WebDatasetConfig,
}


def _as_values(data: Any) -> Any:
    """A source without a class of its own, as the values that decide on its class."""
    if type(data) is DataConfig:
        data = data.model_dump(exclude_unset=True)
    return {"format": "auto", **data} if isinstance(data, dict) else data


def _format_of(data: Any) -> str:
    """The class of a source: its format, or ``auto`` where that cannot be found out."""
    if isinstance(data, DataConfig):
        return next((name for name, own in _CLASSES.items() if own is type(data)), "auto")
    if not isinstance(data, dict):
        return "auto"
    if data.get("format") == "auto":
        found = find_format(str(data.get("source", DataConfig.model_fields["source"].default))) or "auto"
        return "table" if found in ("chexpert", "mimic", "nih") and _asks_for_columns(data) else found
    return str(data["format"]) if data.get("format") in _CLASSES else "auto"


def _asks_for_columns(data: dict[str, Any]) -> bool:
    """Whether options say which columns of a table are meant, so that a published table is read as any other."""
    own = TableConfig.model_fields.keys() - _RootedConfig.model_fields.keys()
    return any(data[key] != TableConfig.model_fields[key].default for key in own & data.keys())


AnyDataConfig = Annotated[
    Annotated[FolderConfig, Tag("folder")]
    | Annotated[NpzConfig, Tag("npz")]
    | Annotated[EmbeddingsConfig, Tag("embeddings")]
    | Annotated[TableConfig, Tag("table")]
    | Annotated[BuiltinConfig, Tag("builtin")]
    | Annotated[HubConfig, Tag("hf")]
    | Annotated[ChexpertConfig, Tag("chexpert")]
    | Annotated[MimicConfig, Tag("mimic")]
    | Annotated[NihConfig, Tag("nih")]
    | Annotated[CocoConfig, Tag("coco")]
    | Annotated[OpenImagesConfig, Tag("open_images")]
    | Annotated[VocConfig, Tag("voc")]
    | Annotated[WebDatasetConfig, Tag("webdataset")]
    | Annotated[DataConfig, Tag("auto")],
    Discriminator(_format_of),
    BeforeValidator(_as_values),
]


_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".zip", ".tgz", ".gz", ".7z", ".rar"), "unpack it, and give the folder"),
    **dict.fromkeys((".mat", ".xml", ".tfrecord", ".mdb", ".h5", ".pkl"), "write a CSV of paths and labels"),
}


@cache
def _adapter() -> TypeAdapter[DataConfig]:
    return TypeAdapter(AnyDataConfig)


def with_format(config: DataConfig) -> DataConfig:
    """The configuration in the class of its format.

    Raises
    ------
    DataError
        If the source is missing or not understood.
    """
    found = _adapter().validate_python(config)
    if type(found) is DataConfig:
        ending = Path(config.source).suffix.lower()
        problem = "not understood" if Path(config.source).exists() else "no such folder or file"
        if Path(config.source).exists() and ending in _OTHER_FILES:
            raise DataError(f"data.source {config.source!r}: is not read; {_OTHER_FILES[ending]}")
        raise DataError(
            f"data.source {config.source!r}: {problem}; understood are {', '.join(BUILTIN)}, a folder of class folders,"
            f" .npz, {', '.join(TABLE_ENDINGS)}, tars, hf:NAME, and the published layouts of MS-COCO, Open Images,"
            " Pascal VOC, CheXpert, MIMIC-CXR and NIH"
        )
    return found


def format_of(config: DataConfig) -> str:
    """The name of the format of a source. Errors as :func:`with_format`."""
    return next(name for name, own in _CLASSES.items() if own is type(with_format(config)))


def refuse_missing(config: DataConfig) -> None:
    """Refuse a source that is not there, without reading it.

    Raises
    ------
    DataError
        If the file or folder is missing, or the source is not understood.
    """
    found = with_format(config)
    for source in expand_braces(found.source) if isinstance(found, WebDatasetConfig) else [found.source]:
        if not isinstance(found, BuiltinConfig | HubConfig) and not Path(source).exists():
            raise DataError(f"data.source {source!r}: no such folder or file")
    if found.unlabelled is not None and not Path(found.unlabelled).exists():
        raise DataError(f"data.unlabelled {found.unlabelled!r}: no such folder or file")
