"""How views of an image are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from labelwise.config.types import Fraction, NonNegative, PositiveFloat, PositiveInt, Rate
from labelwise.errors import ConfigError
from labelwise.settings import Section, resolve


class ViewConfig(Section):
    """How training views are drawn, and how images are seen in evaluation."""

    number: PositiveInt | None = Field(
        None,
        description="Number of different training views of a sample, used in turn. Default: a new view every epoch.",
    )
    repeats: PositiveInt = Field(
        1,
        description="Number of views of a sample in one batch, for which an image file is decoded once. An epoch "
        "shows as many views as with 1, of a part of the samples; the next one shows others.",
    )
    size: PositiveInt | None = Field(
        None, description="Side of the network's input, in pixels. Default: that of the network, or of the images."
    )
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.08, 1.0), description="Range of the crop's share of the image area."
    )
    ratio: tuple[PositiveFloat, PositiveFloat] = Field(
        (3 / 4, 4 / 3), description="Range of the crop's width divided by its height."
    )
    flip: bool = Field(
        True,
        description="Mirror half of the views. Turn it off where left and right differ; it is off for radiographs.",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="How crops are resized.")
    eval_crop: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Side of the centre crop for evaluation, as a share of the shorter side."
    )
    rand_augment_ops: int = Field(0, ge=0, description="RandAugment: number of operations per view. 0 turns it off.")
    rand_augment_magnitude: float = Field(9.0, ge=0, le=30, description="RandAugment: strength of the operations.")
    erasing: Fraction = Field(0.0, description="Probability that a rectangle of a view is erased.")
    mixup: NonNegative = Field(0.0, description="Mixup: parameter of the Beta distribution. 0 turns it off.")
    cutmix: NonNegative = Field(
        0.0,
        description="CutMix: parameter of the Beta distribution. 0 turns it off. With mixup, each is used for"
        " half of the batches.",
    )
    feature_dropout: Rate = Field(0.3, description="Embeddings: share of the features that a training view drops.")

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
