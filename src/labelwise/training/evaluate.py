"""Logits of a network over rows of a data set."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.loaders import ViewLoader
from labelwise.data.sampling import plan_evaluation
from labelwise.models.classifier import Classifier
from labelwise.training.runtime import Runtime

EVAL_BATCH = 512


@torch.no_grad()
def predict_logits(
    model: Classifier,
    loader: ViewLoader,
    rows: NDArray[np.int64],
    runtime: Runtime,
    *,
    view: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Logits (len(rows), K), float32 on the CPU, in the order of ``rows``; every rank gets all of them.

    Parameters
    ----------
    view : number of a random view, drawn by ``seed``; None looks at the centre view
    """
    was_training = model.training
    model.eval()
    parts = [torch.empty(0, len(model.classes), device=runtime.device)]
    for batch in loader.stream(plan_evaluation(rows, EVAL_BATCH, runtime.shard, view), (model.spec.size,), seed):
        with runtime.accelerator.autocast():  # not around the stream: views are drawn in float32, as in training
            parts.append(model(batch.inputs[model.spec.size]).float())
    model.train(was_training)
    return runtime.gather(torch.cat(parts)).cpu()
