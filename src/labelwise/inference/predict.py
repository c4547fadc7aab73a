"""The classes of new images, by a finished checkpoint: ``labelwise.predict`` and the command ``predict``."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.config import DataConfig, UnreadablePolicy, check_choice
from labelwise.data.decode import Reading
from labelwise.data.readers.unlabelled import read_unlabelled
from labelwise.errors import ConfigError
from labelwise.inference.loader import MULTI_LABEL, decision_thresholds, make_ready
from labelwise.models import checkpoint
from labelwise.runs import atomic_write, check_out_file, finite
from labelwise.training.runtime import predict_logits


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint says of N images.

    Parameters
    ----------
    ids : (N,) names: paths inside the folder, or row numbers of an .npz file
    classes : the K classes or categories of the checkpoint
    logits : (N, K) float32
    multi_label : whether each category is a question of its own, with a sigmoid, rather than one softmax over all
    unreadable : images that were skipped
    thresholds : (K,) logits at or above which a category is named; None for 0, a probability of 0.5
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    logits: NDArray[np.float32]
    multi_label: bool
    unreadable: tuple[str, ...] = ()
    thresholds: NDArray[np.float64] | None = None

    @property
    def probability(self) -> NDArray[np.float64]:
        """(N, K) probabilities; the rows sum to one unless ``multi_label``."""
        logits = torch.from_numpy(self.logits)
        return (logits.double().sigmoid() if self.multi_label else logits.softmax(1).double()).numpy()

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(N, K): whether the logit is at or above the category's threshold. It means nothing of one softmax."""
        return self.logits >= (0.0 if self.thresholds is None else self.thresholds)

    def top(self, count: int) -> NDArray[np.int64]:
        """(N, count) numbers of the most probable classes, best first; all classes where there are fewer.

        Examples
        --------
        >>> logits = np.array([[0.0, 2.0, 1.0]], dtype=np.float32)
        >>> found = Predictions(("photo.jpg",), ("cat", "dog", "fox"), logits, multi_label=False)
        >>> [found.classes[k] for k in found.top(2)[0]]
        ['dog', 'fox']
        """
        # Of logits: many probabilities may round to 1.
        return torch.from_numpy(self.logits).topk(min(count, len(self.classes)), dim=1).indices.numpy()


def predict(
    model: str | Path,
    images: str | Path,
    *,
    unreadable: UnreadablePolicy = "fail",
    max_pixels: int = Reading.max_pixels,
    trust_code: bool = False,
) -> Predictions:
    """Predict the classes of new images.

    Parameters
    ----------
    model : checkpoint folder, such as RUN/seed-0/generation-2
    images : folder of images, one image, or an .npz file of images or embeddings
    unreadable : ``fail`` at the first unreadable image, or ``skip`` and list them
    max_pixels : largest image that is read; larger ones are unreadable
    trust_code : whether code that the checkpoint names as its network may be run

    Returns
    -------
    ids, logits and probabilities of every image, and the thresholds of a checkpoint that has its own

    Raises
    ------
    LabelwiseError
        If the checkpoint or the images cannot be read, or the checkpoint wants another kind of input.
    """
    check_choice("unreadable", unreadable, UnreadablePolicy)
    network, card = checkpoint.load(Path(model), trust_code)
    multi_label, channels = card.get("task") == MULTI_LABEL, network.spec.channels
    thresholds = decision_thresholds(card, network.classes, Path(model)) if multi_label else None
    reading = Reading(max_pixels, network.spec.value_range)
    dataset = read_unlabelled(Path(images), network.classes, channels, reading, skip_unreadable=unreadable == "skip")
    runtime, loader = make_ready(network, card, dataset, DataConfig())
    logits = predict_logits(network.to(runtime.device), loader, np.arange(len(dataset)), runtime)
    return Predictions(
        ids=tuple(str(name) for name in dataset.ids),
        classes=network.classes,
        logits=logits.float().numpy(),
        multi_label=multi_label,
        unreadable=tuple(dataset.unreadable),
        thresholds=thresholds,
    )


def check_predictions_file(out: Path) -> None:
    """Refuse to write predictions where something else is, before anything is computed.

    Raises
    ------
    ConfigError
        If the ending is neither .csv nor .json.
    RunError
        If there is a folder, or a file that does not hold predictions.
    """
    if out.suffix not in (".csv", ".json"):
        raise ConfigError(f"--out {out}: the ending says the format, .csv or .json")
    check_out_file(out, "predictions", _is_json if out.suffix == ".json" else _is_csv)


def write_predictions(predictions: Predictions, out: Path, top: int) -> None:
    """Write the ``top`` most probable classes of every image to a .csv or .json file.

    Of a multi-label checkpoint, ``positive`` also names every category at or above its threshold; in a CSV file they
    are separated by ``|``.
    """
    probability, best, classes = predictions.probability, predictions.top(top), predictions.classes
    records: list[dict[str, Any]] = [
        {"id": name, "top": [[classes[k], round(float(row[k]), 6)] for k in numbers]}
        for name, row, numbers in zip(predictions.ids, probability, best, strict=True)
    ]
    if predictions.multi_label:
        for record, decided in zip(records, predictions.positive, strict=True):
            record["positive"] = [classes[k] for k in np.flatnonzero(decided)]
    atomic_write(out, _as_json(records) if out.suffix == ".json" else _as_csv(records))


def _is_json(text: str) -> bool:
    found = json.loads(text)
    return isinstance(found, list) and all(isinstance(one, dict) and {"id", "top"} <= one.keys() for one in found)


def _is_csv(text: str) -> bool:
    return text.startswith(("id,class_1,", "id,positive,class_1,"))


def _as_json(records: list[dict[str, Any]]) -> bytes:
    return (json.dumps(finite(records), indent=1, ensure_ascii=False) + "\n").encode()


def _as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    count = len(records[0]["top"]) if records else 0
    decided = ["positive"] if records and "positive" in records[0] else []
    writer.writerow(["id", *decided, *(f"{what}_{i + 1}" for i in range(count) for what in ("class", "probability"))])
    for record in records:
        named = ["|".join(record[key]) for key in decided]
        writer.writerow([record["id"], *named, *(value for pair in record["top"] for value in pair)])
    return text.getvalue().encode()
