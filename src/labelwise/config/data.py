"""What is seen: where samples come from, how they are split, how views are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from labelwise.config.types import Fraction, NonNegative, PositiveFloat, PositiveInt, Rate, UnreadablePolicy
from labelwise.errors import ConfigError
from labelwise.settings import Section, resolve


class NoiseConfig(Section):
    """Label noise that is *simulated* on the training labels; the true labels are kept for scoring."""

    kind: Literal["uniform", "pairs"] = Field("uniform", description="uniform: any other class; pairs: the next class")
    rate: Fraction = Field(0.0, description="share of the training labels that is replaced")
    seed: int = Field(0, ge=0)


class LabelColumnConfig(Section):
    """Another label column that replaces the given labels of the training part (CIFAR-10N beside CIFAR-10)."""

    file: str = Field(description=".npz, .csv or .parquet; rows in the order of the training samples, or with an `id`")
    column: str = Field(description="key or column of the replacing labels")


class VotesConfig(Section):
    """What several people said about each sample of one part; scored against, never learned or selected from."""

    file: str = Field(description=".npz; a row for each sample of the part in its order, a column for each class")
    key: str = Field("counts", description="key of the numbers of votes (N, K)")
    split: Literal["train", "test"] = Field("test", description="the part whose samples they are, before any limit")


class KnownConfig(Section):
    """Multi-label data: which labels of ``fit`` stay known; all others are hidden, and kept for scoring."""

    protocol: Literal["all", "uniform", "cells", "hcp", "single_positive", "fixed", "balanced", "positives"] = Field(
        "all",
        description="uniform: each label with probability share, as in CFT; cells: the same by one draw a cell; hcp; "
        "single_positive; fixed: count positives and count negatives a category; balanced; positives: only a share of "
        "the positives",
    )
    share: Fraction = Field(1.0, description="of uniform, cells, hcp and positives")
    count: int = Field(0, ge=0, description="of fixed and balanced")
    seed: int = Field(0, ge=0, description="0 draws the published mask (526 of CFT, 0 of HCP)")


class DataConfig(Section):
    """Where the samples come from and how they are split into fit / select / test."""

    source: str = Field("digits", description="a path, or digits | fashion_mnist | cifar10 | cifar100 | imagenette")
    format: Literal[
        "auto",
        "folder",
        "npz",
        "table",
        "builtin",
        "hf",
        "embeddings",
        "chexpert",
        "nih",
        "coco",
        "open_images",
        "voc",
    ] = "auto"
    root: str | None = Field(None, description="folder of a built-in set, or of a table's relative paths")
    download: bool = Field(True, description="let a built-in set be downloaded when it is not under root")
    image_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    group_column: str | None = Field(None, description="rows with one value here are never parted by a split")
    label_columns: tuple[str, ...] = Field(
        (),
        description='table of multi-label data: a column a category of 1, 0, blank (unknown), -1 (uncertain); "*": all',
    )
    label_separator: str | None = Field(
        None, description="table of multi-label data: label_column lists the positive categories, separated by this"
    )
    unlisted: Literal["negative", "unknown"] = Field(
        "negative", description="with label_separator: what categories are that a sample does not list"
    )
    categories: tuple[str, ...] = Field((), description="multi-label data: keep only these, in this order")
    projection: Literal["all", "frontal", "lateral"] = Field("all", description="chexpert: which radiographs are kept")
    labels: LabelColumnConfig | None = None
    votes: VotesConfig | None = Field(None, description="single-label data: human votes, as CIFAR-10H has them")
    known: KnownConfig = KnownConfig()
    noise: NoiseConfig = NoiseConfig()
    classes: PositiveInt | None = Field(None, description="keep only the first so many classes")
    train_limit: PositiveInt | None = Field(None, description="keep so many training samples, drawn by split_seed")
    select_limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None
    select_share: Rate = Field(0.1, description="share of the training part held out to choose with")
    test_share: Rate = Field(0.2, description="share held out as test where the data has no split of its own")
    split_seed: int = Field(0, ge=0)
    unreadable: UnreadablePolicy = Field("fail", description="what an unreadable image does")
    channels: Literal["auto", 1, 3] = "auto"
    memory: Literal["auto", "yes", "no"] = Field("auto", description="hold the decoded images in memory")
    memory_limit_gb: PositiveFloat = 4.0
    workers: int = Field(2, ge=0, description="processes that decode image files")


class ViewConfig(Section):
    """How a training view of a sample is drawn, and how it is looked at for evaluation."""

    number: PositiveInt | None = Field(
        None, description="different training views of a sample, in turn; default: a new one every epoch"
    )
    size: PositiveInt | None = Field(None, description="side of the student's input; default: the network's or images'")
    scale: tuple[PositiveFloat, PositiveFloat] = Field((0.08, 1.0), description="range of the crop's share of the area")
    ratio: tuple[PositiveFloat, PositiveFloat] = Field((3 / 4, 4 / 3), description="range of width / height")
    flip: bool = Field(
        True,
        description="mirror half of the views; off where left and right differ, by default for radiographs",
    )
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    eval_crop: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="side of the centre crop / shorter side")
    rand_augment_ops: int = Field(0, ge=0)
    rand_augment_magnitude: float = Field(9.0, ge=0, le=30)
    erasing: Fraction = Field(0.0, description="probability that a rectangle is erased")
    mixup: NonNegative = Field(0.0, description="Beta parameter; 0 is off")
    cutmix: NonNegative = Field(0.0, description="Beta parameter; 0 is off; with mixup, half of the batches each")
    feature_dropout: Rate = Field(0.3, description="embeddings: share of the features dropped in a view")

    @model_validator(mode="after")
    def _ordered(self) -> ViewConfig:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high], got [{low}, {high}]")
        if self.scale[1] > 1:
            raise ValueError(f"scale is a share of the image's area, at most 1, got {self.scale[1]}")
        return self


def merge_views(base: ViewConfig, changes: dict[str, Any], where: str = "views") -> ViewConfig:
    """``base`` with some keys changed, validated again.

    Raises
    ------
    ConfigError
        If a key is unknown, a value is not allowed, or a key says how networks are evaluated, which is shared.
    """
    if shared := [key for key in ("size", "eval_crop", "interpolation") if key in changes]:
        raise ConfigError(f"{where}.{shared[0]}: all networks of a chain are evaluated alike; set views.{shared[0]}")
    return resolve(ViewConfig, base.model_dump() | changes, prefix=where) if changes else base
