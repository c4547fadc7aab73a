"""Graphs of a network for other runtimes: ONNX, ``torch.export`` and TorchScript.

A graph takes what the network's normalisation takes: images (N, C, S, S) float32 in [0, 1], or embeddings (N, D). It
gives what ``labelwise predict`` decides by: logits, probabilities and, of a multi-label network, which categories are
positive. How an image becomes its input, and what the outputs mean, is in the metadata of the file.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelwise import __version__
from labelwise.config import DataConfig
from labelwise.data.decode import Reading
from labelwise.data.readers.unlabelled import read_unlabelled
from labelwise.data.sampling import Shard, plan_evaluation
from labelwise.errors import ConfigError, ModelError
from labelwise.inference.loader import MULTI_LABEL, SINGLE_LABEL, decision_thresholds, make_ready
from labelwise.models.classifier import Classifier
from labelwise.models.head import probe

Format = Literal["onnx", "exported", "torchscript"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "exported": "model.pt2", "torchscript": "model.ts"}
ONNX_DATA = "model.onnx.data"
"""Weights of a model beyond the 2 GB that an ONNX file can hold."""

INPUT, METADATA = "input", "labelwise.json"
MOST = 64
"""Inputs that a written graph is compared on, at most."""

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest logit plus one."""

Graph = Callable[[NDArray[np.float32]], list[NDArray[Any]]]


