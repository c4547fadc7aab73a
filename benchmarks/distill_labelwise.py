"""A student trained by labelwise, as `labelwise refine` does it; a job as for the peers (`peers/distill_job.py`)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from peers.distill_job import Job, Trained, serve

from labelwise.config import Recipe, load_recipe
from labelwise.refinery.chain import refine


def recipe(job: Job) -> Recipe:
    """A chain of one generation, labelled by the refinery where the job asks one.

    labelwise's weights of the two losses sum to one; another sum is a factor of the learning rate, which plain SGD with
    momentum cannot tell from a factor of the loss, so that the decay of weights is divided by it.
    """
    total = job.given + job.refined
    overrides = {
        "seed": job.seed,
        "threads": 1,
        "data.source": job.problem,
        "views.scale": list(job.scale),
        "views.ratio": list(job.ratio),
        "model.name": job.student.replace("_", "-"),
        "model.init": job.student_weights,
        "train.epochs": job.epochs,
        "train.batch_size": job.batch_size,
        "train.lr": job.lr * total,
        "train.momentum": job.momentum,
        "train.weight_decay": job.weight_decay / total,
        "train.warmup_epochs": job.warmup_epochs,
        "train.label_smoothing": job.smoothing,
        "chain.generations": 1,
    }
    if job.refined > 0:
        overrides["chain.refinery"] = [str(Path(job.refinery_weights).parent)]
    if job.refined > 0 and (job.given, job.temperature) != (0, 1):
        overrides |= {"chain.refined.given": job.given / total, "chain.refined.temperature": job.temperature}
        overrides["chain.refined.loss"] = "kd"
    return load_recipe(None, [f"{key}={json.dumps(value)}" for key, value in overrides.items()])


def train(job: Job) -> Trained:
    """The whole of a run in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        row = refine(recipe(job), Path(folder), quiet=True).to_json()["rows"][0]
        with np.load(Path(folder) / row["path"] / "predictions.npz") as file:
            return Trained(file["prediction"], row["select"]["top1"], row["seconds"])


if __name__ == "__main__":
    serve(train, ("labelwise",))
