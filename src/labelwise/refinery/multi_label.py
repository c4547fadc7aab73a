"""Any number of categories per sample, few labels known: given ones stay, the refinery answers for the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.config import LabelsConfig, PseudoConfig
from labelwise.data.counter_rng import derive_seed
from labelwise.data.dataset import Dataset
from labelwise.labels import strategies
from labelwise.labels.table import INFERRED, UNKNOWN, LabelTable
from labelwise.losses.binary import BinaryLoss, make_loss
from labelwise.losses.partial import most_confident
from labelwise.metrics.calibration import binary_calibration_error
from labelwise.metrics.multilabel import hard_labels, probabilities
from labelwise.models import checkpoint
from labelwise.models.classifier import Classifier
from labelwise.refinery.context import (
    SCORE_VIEW,
    LearningPlan,
    Scores,
    TrainingContext,
    fit_sample,
    fixed_views,
    load_refinery,
)
from labelwise.refinery.generations import NetworkSpec, Refinery
from labelwise.refinery.labellers import RefineryLabels
from labelwise.refinery.stored import bound_store, stored_names
from labelwise.refinery.zero_shot import NAME, WithZeroShot, beside, open_zero_shot
from labelwise.results import METRICS
from labelwise.results.refine import ZeroShotCategory
from labelwise.settings import changed
from labelwise.training.multilabel import (
    MultiLabelTask,
    PseudoLabeller,
    joint_answer,
    pseudo_labels,
    rank_known,
    ranking_scores,
    scores_of,
)
from labelwise.training.partial_losses import (
    LargeLoss,
    PartialLoss,
    PermanentCorrection,
    PlainLoss,
    SelectiveLoss,
    SelfPacedLoss,
)
from labelwise.training.runtime import predict_logits
from labelwise.training.stored import StoredAnswers


class MultiLabel:
    """Training on partly known labels, and the refinement of unknown ones.

    Without refineries unknown labels are treated as ``recipe.labels`` says. With them, every unknown label becomes what
    the refinery believes of the view (``recipe.chain.unknown``); given labels are never replaced.
    """

    metric = METRICS["multi-label"]

    def prior_network(self, context: TrainingContext, network: NetworkSpec) -> NetworkSpec | None:
        """Of a network that learns by ``csl``: the same network, trained on given labels alone."""
        options = network.labels or context.recipe.labels
        if network.refineries or options.scheme != "csl":
            return None
        given = options.model_copy(update={"scheme": "plain", "unknown": "ignore", "loss": "bce"})
        return NetworkSpec(
            f"{network.name}-prior",
            "candidate",
            network.model,
            network.train,
            labels=given,
            without_fold=network.without_fold,
            views=network.views,
        )

    def plan(
        self, context: TrainingContext, network: NetworkSpec, model: Classifier, refinery: RefineryLabels | None
    ) -> LearningPlan:
        options, smoothing = network.labels or context.recipe.labels, network.train.label_smoothing
        table, unknown = self._decided(context, options)
        pseudo_labeller, labels = None, described(options, smoothing)
        pseudo, share = context.recipe.chain.unknown, _share(context, network)
        labeller: RefineryLabels | WithZeroShot | None = refinery
        zero_shot: tuple[ZeroShotCategory, ...] | None = None
        if refinery is not None and pseudo.zero_shot is not None:
            labeller, zero_shot = beside(context, refinery, 1 if network.unseen_labels else len(network.refineries))
        stored = None if network.store is None else bound_store(context, network)
        unlabelled = None
        partial_loss: PartialLoss = PlainLoss(_loss(options))  # refined labels are no assumption to be doubted
        if stored is not None:
            names = stored_names(network, stored)
            pseudo_labeller, labels = (
                PseudoLabeller(StoredAnswers(names), pseudo),
                refined_in_words(pseudo, None, names),
            )
            unlabelled = context.unlabelled(None)
        elif labeller is None:
            seed = derive_seed(context.seed, "unknown labels")
            table = strategies.unknown(table, options.unknown, seed, context.dataset.keys)
            partial_loss = _partial_loss(context, network, options)
        else:
            if pseudo.view == "each":
                views = fixed_views(pseudo.views - 1)  # besides the view itself
                others = context.several_answers(labeller, views) if views else None
                pseudo_labeller = PseudoLabeller(labeller, pseudo, others)
            else:
                probability, weight = joint_answer(context.several_answers(labeller, fixed_views(pseudo.views)), pseudo)
                table = fill_in(table, unknown, probability.cpu().numpy(), pseudo, share, weight.cpu().numpy())
            labels = refined_in_words(pseudo, share, labeller.names)
            unlabelled = context.unlabelled(labeller)
        rows = context.dataset.rows("fit")
        task = MultiLabelTask(
            table,
            rows if unlabelled is None else np.concatenate([rows, unlabelled.rows]),
            model.spec.size,
            context.runtime.device,
            partial_loss=partial_loss,
            pseudo_labeller=pseudo_labeller,
            unknown=unknown,
            smoothing=smoothing,
        )
        unchanged = labeller.assert_unchanged if labeller else lambda: None
        return LearningPlan(
            task, labels, unlabelled=unlabelled, stored=stored, assert_unchanged=unchanged, zero_shot=zero_shot
        )

    def lineage(self, context: TrainingContext, network: NetworkSpec) -> dict[str, Any]:
        options = changed(network.labels or context.recipe.labels)
        if network.refineries:
            share = _share(context, network)  # those of other rounds do not count
            options |= {"refined": changed(context.recipe.chain.unknown, {"share"})}
            if context.recipe.chain.unknown.zero_shot is not None:
                options["zero_shot"] = load_refinery(NAME, open_zero_shot(context)).weights_hash
            options |= {} if share is None else {"share": share}
        return {"labels": options}

    def select_scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> Scores:
        return ranking_scores(logits, _table(dataset).take(rows))

    def scores(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, Any]:
        table = _table(dataset).take(rows)
        ranks = rank_known(logits, table)
        errors = binary_calibration_error(probabilities(logits), hard_labels(table))
        columns = (table.categories, ranks.ap.tolist(), ranks.auc.tolist(), *_counts(ranks.positives, ranks.negatives))
        keys = ("category", "ap", "auc", "positives", "negatives")
        return scores_of(ranks, logits, table) | {
            "ece": float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan"),
            "scored": ranks.scored,
            "per_category": [dict(zip(keys, entry, strict=True)) for entry in zip(*columns, strict=True)],
        }

    def predictions(self, dataset: Dataset, logits: Tensor, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {"logits": logits.numpy()}

    def fit_scores(self, context: TrainingContext, model: Classifier) -> Scores:
        """How the network sees its own training images.

        ``map`` against the known labels on one random crop each, in eval mode (a sample of the images). Where labels
        were hidden for an experiment, what it makes of them on centre views: ``hidden_map``, and
        ``refined_label_accuracy``, the share of them that its rounded probability gets right.
        """
        dataset, table = context.dataset, _table(context.dataset)
        sample = fit_sample(dataset)
        crops = predict_logits(model, context.loader, sample, context.runtime, view=SCORE_VIEW, seed=context.seed)
        out = {"map": ranking_scores(crops, table.take(sample))["map"]}
        if dataset.true_table is None:
            return out
        true = dataset.true_table.take(sample)
        hidden = true.hide(true.known & ~table.take(sample).known)
        if hidden.known.any():
            logits = predict_logits(model, context.loader, sample, context.runtime)
            right = (logits.numpy() > 0) == (hidden.values >= 0.5)
            out["hidden_map"] = ranking_scores(logits, hidden)["map"]
            out["refined_label_accuracy"] = float(right[hidden.known].mean())
        return out

    def _decided(self, context: TrainingContext, options: LabelsConfig) -> tuple[LabelTable, NDArray[np.bool_]]:
        """The table with its uncertain labels decided, and where a label is unknown then."""
        seed = derive_seed(context.seed, "uncertain labels")
        table = strategies.uncertain(_table(context.dataset), options.uncertain, seed, context.dataset.keys)
        return table, table.source == UNKNOWN


def fill_in(
    table: LabelTable,
    unknown: NDArray[np.bool_],
    probability: NDArray[np.float32],
    options: PseudoConfig,
    share: float | None = None,
    weight: NDArray[np.float32] | None = None,
) -> LabelTable:
    """``table`` with refined labels where ``unknown``.

    Parameters
    ----------
    unknown : (N, C)
    probability : (N, C) of the refinery; NaN leaves a label unknown
    share : of the unknown labels that the refinery answers for, the surest so many; None: all that ``options`` let in
    weight : (N, C) share of ``options.weight`` that each label has; default: 1
    """
    found = torch.from_numpy(probability)
    if share is None:
        labels = pseudo_labels(found, options).numpy()
    else:
        asked = torch.from_numpy(unknown) & ~found.isnan()
        labels = most_confident(
            found.logit(),
            asked,
            share,
            per_category=options.per_category,
            positive_only=options.positive_only,
        ).numpy()
    here = unknown & ~np.isnan(labels)
    values = np.where(here, labels, table.values)
    source = np.where(here, np.uint8(INFERRED), table.source)
    others = np.float32(1) if table.weight is None else table.weight
    own = np.float32(options.weight) * (np.float32(1) if weight is None else weight)
    return replace(table, values=values, source=source, weight=np.where(here, own, others))


def described(options: LabelsConfig, smoothing: float) -> str:
    """What a network without a refinery learns from, for tables."""
    unknown = options.unknown if isinstance(options.unknown, str) else "by category or drawn"
    words = {"ignore": "given", "negative": "given, unknown as negative", "positive": "given, unknown as positive"}
    parts = [words.get(unknown, f"given, unknown {unknown}")]
    parts += [options.loss] if options.loss != "bce" else []
    parts += [options.scheme] if options.scheme != "plain" else []
    return ", ".join(parts) + ("" if smoothing == 0 else f", smoothed {smoothing:g}")


def _share(context: TrainingContext, network: NetworkSpec) -> float | None:
    """The share of unknown labels that is refined in the generation of ``network``."""
    chain = context.recipe.chain
    generation = network.generation or 1
    return chain.unknown.share_in(generation if chain.refinery else generation - 1)


def refined_in_words(options: PseudoConfig, share: float | None, names: str) -> str:
    """What a network with a refinery learns from, for tables."""
    view = "dynamic" if options.view == "each" else "static"
    surest = "" if share is None else f", surest {100 * share:g}%"
    several = "" if options.views == 1 else f", mean of {options.views} views"
    agreement = "" if options.agreement == "none" else f", whose agreement {options.agreement}s"
    return f"refinery {options.kind} {view}{surest} ({names}){several}{agreement}"


def _partial_loss(context: TrainingContext, network: NetworkSpec, options: LabelsConfig) -> PartialLoss:
    """The loss that ``options`` name, for labels that were assumed."""
    loss = _loss(options)
    match options.scheme:
        case "plain":
            return PlainLoss(loss)
        case "csl":
            prior = _mean_prediction(context, network.prior)
            return SelectiveLoss(prior, loss, options.top, options.prior, options.gamma_unknown, options.margin)
        case "ll-r":
            return LargeLoss("reject", options.rate, loss)
        case "ll-ct":
            return LargeLoss("correct", options.rate, loss)
        case "ll-cp":
            size = len(context.dataset), context.dataset.num_classes
            return PermanentCorrection(*size, rate=options.rate, loss=loss, device=context.runtime.device)
        case "splc":
            return SelfPacedLoss(options.threshold)


def _loss(options: LabelsConfig) -> BinaryLoss:
    return make_loss(
        options.loss,
        gamma=options.gamma,
        gamma_negative=options.gamma_negative,
        gamma_positive=options.gamma_positive,
        margin=options.margin,
    )


def _mean_prediction(context: TrainingContext, prior: Refinery | None) -> Tensor:
    """(C,) mean prediction of the finished network ``prior`` on the fit samples."""
    assert prior is not None, "the network of prior_network is trained before one that learns by csl"
    model, _ = checkpoint.load(prior.path, context.trust)
    rows = context.dataset.rows("fit")
    logits = predict_logits(model.to(context.runtime.device), context.loader, rows, context.runtime)
    return torch.sigmoid(logits).mean(0).to(context.runtime.device)


def _table(dataset: Dataset) -> LabelTable:
    assert dataset.table is not None
    return dataset.table


def _counts(*counts: Tensor) -> list[list[int]]:
    return [count.tolist() for count in counts]
