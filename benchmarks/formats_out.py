"""Write a network of every family as ONNX, ``torch.export`` and TorchScript, and print how far each is from it.

    python benchmarks/formats_out.py > families.md

The networks are small, and their weights are random; the statistics of their norms are those of random images. Numbers
are the largest difference of a logit or probability on eight inputs, in batches of eight and of one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelwise.config import CLOSED_FORM, ModelConfig
from labelwise.errors import ModelError
from labelwise.export.formats import FILES, Graphs, write_graphs
from labelwise.models import zoo
from labelwise.models.classifier import Classifier, InputSpec

SMALL: dict[str, Any] = {"small_images": True}
IMAGES = [
    ModelConfig(name="small-narrow"),
    ModelConfig(name="small-wide", args={"norm": "group"}),
    ModelConfig(name="small-resnet", args={"blocks": 1, "width": 4}),
    ModelConfig(name="small-narrow", boost=2.0),
    ModelConfig(name="paper-alexnet", args={"width": 0.05}, **SMALL),
    ModelConfig(name="paper-vgg16", args={"width": 0.05}, **SMALL),
    ModelConfig(name="paper-vgg19", args={"width": 0.05}, **SMALL),
    ModelConfig(name="paper-mobilenet", args={"width": 0.1}, **SMALL),
    ModelConfig(name="paper-darknet19", args={"width": 0.05}, **SMALL),
    ModelConfig(name="paper-xnor-resnet50", args={"width": 0.1, "blocks": [1, 1]}, **SMALL),
    ModelConfig(name="resnet18", **SMALL),
    *(ModelConfig(name=f"test_{name}") for name in ("resnet", "efficientnet", "convnext", "vit", "mambaout")),
    *(ModelConfig(name=f"torchvision/{name}") for name in ("resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small")),
    ModelConfig(name="torchvision/squeezenet1_1"),
]
EMBEDDINGS = [
    ModelConfig(name="mlp", args={"hidden": 8}),
    ModelConfig(name="mlp", args={"hidden": 8, "norm": "layer"}),
    ModelConfig(name="kernel_ridge", args={"centres": 5}),
    ModelConfig(name="knn", args={"samples": 9, "neighbours": 3}),
    ModelConfig(name="lda"),
    ModelConfig(name="logistic"),
]


def main() -> None:
    print("| network | " + " | ".join(f"`{file}`" for file in FILES.values()) + " |\n|---|---:|---:|---:|")
    photo = InputSpec("image", 64, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    vector = InputSpec("features", 6, 1, (0.5,) * 6, (2.0,))
    for configs, spec in ((IMAGES, photo), (EMBEDDINGS, vector)):
        for config in configs:
            model = made(config, spec)
            print(f"| {in_words(config)} | " + " | ".join(difference(model, name) for name in FILES) + " |", flush=True)


def made(config: ModelConfig, spec: InputSpec) -> Classifier:
    torch.manual_seed(0)
    model = zoo.build(config, ("a", "b", "c"), spec)
    if config.name in CLOSED_FORM:
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    side = model.spec.size
    with torch.no_grad():
        model.train()(torch.rand(16, 3, side, side) if spec.kind == "image" else torch.randn(16, side))
    return model.eval()


def difference(model: Classifier, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            [gap] = write_graphs(Path(folder), model, {"task": "multi-label"}, Graphs(**{name: True})).values()
        except ModelError as error:
            return f"refused: {str(error).partition(': ')[2]}"
    return f"{gap:.0e}" if gap else "0"


def in_words(config: ModelConfig) -> str:
    more = [f"{key} {value}" for key, value in config.args.items()]
    more += ["small images"] if config.small_images else []
    more += [f"boost {config.boost:g}"] if config.boost != 1 else []
    return f"`{config.name}`" + (f" ({', '.join(more)})" if more else "")


if __name__ == "__main__":
    main()
