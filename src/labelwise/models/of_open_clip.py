"""Networks of images and texts of the library open_clip: an image tower as a classifier whose head is texts.

Radford et al., "Learning transferable visual models from natural language supervision" (2021), section 3.1: the logit
of a category is the cosine between the embeddings of an image and of the category's text, times a learnt scale.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.config import ZeroShotConfig
from labelwise.errors import ModelError
from labelwise.models.classifier import Classifier, InputSpec

PREFIX = "open_clip/"
WHERE = "chain.unknown.zero_shot"


class ImageTower(nn.Module):
    """An image tower whose embedding is divided by its length, and a linear head: logits (B, C)."""

    def __init__(self, tower: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.tower, self.head = tower, nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, S, S)."""
        logits: Tensor = self.head(nn.functional.normalize(self.tower(x), dim=-1))
        return logits


def library(name: str) -> Any:
    """The library open_clip.

    Raises
    ------
    ModelError
        If it is missing.
    """
    try:
        import open_clip
    except ImportError:
        raise ModelError(f"{name}: needs the package open_clip_torch: pip install 'labelwise[clip]'") from None
    return open_clip


def build(name: str, args: dict[str, Any], classes: int) -> tuple[ImageTower, InputSpec]:
    """The image tower of ``open_clip/NAME`` with random weights, and what it wants to see.

    Raises
    ------
    ModelError
        If the library is missing, or has no such network.
    """
    clip, short = library(name), name.removeprefix(PREFIX)
    if args:
        raise ModelError(f"model.args of {name}: it has none, got {', '.join(args)}")
    try:
        with _unlogged():
            visual, width = clip.create_model(short).visual, clip.get_model_config(short)["embed_dim"]
    except Exception as error:  # of many types
        raise ModelError(f"{name}: {_words(error)}") from None
    return ImageTower(visual, width, classes), _spec(visual)


@torch.no_grad()
def zero_shot_classifier(options: ZeroShotConfig, categories: Sequence[str]) -> Classifier:
    """A classifier of ``categories`` whose head is the embeddings of their texts, times the network's scale.

    Raises
    ------
    ModelError
        If the library is missing, has no such network, or its weights cannot be had; or a text is of no category.
    """
    name = options.model
    clip = library(WHERE)
    if unknown := sorted(set(options.prompts) - set(categories)):
        raise ModelError(f"{WHERE}.prompts: {unknown[0]!r} is no category of the data")
    try:
        with _unlogged(), warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")  # these weights are of another network
            model = clip.create_model(name, pretrained=options.pretrained).eval()
        tokenizer = clip.get_tokenizer(name)
    except Exception as error:  # of many types: unknown names and tags, the hub client's, damaged files
        raise ModelError(
            f"{WHERE}: {name} with weights {options.pretrained!r} cannot be opened ({_words(error)}); name one of"
            " open_clip.list_pretrained(), connect to the Hugging Face hub, or set pretrained to a file of weights"
        ) from None
    texts = [_texts(options, category) for category in categories]
    embedded = [nn.functional.normalize(model.encode_text(tokenizer(own)), dim=-1).mean(0) for own in texts]
    directions = nn.functional.normalize(torch.stack(embedded).float(), dim=-1)
    net = ImageTower(model.visual.float(), directions.shape[1], len(categories))
    net.head.weight.copy_(model.logit_scale.exp().float() * directions)
    net.head.bias.zero_()
    return Classifier(net.eval(), _spec(model.visual), tuple(categories), f"{PREFIX}{name}", {})


def _texts(options: ZeroShotConfig, category: str) -> list[str]:
    """What a category is called; its name is a text and no pattern, whatever characters it has."""
    if category in options.prompts:
        return [options.prompts[category]]
    return [prompt.replace("{}", category) for prompt in options.prompt]


def _spec(visual: Any) -> InputSpec:
    seen = visual.preprocess_cfg
    size = seen["size"] if isinstance(seen["size"], int) else seen["size"][0]
    smooth = seen["interpolation"] if seen["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    return InputSpec("image", size, 3, tuple(seen["mean"]), tuple(seen["std"]), smooth)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Without the library's log: what it says of random weights is wrong of a checkpoint, and errors are told once."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
