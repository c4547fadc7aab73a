"""One shard: whether it is finished, and how it becomes so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from labelwise.errors import RunError
from labelwise.labelling.job import LabelJob
from labelwise.store.check import open_shard
from labelwise.store.header import StoreHeader
from labelwise.store.shard import DamagedShardError, shard_name, write_shard


def make_shard(job: LabelJob, out: Path, number: int, advance: Callable[[int], None]) -> None:
    """Label one shard and write it."""
    content = job.content(number, advance)
    try:
        write_shard(out / shard_name(number), job.header.hash, job.header.views_per_sample, content)
    except RunError:
        if not is_finished(job.header, out, number):  # another process may have made it, and tidied up
            raise


def is_finished(header: StoreHeader, folder: Path, number: int) -> bool:
    """Whether a shard is there, every byte of it; that of another store is refused."""
    path = folder / shard_name(number)
    try:
        open_shard(folder, header, number).check()
    except DamagedShardError:
        if path.exists():
            print(f"{path}: is damaged and is labelled again", file=sys.stderr)
        return False
    return True
