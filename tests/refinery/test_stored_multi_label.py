"""Multi-label data out of a store: given labels stay, stored log-odds answer for the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.stored_labels import Crops, write_store

from labelwise.config import Recipe, ViewConfig, load_recipe
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan
from labelwise.errors import LabelwiseError
from labelwise.models import checkpoint
from labelwise.refinery.chain import make_context, refine, train
from labelwise.refinery.checks import prepare
from labelwise.refinery.context import load_refinery
from labelwise.refinery.generations import LabelStore, NetworkSpec
from labelwise.refinery.network import build_model, refinery_labels
from labelwise.store.reader import Store
from labelwise.training.runtime import start_runtime

VIEWS = ViewConfig(scale=(0.5, 1.0), flip=False)


def recipe_of(data: Path, *changes: str) -> Recipe:
    base = [f"data.source={data}", "data.known={protocol: cells, share: 0.3}", "data.train_limit=120", "threads=1"]
    base += ["train={epochs: 1, batch_size: 32, warmup_epochs: 0, channels_last: false}", "chain.generations=1"]
    return load_recipe(None, [*base, *changes])


@pytest.mark.parametrize("precision", ["fp16", "uint8"])
def test_the_loss_is_that_of_the_live_refinery(digit_attributes, tmp_path, precision):
    train(recipe_of(digit_attributes), tmp_path / "t", quiet=True)
    model = checkpoint.load(tmp_path / "t" / "best")[0].eval()
    data = load_dataset(recipe_of(digit_attributes).data)
    rows = data.rows("fit")
    store = write_store(
        tmp_path / "s", data, rows, lambda b: model(b.inputs[8]), Crops((8,), VIEWS, 2), precision=precision
    )
    recipe = recipe_of(digit_attributes, f"chain.store={store}", "chain.unknown={kind: soft, weight: 0.7}")
    recipe, data = prepare(recipe)
    context = make_context(recipe, data, start_runtime(recipe), tmp_path / "x", 0, quiet=True)
    refineries = (load_refinery("net", tmp_path / "t" / "best"),)
    live = NetworkSpec("g", "generation", recipe.model, recipe.train, 1, refineries)
    stored = NetworkSpec(**{**vars(live), "store": LabelStore(store, Store(store).checksum())})
    student = build_model(context, live.model).eval()
    ours, theirs = (
        context.problem.plan(context, spec, student, refinery_labels(context, spec)) for spec in (stored, live)
    )
    plan = BatchPlan(rows, np.arange(len(rows)) % 5)
    [batch] = context.loader.replaying(ours.stored).stream([plan], (8,), 3)
    with torch.no_grad():
        a, b = ours.task(student, batch).loss, theirs.task(student, batch).loss
    torch.testing.assert_close(a, b, rtol=1e-4 if precision == "fp16" else 1e-2, atol=0)
    [row] = refine(recipe, tmp_path / "r", quiet=True).rows
    assert row.labels == "refinery soft dynamic (net; store s, 2 views of each sample)"
    for change, words in (("view=centre", "chain.unknown.view centre: needs"), ("views=2", "chain.unknown.views: ")):
        with pytest.raises(LabelwiseError, match=words):
            prepare(recipe_of(digit_attributes, f"chain.store={store}", f"chain.unknown.{change}"))
