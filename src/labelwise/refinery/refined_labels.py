"""The refineries of a network as one labeller, and what ``chain.refined`` makes of their answers.

The labeller and its answers on centre views serve multi-label data too; ``chain.refined`` is for single-label data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import RefinedLabelsConfig
from labelwise.data.sampling import plan_evaluation
from labelwise.losses import distillation, logit_squared_error, reverse_kl, squared_error, symmetric_kl
from labelwise.models.classifier import Classifier
from labelwise.refinery.context import SCORE_VIEW, NetworkSpec, TrainingContext, changed
from labelwise.refinery.jitter import AdversarialJitter
from labelwise.refinery.labellers import RefineryLabels, softmax
from labelwise.training.evaluate import EVAL_BATCH
from labelwise.training.labeller import Labeller, StoredLabels, Tempered, hardened
from labelwise.training.task import Jitter, Loss


def refinery_labels(
    context: TrainingContext,
    network: NetworkSpec,
    refinery_models: Sequence[Classifier],
    probability: Callable[[Tensor], Tensor] = softmax,
    *,
    batch_statistics: bool = False,
) -> RefineryLabels:
    """The refineries of ``network`` as one labeller, all of them or, of each sample, the one that has not seen it."""
    unseen = None
    if _only_unseen(context, network):
        unseen = context.folds
    return RefineryLabels(
        refinery_models,
        context.dataset.classes,
        [refinery.name for refinery in network.refineries],
        context.runtime.device,
        context.runtime.accelerator.autocast,
        probability,
        unseen,
        batch_statistics,
    )


def fold_lineage(context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
    """What the labels of ``network`` depend on besides the networks that give them."""
    return {"unseen": context.recipe.chain.folds} if _only_unseen(context, network) else {}


def refined_lineage(context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
    """The options of ``chain.refined`` that are not at their default, for a network that has a refinery."""
    found = changed(_options_of(context, network)) if network.refineries else {}
    return {"refined": found} if found else {}


def _options_of(context: TrainingContext, network: NetworkSpec) -> RefinedLabelsConfig:
    """What becomes of the refinery's answer for ``network``."""
    return context.recipe.chain.refined if network.refined_labels is None else network.refined_labels


def labeller_of(context: TrainingContext, refinery: RefineryLabels, options: RefinedLabelsConfig) -> Labeller:
    """Temperature first, then the mean over crops where labels are per category.

    Labels that are stored are made hard before they are mixed; those of views are soft, for the task to make hard.
    """
    answer: Labeller = refinery if options.temperature == 1 else Tempered(refinery, options.temperature)
    if options.per == "view":
        return answer
    if options.per == "image":
        table = torch.from_numpy(centre_answers(context, answer)).to(context.runtime.device)
    else:
        table = category_means(context, answer, options.crops)
    by: Literal["row", "class"] = "row" if options.per == "image" else "class"
    return StoredLabels(hardened(table) if options.kind == "hard" else table, by, answer.describe())


def loss_of(options: RefinedLabelsConfig) -> Loss | None:
    """The loss by its name; None for KL, whose constant is left out."""
    match options.loss:
        case "kl":
            return None
        case "reverse_kl":
            return reverse_kl
        case "symmetric_kl":
            return symmetric_kl
        case "l2":
            return squared_error
        case "logit_l2":
            return logit_squared_error
        case "kd":
            return partial(distillation, temperature=options.temperature)


def jitter_of(
    context: TrainingContext, model: Classifier, refinery: RefineryLabels, options: RefinedLabelsConfig
) -> Jitter | None:
    """What moves the views of ``model``, if anything does."""
    jitter = options.jitter
    if jitter.step == 0:
        return None
    move = AdversarialJitter(model, refinery, jitter, options.temperature, context.runtime.accelerator.autocast)
    return Jitter(move, jitter.policy, jitter.share)


def described(options: RefinedLabelsConfig, names: str) -> str:
    """What a network with a refinery learns from, for tables."""
    per = {"view": "dynamic", "image": "static", "category": "by category"}[options.per]
    parts = [f"refinery {options.kind} {per} ({names})"]
    parts += [] if options.loss == "kl" else [options.loss]
    parts += [] if options.temperature == 1 else [f"temperature {options.temperature:g}"]
    parts += [] if options.given == 0 else [f"given label {100 * options.given:g}%"]
    parts += [] if options.norm == "eval" else ["statistics of the batch"]
    parts += [] if options.jitter.step == 0 else [f"jitter {options.jitter.step:g}/255"]
    return ", ".join(parts)


def centre_answers(context: TrainingContext, labeller: Labeller) -> NDArray[np.float32]:
    """The answers (N, K) on the centre view of every fit sample; NaN for the others."""
    dataset, runtime = context.dataset, context.runtime
    found = np.full((len(dataset), dataset.num_classes), np.nan, dtype=np.float32)
    rows = dataset.rows("fit")
    parts = [torch.empty(0, dataset.num_classes, device=runtime.device)]
    parts += [answer for _, answer in _answers(context, labeller, rows, None)]
    found[rows] = runtime.gather(torch.cat(parts)).cpu().numpy()
    return found


def category_means(context: TrainingContext, labeller: Labeller, crops: int) -> Tensor:
    """Row k (K,) of (K, K): the mean answer on ``crops`` random views of every fit image with the given label k.

    The views are some that training never draws. A class without fit images keeps its one-hot row.
    """
    classes, runtime = context.dataset.num_classes, context.runtime
    total = torch.zeros(classes, classes, device=runtime.device, dtype=torch.float64)
    for crop in range(crops):
        for given, answer in _answers(context, labeller, context.dataset.rows("fit"), SCORE_VIEW - 1 - crop):
            total.index_add_(0, given, answer.double())
    total = runtime.gather(total[None]).sum(0)
    count = total.sum(1, keepdim=True)
    own = torch.eye(classes, device=runtime.device, dtype=torch.float64)
    return torch.where(count > 0, total / count.clamp(min=1), own).float()


def _answers(
    context: TrainingContext, labeller: Labeller, rows: NDArray[np.int64], view: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Given labels (B,) and answers (B, K) on one view of every row, batch by batch."""
    plans = plan_evaluation(rows, EVAL_BATCH, context.runtime.shard, view)
    for batch in context.loader.stream(plans, labeller.sizes, context.seed):
        yield batch.given, labeller(batch)


def _only_unseen(context: TrainingContext, network: NetworkSpec) -> bool:
    folded = bool(network.refineries) and all(refinery.unseen_fold is not None for refinery in network.refineries)
    return folded and context.recipe.chain.fold_labels == "unseen"
