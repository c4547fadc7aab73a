"""Multi-label data: how unknown and uncertain labels count in training and in refinement."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from labelwise.config.types import Fraction, NonNegative, PositiveInt, Rate
from labelwise.settings import Section

# What training takes a label for that has no value; the strategies of labelwise.labels.strategies, which explain them.
Share = tuple[Fraction, Fraction]
BinaryLossName = Literal["bce", "focal", "asl", "hill"]
UnknownName = Literal["ignore", "negative", "positive"]
UncertainName = Literal["unknown", "negative", "positive", "smooth-negative", "smooth-positive"]
UnknownPolicy = UnknownName | Share
UncertainPolicy = UncertainName | Share


class LabelsConfig(Section):
    """Multi-label data: how unknown and uncertain labels count in training on the given labels."""

    unknown: UnknownPolicy | dict[str, UnknownPolicy] = Field(
        "ignore",
        description=(
            f"What unknown labels count as: {' | '.join(get_args(UnknownName))} | [low, up]"
            ", or a mapping by category. Refined labels need none."
        ),
    )
    uncertain: UncertainPolicy | dict[str, UncertainPolicy] = Field(
        "unknown",
        description=(
            f"What uncertain labels count as: {' | '.join(get_args(UncertainName))} | [low, up]"
            ", or a mapping by category."
        ),
    )
    loss: BinaryLossName = Field(
        "bce", description="Loss on the labels. bce: binary cross-entropy. asl: asymmetric loss."
    )
    gamma_positive: NonNegative = Field(0.0, description="asl: focusing power of positive labels.")
    gamma_negative: NonNegative = Field(4.0, description="asl: focusing power of negative labels.")
    gamma: NonNegative = Field(2.0, description="focal and hill: focusing power.")
    margin: Rate = Field(0.05, description="asl: probability that is subtracted from the prediction of a negative.")
    scheme: Literal["plain", "csl", "ll-r", "ll-ct", "ll-cp", "splc"] = Field(
        "plain",
        description="How training doubts labels that were assumed negative. plain: it does not. csl: it ignores some "
        "of them. ll-r, ll-ct, ll-cp: it rejects those of the largest losses, corrects them for now, or for good. "
        "splc: it corrects those that the network is sure of.",
    )
    rate: Fraction = Field(
        0.002,
        description="ll-r, ll-ct: share of the labels that is doubted, those of the largest losses, times the epoch. "
        "ll-cp: share per epoch.",
    )
    threshold: Fraction = Field(0.6, description="splc: probability from which an assumed negative counts as positive.")
    prior: Fraction = Field(
        0.5, description="csl: mean prediction of a category from which its unknown labels are ignored."
    )
    top: int = Field(
        5, ge=0, description="csl: number of the most probable unknown labels of a sample that are ignored."
    )
    gamma_unknown: NonNegative = Field(4.0, description="csl: focusing power of unknown labels that count as negative.")

    @model_validator(mode="after")
    def _assumed(self) -> LabelsConfig:
        if self.scheme != "plain" and self.unknown != "negative":
            raise ValueError(f"scheme {self.scheme} doubts labels that were assumed negative: set unknown: negative")
        if self.scheme == "splc" and self.loss != "bce":
            raise ValueError("scheme splc has a loss of its own, the focal margin loss: leave loss out")
        return self


class ZeroShotConfig(Section):
    """Multi-label data: a network of images and texts answers for unknown labels, too. It needs the extra ``clip``."""

    model: str = Field("ViT-B-32", pattern=r"^[\w.-]+$", description="Network of open_clip, by name.")
    pretrained: str = Field("laion2b_s34b_b79k", description="Its weights: one of open_clip's tags, or a file.")
    prompt: tuple[str, ...] = Field(
        ("a photo of a {}",),
        min_length=1,
        description="Text of a category; {} is its name. The embeddings of several texts are averaged.",
    )
    prompts: dict[str, str] = Field(default_factory=dict, description="Texts of single categories, in place of prompt.")

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if bad := [text for text in self.prompt if "{}" not in text]:
            raise ValueError(f"prompt {bad[0]!r}: has no {{}} where the name of the category stands")
        return self


class PseudoConfig(Section):
    """Multi-label data: what a refinery's answer makes of an unknown label. Given labels always stay."""

    kind: Literal["soft", "hard"] = Field(
        "soft", description="Form of a refined label. soft: the refinery's probability. hard: 0 or 1."
    )
    view: Literal["each", "centre"] = Field(
        "each",
        description="View that the refinery labels. each: every training view. centre: the centre view, once "
        "per image.",
    )
    views: PositiveInt = Field(
        1,
        description="Number of views whose answers are averaged: the one that view says, the centre view, and random "
        "ones that are drawn once.",
    )
    agreement: Literal["none", "decide", "weigh"] = Field(
        "none",
        description="views above 1: what their agreement does. decide: a label stays unknown unless all answers lie "
        "on the same side, at or below low or above high. weigh: its weight is multiplied by 1 less the range of the "
        "answers.",
    )
    low: Fraction = Field(0.5, description="hard: a label is negative at or below this probability.")
    high: Fraction = Field(
        0.5, description="hard: a label is positive above this probability. Between low and high it stays unknown."
    )
    share: tuple[Fraction, ...] = Field(
        (),
        description="hard, centre: share of the unknown labels that get a value, the surest first. It "
        "replaces low and high. A list has one share per round; the last one is used for all "
        "later rounds.",
    )
    per_category: bool = Field(False, description="Whether share is counted in each category, or over all labels.")
    positive_only: bool = Field(
        False, description="hard: only positive labels are inferred. share then counts positives."
    )
    weight: Fraction = Field(1.0, description="Weight of a refined label in the loss. A given label has weight 1.")
    zero_shot: ZeroShotConfig | None = Field(
        None,
        description="A network of images and texts that is one more refinery, in the categories where known labels of "
        "select show that this helps. Default: none.",
    )

    @field_validator("share", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _ordered(self) -> PseudoConfig:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}")
        if self.agreement != "none" and self.views == 1:
            raise ValueError(f"agreement {self.agreement} compares the answers to several views: set views: 2 or more")
        if self.positive_only and self.kind != "hard":
            raise ValueError("positive_only is for hard labels: set kind: hard")
        if self.per_category and not self.share:
            raise ValueError("per_category is for a share: set share, such as [0.2, 0.4]")
        if self.share and (self.kind, self.view) != ("hard", "centre"):
            raise ValueError("share ranks the hard labels of whole images: set kind: hard and view: centre")
        if self.share and (self.low, self.high) != (0.5, 0.5):
            raise ValueError("share and low, high are two rules for the same labels: leave one of them out")
        return self

    def share_in(self, number: int) -> float | None:
        """The share of a round, of which 1 is the first that has a refinery; None where thresholds decide."""
        return self.share[min(number, len(self.share)) - 1] if self.share else None
