"""Views on a GPU are those of the CPU."""

import numpy as np
import pytest
import torch

from labelwise.config import ViewConfig
from labelwise.data.dataset import Dataset, PixelArray
from labelwise.data.loaders import MemoryLoader
from labelwise.data.sampling import Shard, plan_training


@pytest.mark.gpu
def test_views_do_not_depend_on_the_device(cuda):
    rng = np.random.default_rng(0)
    ids = np.arange(96).astype(str)
    pixels = PixelArray(rng.integers(0, 256, (96, 32, 32, 3), dtype=np.uint8))
    data = Dataset("random", ("a", "b"), ids, ids, rng.integers(0, 2, 96), np.full(96, "fit"), pixels)
    views = ViewConfig(mixup=0.2, cutmix=1.0, erasing=0.5)
    jobs = plan_training(data.rows("fit"), 32, views, 0, 3, Shard())
    on_cpu = list(MemoryLoader(data, views, torch.device("cpu")).stream(jobs, (24, 48), 1))
    on_gpu = list(MemoryLoader(data, views, cuda).stream(jobs, (24, 48), 1))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert (a.rows == b.rows).all()
        for size in (24, 48):
            torch.testing.assert_close(a.inputs[size], b.inputs[size].cpu(), atol=2e-3, rtol=0)
