"""Crops whose refined label differs most from the given one, kept as pictures for the report and for curators."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from labelwise.data.sampling import BatchPlan
from labelwise.models.classifier import Classifier
from labelwise.refinery.context import SCORE_VIEW, TrainingContext
from labelwise.runs import atomic_write, write_json
from labelwise.training.runtime import predict_logits

ITEMS, SEARCHED, TOP = 48, 20_000, 3
SMALLEST = 32
"""Crops are drawn at least so large, for people to see."""


def write_gallery(context: TrainingContext, chain: Mapping[str, Callable[[], Classifier]]) -> None:
    """Write ``gallery/gallery.json`` and one PNG per item (none for embeddings) under the seed's folder.

    Items are the training crops with the lowest refined probability of their given label, at most an even share (times
    two) from each given class.

    Parameters
    ----------
    chain : generations by name, in their order, each as what loads it. The last one refines; ``steps`` of an item are
        the first answer of each, with its probability and that of the given label
    """
    dataset, name = context.dataset, list(chain)[-1]
    model = chain[name]()
    rows = dataset.rows("fit")[:SEARCHED]
    logits = predict_logits(model, context.loader, rows, context.runtime, view=SCORE_VIEW, seed=context.seed)
    log_q = torch.log_softmax(logits, 1).numpy()
    divergence = -log_q[np.arange(len(rows)), dataset.label[rows]]
    chosen = _most_divergent(divergence, dataset.label[rows], dataset.num_classes)
    steps = {one: _answers(context, load(), rows[chosen]) for one, load in chain.items() if one != name}
    steps[name] = np.exp(log_q[chosen])
    if not context.runtime.is_main:
        return
    folder = context.folder / "gallery"
    pictures = [] if dataset.is_features else _crops(context, rows[chosen], model.spec.size)
    items: list[dict[str, Any]] = []
    for i, c in enumerate(chosen):
        row = rows[c]
        top = np.argsort(-log_q[c])[:TOP]
        file = None
        if pictures:
            file = f"{i:03d}.png"
            atomic_write(folder / file, pictures[i])
        given = int(dataset.label[row])
        answers = [(one, int(q[i].argmax()), q[i]) for one, q in steps.items()]
        true = None if dataset.true_label is None else dataset.classes[dataset.true_label[row]]
        items.append(
            {
                "file": file,
                "id": str(dataset.ids[row]),
                "given": dataset.classes[given],
                "true": true,
                "top": [[dataset.classes[k], float(np.exp(log_q[c, k]))] for k in top],
                "steps": [[one, dataset.classes[k], float(q[k]), float(q[given])] for one, k, q in answers],
                "divergence": float(divergence[c]),
            }
        )
    write_json(folder / "gallery.json", {"refinery": name, "items": items})


def _answers(context: TrainingContext, model: Classifier, rows: NDArray[np.int64]) -> NDArray[np.floating]:
    """Probabilities (N, K) of the crops that are shown."""
    logits = predict_logits(model, context.loader, rows, context.runtime, view=SCORE_VIEW, seed=context.seed)
    return torch.softmax(logits, 1).numpy()


def _most_divergent(divergence: NDArray[np.floating], label: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    limit = max(1, math.ceil(2 * ITEMS / num_classes))
    taken = np.zeros(num_classes, dtype=int)
    chosen = []
    for index in np.argsort(-divergence, kind="stable"):
        if taken[label[index]] < limit:
            taken[label[index]] += 1
            chosen.append(index)
        if len(chosen) == ITEMS:
            break
    return np.array(chosen, dtype=np.int64)


def _crops(context: TrainingContext, rows: NDArray[np.int64], size: int) -> list[bytes]:
    """PNG bytes of the very crops that were labelled."""
    size = max(size, SMALLEST)
    plan = BatchPlan(rows, np.full(len(rows), SCORE_VIEW, dtype=np.int64))
    [batch] = context.loader.stream([plan], (size,), context.seed)
    pixels = batch.inputs[size].mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    out = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
        out.append(buffer.getvalue())
    return out
