"""Every option of a recipe, typed. Unknown keys are refused; a run saves the configuration it resolved.

A recipe is a YAML file of the sections below; ``--set train.epochs=3`` overrides one key.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from labelwise.settings import Section, read_mapping, resolve

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


class NoiseConfig(Section):
    """Label noise that is *simulated* on the training labels; the true labels are kept for scoring."""

    kind: Literal["uniform", "pairs"] = Field("uniform", description="uniform: any other class; pairs: the next class")
    rate: Fraction = Field(0.0, description="share of the training labels that is replaced")
    seed: int = Field(0, ge=0)


class LabelColumnConfig(Section):
    """Another label column that replaces the given labels of the training part (CIFAR-10N beside CIFAR-10)."""

    file: str = Field(description=".npz, .csv or .parquet; rows in the order of the training samples, or with an `id`")
    column: str = Field(description="key or column of the replacing labels")


class KnownConfig(Section):
    """Multi-label data: which labels of ``fit`` stay known; all others are hidden, and kept for scoring."""

    protocol: Literal["all", "uniform", "cells", "hcp", "single_positive", "fixed", "balanced", "positives"] = Field(
        "all",
        description="uniform: each label with probability share, as in CFT; cells: the same by one draw a cell; hcp; "
        "single_positive; fixed: count positives and count negatives a category; balanced; positives: only a share of "
        "the positives",
    )
    share: Fraction = Field(1.0, description="of uniform, cells, hcp and positives")
    count: int = Field(0, ge=0, description="of fixed and balanced")
    seed: int = Field(0, ge=0, description="0 draws the published mask (526 of CFT, 0 of HCP)")


class DataConfig(Section):
    """Where the samples come from and how they are split into fit / select / test."""

    source: str = Field("digits", description="a path, or digits | fashion_mnist | cifar10 | cifar100 | imagenette")
    format: Literal[
        "auto",
        "folder",
        "npz",
        "table",
        "builtin",
        "hf",
        "embeddings",
        "chexpert",
        "nih",
        "coco",
        "open_images",
        "voc",
    ] = "auto"
    root: str | None = Field(None, description="folder of a built-in set, or of a table's relative paths")
    download: bool = Field(True, description="let a built-in set be downloaded when it is not under root")
    image_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    group_column: str | None = Field(None, description="rows with one value here are never parted by a split")
    label_columns: tuple[str, ...] = Field(
        (),
        description='table of multi-label data: a column a category of 1, 0, blank (unknown), -1 (uncertain); "*": all',
    )
    label_separator: str | None = Field(
        None, description="table of multi-label data: label_column lists the positive categories, separated by this"
    )
    unlisted: Literal["negative", "unknown"] = Field(
        "negative", description="with label_separator: what categories are that a sample does not list"
    )
    categories: tuple[str, ...] = Field((), description="multi-label data: keep only these, in this order")
    projection: Literal["all", "frontal", "lateral"] = Field("all", description="chexpert: which radiographs are kept")
    labels: LabelColumnConfig | None = None
    known: KnownConfig = KnownConfig()
    noise: NoiseConfig = NoiseConfig()
    classes: PositiveInt | None = Field(None, description="keep only the first so many classes")
    train_limit: PositiveInt | None = Field(None, description="keep so many training samples, drawn by split_seed")
    select_limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None
    select_share: Rate = Field(0.1, description="share of the training part held out to choose with")
    test_share: Rate = Field(0.2, description="share held out as test where the data has no split of its own")
    split_seed: int = Field(0, ge=0)
    unreadable: Literal["fail", "skip"] = Field("fail", description="what an unreadable image does")
    channels: Literal["auto", 1, 3] = "auto"
    memory: Literal["auto", "yes", "no"] = Field("auto", description="hold the decoded images in memory")
    memory_limit_gb: PositiveFloat = 4.0
    workers: int = Field(2, ge=0, description="processes that decode image files")


# What training takes a label for that has no value; the strategies of labelwise.labels.strategies, which explain them.
Share = tuple[Fraction, Fraction]
UnknownName = Literal["ignore", "negative", "positive"]
UncertainName = Literal["unknown", "negative", "positive", "smooth-negative", "smooth-positive"]
UnknownPolicy = UnknownName | Share
UncertainPolicy = UncertainName | Share


class LabelsConfig(Section):
    """Multi-label data: what training on given labels makes of those that are unknown or uncertain."""

    unknown: UnknownPolicy | dict[str, UnknownPolicy] = Field(
        "ignore",
        description=f"{' | '.join(get_args(UnknownName))} | [low, up], or by category; refined ones need none",
    )
    uncertain: UncertainPolicy | dict[str, UncertainPolicy] = Field(
        "unknown", description=f"{' | '.join(get_args(UncertainName))} | [low, up], or by category"
    )
    loss: Literal["bce", "focal", "asl", "hill"] = "bce"
    gamma_positive: NonNegative = Field(0.0, description="of asl")
    gamma_negative: NonNegative = Field(4.0, description="of asl")
    gamma: NonNegative = Field(2.0, description="of focal and hill")
    margin: Rate = Field(0.05, description="of asl")
    scheme: Literal["plain", "csl", "ll-r", "ll-ct", "ll-cp", "splc"] = Field(
        "plain",
        description="how training doubts labels that were assumed negative: selective (csl), large losses rejected, "
        "corrected for now or for good (ll-), or corrected where the network is sure (splc)",
    )
    rate: Fraction = Field(0.002, description="ll-: share of the largest losses, times the epoch (ll-cp: an epoch)")
    threshold: Fraction = Field(0.6, description="splc: probability from which an assumed negative is positive")
    prior: Fraction = Field(0.5, description="csl: mean prediction from which a category's unknown labels are ignored")
    top: int = Field(5, ge=0, description="csl: likeliest unknown labels that are ignored, per sample of the batch")
    gamma_unknown: NonNegative = Field(4.0, description="csl: focusing power of unknown labels taken for negative")

    @model_validator(mode="after")
    def _assumed(self) -> LabelsConfig:
        if self.scheme != "plain" and self.unknown != "negative":
            raise ValueError(f"scheme {self.scheme} doubts labels that were assumed negative: set unknown: negative")
        if self.scheme == "splc" and self.loss != "bce":
            raise ValueError("scheme splc has a loss of its own, the focal margin loss: leave loss out")
        return self


class PseudoConfig(Section):
    """Multi-label data: what a refinery's answer makes of a label that is not known. Given labels always stay."""

    kind: Literal["soft", "hard"] = "soft"
    view: Literal["each", "centre"] = Field(
        "each", description="each: the very view that is trained on; centre: once per image"
    )
    low: Fraction = Field(0.5, description="hard: negative at or below this probability")
    high: Fraction = Field(0.5, description="hard: positive above this one; between them the label stays unknown")
    share: tuple[Fraction, ...] = Field(
        (),
        description="hard, centre: instead of low and high, the share of unknown labels that the refinery is surest "
        "of; one number, or one for each round, the last for all later ones",
    )
    per_category: bool = Field(False, description="with share: of each category; default: of all labels together")
    positive_only: bool = Field(False, description="hard: no label becomes negative; share is then of the positives")
    weight: Fraction = Field(1.0, description="of a refined label in the loss, beside 1 of a given one")

    @field_validator("share", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _ordered(self) -> PseudoConfig:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}")
        if self.positive_only and self.kind != "hard":
            raise ValueError("positive_only is for hard labels: set kind: hard")
        if self.per_category and not self.share:
            raise ValueError("per_category is for a share: set share, such as [0.2, 0.4]")
        if self.share and (self.kind, self.view) != ("hard", "centre"):
            raise ValueError("share ranks the hard labels of whole images: set kind: hard and view: centre")
        if self.share and (self.low, self.high) != (0.5, 0.5):
            raise ValueError("share and low, high are two rules for the same labels: leave one of them out")
        return self

    def share_in(self, number: int) -> float | None:
        """The share of a round, of which 1 is the first that has a refinery; None where thresholds decide."""
        return self.share[min(number, len(self.share)) - 1] if self.share else None


