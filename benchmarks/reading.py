"""Count what a newcomer has to read: the files and lines that run in one generation and in one `auto`.

    python benchmarks/reading.py [--rooms refinery train]

A profiler hook notes every function that is called. A function counts with all its lines, a class with the methods that
were called, a file with the lines of its functions that were called. ``--rooms`` narrows the count to some packages.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

import labelwise

SOURCE = Path(labelwise.__file__).parent


def called(run: Callable[[], Any], within: str) -> dict[Path, set[int]]:
    """Lines of every function of labelwise that runs inside the function named ``within``, by file."""
    codes: set[CodeType] = set()
    depth = 0

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal depth
        if event == "call":
            depth += frame.f_code.co_name == within
            if depth:
                codes.add(frame.f_code)
        elif event == "return":
            depth -= frame.f_code.co_name == within

    sys.setprofile(hook)
    try:
        run()
    finally:
        sys.setprofile(None)
    found: dict[Path, set[int]] = defaultdict(set)
    for code in codes:
        path = Path(code.co_filename)
        if path.is_relative_to(SOURCE) and not code.co_name.startswith("<module"):
            lines, first = inspect.getsourcelines(code)
            found[path.relative_to(SOURCE)] |= set(range(first, first + len(lines)))
    return found


def show(title: str, found: dict[Path, set[int]], rooms: list[str]) -> None:
    kept = {path: lines for path, lines in found.items() if not rooms or path.parts[0] in rooms}
    whole = sum(len((SOURCE / path).read_text().splitlines()) for path in kept)
    print(
        f"{title}: {len(kept)} files, {sum(map(len, kept.values()))} lines of functions, {whole} lines of whole files"
    )
    for path, lines in sorted(kept.items(), key=lambda item: -len(item[1])):
        print(f"  {len(lines):5}  {path}")


def one_generation() -> Callable[[], Any]:
    """The second generation of a small chain on digits: made, labelled, learnt, scored."""
    from labelwise.config import load_recipe
    from labelwise.refinery.chain import refine

    out = Path(tempfile.mkdtemp())
    options = ["train.epochs=2", "chain.generations=2", "threads=1", "views.size=8", "train.batch_size=256"]
    first = load_recipe(None, [*options, "chain.generations=1"])
    refine(first, out, quiet=True)
    return lambda: refine(load_recipe(None, options), out, quiet=True).to_json()


def one_auto() -> Callable[[], Any]:
    """``CategoryWiseFineTuner(method="auto").fit`` on a small partly labelled problem."""
    from labelwise.cft.finetuner import CategoryWiseFineTuner

    rng = np.random.default_rng(0)
    features, weight = rng.standard_normal((600, 16)).astype(np.float32), rng.standard_normal((16, 3))
    labels = (features @ weight + rng.standard_normal((600, 3)) > 0).astype(np.float32)
    labels[rng.random(labels.shape) < 0.5] = np.nan
    head = {"head_weight": 0.1 * weight.T.astype(np.float32), "head_bias": np.zeros(3, dtype=np.float32)}
    return lambda: CategoryWiseFineTuner(method="auto").fit(features, labels, **head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", nargs="*", default=[])
    arguments = parser.parse_args()
    show("one generation", called(one_generation(), "train_network"), arguments.rooms)
    show("one auto", called(one_auto(), "fit"), arguments.rooms)


if __name__ == "__main__":
    main()
