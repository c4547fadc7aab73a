"""Which of the labels that the data give are used, and what is known beside them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from labelwise.config.types import Fraction
from labelwise.settings import Section


class NoiseConfig(Section):
    """Label noise that is simulated on the training labels. The true labels are kept for scoring."""

    kind: Literal["uniform", "pairs"] = Field(
        "uniform", description="What a label is replaced by. uniform: any other class. pairs: the next class."
    )
    rate: Fraction = Field(0.0, description="Share of the training labels that are replaced.")
    seed: int = Field(0, ge=0, description="Seed of the draw.")


class LabelColumnConfig(Section):
    """Labels that replace the given ones: those of CIFAR-10N for CIFAR-10, or corrected ones."""

    file: str = Field(
        description="File of the replacing labels: .npz, .csv or .parquet. Its rows are in the order of the "
        "training samples, or have an id. Or the table of `labelwise audit apply`."
    )
    column: str = Field("label", description="Key or column of the replacing labels.")


class VotesConfig(Section):
    """What several people said about each sample of one part. Nothing is trained or chosen on it; it is for scores."""

    file: str = Field(
        description=".npz file of the votes. It has a row for each sample of the part, in its order, and a "
        "column for each class."
    )
    key: str = Field("counts", description="Key of the array with the numbers of votes (N, K).")
    split: Literal["train", "test"] = Field(
        "test", description="Part of the data that the votes are about, before any limit."
    )


class KnownConfig(Section):
    """Multi-label data: which labels of ``fit`` stay known. The others are hidden, and kept for scoring."""

    protocol: Literal["all", "uniform", "cells", "hcp", "single_positive", "fixed", "balanced", "positives"] = Field(
        "all",
        description="Rule that decides which labels stay known. all: every label. uniform: each label with "
        "probability share, as in CFT. cells: the same, with one draw per cell. hcp: the mask of "
        "HCP-MLR-PL. single_positive: one positive per sample. fixed: count positives and count "
        "negatives per category. balanced: count labels per category, as many positives as "
        "negatives. positives: a share of the positives, and nothing else.",
    )
    share: Fraction = Field(1.0, description="Share of the labels that stay known (uniform, cells, hcp, positives).")
    count: int = Field(0, ge=0, description="Number of labels that stay known (fixed, balanced).")
    seed: int = Field(0, ge=0, description="Seed of the draw. 0 draws the published mask.")
