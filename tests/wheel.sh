#!/bin/bash
# Runs the labelwise of a clean environment far from the checkout:   bash tests/wheel.sh ENVIRONMENT
# A chain from a recipe of the package, its export and predictions in seconds, then the demo in minutes.
set -eu
environment=$(cd "$1" && pwd)
labelwise="$environment/bin/labelwise"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$out"

"$environment/bin/python" - <<'CODE'
import platform
from importlib.metadata import version

import numpy as np
from sklearn.datasets import load_digits

asked = ("labelwise", "torch", "timm", "numpy", "huggingface-hub", "pydantic")
print(f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in asked))
np.savez("images.npz", images=(load_digits().images[:20] * 15.9).astype("uint8"))
CODE
test "$("$labelwise" recipes list | wc -l)" -gt 40
"$labelwise" refine digits/noise40 --set train.epochs=1 --set chain.generations=2 --out run
test -s run/report.html
"$labelwise" export run/best --exported --out exported
"$labelwise" predict exported images.npz
test "$(wc -l < predictions.csv)" -eq 21
"$labelwise" demo --out demo
test -s demo/report.html
test -s demo/cft/report.html