class Deciding(nn.Module):
    """A classifier behind which stand its decisions.

    Parameters
    ----------
    model : gives logits (N, K)
    thresholds : (K,) logits at or above which a category is positive; None for one class a sample
    """

    thresholds: Tensor

    def __init__(self, model: Classifier, thresholds: NDArray[np.float64] | None) -> None:
        super().__init__()
        self.network = model
        self.multi_label = thresholds is not None
        if thresholds is not None:
            self.register_buffer("thresholds", torch.from_numpy(_at_least(thresholds)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what comes out."""
        return ("logits", "probability", "positive") if self.multi_label else ("logits", "probability")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits and probabilities (N, K) float32; of a multi-label network also ``positive`` (N, K), bool."""
        logits = self.network(x)
        if self.multi_label:
            return logits, logits.sigmoid(), logits >= self.thresholds
        return logits, logits.softmax(1)


def _at_least(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The smallest float32 that is not below each threshold: a float32 logit reaches both or none."""
    near = thresholds.astype(np.float32)
    return np.where(near < thresholds, np.nextafter(near, np.float32(np.inf)), near)


@dataclass(frozen=True)
class Graphs:
    """Which graphs are written, and the images that they are compared on, as
    :func:`labelwise.inference.predict.predict` takes them; None for random ones."""

    onnx: bool = False
    exported: bool = False
    torchscript: bool = False
    images: Path | None = None


NO_GRAPHS = Graphs()


def check_installed(graphs: Graphs) -> None:
    """Refuse a format whose packages are missing, before anything is computed.

    Raises
    ------
    ConfigError
        With the command that installs them.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if graphs.onnx and missing:
        raise ConfigError(f"--onnx: needs the package {missing[0]}: pip install 'labelwise[onnx]'")


def metadata(model: Classifier, card: dict[str, Any], thresholds: NDArray[np.float64] | None) -> dict[str, Any]:
    """What a consumer has to know: classes in the order of the outputs, thresholds, and how an input is made.

    An image is cropped to the centred square whose side is ``crop`` of its shorter side, resized to ``size`` px with
    the antialiased filter ``interpolation``, and divided by 255.
    """
    spec = model.spec
    seen: dict[str, Any] = {"kind": spec.kind, "size": spec.size, "channels": spec.channels}
    if spec.kind == "image":
        seen |= {"crop": card.get("eval_crop", 1.0), "interpolation": spec.interpolation, "range": [0, 1]}
    names = ("labels", "generation", "lineage", "weights_hash")
    return {
        "labelwise": __version__,
        "task": SINGLE_LABEL if thresholds is None else MULTI_LABEL,
        "classes": list(model.classes),
        "input": seen,
        "network": model.network,
        **({} if thresholds is None else {"thresholds": thresholds.tolist()}),
        **{name: card[name] for name in names if name in card},
    }


@torch.no_grad()
def write_graphs(folder: Path, model: Classifier, card: dict[str, Any], graphs: Graphs) -> dict[Path, float]:
    """Write graphs of a network into ``folder``, read each again, and compare it with the network.

    Parameters
    ----------
    card : of the checkpoint

    Returns
    -------
    the largest difference of a logit or probability, for each file

    Raises
    ------
    ModelError
        If a network cannot be written in a format, or what was written gives something else.
    """
    formats = [name for name in FILES if getattr(graphs, name)]
    if not formats:
        return {}
    thresholds = decision_thresholds(card, model.classes, folder) if card.get("task") == MULTI_LABEL else None
    deciding = Deciding(model.requires_grad_(False), thresholds).eval()
    x = _inputs(model, card, graphs.images)
    told = metadata(model, card, thresholds)
    found = {}
    for name in formats:
        file = folder / FILES[name]
        try:
            with _quiet():
                _write(name, deciding, x[:2] if len(x) > 1 else torch.cat([x, x]), told, file)
                found[file] = _difference(deciding, _read(name, file), x)
        except Exception as error:  # exporters raise what they like
            file.unlink(missing_ok=True)
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{file}: {model.name} cannot be written as {name}: {reason}") from error
    return found


def _inputs(model: Classifier, card: dict[str, Any], images: Path | None) -> Tensor:
    """At most ``MOST`` inputs (N, ...), as ``predict`` makes them; random ones without images."""
    if images is None:
        x = probe(model, model.spec)
        return torch.cat([x, x.flip(-1), 1 - x, x * 0.5, x[:1] * 0])
    reading = Reading(value_range=model.spec.value_range)
    dataset = read_unlabelled(images, model.classes, model.spec.channels, reading, skip_unreadable=False)
    _, loader = make_ready(model, card, dataset, DataConfig())
    rows = np.linspace(0, len(dataset) - 1, min(MOST, len(dataset))).astype(np.int64)
    [batch] = loader.stream(plan_evaluation(rows, MOST, Shard(0, 1), None), (model.spec.size,), 0)
    return batch.inputs[model.spec.size].cpu()


@torch.no_grad()
def _difference(deciding: Deciding, graph: Graph, x: Tensor) -> float:
    """The largest difference between network and graph: of all inputs at once, and of one alone."""
    largest = 0.0
    for part in (x, x[:1]):
        expected, found = [value.numpy() for value in deciding(part)], graph(part.numpy())
        if [value.shape for value in found] != [value.shape for value in expected]:
            raise ModelError(f"gives outputs of shapes {[value.shape for value in found]} for {len(part)} inputs")
        gap = max(float(np.abs(a - b).max()) for a, b in zip(found[:2], expected[:2], strict=True))
        if not gap <= TOLERANCE * (float(np.abs(expected[0]).max()) + 1):
            raise ModelError(f"its outputs are {gap:.3g} away from the network's")
        if deciding.multi_label:
            near = np.abs(expected[0] - deciding.thresholds.numpy()) <= gap
            if (found[2] != expected[2])[~near].any():
                raise ModelError("it decides otherwise than the network")
        largest = max(largest, gap)
    return largest


def _write(name: Format, deciding: Deciding, x: Tensor, told: Mapping[str, Any], file: Path) -> None:
    if name == "torchscript":
        torch.jit.save(torch.jit.trace(deciding, (x,)), file, _extra_files={METADATA: json.dumps(told)})
        return
    program = torch.export.export(deciding, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    if name == "exported":
        torch.export.save(program, file, extra_files={METADATA: json.dumps(told)})
        return
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": list(deciding.outputs)}
    graph = torch.onnx.export(program, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: "batch"},), **names)
    assert graph is not None
    graph.model.metadata_props.update(
        {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in told.items()}
    )
    graph.save(file)


def _read(name: Format, file: Path) -> Graph:
    """The graph, as those who use it will run it."""
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {INPUT: x})
    module = torch.jit.load(file) if name == "torchscript" else torch.export.load(file).module()
    return lambda x: [value.numpy() for value in module(torch.from_numpy(x))]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' own messages, which are for those who write exporters, are not shown."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
