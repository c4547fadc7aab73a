"""A chain in mixed precision on a GPU learns, and its refinery labels what is trained there."""

import pytest

from labelwise import load_recipe, refine


@pytest.mark.gpu
def test_a_chain_learns_on_a_gpu(cuda, tmp_path):
    options = ["train.epochs=8", "train.precision=bf16", "chain.generations=2", "chain.folds=2", "views.mixup=0.2"]
    found = refine(load_recipe(None, [*options, "views.flip=false", "views.scale=[0.6, 1.0]"]), tmp_path, quiet=True)
    first, second = (row for row in found.rows if row.role == "generation")
    assert first.test.top1 > 0.85 and second.test.top1 > 0.85
    assert second.refineries == ("generation-1-fold-1", "generation-1-fold-2")
