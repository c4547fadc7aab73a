"""Every option of a recipe, typed. Unknown keys are refused; a run saves the configuration it resolved."""

from labelwise.config.cft import CftConfig
from labelwise.config.chain import (
    BaselineConfig,
    ChainConfig,
    GenerationConfig,
    JitterConfig,
    RefinedLabelsConfig,
    merge_refined_labels,
)
from labelwise.config.data import (
    DataConfig,
    KnownConfig,
    LabelColumnConfig,
    NoiseConfig,
    ViewConfig,
    VotesConfig,
    merge_views,
)
from labelwise.config.labels import (
    LabelsConfig,
    PseudoConfig,
    Share,
    UncertainName,
    UncertainPolicy,
    UnknownName,
    UnknownPolicy,
)
from labelwise.config.recipe import Recipe, load_recipe
from labelwise.config.train import ModelConfig, TaxonomyConfig, TrainConfig, merge_train, parse_lr_steps
from labelwise.config.types import Fraction, Metric, NonNegative, PositiveFloat, PositiveInt, Rate

__all__ = [
    "BaselineConfig",
    "CftConfig",
    "ChainConfig",
    "DataConfig",
    "Fraction",
    "GenerationConfig",
    "JitterConfig",
    "KnownConfig",
    "LabelColumnConfig",
    "LabelsConfig",
    "Metric",
    "ModelConfig",
    "NoiseConfig",
    "NonNegative",
    "PositiveFloat",
    "PositiveInt",
    "PseudoConfig",
    "Rate",
    "Recipe",
    "RefinedLabelsConfig",
    "Share",
    "TaxonomyConfig",
    "TrainConfig",
    "UncertainName",
    "UncertainPolicy",
    "UnknownName",
    "UnknownPolicy",
    "ViewConfig",
    "VotesConfig",
    "load_recipe",
    "merge_refined_labels",
    "merge_train",
    "merge_views",
    "parse_lr_steps",
]
