"""How one training step treats labels that nobody gave: assumed negatives may be dropped, turned round or ignored.

What an unknown label is assumed to be is decided beforehand (``labelwise.labels.strategies``). A loss of this module
decides, from what the network says now, how far to believe it. Given labels always count as they are.

Where a rule takes the largest or most likely entries of a batch, the batch is what the call sees: with several
processes or a batch cut into parts each part chooses its own share, rounded up, so many small parts choose more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from labelwise.errors import ConfigError, RunError
from labelwise.losses.binary import BinaryLoss, asymmetric_loss, binary_cross_entropy, focal_loss
from labelwise.losses.partial import largest, selective_ignore, splc_targets


class PartialLoss(Protocol):
    """The loss of a batch under a rule for labels that are not given."""

    def __call__(
        self, logits: Tensor, target: Tensor, weight: Tensor, unknown: Tensor, rows: Tensor, epoch: int
    ) -> Tensor:
        """Loss of every label.

        Parameters
        ----------
        logits : (B, C)
        target : (B, C) float in [0, 1]; NaN where nothing is known or inferred
        weight : (B, C) at least 0; a label of weight 0 counts nothing, and no rule looks at it
        unknown : (B, C) bool, the label is not given: its target is NaN or was inferred
        rows : (B,) int64, which sample each is; only :class:`PermanentCorrection` remembers anything of a sample
        epoch : 0 is the first

        Returns
        -------
        (B, C) float32, weighted; 0 where nothing counts
        """
        ...


@dataclass(frozen=True)
class PlainLoss:
    """Every label that has a value counts, given or inferred."""

    loss: BinaryLoss = binary_cross_entropy

    def __call__(
        self, logits: Tensor, target: Tensor, weight: Tensor, unknown: Tensor, rows: Tensor, epoch: int
    ) -> Tensor:
        return self.loss(logits, target, weight)


@dataclass(frozen=True, eq=False)
class SelectiveLoss:
    """Class-aware selective loss (CSL with P-ASL, Ben-Baruch et al. 2022, arXiv 2110.10955).

    Unknown labels, whatever was inferred for them, are negatives with a focusing power of their own, except those that
    :func:`labelwise.losses.partial.selective_ignore` ignores.

    Parameters
    ----------
    prior : (C,) estimated frequency of each category; on the device of the logits, or it is copied in every step
    loss : of given labels. The paper's is the asymmetric loss with gamma_negative 1 (labels dropped at random) or 3
    top : so many times the batch size are ignored as likely positives
    prior_threshold : categories with a prior above it are ignored where unknown
    gamma_unknown, margin : the asymmetric loss of unknown labels; 0 and 0 make it cross-entropy

    Raises
    ------
    ConfigError
        For a negative ``top`` or ``gamma_unknown``.
    """

    prior: Tensor
    loss: BinaryLoss = asymmetric_loss
    top: int = 5
    prior_threshold: float = 0.5
    gamma_unknown: float = 4.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        if self.top < 0 or self.gamma_unknown < 0:
            raise ConfigError(
                f"selective: top and gamma_unknown must be at least 0, got {self.top} and {self.gamma_unknown:g}"
            )

    def __call__(
        self, logits: Tensor, target: Tensor, weight: Tensor, unknown: Tensor, rows: Tensor, epoch: int
    ) -> Tensor:
        seen = unknown & (weight > 0)
        ignored = selective_ignore(logits, seen, self.prior, top=self.top, prior_threshold=self.prior_threshold)
        given = self.loss(logits, torch.where(unknown, torch.nan, target), weight)
        negative = torch.where(seen & ~ignored, 0.0, torch.nan)
        return given + asymmetric_loss(logits, negative, weight, gamma_negative=self.gamma_unknown, margin=self.margin)


@dataclass(frozen=True)
class LargeLoss:
    """Large Loss (Kim et al. 2022, arXiv 2206.03740): the assumed labels of largest loss are probably wrong.

    Of a batch, ceil(epoch x rate x B x C) assumed labels, none in the first epoch, are dropped (LL-R) or, in this step
    alone, turned round: y becomes 1 - y, an assumed negative a positive (LL-Ct).

    Parameters
    ----------
    kind : ``reject`` or ``correct``
    rate : share of all labels by which the number grows with every epoch; 0.001 to 0.005 in the paper
    loss : ranks the labels and is trained on

    Raises
    ------
    ConfigError
        For another kind, or a rate outside [0, 1].
    """

    kind: Literal["reject", "correct"]
    rate: float = 0.002
    loss: BinaryLoss = binary_cross_entropy

    def __post_init__(self) -> None:
        if self.kind not in ("reject", "correct"):
            raise ConfigError(f"large loss: kind must be reject or correct, got {self.kind!r}")
        _check_rate(self.rate)

    def __call__(
        self, logits: Tensor, target: Tensor, weight: Tensor, unknown: Tensor, rows: Tensor, epoch: int
    ) -> Tensor:
        count = _count(epoch * self.rate, logits)
        doubtful = _largest_assumed(self.loss, logits, target, _assumed(target, weight, unknown), count)
        instead = torch.full_like(target, torch.nan) if self.kind == "reject" else 1 - target
        return self.loss(logits, torch.where(doubtful, instead, target), weight)


@dataclass(frozen=True)
class SelfPacedLoss:
    """Self-paced loss correction (Zhang et al. 2021, arXiv 2112.07368) with the focal margin loss.

    From the second epoch on, assumed labels with p above the threshold are positive. They cost what a given positive
    costs, margin included, as the paper's formula has it.

    Parameters
    ----------
    threshold : probability above which an assumed label is corrected
    margin, gamma : of :func:`labelwise.losses.binary.focal_loss`

    Raises
    ------
    ConfigError
        For a threshold outside [0, 1] or a negative gamma.
    """

    threshold: float = 0.6
    margin: float = 1.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or self.gamma < 0:
            raise ConfigError(
                f"splc: threshold must be in [0, 1] and gamma at least 0, got {self.threshold:g} and {self.gamma:g}"
            )

    def __call__(
        self, logits: Tensor, target: Tensor, weight: Tensor, unknown: Tensor, rows: Tensor, epoch: int
    ) -> Tensor:
        if epoch >= 1:
            target = splc_targets(logits, target, _assumed(target, weight, unknown), self.threshold)
        return focal_loss(logits, target, weight, gamma=self.gamma, margin=self.margin)


class PermanentCorrection:
    """LL-Cp of Large Loss (Kim et al. 2022): assumed labels of large loss are turned round for good.

    From the second epoch on, every call turns round the ceil(rate x B x C) assumed labels of largest loss that are not
    yet: y becomes 1 - y, in this step and whenever the sample comes again.

    ``flipped`` (N, C) bool is all it remembers. Every process remembers what it has seen; for one memory of all,
    join theirs by "or" between epochs. Mixed views have two samples and one row: do not mix.

    Parameters
    ----------
    samples, categories : N, C of the data set that ``rows`` count in
    rate : share of a batch's labels that a call turns round
    loss : ranks the labels and is trained on
    device : of the batches

    Raises
    ------
    ConfigError
        For a rate outside [0, 1].
    """

    def __init__(
        self,
        samples: int,
        categories: int,
        *,
        rate: float = 0.002,
        loss: BinaryLoss = binary_cross_entropy,
        device: torch.device | str = "cpu",
    ) -> None:
        _check_rate(rate)
        self.flipped = torch.zeros(samples, categories, dtype=torch.bool, device=device)
        self._rate, self._loss = rate, loss

    def __call__(
        self, logits: Tensor, target: Tensor, weight: Tensor, unknown: Tensor, rows: Tensor, epoch: int
    ) -> Tensor:
        flipped = self.flipped[rows] & unknown
        if epoch >= 1:
            standing = _assumed(target, weight, unknown) & ~flipped
            flipped |= _largest_assumed(self._loss, logits, target, standing, _count(self._rate, logits))
            # A sample may be twice in a batch: "or", and not one of the two.
            self.flipped.index_put_((rows,), flipped, accumulate=True)
        return self._loss(logits, torch.where(flipped, 1 - target, target), weight)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold for a run to go on: ``flipped``, not a copy."""
        return {"flipped": self.flipped}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state_dict` gave, in place.

        Raises
        ------
        RunError
            If it is of other data.
        """
        found = state.get("flipped")
        if found is None or found.shape != self.flipped.shape or found.dtype != torch.bool:
            had = "nothing" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise RunError(f"corrected labels: expected bool {tuple(self.flipped.shape)} under 'flipped', found {had}")
        self.flipped.copy_(found)


def _assumed(target: Tensor, weight: Tensor, unknown: Tensor) -> Tensor:
    """Labels that were not given and yet count, (B, C) bool."""
    return unknown & ~torch.isnan(target) & (weight > 0)


def _largest_assumed(loss: BinaryLoss, logits: Tensor, target: Tensor, assumed: Tensor, count: int) -> Tensor:
    """The ``count`` assumed labels of largest loss, regardless of weight, (B, C) bool."""
    if count == 0:
        return torch.zeros_like(assumed)
    with torch.no_grad():
        return largest(loss(logits, target, None), assumed, count)


def _count(share: float, logits: Tensor) -> int:
    """ceil(share x B x C); a product that is whole but for rounding stays what it is."""
    return math.ceil(share * logits.numel() - 1e-9)


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ConfigError(f"large loss: rate is a share of the labels in [0, 1], got {rate:g}")
