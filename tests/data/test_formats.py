"""Every format has its own options; those of another format are refused, and the source may decide on the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.data import data_config
from labelwise.config import (
    BuiltinConfig,
    ChexpertConfig,
    DataConfig,
    EmbeddingsConfig,
    FolderConfig,
    NpzConfig,
    Recipe,
    TableConfig,
    load_recipe,
    with_format,
)
from labelwise.config.formats import find_format
from labelwise.errors import ConfigError, DataError
from labelwise.settings import dump_yaml


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, BuiltinConfig),
        ({"source": "cifar10", "download": False}, BuiltinConfig),
        ({"source": "x.npz", "group_column": "patient"}, NpzConfig),
        ({"source": "x.npz", "format": "embeddings"}, EmbeddingsConfig),
        ({"source": "x.csv", "label_columns": ["*"], "root": "images"}, TableConfig),
        ({"source": "x.parquet"}, TableConfig),
        ({"source": "x.csv", "format": "chexpert", "projection": "frontal"}, ChexpertConfig),
        ({"source": "nowhere"}, DataConfig),
    ],
)
def test_the_format_decides_on_the_options(values: dict[str, Any], kind: type[DataConfig]) -> None:
    found = data_config(values)
    assert type(found) is kind
    assert found.model_dump(mode="json", include=set(values)) == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"projection": "frontal"},
            "data.projection is an option of format chexpert or mimic; this source is read as builtin",
        ),
        (
            {"source": "x.npz", "label_columns": ["*"]},
            "data.label_columns is an option of format table; this source is read as npz",
        ),
        (
            {"source": "x.csv", "download": False},
            "data.download is an option of format builtin; this source is read as",
        ),
        (
            {"source": "hf:x", "group_column": "y"},
            "data.group_column is an option of format npz or embeddings or table; this source is read as hf",
        ),
        ({"source": "nowhere", "root": "x"}, "the format of 'nowhere' is not known: correct data.source or set"),
    ],
)
def test_options_of_other_formats_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data_config(values)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_folders_are_told_apart_by_their_files(tmp_path: Path) -> None:
    marks = {
        "coco": "annotations/instances_train2017.json",
        "voc": "VOC2012/ImageSets/Main/train.txt",
        "open_images": "2018_04/train/annotations-human.csv",
        "nih": "Data_Entry_2017_v2020.csv",
        "folder": "train/cat/1.jpg",
    }
    for name, mark in marks.items():
        (tmp_path / name / mark).parent.mkdir(parents=True)
        (tmp_path / name / mark).touch()
        assert find_format(str(tmp_path / name)) == name
    assert type(data_config({"source": str(tmp_path / "folder")})) is FolderConfig
    assert find_format(str(tmp_path / "nowhere")) is None and find_format("words.doc") is None


def test_a_source_without_a_class_is_resolved_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    assert type(with_format(DataConfig(source=str(tmp_path), channels=1))) is FolderConfig
    assert Recipe(data=DataConfig(source=str(tmp_path))).data == data_config({"source": str(tmp_path)})
    with pytest.raises(DataError, match=r"'nowhere': no such folder or file; understood are digits"):
        with_format(DataConfig(source="nowhere"))


def test_printed_options_can_be_loaded_for_another_source(tmp_path: Path) -> None:
    """Defaults of the options of another format say nothing."""
    text = dump_yaml(load_recipe(None))
    assert yaml.safe_load(text)["data"]["download"] is True
    (tmp_path / "r.yaml").write_text(text)
    found = load_recipe(tmp_path / "r.yaml", ["data.source=x.csv"]).data
    assert found == data_config({"source": "x.csv"}) and "download" not in found.model_dump()
    (tmp_path / "r.yaml").write_text(text.replace("download: true", "download: false"))
    with pytest.raises(ConfigError, match=r"data\.download is an option of format builtin"):
        load_recipe(tmp_path / "r.yaml", ["data.source=x.csv"])
