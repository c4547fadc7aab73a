"""A chain of generations: which one labels which, what a refined label is, and the controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from labelwise.config.labels import PseudoConfig
from labelwise.config.train import ModelConfig
from labelwise.config.types import Fraction, NonNegative, PositiveFloat, PositiveInt, Rate
from labelwise.settings import Section, resolve


class JitterConfig(Section):
    """Adversarial jitter: views are moved to where student and refinery differ more, and the refinery labels them."""

    step: NonNegative = Field(
        0.0, description="Distance that a pixel moves, in 1/255 of its range. 0 turns jitter off."
    )
    norm: Literal["linf", "sign", "raw"] = Field(
        "linf",
        description="What the gradient becomes before it is multiplied by step. linf: it is divided by its "
        "largest entry. sign: its sign. raw: it stays, so that step is not a distance.",
    )
    path: Literal["both", "student"] = Field(
        "both",
        description="What the gradient runs through. both: student and refinery. student: the refinery's "
        "answer is a constant.",
    )
    policy: Literal["views", "batches", "beside"] = Field(
        "views",
        description="What is moved. views: a share of the views of each batch. batches: a share of the "
        "batches. beside: every view is learnt as it was and moved.",
    )
    share: Fraction = Field(0.5, description="Share of the views or batches that are moved.")


class RefinedLabelsConfig(Section):
    """Single-label data: the labels that a refinery gives, and the loss of the student against them."""

    kind: Literal["soft", "hard", "top2"] = Field(
        "soft",
        description="Form of the label. soft: probabilities of all classes. hard: the most probable class. top2: one "
        "half each for the two most probable classes.",
    )
    per: Literal["view", "image", "category"] = Field(
        "view",
        description="What a label belongs to. view: the crop that is trained on (dynamic). image: the centre "
        "view (static). category: the mean over crops of all images of the given class.",
    )
    crops: PositiveInt = Field(4, description="category: number of random views of each image.")
    views: PositiveInt = Field(
        1,
        description="view and image: number of views whose answers are averaged: the one that per says, the centre "
        "view, and random ones that are drawn once.",
    )
    temperature: PositiveFloat = Field(
        1.0, description="Temperature of the refinery's answer. With loss kd, it is also that of the student's answer."
    )
    given: Fraction = Field(
        0.0, description="Weight of the cross-entropy with the given label. The refined label has the rest."
    )
    loss: Literal["kl", "reverse_kl", "symmetric_kl", "l2", "logit_l2", "kd"] = Field(
        "kl",
        description="Distance between refinery and student. kl: KL(refinery || student). kd: the same at "
        "temperature, times its square (Hinton et al.).",
    )
    trust: Literal["all", "consensus", "graded", "mixture"] = Field(
        "all",
        description="How often a sample is drawn, by the refinery's answer to its image. all: equally often. "
        "consensus: only if the likeliest class is the given one. graded: in proportion to the probability of the "
        "given class. mixture: in proportion to the probability that the loss of the given label belongs to the "
        "lower of two Gaussians. With folds the network that has not seen the sample answers.",
    )
    norm: Literal["eval", "batch"] = Field(
        "eval",
        description="Statistics of the refinery's batch normalisation. eval: the learnt ones. batch: those of"
        " the batch, as in the official code.",
    )
    jitter: JitterConfig = JitterConfig()

    @model_validator(mode="after")
    def _of_views(self) -> RefinedLabelsConfig:
        if self.per != "view" and self.jitter.step > 0:
            raise ValueError(f"jitter needs a label for the moved view itself: set per: view, not {self.per}")
        if self.views > 1 and self.jitter.step > 0:
            raise ValueError("jitter needs a label for the moved view itself: set views: 1")
        if self.views > 1 and self.per == "category":
            raise ValueError("per category averages crops of all images of a class: set crops in place of views")
        return self


class UnlabelledConfig(Section):
    """How images without any label are learnt from. The refinery labels them; networks on given labels skip them."""

    share: Rate = Field(
        0.5,
        description="Share of each batch that is unlabelled, where the data have such images. 0: they are not used.",
    )
    max_entropy: Fraction = Field(
        1.0,
        description="Unlabelled images are left out as foreign where the entropy of the refinery's answer on the "
        "centre view is above this share of the highest possible one.",
    )


class GenerationConfig(Section):
    """What differs from the recipe in one generation."""

    model: ModelConfig | None = Field(None, description="Network of this generation. Default: the recipe's model.")
    train: dict[str, Any] = Field(default_factory=dict, description="Keys of train that differ in this generation.")
    views: dict[str, Any] = Field(
        default_factory=dict, description="Keys of views that differ in the training of this generation."
    )
    refined: dict[str, Any] = Field(
        default_factory=dict, description="Keys of chain.refined that differ in this generation."
    )
    labelled_by: int | None = Field(
        None,
        ge=0,
        description="Number of the generation that labels this one. 0: whatever labels generation 1. Default:"
        " the previous generation.",
    )
    start_from: PositiveInt | None = Field(
        None,
        description="Number of the generation whose weights this one starts from. Members and fold networks "
        "start from the one with the same number. Default: model.init.",
    )


class WriteStoreConfig(Section):
    """Refined labels are written to a store before a generation learns from them, and stay usable afterwards."""

    views: int = Field(
        0,
        ge=0,
        description="Number of views of a sample that are labelled for the next generation. 0: no store; the refinery "
        "labels each view as it is trained on.",
    )
    k: PositiveInt | Literal["all"] | None = Field(
        None, description="Number of classes of a label that are kept, the likeliest. Default: 10. Multi-label: all."
    )
    precision: Literal["fp16", "uint8"] = Field("fp16", description="Numbers of a label.")
    mass: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Keep as many classes as are needed for this probability, at most k. Default: always k."
    )


class ChainConfig(Section):
    """The generations, and which of them labels which."""

    generations: PositiveInt = Field(3, description="Number of generations.")
    networks: tuple[GenerationConfig, ...] = Field((), description="What differs from the recipe in each generation.")
    refinery: tuple[str, ...] = Field(
        (), description="Checkpoints that label generation 1. Their probabilities are averaged."
    )
    store: str | None = Field(
        None,
        description="Store of crop labels (labelwise label) that labels generation 1, in place of refinery. Its views "
        "are shown.",
    )
    store_reuse: Literal["cycle", "stop"] = Field(
        "cycle",
        description="What happens when training has shown every stored view of a sample. cycle: they are shown again, "
        "in another order. stop: the run is refused beforehand.",
    )
    store_rest: Literal["spread", "drop"] = Field(
        "spread",
        description="What becomes of the probability of classes that a stored label does not name. spread: each has "
        "the same part of it. drop: none, and the others are made to sum to one.",
    )
    write_store: WriteStoreConfig = WriteStoreConfig()
    trust_code: bool = Field(
        False, description="Run code that a checkpoint in refinery names as its network, though model.name does not."
    )
    members: PositiveInt = Field(
        1, description="Number of networks per generation. The mean of their answers labels the next generation."
    )
    folds: PositiveInt = Field(
        1,
        description="Number of folds. Above 1, each generation also trains one network without each fold. "
        "These networks label the next generation.",
    )
    fold_labels: Literal["mean", "unseen"] = Field(
        "mean",
        description="Which fold networks label a sample. mean: all of them. unseen: only the one that was not"
        " trained on it.",
    )
    choose: Literal["select", "folds"] = Field(
        "select",
        description="What choices rest on. select: the split that is held out. folds: also all samples to learn "
        "from. Then controls and the last generation have fold networks, too, and each sample is answered by the "
        "one that has not seen it.",
    )
    first: Literal["full", "early_stop"] = Field(
        "full",
        description="How generation 1 is trained. full: for its whole schedule. early_stop: the best of "
        "several shorter schedules.",
    )
    refined: RefinedLabelsConfig = RefinedLabelsConfig()
    unknown: PseudoConfig = PseudoConfig()
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    min_gain: float | None = Field(None, description="Stop the chain when top-1 (mAP) on select gains less than this.")

    @model_validator(mode="after")
    def _ordered(self) -> ChainConfig:
        if self.folds > 1 and self.members > 1:
            raise ValueError("folds and members are two kinds of ensemble: leave one of them at 1")
        if self.fold_labels == "unseen" and self.folds == 1:
            raise ValueError("fold_labels unseen needs folds above 1")
        if self.choose == "folds" and self.folds == 1:
            raise ValueError("choose folds needs folds above 1")
        if self.store is not None and self.refinery:
            raise ValueError("store and refinery both label generation 1: leave one of them out")
        if self.write_store.views > 0 and self.fold_labels == "unseen":
            raise ValueError("write_store: the labels of a crop are of all refineries; set fold_labels to mean")
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
    """The controls that a gain is compared with. ``--baselines`` trains them."""

    kinds: tuple[Literal["long", "early_stop", "smoothing", "mixup", "ema", "closed_form"], ...] = Field(
        ("long", "early_stop", "smoothing", "closed_form"),
        description="Which controls are trained. closed_form: lda, logistic, kernel_ridge and knn, for embeddings "
        "with one class per sample.",
    )
    early_stop_epochs: tuple[PositiveInt, ...] = Field(
        (), description="early_stop: lengths of the schedules. Default: train.epochs, its half, quarter and eighth."
    )
    smoothing: tuple[Rate, ...] = Field((0.1, 0.3), description="smoothing: strengths of label smoothing.")
    mixup: tuple[PositiveFloat, ...] = Field(
        (0.2, 1.0), description="mixup: parameters of the Beta distribution of the shares."
    )
    ema: tuple[Rate, ...] = Field((0.99,), description="ema: decays of the averaged weights.")


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