class ViewConfig(Section):
    """How a training view of a sample is drawn, and how it is looked at for evaluation."""

    size: PositiveInt | None = Field(None, description="side of the student's input; default: the network's or images'")
    scale: tuple[PositiveFloat, PositiveFloat] = Field((0.08, 1.0), description="range of the crop's share of the area")
    ratio: tuple[PositiveFloat, PositiveFloat] = Field((3 / 4, 4 / 3), description="range of width / height")
    flip: bool = Field(
        True,
        description="mirror half of the views; off where left and right differ, by default for radiographs",
    )
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    eval_crop: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="side of the centre crop / shorter side")
    rand_augment_ops: int = Field(0, ge=0)
    rand_augment_magnitude: float = Field(9.0, ge=0, le=30)
    erasing: Fraction = Field(0.0, description="probability that a rectangle is erased")
    mixup: NonNegative = Field(0.0, description="Beta parameter; 0 is off")
    cutmix: NonNegative = Field(0.0, description="Beta parameter; 0 is off; with mixup, half of the batches each")
    feature_dropout: Rate = Field(0.3, description="embeddings: share of the features dropped in a view")

    @model_validator(mode="after")
    def _ordered(self) -> ViewConfig:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high], got [{low}, {high}]")
        if self.scale[1] > 1:
            raise ValueError(f"scale is a share of the image's area, at most 1, got {self.scale[1]}")
        return self


