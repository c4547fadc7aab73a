"""One class per sample: cross-entropy against the label of the view, top-1 accuracy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from labelwise.config import RefinedLabelsConfig, TrainConfig
from labelwise.data.dataset import Dataset
from labelwise.labels import taxonomy
from labelwise.labels.trust import trust_weights
from labelwise.losses import (
    distillation,
    entropy,
    logit_squared_error,
    reverse_kl,
    squared_error,
    symmetric_kl,
)
from labelwise.metrics import classification
from labelwise.metrics.classification import topk_correct
from labelwise.models.classifier import Classifier
from labelwise.refinery.context import SCORE_VIEW, LearningPlan, Scores, TrainingContext, fit_sample, fixed_views
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.jitter import AdversarialJitter
from labelwise.refinery.labellers import AveragedViews, GivenLabels, RefineryLabels, StoredLabels, Tempered
from labelwise.refinery.stored import bound_store, stored_names
from labelwise.results import METRICS
from labelwise.settings import changed
from labelwise.training.runtime import predict_logits
from labelwise.training.stored import StoredLabelTask
from labelwise.training.task import GivenShare, Jitter, Labeller, Loss, SoftLabelTask, halved, hardened


class SingleLabel:
    """The setting of Label Refinery (arXiv 1805.02641): the refinery's label of a view replaces the given one."""

    metric = METRICS["single-label"]

    def prior_network(self, context: TrainingContext, network: NetworkSpec) -> NetworkSpec | None:
        return None

    def plan(
        self, context: TrainingContext, network: NetworkSpec, model: Classifier, refinery: RefineryLabels | None
    ) -> LearningPlan:
        dataset, runtime, size = context.dataset, context.runtime, model.spec.size
        trust = None if refinery is None else trust_in_given(context, network, refinery)
        class_weight, sample_weight = _balance(dataset, dataset.rows("fit"), network.train.balance, trust)
        weight = None if class_weight is None else torch.from_numpy(class_weight).to(runtime.device)
        given = given_labels(dataset, network.train)
        if refinery is None and network.store is None:
            return LearningPlan(SoftLabelTask(given, size, weight), given.describe(), sample_weight)
        options, unlabelled = network.refined_labels, context.unlabelled(refinery)
        reviewed = _reviewed(dataset)
        share = _share_of_given(given, options.given, reviewed)
        kept = f", {int(reviewed[dataset.rows('fit')].sum()):,} reviewed labels kept" if reviewed is not None else ""
        if refinery is None:
            stored = bound_store(context, network)
            learning = StoredLabelTask(
                size,
                dataset.num_classes,
                options,
                rest=context.recipe.chain.store_rest,
                class_weight=weight,
                given=share,
                unlabelled=unlabelled is not None,
            )
            words = described(options, stored_names(network, stored)) + kept
            return LearningPlan(learning, words, sample_weight, unlabelled, stored)
        task = SoftLabelTask(
            refined_labels(context, refinery, options),
            size,
            weight,
            form=_FORMS[options.kind] if options.per == "view" else None,
            loss=_loss(options),
            given=share,
            jitter=_jitter(context, model, refinery, options),
            unlabelled=unlabelled is not None,
        )
        words = described(options, refinery.names) + kept
        return LearningPlan(task, words, sample_weight, unlabelled, assert_unchanged=refinery.assert_unchanged)

    def lineage(self, context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
        options = changed(network.refined_labels) if network.refineries else {}
        found: dict[str, Any] = {"refined": options} if options else {}
        return found | ({"trusted_by": "unseen"} if "trust" in options and network.crossfitted else {})

    def select_scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> Scores:
        found = classification.scores(logits, torch.from_numpy(dataset.label[rows]))
        return {name: found[name] for name in ("top1", "nll")}

    def scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, Any]:
        found = classification.scores(logits, torch.from_numpy(dataset.label[rows]), dataset.classes)
        human = {} if dataset.votes is None else classification.human_scores(logits, dataset.votes[rows])
        return found | human

    def predictions(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        correct = topk_correct(logits, torch.from_numpy(dataset.label[rows]), 1).numpy()
        return {"correct": correct, "prediction": logits.argmax(1).numpy(), "label": dataset.label[rows]}

    def fit_scores(self, context: TrainingContext, model: Classifier) -> Scores:
        """How the network sees its own training images.

        On one random crop each, in eval mode (a sample of the images): ``top1`` and ``ece`` against the given labels,
        mean ``entropy`` of its answers in nats, ``human_ce`` and ``human_kl`` where people voted. Where the true labels
        are known, from the centre view of every image: ``noise_auroc`` of 1 - q[given] against "the given label is
        wrong", the number of ``wrong_labels`` and how many are ``wrong_found`` among as many first samples by it, and
        ``refined_label_accuracy`` of its top class.
        """
        dataset = context.dataset
        rows, sample = dataset.rows("fit"), fit_sample(dataset)
        crops = predict_logits(model, context.loader, sample, context.runtime, view=SCORE_VIEW, seed=context.seed)
        given = torch.from_numpy(dataset.label[sample])
        seen = classification.scores(crops, given)
        out: Scores = {name: seen[name] for name in ("top1", "ece")}
        out["entropy"] = entropy(torch.softmax(crops, 1)).mean().item()
        if dataset.votes is not None:
            out |= classification.human_scores(crops, dataset.votes[sample])
        if dataset.true_label is None:
            return out
        wrong = dataset.label[rows] != dataset.true_label[rows]
        if wrong.any() and not wrong.all():
            q = torch.softmax(predict_logits(model, context.loader, rows, context.runtime), 1).numpy()
            belief = q[np.arange(len(rows)), dataset.label[rows]]
            out["noise_auroc"] = float(roc_auc_score(wrong, 1 - belief))
            out["wrong_labels"] = float(wrong.sum())
            out["wrong_found"] = float(wrong[np.argsort(belief, kind="stable")[: wrong.sum()]].sum())
            out["refined_label_accuracy"] = float((q.argmax(1) == dataset.true_label[rows]).mean())
        return out


_FORMS: dict[str, Callable[[Tensor], Tensor] | None] = {"soft": None, "hard": hardened, "top2": halved}


def refined_labels(context: TrainingContext, refinery: RefineryLabels, options: RefinedLabelsConfig) -> Labeller:
    """What ``chain.refined`` makes of the refinery's answers: temperature first, then the mean over views or crops.

    Labels that are stored get their form before they are mixed; those of views are soft, for the task to form.
    """
    answer = _tempered(refinery, options)
    if options.per == "view":
        if options.views == 1:
            return answer
        others = context.mean_answers(answer, fixed_views(options.views - 1))
        return AveragedViews(answer, StoredLabels(others, "row", answer.describe()), options.views)
    if options.per == "image":
        table = context.mean_answers(answer, fixed_views(options.views))
    else:
        table = category_means(context, answer, options.crops)
    by: Literal["row", "class"] = "row" if options.per == "image" else "class"
    form = _FORMS[options.kind]
    return StoredLabels(table if form is None else form(table), by, answer.describe())


def trust_in_given(
    context: TrainingContext, network: NetworkSpec, refinery: RefineryLabels
) -> NDArray[np.float64] | None:
    """How often each fit sample (n,) is drawn by ``chain.refined.trust``; None: equally often.

    The label of the image decides, of the fold network that has not seen it where there are folds: a network that has
    learnt a wrong label agrees with it.
    """
    options, dataset = network.refined_labels, context.dataset
    if options.trust == "all":
        return None
    answer = _tempered(refinery.by_unseen(context.folds) if network.crossfitted else refinery, options)
    rows = dataset.rows("fit")
    found = context.mean_answers(answer, fixed_views(options.views))[torch.from_numpy(rows)].cpu().numpy()
    weights, reviewed = trust_weights(found, dataset.label[rows], options.trust), _reviewed(dataset)
    return weights if reviewed is None else np.where(reviewed[rows], 1.0, weights)


def _share_of_given(given: Labeller, weight: float, reviewed: NDArray[np.bool_] | None) -> GivenShare | None:
    if reviewed is None:
        return GivenShare(given, weight) if weight > 0 else None
    return GivenShare(given, weight, torch.from_numpy(reviewed))


def _reviewed(dataset: Dataset) -> NDArray[np.bool_] | None:
    """Samples (N,) whose given label a person has looked at, and no refinery replaces; None where there are none."""
    return dataset.reviewed if dataset.reviewed is not None and dataset.reviewed.any() else None


def _tempered(refinery: RefineryLabels, options: RefinedLabelsConfig) -> Labeller:
    return refinery if options.temperature == 1 else Tempered(refinery, options.temperature)


def category_means(context: TrainingContext, labeller: Labeller, crops: int) -> Tensor:
    """Row k (K,) of (K, K): the mean answer on ``crops`` random views of every fit image with the given label k.

    The views are some that training never draws. A class without fit images keeps its one-hot row.
    """
    classes, runtime = context.dataset.num_classes, context.runtime
    total = torch.zeros(classes, classes, device=runtime.device, dtype=torch.float64)
    for view in fixed_views(crops + 1)[1:]:
        for given, answer in context.answers(labeller, view):
            total.index_add_(0, given, answer.double())
    total = runtime.gather(total[None]).sum(0)
    count = total.sum(1, keepdim=True)
    own = torch.eye(classes, device=runtime.device, dtype=torch.float64)
    return torch.where(count > 0, total / count.clamp(min=1), own).float()


def _loss(options: RefinedLabelsConfig) -> Loss | None:
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


def _jitter(
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
    parts += [] if options.views == 1 else [f"mean of {options.views} views"]
    parts += [] if options.trust == "all" else [f"trust {options.trust}"]
    parts += [] if options.given == 0 else [f"given label {100 * options.given:g}%"]
    parts += [] if options.norm == "eval" else ["statistics of the batch"]
    parts += [] if options.jitter.step == 0 else [f"jitter {options.jitter.step:g}/255"]
    return ", ".join(parts)


def given_labels(dataset: Dataset, train: TrainConfig) -> Labeller:
    """The given labels, as they are, smoothed, or spread over a taxonomy."""
    if train.taxonomy is None:
        return GivenLabels(dataset.num_classes, train.label_smoothing)
    distance = taxonomy.read_taxonomy(Path(train.taxonomy.file), dataset.classes)
    temperature = taxonomy.temperature_of(distance, train.taxonomy.mass)
    labels = taxonomy.soft_labels(distance, temperature=temperature)
    words = f"given, by taxonomy (mean mass {train.taxonomy.mass:g})"
    return StoredLabels(torch.from_numpy(labels), "class", words)


def _balance(
    dataset: Dataset, rows: NDArray[np.int64], balance: str, trust: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """Weights per class for the loss (mean 1 over what is drawn), and per sample for drawing; None: all alike.

    Classes are balanced by inverse frequency. A class is as frequent as its samples are drawn by ``trust``.
    """
    if balance == "none":
        return None, trust
    share = None if trust is None else trust / trust.mean()
    count = np.bincount(dataset.label[rows], share, minlength=dataset.num_classes)
    weight = len(rows) / (dataset.num_classes * np.where(count > 0, count, 1))
    if balance == "class_weights":
        return weight.astype(np.float32), trust
    drawn = weight[dataset.label[rows]]
    return None, drawn if trust is None else drawn * trust
