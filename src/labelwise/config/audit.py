"""The audit of labels: the options of ``labelwise audit``."""

from __future__ import annotations

from pydantic import Field

from labelwise.config.types import PositiveInt, Rounds, Threads
from labelwise.settings import Section


class AuditConfig(Section):
    """Options of ``labelwise audit`` besides the data and the network."""

    folds: int = Field(5, ge=2, description="Number of folds: each sample is answered by models without its fold.")
    seeds: Rounds = Field(2, description="Images: number of networks per fold.")
    views: PositiveInt = Field(4, description="Images: number of views that each network answers.")
    epochs: Rounds | None = Field(
        None, description="Images: epochs of each network. Default: those of a recipe for such data."
    )
    duplicates: bool = Field(True, description="Look for samples that are nearly the same.")
    similarity: float = Field(
        0.995, gt=0.0, le=1.0, description="Embeddings: cosine from which two samples are near duplicates."
    )
    thumbnails: int = Field(500, ge=0, description="Number of images on the page.")
    threads: Threads = Field(0, description="Number of CPU threads. 0: torch decides.")
    seed: int = Field(0, ge=0, description="Random seed.")
