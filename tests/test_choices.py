"""Python functions refuse words that they do not know, as the command line does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from labelwise.cft.ensemble import combine
from labelwise.config import Metric, check_choice
from labelwise.data.dataset import Dataset, Features
from labelwise.errors import ConfigError
from labelwise.metrics.ranking import ranking


def test_the_message_names_option_value_and_choices() -> None:
    check_choice("metric", "auc", Metric)
    with pytest.raises(ConfigError, match=r"^metric: expected one of ap, auc, got 'map'$"):
        check_choice("metric", "map", Metric)


def test_functions_refuse_other_words() -> None:
    other: Any = "other"
    names = np.array(["a", "b"])
    data = Dataset(
        "d", ("x",), names, names, np.zeros(2, np.int64), np.full(2, "fit"), Features(np.zeros((2, 1), "f4"))
    )
    found = ranking(torch.rand(1, 4), torch.tensor([[0.0, 1.0, 0.0, 1.0]]))
    for call in (lambda: data.rows(other), lambda: found.of(other), lambda: combine([np.zeros((2, 1))], other)):
        with pytest.raises(ConfigError, match=r"expected one of .*, got 'other'"):
            call()
