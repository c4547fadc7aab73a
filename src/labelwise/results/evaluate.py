"""The file of ``labelwise evaluate``: scores of one checkpoint on one split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from labelwise.results.record import Count, Number, Record, Split
from labelwise.results.refine import ClassScore


class Evaluation(Record):
    """Which checkpoint was scored on which data."""

    kind: Literal["evaluate"]
    model: str
    data: str
    split: Split | Literal["all"]


class SingleLabelEvaluation(Evaluation):
    """Scores of :func:`labelwise.metrics.classification.scores`."""

    task: Literal["single-label"]
    top1: Number
    top5: Number = None
    nll: Number
    ece: Number
    per_class: tuple[ClassScore, ...]


class KnownCounts(Record):
    """Labels that are scored."""

    positive: Count
    negative: Count


class LeftOut(Record):
    """Labels that are not scored, by why."""

    unknown: Count
    uncertain: Count
    inferred: Count
    soft: Count


class ApAuc(Record):
    """Both ranking metrics."""

    ap: Number
    auc: Number


class RateAt(Record):
    """The mean over categories of one rate at a value of the other."""

    at: Number
    mean: Number


class Decisions(Record):
    """Precision, recall and F1 over all categories, as :mod:`labelwise.metrics.multilabel` defines them."""

    cp: Number
    cr: Number
    cf1: Number
    macro_f1: Number
    op: Number
    overall_recall: Number = Field(validation_alias="or", serialization_alias="or")
    of1: Number
    scored: Count
    silent: Count


class TunedDecisions(Decisions):
    """The same at thresholds that were found on ``split`` by ``rule``, for so many ``categories``."""

    rule: str
    split: Split
    categories: Count


class TunedCategory(Record):
    """A category at its tuned threshold."""

    threshold: Number
    precision: Number
    recall: Number
    f1: Number


class EvaluatedCategory(TunedCategory):
    """A category at probability 0.5 or the checkpoint's own; ``tuned`` where thresholds were found on select."""

    name: str
    positives: Count
    negatives: Count
    ap: Number
    auc: Number
    nll: Number
    ece: Number
    sensitivity_at_specificity: Number
    specificity_at_sensitivity: Number
    tuned: TunedCategory | None = None


class CategoryCurve(Record):
    """Rates of a category at thresholds from the highest down."""

    name: str
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    false_positive_rate: tuple[float, ...]


class CategoryGroup(Record):
    """Means over a set of categories."""

    name: str
    map: Number
    mauc: Number
    scored: Count
    categories: Count


class Studies(Record):
    """Scores by study of CheXpert, and the mean AUC of the five categories of its competition."""

    number: Count
    competition_mauc: Number
    map: Number
    mauc: Number
    scored: Count
    categories: tuple[EvaluatedCategory, ...]


class MultiLabelEvaluation(Evaluation):
    """Scores of :func:`labelwise.metrics.multilabel.multilabel_scores`.

    ``own_thresholds`` is the number of categories that ``decisions`` decides at the checkpoint's own thresholds; the
    others at a probability of 0.5.
    """

    task: Literal["multi-label"]
    samples: Count
    known: KnownCounts
    left_out: LeftOut
    map: Number
    mauc: Number
    scored: Count
    micro: ApAuc
    weighted: ApAuc
    nll: Number
    ece: Number
    sensitivity_at_specificity: RateAt
    specificity_at_sensitivity: RateAt
    decisions: Decisions
    own_thresholds: Count = 0
    groups: tuple[CategoryGroup, ...]
    categories: tuple[EvaluatedCategory, ...]
    tuned: TunedDecisions | None
    studies: Studies | None = None
    curves: tuple[CategoryCurve, ...] | None = None


EvaluateResults = Annotated[SingleLabelEvaluation | MultiLabelEvaluation, Field(discriminator="task")]
