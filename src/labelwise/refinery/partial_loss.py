"""From the options of a recipe to the loss of a multi-label network, and what that loss needs to know beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from labelwise.config import LabelsConfig
from labelwise.errors import ConfigError
from labelwise.losses.binary import BinaryLoss, make_loss
from labelwise.models import checkpoint
from labelwise.refinery.context import NetworkSpec, TrainingContext
from labelwise.refinery.network import train_network
from labelwise.training.evaluate import predict_logits
from labelwise.training.partial_losses import (
    LargeLoss,
    PartialLoss,
    PermanentCorrection,
    PlainLoss,
    SelectiveLoss,
    SelfPacedLoss,
)


def make_partial_loss(context: TrainingContext, network: NetworkSpec, options: LabelsConfig) -> PartialLoss:
    """The loss that ``options`` name. For ``csl`` a network is trained first that ignores unknown labels.

    Raises
    ------
    ConfigError
        For a loss that cannot be had in this run.
    """
    if options.scheme != "plain" and (context.recipe.views.mixup > 0 or context.recipe.views.cutmix > 0):
        raise ConfigError(
            f"labels.scheme {options.scheme}: a mixed view has the labels of two samples; set views.mixup and"
            " views.cutmix to 0"
        )
    loss = _loss(options)
    match options.scheme:
        case "plain":
            return PlainLoss(loss)
        case "csl":
            return SelectiveLoss(
                _prior(context, network, options),
                loss,
                options.top,
                options.prior,
                options.gamma_unknown,
                options.margin,
            )
        case "ll-r":
            return LargeLoss("reject", options.rate, loss)
        case "ll-ct":
            return LargeLoss("correct", options.rate, loss)
        case "splc":
            return SelfPacedLoss(options.threshold)
    if context.runtime.shard.world > 1:
        raise ConfigError("labels.scheme ll-cp: remembers labels in one process; run it without torchrun")
    size = len(context.dataset), context.dataset.num_classes
    return PermanentCorrection(*size, rate=options.rate, loss=loss, device=context.runtime.device)


def _loss(options: LabelsConfig) -> BinaryLoss:
    return make_loss(
        options.loss,
        gamma=options.gamma,
        gamma_negative=options.gamma_negative,
        gamma_positive=options.gamma_positive,
        margin=options.margin,
    )


def _prior(context: TrainingContext, network: NetworkSpec, options: LabelsConfig) -> Tensor:
    """(C,) mean prediction on the fit samples by the same network, trained on given labels alone."""
    given = options.model_copy(update={"scheme": "plain", "unknown": "ignore", "loss": "bce"})
    prior = NetworkSpec(
        f"{network.name}-prior",
        "candidate",
        network.model,
        network.train,
        labels=given,
        without_fold=network.without_fold,
    )
    row = train_network(context, prior)
    model, _ = checkpoint.load(context.folder.parent / row["path"])
    rows = context.dataset.rows("fit")
    logits = predict_logits(model.to(context.runtime.device), context.loader, rows, context.runtime)
    return torch.sigmoid(logits).mean(0).to(context.runtime.device)
