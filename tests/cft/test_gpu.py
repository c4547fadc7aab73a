"""Heads that are fitted on a GPU are those of the CPU, up to rounding."""

import numpy as np
import pytest

from labelwise.cft.finetuner import CategoryWiseFineTuner


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["logistic", "auto"])
def test_heads_do_not_depend_on_the_device(cuda, method):
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((4, 16))
    x = rng.standard_normal((900, 16)).astype(np.float32)
    y = (x @ truth.T + rng.standard_normal((900, 4)) > 1).astype(np.float32)
    y[:300][rng.random((300, 4)) > 0.3] = np.nan
    heads = [
        CategoryWiseFineTuner("ap", method=method, device=device).fit(
            x[:300], y[:300], head_weight=np.zeros((4, 16)), head_bias=np.zeros(4), select=(x[300:600], y[300:600])
        )
        for device in ("cpu", cuda.type)
    ]
    on_cpu, on_gpu = ((x[600:] @ head.weight_.T).T for head in heads)
    for own, other in zip(on_cpu, on_gpu, strict=True):
        assert np.corrcoef(own, other)[0, 1] > 0.99
        assert np.corrcoef(own, y[600:, list(on_cpu[:, 0]).index(own[0])])[0, 1] > 0.4  # it has learnt something
