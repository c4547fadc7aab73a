"""``results.json`` of ``labelwise label``."""

from __future__ import annotations

from typing import Literal

from labelwise.results.record import Count, Number, Record, Seconds, Task


class LabelResults(Record):
    """A finished store of crop labels.

    ``bytes`` counts all shards, ``bytes_per_crop`` is their mean. ``checksum`` is a hash of the checksums of all
    shards: two stores with the same one are equal byte for byte. ``mean_classes`` is the mean number of classes that a
    crop has. ``mean_mass`` is the mean probability of these classes, of at most 65,536 crops; null for multi-label
    data. ``seconds`` counts this process alone.
    """

    kind: Literal["label"]
    task: Task
    classes: Count
    samples: Count
    views: Count
    crops: Count
    k: Count
    shards: Count
    bytes: Count
    bytes_per_crop: Number
    mean_classes: Number
    mean_mass: Number
    checksum: str
    seconds: Seconds
    crops_per_second: Number
