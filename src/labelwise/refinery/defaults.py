"""A recipe for data of which nothing is known but what can be seen: the views, and how a network is trained.

The values are those of the recipes that the published tables were made with. Nothing here needs torch.
"""

from __future__ import annotations

from typing import Any

from labelwise.refinery.plan import Facts

SMALL_SIDE = 64
"""Images up to this side keep it, and networks have their form for small images."""

PUBLISHED_SIDE = 224
FEW, MANY = 5_000, 20_000
OWN_SMALL = ("small-narrow", "small-wide", "small-resnet", "mlp")
_TRANSFORMERS = ("vit", "deit", "swin", "beit", "eva", "cait", "mixer", "convnext", "maxvit")


def default_values(facts: Facts, model: str, *, pretrained: bool, gpu: bool) -> dict[str, Any]:
    """The sections ``model``, ``views`` and ``train`` of a recipe, and ``threads``.

    Parameters
    ----------
    model : name of the network
    pretrained : whether its first weights are the published ones
    gpu : whether it is trained on a GPU that knows bfloat16

    Returns
    -------
    values of a recipe; ``train.epochs`` is the full length of a schedule: 60 epochs below 5,000 samples, else 30, half
    of that with published weights
    """
    epochs = (60 if facts.fit < FEW else 30) // (2 if pretrained else 1)
    network: dict[str, Any] = {"name": model}
    if pretrained:
        network["init"] = "pretrained"
    if facts.embeddings:
        views, train = _of_embeddings(facts)
        if facts.multi_label and model == "mlp":
            network["args"] = {"hidden": 256, "layers": 1, "dropout": 0.5}
    else:
        views, train = _of_images(facts, model, pretrained)
        small = facts.side <= SMALL_SIDE and not pretrained
        if small and (model.startswith("paper-") or model.removeprefix("torchvision/").startswith("resnet")):
            network["small_images"] = True
    train["epochs"] = epochs
    if gpu:
        train["precision"] = "bf16"
    values: dict[str, Any] = {"model": network, "views": views, "train": train}
    if model in OWN_SMALL and not gpu:
        values["threads"] = 1
    return values


def _of_embeddings(facts: Facts) -> tuple[dict[str, Any], dict[str, Any]]:
    if facts.multi_label:
        train = {"batch_size": 64, "optimizer": "adamw", "lr": 0.001, "weight_decay": 0.01}
        return {"feature_dropout": 0.5}, train
    batch = 256 if facts.fit >= FEW else 64
    return {"feature_dropout": 0.3}, {"batch_size": batch, "lr": _rate(0.05, batch)}


def _of_images(facts: Facts, model: str, pretrained: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    views: dict[str, Any] = {"size": facts.side, "scale": [0.25, 1.0]}
    if facts.side > SMALL_SIDE or pretrained:
        views["size"] = PUBLISHED_SIDE if pretrained else min(facts.side, PUBLISHED_SIDE)
        if facts.side > PUBLISHED_SIDE:
            views["eval_crop"] = 0.875
    if facts.channels == 1:  # digits, scans and radiographs, whose sides differ
        views["flip"] = False
    batch = 128 if facts.fit >= MANY else 64
    if model.rpartition("/")[2].startswith(_TRANSFORMERS):
        rate = _rate(1e-4 if pretrained else 1e-3, batch)
        return views, {"batch_size": batch, "optimizer": "adamw", "lr": rate, "weight_decay": 0.05}
    return views, {"batch_size": batch, "lr": _rate(0.01 if pretrained else 0.05, batch)}


def _rate(at_64: float, batch: int) -> float:
    """A learning rate that grows with the root of the batch size."""
    return float(f"{at_64 * (batch / 64) ** 0.5:.2g}")
