"""Losses in float32, finite at any logit, of soft targets and of partly known labels."""

from labelwise.losses.binary import asymmetric_loss, binary_cross_entropy
from labelwise.losses.soft import entropy, kl_divergence, soft_cross_entropy

__all__ = ["asymmetric_loss", "binary_cross_entropy", "entropy", "kl_divergence", "soft_cross_entropy"]
