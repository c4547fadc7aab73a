"""``results.json`` of ``labelwise features``."""

from __future__ import annotations

from typing import Any, Literal

from labelwise.results.record import Count, Number, Record, Seconds, Splits


class FeaturesResults(Record):
    """A folder of features.

    ``input`` is the card of :class:`labelwise.models.classifier.InputSpec`; ``data`` is the fingerprint of the data;
    ``largest_logit_difference`` is what storing in fp16 changes in a logit, null without a head.
    """

    kind: Literal["features"]
    name: str
    model: str
    args: dict[str, Any]
    weights_hash: str
    data: str
    input: dict[str, Any]
    eval_crop: Number
    head: bool
    precision: Literal["fp16", "fp32"]
    autocast: str
    shards: Count
    splits: Splits
    rows: Count
    dim: Count
    categories: Count
    largest_logit_difference: Number
    seconds: Seconds
    images_per_second: Number