class ModelConfig(Section):
    """A network by name and where its first weights come from."""

    name: str = Field(
        "small-narrow",
        description="small-narrow | small-wide | mlp | paper-alexnet | paper-mobilenet | paper-darknet19 | "
        "a timm name | torchvision/NAME | package.module:function",
    )
    init: str = Field("random", description="random | pretrained | path of a checkpoint")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the network's constructor")
    boost: float = Field(
        1.0,
        ge=1.0,
        allow_inf_nan=False,
        description="BoostLU: positive class-activation scores count so many times (5 in the paper); 1 is off",
    )
    boost_training: bool = Field(True, description="false: boost in evaluation and as a refinery, but not in training")


class TrainConfig(Section):
    """One training run."""

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 64
    micro_batches: PositiveInt = Field(1, description="parts that a batch is cut into, gradients accumulated")
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.05
    momentum: Rate = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 5e-4
    decay_norm_and_bias: bool = False
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: NonNegative = 1.0
    min_lr: NonNegative = 0.0
    lr_steps: dict[str, PositiveFloat] = Field(
        default_factory=dict, description='schedule step: rate by 1-based inclusive epochs, {"1-140": 0.01, ...}'
    )
    label_smoothing: Rate = 0.0
    balance: Literal["none", "class_weights", "sampler"] = "none"
    ema: Rate = Field(0.0, description="decay of the averaged weights that are evaluated and kept; 0 is off")
    clip_grad: NonNegative = 0.0
    keep: Literal["last", "best", "best_nll"] = Field(
        "last", description="the epoch that is kept and may become a refinery: last, or chosen on select"
    )
    precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = True
    compile: bool = False
    only: tuple[str, ...] = Field(
        (), description="names of the layers that are trained, such as [blocks.6, classifier]; default: all"
    )
    checkpoint_seconds: NonNegative = Field(30.0, description="least time between two resumable checkpoints")
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()

    @model_validator(mode="after")
    def _steps_given(self) -> TrainConfig:
        if self.schedule == "step":
            parse_lr_steps(self.lr_steps, self.epochs)
        elif self.lr_steps:
            raise ValueError("lr_steps needs schedule: step")
        return self


class NetworkStep(Section):
    """One step of a cross-architecture chain: a network, and what differs in its training."""

    model: ModelConfig
    train: dict[str, Any] = Field(default_factory=dict, description="keys of train that differ for this network")


