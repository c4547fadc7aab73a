"""A network, and how it is trained."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from labelwise.config.types import NonNegative, PositiveFloat, PositiveInt, Rate, Rounds
from labelwise.settings import Section, resolve

CLOSED_FORM = ("kernel_ridge", "lda", "logistic", "knn")
"""Networks for embeddings whose weights are solved for; they have no epochs."""


def is_import_path(name: str) -> bool:
    """Whether a network's name is ``package.module:function``, which is code of the user."""
    return ":" in name and "/" not in name and not name.startswith("hf-hub:")


class ModelConfig(Section):
    """A network, and its first weights."""

    name: str = Field(
        "small-narrow",
        description="small-narrow | small-wide | small-resnet | mlp | kernel_ridge | lda | logistic | knn | "
        "paper-alexnet | paper-vgg16 | paper-vgg19 | "
        "paper-mobilenet | paper-darknet19 | paper-xnor-resnet50 | a timm name | torchvision/NAME | "
        "package.module:function",
    )
    init: str = Field(
        "random", description="First weights: random, pretrained, or the path of a checkpoint or of a file of weights."
    )
    init_by_order: bool = Field(
        False, description="Match the tensors of the file in init by order and shape, and not by key."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of the network's constructor.")
    small_images: bool = Field(
        False,
        description="Use the network's form for images of 32 to 64 px (paper-* networks and ResNets). Images "
        "of 32 px end as 4 x 4.",
    )
    boost: float = Field(
        1.0,
        ge=1.0,
        allow_inf_nan=False,
        description="BoostLU: factor of positive class-activation scores (5 in the paper). 1 turns it off.",
    )
    boost_training: bool = Field(
        True, description="Whether boost is also used in training. It is always used in evaluation and by a refinery."
    )

    @model_validator(mode="after")
    def _order_of_a_file(self) -> Self:
        if self.init_by_order and self.init in ("random", "pretrained"):
            raise ValueError(f"init_by_order: expected the path of a file in init, got {self.init}")
        return self


class TaxonomyConfig(Section):
    """Single-label data: labels are spread over classes that are near in a tree, by exp(-distance / temperature)."""

    file: str = Field(description="Tree of the classes: a .json or .csv file, or WordNet's data.noun.")
    mass: Rate = Field(0.9, description="Share of the label that the given class keeps, on average over the classes.")


class TrainConfig(Section):
    """How one network is trained."""

    epochs: Rounds = Field(30, description="Number of passes over the training samples.")
    batch_size: PositiveInt = Field(64, description="Number of samples per step, over all processes.")
    micro_batches: PositiveInt = Field(
        1, description="Number of parts that a batch is cut into. Their gradients are added."
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="Optimiser.")
    lr: PositiveFloat = Field(0.05, description="Highest learning rate.")
    momentum: Rate = Field(0.9, description="sgd: momentum.")
    nesterov: bool = Field(True, description="sgd: Nesterov's momentum.")
    weight_decay: NonNegative = Field(5e-4, description="Weight decay.")
    decay_norm_and_bias: bool = Field(
        False, description="Whether weight decay also applies to biases and normalisation layers."
    )
    schedule: Literal["cosine", "step", "constant"] = Field("cosine", description="Course of the learning rate.")
    warmup_epochs: NonNegative = Field(1.0, description="Number of epochs in which the learning rate rises from 0.")
    min_lr: NonNegative = Field(0.0, description="cosine: learning rate at the end.")
    lr_steps: dict[str, PositiveFloat] = Field(
        default_factory=dict,
        description='step: learning rate of each interval of epochs, from 1 and inclusive, such as {"1-140": '
        '0.01, "141-170": 0.001}.',
    )
    label_smoothing: Rate = Field(0.0, description="Share of a label that is spread evenly over all classes.")
    taxonomy: TaxonomyConfig | None = Field(None, description="Spread a part of each label over similar classes.")
    balance: Literal["none", "class_weights", "sampler"] = Field(
        "none", description="Balance of rare classes. class_weights: in the loss. sampler: in the draw of samples."
    )
    ema: Rate = Field(
        0.0, description="Decay of the averaged weights, which are evaluated and kept. 0 turns averaging off."
    )
    clip_grad: NonNegative = Field(0.0, description="Largest norm of the gradient. 0 turns clipping off.")
    keep: Literal["last", "best", "best_nll"] = Field(
        "last",
        description="Epoch that is kept, and that may become a refinery. last: the last one. best, best_nll: "
        "the best one on select, by top-1 (mAP) or by NLL.",
    )
    precision: Literal["no", "bf16", "fp16"] = Field(
        "no", description="Number format of mixed precision. no turns it off."
    )
    channels_last: bool = Field(
        True, description="Memory layout of images with the channels last. It is faster on most devices."
    )
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    only: tuple[str, ...] = Field(
        (), description="Names of the layers that are trained, such as [blocks.6, classifier]. Default: all."
    )
    checkpoint_seconds: NonNegative = Field(
        30.0, description="Least time between two checkpoints that an interrupted run continues from."
    )
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = Field(
        (),
        description="Trackers that draw the curves of every network: tensorboard, mlflow, wandb, trackio. Where runs "
        "are stored is said by their own environment variables, such as MLFLOW_TRACKING_URI.",
    )

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
