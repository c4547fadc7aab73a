"""A network and one training run of it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from labelwise.config.types import NonNegative, PositiveFloat, PositiveInt, Rate
from labelwise.settings import Section, resolve


class ModelConfig(Section):
    """A network by name and where its first weights come from."""

    name: str = Field(
        "small-narrow",
        description="small-narrow | small-wide | small-resnet | mlp | paper-alexnet | paper-vgg16 | paper-vgg19 | "
        "paper-mobilenet | paper-darknet19 | paper-xnor-resnet50 | a timm name | torchvision/NAME | "
        "package.module:function",
    )
    init: str = Field("random", description="random | pretrained | path of a checkpoint")
    init_by_order: bool = Field(
        False, description="match the tensors of the file of init by order and shape, not by key"
    )
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of the network's constructor")
    small_images: bool = Field(
        False, description="the network's form for images of 32 to 64 px, of paper-* and ResNets: 32 px end in 4x4"
    )
    boost: float = Field(
        1.0,
        ge=1.0,
        allow_inf_nan=False,
        description="BoostLU: positive class-activation scores count so many times (5 in the paper); 1 is off",
    )
    boost_training: bool = Field(True, description="false: boost in evaluation and as a refinery, but not in training")

    @model_validator(mode="after")
    def _order_of_a_file(self) -> Self:
        if self.init_by_order and self.init in ("random", "pretrained"):
            raise ValueError(f"init_by_order: expected the path of a file in init, got {self.init}")
        return self


class TaxonomyConfig(Section):
    """Single-label data: given labels spread over classes that are near in a tree, by exp(-distance / temperature)."""

    file: str = Field(description=".json or .csv tree of the classes, or WordNet's data.noun")
    mass: Rate = Field(0.9, description="what the given class itself keeps, on average over the classes")


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
    taxonomy: TaxonomyConfig | None = None
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
        if self.taxonomy is not None and self.label_smoothing > 0:
            raise ValueError("taxonomy and label_smoothing both spread the given label: leave one of them out")
        if self.schedule == "step":
            parse_lr_steps(self.lr_steps, self.epochs)
        elif self.lr_steps:
            raise ValueError("lr_steps needs schedule: step")
        return self


def parse_lr_steps(steps: dict[str, float], epochs: int) -> list[float]:
    """Learning rate of every epoch from ``{"1-140": 0.01, "141-170": 0.001}``, 1-based and inclusive.

    Examples
    --------
    >>> parse_lr_steps({"1-2": 0.1, "3": 0.01}, epochs=3)
    [0.1, 0.1, 0.01]
    """
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
