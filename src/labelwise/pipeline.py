"""The two halves joined, for multi-label images of which few labels are known: network, features, a better head.

Start at :func:`train_and_fine_tune`. Below it are the demonstration's data: digits, and what can be said of each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from labelwise.cft.extract import extract_features
from labelwise.cft.run import CftConfig, run_cft
from labelwise.config import DataConfig, ModelConfig, Recipe, TrainConfig, ViewConfig
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import ViewLoader, make_loader
from labelwise.data.philox import derive_seed
from labelwise.data.readers import load_dataset
from labelwise.errors import DataError, RunError
from labelwise.labels import strategies
from labelwise.labels.protocols import keep_uniform
from labelwise.labels.table import LabelTable
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import Classifier
from labelwise.runs import RESUME, ROW, atomic_write, fingerprint, read_json, write_json
from labelwise.train.evaluate import predict_logits
from labelwise.train.fit import FitInput, fit
from labelwise.train.multilabel import MultiLabelTask, ranking_scores
from labelwise.train.progress import Progress
from labelwise.train.runtime import Runtime, start_runtime
from labelwise.train.setup import data_spec

Unknown = Literal["negative", "ignore"]

BASE, CONTROL = "assume-negative", "ignore"
"""The network whose head is re-fitted, and the same network trained on the known labels alone."""

NETWORK = "network.json"


def train_and_fine_tune(recipe: Recipe, out: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Train on partly labelled data with unknown labels taken for negative, then re-fit every category's head.

    The run folder is that of ``labelwise cft``; beside its files lie the two networks, and the features under the name
    of the data. What is finished is skipped, what was interrupted goes on.

    Parameters
    ----------
    recipe : of which seed, threads, data, views, model and train count
    out : the run folder

    Returns
    -------
    the content of ``results.json``, and under ``networks`` the scores of the two networks on select and test

    Raises
    ------
    LabelwiseError
        If the data are not multi-label, or the folder holds another run.
    """
    runtime = start_runtime(recipe)
    dataset = load_dataset(recipe.data, partial=True)
    loader = make_loader(dataset, recipe.views, runtime.device, recipe.data.workers)
    policies: dict[str, Unknown] = {BASE: "negative", CONTROL: "ignore"}
    networks = {
        name: _train_network(recipe, dataset, loader, runtime, policy, out / name, quiet)
        for name, policy in policies.items()
    }
    features = out / dataset.name
    extract_features(str(out / BASE), recipe, features, quiet=quiet)
    results = run_cft(CftConfig(features=str(features), seed=recipe.seed), out, quiet=quiet)
    return results | {"networks": networks}


def _train_network(
    recipe: Recipe,
    dataset: Dataset,
    loader: ViewLoader,
    runtime: Runtime,
    unknown: Unknown,
    folder: Path,
    quiet: bool,
) -> dict[str, Any]:
    """Train a network into ``folder``, or go on where it was stopped, or only read its row where it is finished."""
    if dataset.table is None:
        raise DataError(f"{dataset.name}: one class per sample; use `labelwise refine`")
    lineage = {
        "model": recipe.model.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json", exclude={"checkpoint_seconds", "trackers"}),
        "views": recipe.views.model_dump(mode="json"),
        "data": dataset.fingerprint(),
        "unknown": unknown,
        "seed": recipe.seed,
    }
    if (folder / NETWORK).exists():
        if read_json(folder / NETWORK)["fingerprint"] != fingerprint(lineage):
            raise RunError(f"{folder}: was begun with another recipe or data set; give another --out or delete it")
    elif runtime.is_main:
        write_json(folder / NETWORK, {"fingerprint": fingerprint(lineage), "lineage": lineage})
    runtime.accelerator.wait_for_everyone()
    if (folder / ROW).exists():
        if not quiet and runtime.is_main:
            print(f"{folder.name}: finished before, skipped", file=sys.stderr)
        return dict(read_json(folder / ROW))
    rows, table = dataset.rows("fit"), dataset.table
    seed = derive_seed(recipe.seed, "network")  # the same for both, so that only the labels differ
    torch.manual_seed(derive_seed(seed, "weights"))
    model = zoo.build(recipe.model, dataset.classes, data_spec(dataset, recipe.views))
    checkpoint.initialise(model, recipe.model.init)

    def scores(candidate: Classifier, split: str) -> dict[str, float]:
        chosen = dataset.rows(split)
        return ranking_scores(predict_logits(candidate, loader, chosen, runtime), table.take(chosen))

    with Progress(folder.name, quiet or not runtime.is_main) as progress:
        result = fit(
            model,
            MultiLabelTask(strategies.unknown(table, unknown), rows, model.spec.size, runtime.device),
            FitInput(loader, rows, recipe.views),
            recipe.train,
            seed=seed,
            folder=folder,
            runtime=runtime,
            select=(lambda candidate: scores(candidate, "select")) if len(dataset.rows("select")) else None,
            progress=progress,
        )
    row: dict[str, Any] = {
        "name": folder.name,
        "unknown": unknown,
        "epochs": recipe.train.epochs,
        "kept_epoch": result.kept_epoch,
        "seconds": round(result.seconds, 3),
        **{split: scores(model, split) for split in ("select", "test") if len(dataset.rows(split))},
        "weights_hash": checkpoint.weights_hash(model.net),
    }
    if runtime.is_main:
        card = {"labels": {"unknown": unknown}, "data": dataset.name, "eval_crop": recipe.views.eval_crop}
        checkpoint.save(folder, model, card | {"lineage": fingerprint(lineage)})
        write_json(folder / ROW, row)
        (folder / RESUME).unlink(missing_ok=True)
    runtime.accelerator.wait_for_everyone()
    return row


