"""Who learns from whom, what becomes of a refinery's answer, and the controls beside it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from labelwise.config.labels import PseudoConfig
from labelwise.config.train import ModelConfig
from labelwise.config.types import Fraction, NonNegative, PositiveFloat, PositiveInt, Rate
from labelwise.settings import Section, resolve


class JitterConfig(Section):
    """Adversarial jitter: views are moved to where student and refinery differ more, and labelled there."""

    step: NonNegative = Field(0.0, description="how far a pixel moves, in 255ths of its range; 0 is off")
    norm: Literal["linf", "sign", "raw"] = Field(
        "linf",
        description="linf: the gradient over its largest entry; sign: its sign; raw: the gradient itself, so that step "
        "is no longer a distance",
    )
    path: Literal["both", "student"] = Field("both", description="student: the refinery's answer counts as constant")
    policy: Literal["views", "batches", "beside"] = Field(
        "views",
        description="views: a share of each batch is moved; batches: a share of the batches; beside: every view is "
        "learnt both as it was and moved",
    )
    share: Fraction = Field(0.5, description="of views and batches")


class RefinedLabelsConfig(Section):
    """Single-label data: what becomes of the refinery's answer, and how the student is held to it."""

    kind: Literal["soft", "hard"] = "soft"
    per: Literal["view", "image", "category"] = Field(
        "view",
        description="view: a label for the very crop that is trained on (dynamic); image: that of the centre view "
        "(static); category: the mean over crops of all images of the given class",
    )
    crops: PositiveInt = Field(4, description="of category: random views of each image")
    temperature: PositiveFloat = Field(1.0, description="of the refinery's answer; of both answers with loss kd")
    given: Fraction = Field(
        0.0, description="weight of the given label's cross-entropy (smoothed as train says); the rest is that of loss"
    )
    loss: Literal["kl", "reverse_kl", "symmetric_kl", "l2", "logit_l2", "kd"] = Field(
        "kl", description="kl: KL(refinery || student); kd: the same at temperature, times its square (Hinton et al.)"
    )
    norm: Literal["eval", "batch"] = Field(
        "eval", description="batch: the refinery's batch norms use the batch's statistics, as in the official code"
    )
    jitter: JitterConfig = JitterConfig()

    @model_validator(mode="after")
    def _of_views(self) -> RefinedLabelsConfig:
        if self.per != "view" and self.jitter.step > 0:
            raise ValueError(f"jitter needs a label for the moved view itself: set per: view, not {self.per}")
        return self


class GenerationConfig(Section):
    """One generation of a chain: a network, and what differs in its training and its labels."""

    model: ModelConfig | None = Field(None, description="default: the recipe's model")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of train that differ for this network")
    views: dict[str, Any] = Field(default_factory=dict, description="keys of views that differ in its training")
    refined: dict[str, Any] = Field(default_factory=dict, description="keys of chain.refined that differ")
    labelled_by: int | None = Field(
        None, ge=0, description="generation whose networks label this one; 0: as generation 1; default: the one before"
    )
    start_from: PositiveInt | None = Field(
        None,
        description="generation whose weights this one starts from, its members and fold networks each from the one of "
        "the same number; default: as model.init says",
    )


class ChainConfig(Section):
    """Who learns from whom."""

    generations: PositiveInt = 3
    networks: tuple[GenerationConfig, ...] = Field((), description="per generation what differs from the recipe")
    refinery: tuple[str, ...] = Field((), description="checkpoints that label generation 1 (their mean probability)")
    members: PositiveInt = Field(1, description="networks trained per generation; their mean labels the next one")
    folds: PositiveInt = Field(
        1,
        description="above 1: a generation is labelled by as many networks of the one before, each trained without one "
        "fold of the samples",
    )
    fold_labels: Literal["mean", "unseen"] = Field(
        "mean", description="mean: of all of them; unseen: of the one alone that has not seen the sample"
    )
    first: Literal["full", "early_stop"] = Field(
        "full", description="early_stop: generation 1 is the best of the early-stopped schedules"
    )
    refined: RefinedLabelsConfig = RefinedLabelsConfig()
    unknown: PseudoConfig = PseudoConfig()
    min_gain: float | None = Field(None, description="stop when top-1 (mAP) on select gains less than this")

    @model_validator(mode="after")
    def _ordered(self) -> ChainConfig:
        if self.folds > 1 and self.members > 1:
            raise ValueError("folds and members are two kinds of ensemble: leave one of them at 1")
        if self.fold_labels == "unseen" and self.folds == 1:
            raise ValueError("fold_labels unseen needs folds above 1")
        if len(self.networks) > self.generations:
            raise ValueError(
                f"networks has {len(self.networks)} entries for {self.generations} generations: set generations, or"
                " leave out the entries behind them"
            )
        for i, network in enumerate(self.networks):
            for key, other in (("labelled_by", network.labelled_by), ("start_from", network.start_from)):
                if other is not None and other > i:
                    raise ValueError(f"networks.{i}.{key}: generation {other} is not before generation {i + 1}")
        return self


class BaselineConfig(Section):
    """The controls that make a gain honest; trained by --baselines."""

    kinds: tuple[Literal["long", "early_stop", "smoothing"], ...] = ("long", "early_stop", "smoothing")
    early_stop_epochs: tuple[PositiveInt, ...] = Field(
        (), description="schedule lengths tried; default: train.epochs and its half, quarter, eighth"
    )
    smoothing: tuple[Rate, ...] = Field((0.1, 0.3), description="label smoothing strengths tried")


def merge_refined_labels(
    base: RefinedLabelsConfig, changes: dict[str, Any], where: str = "chain.refined"
) -> RefinedLabelsConfig:
    """``base`` with some keys changed, validated again; ``jitter`` is changed key by key.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is not allowed.
    """
    values = base.model_dump()
    jitter = changes.get("jitter", {})
    merged = values["jitter"] | jitter if isinstance(jitter, dict) else jitter
    return resolve(RefinedLabelsConfig, values | changes | {"jitter": merged}, prefix=where)
