"""What to say of errors that the machine makes, not the user; libraries tell them in their own words, anywhere."""

from __future__ import annotations

import os
import re

_NO_MEMORY = re.compile("out of memory|can't allocate memory|_STATUS_ALLOC_FAILED|not enough memory", re.I)


def of_the_machine(error: MemoryError | RuntimeError) -> str | None:
    """One line on memory that is spent, or on a process that ended; None for any other error."""
    reason = " ".join(str(error).split())
    if isinstance(error, MemoryError) or _NO_MEMORY.search(reason):
        less = "smaller batches (train.batch_size), smaller images (views.size) or fewer processes need less"
        return f"out of memory ({reason[:160] or 'the system gives no more'}); {less}"
    if "can't start new thread" in reason:
        return f"the system starts no more threads ({reason}); set threads and data.workers lower"
    if "DataLoader worker" in reason:
        less = "set data.workers lower; the same command continues where it was"
        first = str(error).splitlines()[0].rstrip(". ")
        return f"a process that decodes images ended ({first}); is there enough memory? {less}"
    if "RANK" in os.environ and (type(error).__name__.startswith("Dist") or re.search("gloo|nccl", reason, re.I)):
        again = "start all of them again: the same command continues where it was, with any number of processes"
        return f"another process of this run ended or cannot be reached ({reason[:160]}); {again}"
    return None