class ChainConfig(Section):
    """Who learns from whom."""

    generations: PositiveInt = 3
    networks: tuple[NetworkStep, ...] = Field((), description="a network per generation; default: model, every time")
    refinery: tuple[str, ...] = Field((), description="checkpoints that label generation 1 (their mean probability)")
    members: PositiveInt = Field(1, description="networks trained per generation; their mean labels the next one")
    first: Literal["full", "early_stop"] = Field(
        "full", description="early_stop: generation 1 is the best of the early-stopped schedules"
    )
    unknown: PseudoConfig = PseudoConfig()
    min_gain: float | None = Field(None, description="stop when top-1 (mAP) on select gains less than this")


class BaselineConfig(Section):
    """The controls that make a gain honest; trained by --baselines."""

    kinds: tuple[Literal["long", "early_stop", "smoothing"], ...] = ("long", "early_stop", "smoothing")
    early_stop_epochs: tuple[PositiveInt, ...] = Field(
        (), description="schedule lengths tried; default: train.epochs and its half, quarter, eighth"
    )
    smoothing: tuple[Rate, ...] = Field((0.1, 0.3), description="label smoothing strengths tried")


class Recipe(Section):
    """Everything that a run of ``labelwise refine`` or ``labelwise train`` needs."""

    name: str = Field("refine", pattern=r"^[A-Za-z0-9._-]+$")
    description: str = ""
    seed: int = Field(0, ge=0)
    seeds: PositiveInt = Field(1, description="the chain is repeated with seed, seed + 1, ...")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch. Tiny networks want 1")
    data: DataConfig = DataConfig()
    labels: LabelsConfig = LabelsConfig()
    views: ViewConfig = ViewConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    chain: ChainConfig = ChainConfig()
    baselines: BaselineConfig = BaselineConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for i, step in enumerate(self.chain.networks):
            merge_train(self.train, step.train, f"chain.networks.{i}.train")
        if self.chain.first == "early_stop" and self.chain.refinery:
            raise ValueError("chain.first: early_stop trains on given labels, chain.refinery replaces them; drop one")
        if self.data.select_share == 0 and (self.train.keep != "last" or self.chain.min_gain is not None):
            raise ValueError("train.keep and chain.min_gain choose on select: data.select_share must be above 0")
        return self


def parse_lr_steps(steps: dict[str, float], epochs: int) -> list[float]:
    """Learning rate of every epoch from ``{"1-140": 0.01, "141-170": 0.001}``, 1-based and inclusive."""
    rates: list[float | None] = [None] * epochs
    for interval, lr in steps.items():
        first, _, last = interval.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError:
            raise ValueError(f"lr_steps: {interval!r} is not an interval of epochs such as '1-140'") from None
        if low < 1 or low > high:
            raise ValueError(f"lr_steps: {interval!r} must have 1 <= first <= last")
        for epoch in range(low, min(high, epochs) + 1):
            if rates[epoch - 1] is not None:
                raise ValueError(f"lr_steps: epoch {epoch} is in two intervals")
            rates[epoch - 1] = lr
    missing = [i + 1 for i, lr in enumerate(rates) if lr is None]
    if missing:
        raise ValueError(f"lr_steps: no learning rate for epoch {missing[0]}")
    return [lr for lr in rates if lr is not None]


def merge_train(base: TrainConfig, changes: dict[str, Any], where: str = "train") -> TrainConfig:
    """``base`` with some keys changed, validated again.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is not allowed.
    """
    values = base.model_dump() | changes
    if "schedule" in changes and changes["schedule"] != "step" and "lr_steps" not in changes:
        values["lr_steps"] = {}
    return resolve(TrainConfig, values, prefix=where)


def load_recipe(path: str | Path | None, overrides: typing.Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe, apply ``key.sub=value`` overrides and validate.

    Parameters
    ----------
    path : a YAML file, or None for the defaults
    overrides : ``section.key=value``; the value is read as YAML

    Raises
    ------
    ConfigError
        With the key's full name, its value and what is allowed.
    """
    return resolve(Recipe, {} if path is None else read_mapping(Path(path)), overrides)
