"""AP and AUC on a GPU are those of the CPU."""

import numpy as np
import pytest
import torch

from labelwise.metrics.ranking import ranking


@pytest.mark.gpu
def test_ranking_does_not_depend_on_the_device(cuda):
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.standard_normal((3, 7, 500)).astype(np.float32).round(1))  # with many ties
    labels = torch.from_numpy((rng.random((3, 1, 500)) < 0.2).astype(np.float32))
    labels[rng.random((3, 1, 500)) < 0.3] = torch.nan
    on_cpu, on_gpu = ranking(scores, labels), ranking(scores.to(cuda), labels.to(cuda))
    assert on_gpu.ap.device.type == cuda.type
    torch.testing.assert_close(on_gpu.ap.cpu(), on_cpu.ap, atol=1e-12, rtol=0)
    torch.testing.assert_close(on_gpu.auc.cpu(), on_cpu.auc, atol=1e-12, rtol=0)
    assert (on_gpu.positives.cpu() == on_cpu.positives).all()
