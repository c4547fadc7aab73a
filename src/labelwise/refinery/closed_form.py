"""A network of a chain that is fitted in closed form: to the labels of centre views, given ones or a refinery's."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelwise.data.counter_rng import derive_seed
from labelwise.data.sampling import plan_evaluation
from labelwise.models.classifier import Classifier
from labelwise.progress import Progress
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.labellers import GivenLabels
from labelwise.training.closed_form.candidates import Samples
from labelwise.training.closed_form.fit import fit_closed_form
from labelwise.training.fit import FitResult
from labelwise.training.runtime import EVAL_BATCH
from labelwise.training.task import SoftLabelTask, Task


def solve(
    context: TrainingContext, network: NetworkSpec, model: Classifier, task: Task, progress: Progress
) -> FitResult:
    """Fit ``model`` in place; its strength of regularisation and its temperature are chosen on ``select``.

    Raises
    ------
    DataError
        If the labels are all of one class.
    """
    assert isinstance(task, SoftLabelTask)  # checks.check_learning has refused others
    started = time.monotonic()
    rows = context.fit_rows(network)
    progress.start(1)
    seed = derive_seed(context.seed, network.stream or network.name)
    fit = _samples(context, model, rows, task)
    select = context.dataset.rows("select")
    given = SoftLabelTask(GivenLabels(len(model.classes)), model.spec.size)
    held_out = _samples(context, model, select, given) if len(select) else None
    fitted = fit_closed_form(model.name, model.args, fit, held_out, seed)
    model.net, model.args = fitted.net, fitted.args
    model.to(context.runtime.device)
    progress.advance()
    progress.show(fitted.words)
    seconds = time.monotonic() - started
    return FitResult(1, 1, seconds, len(rows) / max(seconds, 1e-9), fitted.words)


def _samples(context: TrainingContext, model: Classifier, rows: NDArray[np.int64], task: SoftLabelTask) -> Samples:
    """Embeddings as the network of ``model`` sees them, and their labels."""
    x: list[Tensor] = []
    y: list[Tensor] = []
    plans = plan_evaluation(rows, EVAL_BATCH, context.runtime.shard)
    for batch in context.loader.stream(plans, task.sizes, context.seed):
        x.append(batch.inputs[model.spec.size].cpu().double())
        y.append(task.target(batch).cpu().double())
    seen, labels = (context.runtime.gather(torch.cat(parts)).cpu() for parts in (x, y))
    return Samples((seen - model.mean.double()) / model.std.double(), labels)
