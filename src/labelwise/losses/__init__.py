"""Losses in float32, finite at any logit, of soft targets and of partly known labels."""

from labelwise.losses.binary import asymmetric_loss, binary_cross_entropy
from labelwise.losses.soft import (
    distillation,
    entropy,
    kl_divergence,
    logit_squared_error,
    reverse_kl,
    soft_cross_entropy,
    squared_error,
    symmetric_kl,
    tempered,
)

__all__ = [
    "asymmetric_loss",
    "binary_cross_entropy",
    "distillation",
    "entropy",
    "kl_divergence",
    "logit_squared_error",
    "reverse_kl",
    "soft_cross_entropy",
    "squared_error",
    "symmetric_kl",
    "tempered",
]
