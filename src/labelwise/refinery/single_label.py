"""One class per sample: cross-entropy against the label of the view, top-1 accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from labelwise.config import TrainConfig
from labelwise.data.dataset import Dataset
from labelwise.labels import taxonomy
from labelwise.losses import entropy
from labelwise.metrics import classification
from labelwise.metrics.classification import topk_correct
from labelwise.models.classifier import Classifier
from labelwise.refinery.context import SCORE_VIEW, LearningPlan, NetworkSpec, Scores, TrainingContext, fit_sample
from labelwise.refinery.refined_labels import (
    _options_of,
    described,
    fold_lineage,
    jitter_of,
    labeller_of,
    loss_of,
    refined_lineage,
    refinery_labels,
)
from labelwise.training.evaluate import predict_logits
from labelwise.training.labeller import GivenLabels, Labeller, StoredLabels
from labelwise.training.task import SoftLabelTask


class SingleLabel:
    """The setting of Label Refinery (arXiv 1805.02641): the refinery's label of a view replaces the given one."""

    metric = "top1"

    def plan(
        self, context: TrainingContext, network: NetworkSpec, model: Classifier, refinery_models: Sequence[Classifier]
    ) -> LearningPlan:
        dataset, runtime, size = context.dataset, context.runtime, model.spec.size
        class_weight, sample_weight = _balance(dataset, dataset.rows("fit"), network.train.balance)
        weight = None if class_weight is None else torch.from_numpy(class_weight).to(runtime.device)
        if not refinery_models:
            given = _given_labels(dataset, network.train)
            return LearningPlan(SoftLabelTask(given, size, weight), given.describe(), sample_weight)
        options = _options_of(context, network)
        refinery = refinery_labels(context, network, refinery_models, batch_statistics=options.norm == "batch")
        task = SoftLabelTask(
            labeller_of(context, refinery, options),
            size,
            weight,
            hard=options.kind == "hard" and options.per == "view",
            loss=loss_of(options),
            given=(_given_labels(dataset, network.train), options.given) if options.given > 0 else None,
            jitter=jitter_of(context, model, refinery, options),
        )
        return LearningPlan(task, described(options, refinery.names), sample_weight, refinery.assert_unchanged)

    def lineage(self, context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
        return refined_lineage(context, network) | fold_lineage(context, network)

    def select_scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> Scores:
        found = classification.scores(logits, torch.from_numpy(dataset.label[rows]))
        return {name: found[name] for name in ("top1", "nll")}

    def scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, Any]:
        found = classification.scores(logits, torch.from_numpy(dataset.label[rows]), dataset.classes)
        human = {} if dataset.votes is None else classification.human_scores(logits, dataset.votes[rows])
        return found | human

    def predictions(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        correct = topk_correct(logits, torch.from_numpy(dataset.label[rows]), 1).numpy()
        return {"correct": correct, "prediction": logits.argmax(1).numpy()}

    def fit_scores(self, context: TrainingContext, model: Classifier) -> Scores:
        """How the network sees its own training images.

        On one random crop each, in eval mode (a sample of the images): ``top1`` and ``ece`` against the given labels,
        mean ``entropy`` of its answers in nats, ``human_ce`` and ``human_kl`` where people voted. Where the true labels
        are known, from the centre view of every image: ``noise_auroc`` of 1 - q[given] against "the given label is
        wrong", and ``refined_label_accuracy`` of its top class.
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
            out["noise_auroc"] = float(roc_auc_score(wrong, 1 - q[np.arange(len(rows)), dataset.label[rows]]))
            out["refined_label_accuracy"] = float((q.argmax(1) == dataset.true_label[rows]).mean())
        return out


def _given_labels(dataset: Dataset, train: TrainConfig) -> Labeller:
    """The given labels, as they are, smoothed, or spread over a taxonomy."""
    if train.taxonomy is None:
        return GivenLabels(dataset.num_classes, train.label_smoothing)
    distance = taxonomy.read_taxonomy(Path(train.taxonomy.file), dataset.classes)
    temperature = taxonomy.temperature_of(distance, train.taxonomy.mass)
    labels = taxonomy.soft_labels(distance, temperature=temperature)
    words = f"given, by taxonomy (mean mass {train.taxonomy.mass:g})"
    return StoredLabels(torch.from_numpy(labels), "class", words)


def _balance(
    dataset: Dataset, rows: NDArray[np.int64], balance: str
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """Weights per class for the loss (mean 1 over the samples), or per sample for drawing; inverse frequency."""
    if balance == "none":
        return None, None
    count = np.bincount(dataset.label[rows], minlength=dataset.num_classes)
    weight = len(rows) / (dataset.num_classes * np.maximum(count, 1))
    if balance == "class_weights":
        return weight.astype(np.float32), None
    return None, weight[dataset.label[rows]]
