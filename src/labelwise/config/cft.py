"""Category-wise fine-tuning: the options of ``labelwise cft``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from labelwise.config.labels import UncertainPolicy
from labelwise.config.types import Metric
from labelwise.settings import Section

CftMethod = Literal["auto", "logistic", "backprop", "genetic"]
CftPreset = Literal["fast", "paper-2024"]
BaseHead = Literal["assume-negative", "ignore"]
"""What unknown labels count as while a first head is fitted."""

EnsembleMean = Literal["logit", "probability", "rank"]
"""What an ensemble takes the mean of."""


class CftConfig(Section):
    """Options of ``labelwise cft``."""

    features: str = Field(description="Feature file: .npz, or a folder of .npy files.")
    objective: Metric = Field("ap", description="Metric that is improved.")
    method: CftMethod = Field("auto", description="Solver. auto compares several on select.")
    preset: CftPreset | None = Field(None, description="Settings of the solver. paper-2024: the published ones.")
    base: BaseHead | None = Field(
        None, description="Fit a first head where the file has none. What unknown labels count as while it is fitted."
    )
    loss: Literal["bce", "asl"] = Field("bce", description="Loss of the method backprop.")
    uncertain: UncertainPolicy = Field("unknown", description="What uncertain fit labels count as.")
    threshold: str | None = Field(
        None,
        description="Rule for each category's threshold, found on select: max-f1, precision=X, recall=X "
        "(or sensitivity=X, the same) or specificity=X.",
    )
    calibrate: bool = Field(True, description="Fit scale and bias of new heads on select.")
    select_share: float = Field(
        0.25,
        gt=0.0,
        lt=1.0,
        description="Share of the fit groups that is held out as select, where the file has no select split.",
    )
    predictions: bool = Field(True, description="Write logits on select and test. `labelwise ensemble` reads them.")
    draws: int = Field(1000, ge=100, description="Number of draws of the bootstrap on test.")
    device: str = Field("auto", description="Device of the computation: auto, cpu, cuda, ...")
    memory_gb: float = Field(1.0, gt=0.0, description="Limit of the working arrays, in GB.")
    seed: int = Field(0, ge=0, description="Random seed.")
