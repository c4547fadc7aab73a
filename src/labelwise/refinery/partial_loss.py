"""From the options of a recipe to the loss of a multi-label network, and what that loss needs to know beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from labelwise.config import LabelsConfig
from labelwise.errors import ConfigError
from labelwise.losses.binary import BinaryLoss, make_loss
from labelwise.models import checkpoint
from labelwise.refinery.context import Bench, Node
from labelwise.refinery.network import run_node
from labelwise.training.evaluate import predict_logits
from labelwise.training.schemes import LargeLoss, PermanentCorrection, Plain, Scheme, Selective, Splc


def make_scheme(bench: Bench, node: Node, options: LabelsConfig) -> Scheme:
    """The scheme that ``options`` name. For ``csl`` a network is trained first that ignores unknown labels.

    Raises
    ------
    ConfigError
        For a scheme that cannot be had in this run.
    """
    if options.scheme != "plain" and (bench.recipe.views.mixup > 0 or bench.recipe.views.cutmix > 0):
        raise ConfigError(
            f"labels.scheme {options.scheme}: a mixed view has the labels of two samples; set views.mixup and"
            " views.cutmix to 0"
        )
    loss = _loss(options)
    match options.scheme:
        case "plain":
            return Plain(loss)
        case "csl":
            return Selective(
                _prior(bench, node, options), loss, options.top, options.prior, options.gamma_unknown, options.margin
            )
        case "ll-r":
            return LargeLoss("reject", options.rate, loss)
        case "ll-ct":
            return LargeLoss("correct", options.rate, loss)
        case "splc":
            return Splc(options.threshold)
    if bench.runtime.shard.world > 1:
        raise ConfigError("labels.scheme ll-cp: remembers labels in one process; run it without torchrun")
    size = len(bench.dataset), bench.dataset.num_classes
    return PermanentCorrection(*size, rate=options.rate, loss=loss, device=bench.runtime.device)


def _loss(options: LabelsConfig) -> BinaryLoss:
    return make_loss(
        options.loss,
        gamma=options.gamma,
        gamma_negative=options.gamma_negative,
        gamma_positive=options.gamma_positive,
        margin=options.margin,
    )


def _prior(bench: Bench, node: Node, options: LabelsConfig) -> Tensor:
    """(C,) mean prediction on the fit samples by the same network, trained on given labels alone."""
    given = options.model_copy(update={"scheme": "plain", "unknown": "ignore", "loss": "bce"})
    before = Node(f"{node.name}-prior", "candidate", node.model, node.train, labels=given, without=node.without)
    row = run_node(bench, before)
    model, _ = checkpoint.load(bench.folder.parent / row["path"])
    rows = bench.dataset.rows("fit")
    logits = predict_logits(model.to(bench.runtime.device), bench.loader, rows, bench.runtime)
    return torch.sigmoid(logits).mean(0).to(bench.runtime.device)
