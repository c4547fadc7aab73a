"""How fast a network is on these data and this machine: a few real steps of training, timed."""

from __future__ import annotations

import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub.constants import ENDPOINT

from labelwise.config import Recipe, merge_train
from labelwise.data.dataset import Dataset
from labelwise.errors import ModelError
from labelwise.models import zoo
from labelwise.progress import Progress
from labelwise.refinery.chain import make_context
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import build_model, initialise
from labelwise.refinery.plan import Facts, Speed
from labelwise.training.closed_form.candidates import Samples
from labelwise.training.closed_form.fit import PILOT, fit_closed_form
from labelwise.training.fit import FitInput, fit
from labelwise.training.runtime import predict_logits, start_runtime

ENOUGH = 1.0
"""Seconds of training that are timed at least, unless an epoch is shorter."""

CENTRES = 3000
WRITING = 0.2
"""Seconds that it takes to write a finished network."""


def measure_speed(recipe: Recipe, data: Dataset) -> Speed:
    """Train the network of ``recipe`` on a part of the data, and time it; nothing is kept.

    Raises
    ------
    LabelwiseError
        If the network cannot be built for the data, or cannot be trained as the recipe says.
    """
    with tempfile.TemporaryDirectory() as folder:
        runtime = start_runtime(recipe)
        context = make_context(recipe, data, runtime, Path(folder), recipe.seed, quiet=True)
        train = merge_train(recipe.train, {"epochs": 1, "keep": "last", "checkpoint_seconds": 1e9, "trackers": ()})
        network = NetworkSpec("speed", "candidate", recipe.model, train)
        started = time.monotonic()
        model = build_model(context, network.model)
        initialise(model, network)
        fixed = time.monotonic() - started + WRITING
        task = context.problem.plan(context, network, model, None).task
        rows = data.rows("fit")

        def seconds(count: int) -> float:
            part = FitInput(context.loader, rows[:count], recipe.views, recipe.seed)
            result = fit(
                model,
                task,
                part,
                train,
                folder=Path(folder),
                runtime=runtime,
                select=None,
                progress=Progress("speed", quiet=True),
            )
            return result.seconds

        count = min(len(rows), 4 * train.batch_size)
        seconds(count)  # the first steps are slow
        while (taken := seconds(count)) < ENOUGH and count < len(rows):
            count = min(len(rows), 4 * count)
        seen = rows[:count]
        predict_logits(model, context.loader, seen[:512], runtime)
        started = time.monotonic()
        predict_logits(model, context.loader, seen, runtime)
        forward = (time.monotonic() - started) / count
    return Speed(train=taken / count, forward=forward, fixed=fixed)


def with_closed_forms(speed: Speed, facts: Facts, features: int) -> Speed:
    """``speed`` with the expected seconds of closed forms.

    Kernel ridge regression takes samples x centres^2 + 10 x centres^3 steps, which are timed with few centres on random
    numbers.
    """
    few = Samples(
        torch.randn(2 * PILOT, features, dtype=torch.float64), torch.eye(10, dtype=torch.float64).repeat(100, 1)
    )
    started = time.monotonic()
    fit_closed_form("kernel_ridge", {"centres": PILOT, "bandwidth": 1.0}, few, few)
    taken = time.monotonic() - started
    centres = min(CENTRES, facts.fit)
    steps = facts.fit * centres**2 + 10 * centres**3
    return replace(speed, kernel_ridge=taken * steps / (len(few.x) * PILOT**2 + 10 * PILOT**3))


def published_weights(name: str, seconds: float = 5.0) -> tuple[bool, str]:
    """Whether published weights of a network can be had, and if not, why.

    The host is asked first, for a few seconds: a download that cannot begin is tried again for a minute.

    Raises
    ------
    ModelError
        If there is no such network.
    """
    zoo.refuse_unknown(name)
    if name in zoo.OWN or (":" in name and not name.startswith("hf-hub:")):
        return False, ""
    host = "https://download.pytorch.org" if name.startswith("torchvision/") else ENDPOINT
    try:
        urllib.request.urlopen(host, timeout=seconds).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError:
        return False, f"{host} cannot be reached"
    try:
        zoo.pretrained_classes(name)
    except ModelError:
        return False, "there are none"
    return True, ""


def supports_bfloat16() -> bool:
    """Whether networks are trained on a GPU that computes in bfloat16."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
