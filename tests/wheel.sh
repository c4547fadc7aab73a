#!/bin/bash
# Runs the labelwise of a clean environment far from the checkout:   bash tests/wheel.sh ENVIRONMENT
# A chain from a recipe of the package, its export and predictions, and a re-fitted head, each in seconds.
set -eu
environment=$(cd "$1" && pwd)
labelwise="$environment/bin/labelwise"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$out"

echo "$("$environment/bin/python" -V), torch $("$environment/bin/python" -c 'import torch; print(torch.__version__)')"
"$labelwise" --version
test "$("$labelwise" recipes list | wc -l)" -gt 40
"$labelwise" refine digits/noise40 --set train.epochs=1 --set chain.generations=2 --out run
test -s run/report.html
"$environment/bin/python" - <<'CODE'
import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
labels = np.stack([digits.target % 2 == 0, digits.target > 4], 1).astype(float)
labels[np.random.default_rng(0).random(labels.shape) > 0.3] = np.nan
split = np.resize(["fit", "select", "test"], len(labels))
names = ["even", "above four"]
np.savez("features.npz", features=digits.data.astype("float32"), labels=labels, split=split, categories=names)
np.savez("images.npz", images=(digits.images[:20] * 15.9).astype("uint8"))
CODE
"$labelwise" export run/best --exported --out exported
"$labelwise" predict exported images.npz
test "$(wc -l < predictions.csv)" -eq 21
"$labelwise" cft features.npz --base ignore --preset fast --out cft --set draws=100
test -s cft/report.html
