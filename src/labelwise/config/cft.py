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

    features: str = Field(description="feature file: .npz, or a folder of .npy")
    objective: Metric = "ap"
    method: CftMethod = "auto"
    preset: CftPreset | None = None
    base: BaseHead | None = Field(None, description="fit a first head where there is none")
    loss: Literal["bce", "asl"] = Field("bce", description="of backprop")
    uncertain: UncertainPolicy = Field("unknown", description="what uncertain fit labels count as")
    threshold: str | None = Field(None, description="max-f1, precision=X, recall=X or specificity=X, found on select")
    calibrate: bool = Field(True, description="re-fit scale and bias of adopted heads on select")
    select_share: float = Field(0.25, gt=0.0, lt=1.0, description="of the fit groups, where the file has no select")
    predictions: bool = Field(True, description="write logits on select and test: what `labelwise ensemble` reads")
    draws: int = Field(1000, ge=100, description="of the bootstrap on test")
    device: str = "auto"
    memory_gb: float = Field(1.0, gt=0.0, description="bound of the working arrays")
    seed: int = Field(0, ge=0)