# The demonstration

DATA = "digit-attributes"
KNOWN = 0.1

ATTRIBUTES = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "square number": (0, 1, 4, 9),
    "multiple of three": (0, 3, 6, 9),
    "five or more": (5, 6, 7, 8, 9),
    "a closed loop": (0, 6, 8, 9),
    "two closed loops": (8,),
    "straight strokes only": (1, 4, 7),
    "curves only": (0, 3, 6, 8),
    "flat top": (5, 7),
    "flat foot": (2,),
    "same upside down": (0, 1, 8),
}
"""What is true of which digits, as they are usually written."""

DEMO_NOTE = (
    f"The same digits as multi-label data: {len(ATTRIBUTES)} attributes of each. [bold]Simulated:[/] of the labels to "
    f"learn from, a random {1 - KNOWN:.0%} are hidden; select and test are fully known. A network is trained with "
    "unknown labels taken for negative; then every category's row of its head is re-fitted on the known labels."
)


def demo(out: Path, *, known: float = KNOWN, seed: int = 0, quiet: bool = False) -> dict[str, Any]:
    """:func:`train_and_fine_tune` on :func:`write_digit_attributes`; ``seed`` draws known labels and networks."""
    data = out / f"{DATA}.npz"
    write_digit_attributes(data, known, seed)
    return train_and_fine_tune(demo_recipe(data, seed), out, quiet=quiet)


def write_digit_attributes(path: Path, known: float, seed: int) -> None:
    """Write scikit-learn's digits as a multi-label .npz; of the labels of ``fit``, only a share ``known`` is kept."""
    digits = load_dataset(DataConfig(source="digits", select_share=0.25))
    assert isinstance(digits.source, PixelArray)
    true = np.stack([np.isin(digits.label, members) for members in ATTRIBUTES.values()], axis=1)
    table = LabelTable.from_wire(true, tuple(ATTRIBUTES))
    keep = keep_uniform(table, known, seed) | (digits.split != "fit")[:, None]
    arrays: dict[str, Any] = {
        "images": digits.source.pixels,
        "labels": table.hide(keep).to_wire(),
        "categories": np.array(table.categories),
        "split": digits.split,
        "ids": digits.ids,
    }
    atomic_write(path, lambda file: np.savez_compressed(file, **arrays))


def demo_recipe(data: Path, seed: int) -> Recipe:
    """Epochs and rate are those at which the network itself, before fine-tuning, ranks ``select`` best."""
    return Recipe(
        name="demo-cft",
        seed=seed,
        threads=1,
        data=DataConfig(source=str(data)),
        views=ViewConfig(size=8, scale=(0.9, 1.0), flip=False),
        model=ModelConfig(name="small-narrow"),
        train=TrainConfig(epochs=20, batch_size=64, lr=0.8, channels_last=False),
    )


def control_line(results: dict[str, Any]) -> str:
    """The fine-tuned head beside the same network trained again without the wrong negatives, whichever is better.

    Parameters
    ----------
    results : as :func:`train_and_fine_tune` returns them
    """
    tuned, control = results["mean"]["test"]["after"], results["networks"][CONTROL]
    again = control["test"]["map"]
    verdict = "training again is better here" if again > tuned else "training again is no better here"
    return (
        f"Control: the same network trained from scratch on the known labels alone has {again:.2%} mAP on test, the "
        f"re-fitted head {tuned:.2%}: {verdict}. It took {control['seconds']:.1f} s and another backbone, fine-tuning "
        f"{results['stages']['solve']:.1f} s and the old one."
    )
