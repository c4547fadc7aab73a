"""Multi-label data: what training and refinement make of labels that are unknown or uncertain."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from labelwise.config.types import Fraction, NonNegative, Rate
from labelwise.settings import Section

# What training takes a label for that has no value; the strategies of labelwise.labels.strategies, which explain them.
Share = tuple[Fraction, Fraction]
BinaryLossName = Literal["bce", "focal", "asl", "hill"]
UnknownName = Literal["ignore", "negative", "positive"]
UncertainName = Literal["unknown", "negative", "positive", "smooth-negative", "smooth-positive"]
UnknownPolicy = UnknownName | Share
UncertainPolicy = UncertainName | Share


class LabelsConfig(Section):
    """Multi-label data: what training on given labels makes of those that are unknown or uncertain."""

    unknown: UnknownPolicy | dict[str, UnknownPolicy] = Field(
        "ignore",
        description=f"{' | '.join(get_args(UnknownName))} | [low, up], or by category; refined ones need none",
    )
    uncertain: UncertainPolicy | dict[str, UncertainPolicy] = Field(
        "unknown", description=f"{' | '.join(get_args(UncertainName))} | [low, up], or by category"
    )
    loss: BinaryLossName = "bce"
    gamma_positive: NonNegative = Field(0.0, description="of asl")
    gamma_negative: NonNegative = Field(4.0, description="of asl")
    gamma: NonNegative = Field(2.0, description="of focal and hill")
    margin: Rate = Field(0.05, description="of asl")
    scheme: Literal["plain", "csl", "ll-r", "ll-ct", "ll-cp", "splc"] = Field(
        "plain",
        description="how training doubts labels that were assumed negative: selective (csl), large losses rejected, "
        "corrected for now or for good (ll-), or corrected where the network is sure (splc)",
    )
    rate: Fraction = Field(0.002, description="ll-: share of the largest losses, times the epoch (ll-cp: an epoch)")
    threshold: Fraction = Field(0.6, description="splc: probability from which an assumed negative is positive")
    prior: Fraction = Field(0.5, description="csl: mean prediction from which a category's unknown labels are ignored")
    top: int = Field(5, ge=0, description="csl: likeliest unknown labels that are ignored, per sample of the batch")
    gamma_unknown: NonNegative = Field(4.0, description="csl: focusing power of unknown labels taken for negative")

    @model_validator(mode="after")
    def _assumed(self) -> LabelsConfig:
        if self.scheme != "plain" and self.unknown != "negative":
            raise ValueError(f"scheme {self.scheme} doubts labels that were assumed negative: set unknown: negative")
        if self.scheme == "splc" and self.loss != "bce":
            raise ValueError("scheme splc has a loss of its own, the focal margin loss: leave loss out")
        return self


class PseudoConfig(Section):
    """Multi-label data: what a refinery's answer makes of a label that is not known. Given labels always stay."""

    kind: Literal["soft", "hard"] = "soft"
    view: Literal["each", "centre"] = Field(
        "each", description="each: the very view that is trained on; centre: once per image"
    )
    low: Fraction = Field(0.5, description="hard: negative at or below this probability")
    high: Fraction = Field(0.5, description="hard: positive above this one; between them the label stays unknown")
    share: tuple[Fraction, ...] = Field(
        (),
        description="hard, centre: instead of low and high, the share of unknown labels that the refinery is surest "
        "of; one number, or one for each round, the last for all later ones",
    )
    per_category: bool = Field(False, description="with share: of each category; default: of all labels together")
    positive_only: bool = Field(False, description="hard: no label becomes negative; share is then of the positives")
    weight: Fraction = Field(1.0, description="of a refined label in the loss, beside 1 of a given one")

    @field_validator("share", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _ordered(self) -> PseudoConfig:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}")
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
