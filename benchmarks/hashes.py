"""Train the reference set and print a hash of every network and every head.

    python benchmarks/hashes.py OUT --data DATA

The set: the digits recipes with their controls, the first column of the UC Merced table, and category-wise fine-tuning
of the UC Merced features. Run it in two checkouts, each with its own ``labelwise`` on the path. Where both print the
same lines, the change between them moved no weight by a single bit. Hashes are comparable on one machine only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file

RECIPES = ("clean", "noise40", "noise40_wide_refinery")
SOLVERS = {
    "auto": ["--base", "assume-negative"],
    "auto-auc": ["--base", "ignore", "--objective", "auc"],
    "logistic": ["--base", "assume-negative", "--method", "logistic"],
    "backprop": ["--base", "assume-negative", "--method", "backprop"],
    "genetic": ["--base", "assume-negative", "--method", "genetic"],
    "paper-2024": ["--base", "assume-negative", "--preset", "paper-2024"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with ucm_features_lite0.npz")
    parser.add_argument("--command", default="labelwise", help="how labelwise is started")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "LABELWISE_DATA": str(arguments.data)}

    def run(*words: str) -> None:
        started = time.perf_counter()
        subprocess.run([*shlex.split(arguments.command), *words, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        print(f"{time.perf_counter() - started:6.1f} s  labelwise {' '.join(words)}", file=sys.stderr)

    out = arguments.out
    for name in RECIPES:
        run("refine", f"recipes/digits/{name}.yaml", "--baselines", "--out", str(out / name))
    features = str(arguments.data / "ucm_features_lite0.npz")
    for name, options in SOLVERS.items():
        run("cft", features, "--out", str(out / f"cft-{name}"), *options, "--set", "draws=100")
    table = ["--set", "axis.values=[0.1]", "--seeds", "1"]
    run("experiment", "recipes/tables/ucm_partial.yaml", "--out", str(out / "ucm-partial"), *table)
    print_hashes(out)


def print_hashes(out: Path) -> None:
    """One line for each network and each head, then one for all of them."""
    total = hashlib.sha256()
    for path in sorted(out.rglob("*.safetensors")):
        digest = hashlib.sha256()
        for key, value in sorted(load_file(path).items()):
            digest.update(key.encode())
            digest.update(value.tobytes())
        line = f"{digest.hexdigest()[:16]}  {path.relative_to(out)}"
        total.update(line.encode())
        print(line)
    print(f"{total.hexdigest()[:16]}  all")


if __name__ == "__main__":
    main()
