#!/usr/bin/env bash
# Every command once, as a user would type it, on small data; with the real data too where it is at hand.
set -euo pipefail
cd "$(dirname "$0")/.."
out="$(mktemp -d)"
trap 'kill $server 2> /dev/null || true; rm -rf "$out"' EXIT
export TERM=dumb COLUMNS=100 OMP_NUM_THREADS=1
data="${LABELWISE_DATA:-../shared/data}"
export LABELWISE_DATA="$data"

# The first two commands are the program itself. All others are forks of one process, which has imported torch already.
mkfifo "$out/ask" "$out/answer"
exec 3<> "$out/ask" 4<> "$out/answer"
python tests/helpers/fork_commands.py "$out" &
server=$!
command labelwise --help
command labelwise refine --print-config > "$out/defaults.yaml"
labelwise() {
  local code
  printf '%s\0' "$@" > "$out/arguments"
  echo >&3
  read -t 300 -r code <&4
  cat "$out/stdout"
  cat "$out/stderr" >&2
  return "$code"
}

labelwise data stats digits
labelwise refine recipes/digits/noise40.yaml --baselines --out "$out/digits" \
  --set train.epochs=3 --set chain.generations=2 --set 'baselines.early_stop_epochs=[2]' --set 'baselines.smoothing=[0.1]'
labelwise refine recipes/digits/noise40.yaml --baselines --out "$out/digits" --quiet \
  --set train.epochs=3 --set chain.generations=2 --set 'baselines.early_stop_epochs=[2]' --set 'baselines.smoothing=[0.1]'
labelwise refine digits --model small-narrow --budget 20s --plan --json > "$out/plan.json"
labelwise refine digits --model small-narrow --budget 8epochs --set data.train_limit=200 --out "$out/budget"
test -s "$out/budget/recipe.yaml" -a -d "$out/budget/best"
labelwise train recipes/digits/clean.yaml --out "$out/plain" --set train.epochs=2 --quiet
labelwise evaluate "$out/digits/seed-0/generation-2" --data digits --json > "$out/scores.json"
labelwise label "$out/digits/seed-0/generation-2" --data digits --views 2 --shard 1/2 --out "$out/store"
labelwise label "$out/digits/seed-0/generation-2" --data digits --views 2 --shard 2/2 --out "$out/store" --quiet
labelwise label "$out/digits/best" --data digits --views 2 --split select --out "$out/select" --plan
labelwise store info "$out/store"
labelwise store verify "$out/store" --sample 64
labelwise store export "$out/store" --out "$out/labels.parquet"
python examples/read_store.py "$out/store" > "$out/labels.txt"
test -s "$out/store/results.json" -a -s "$out/labels.parquet" -a -s "$out/labels.txt"
labelwise report "$out/digits" "$out/plain" --out "$out/both.html"
test -s "$out/digits/report.html" -a -s "$out/digits/results.json" -a -s "$out/both.html"

labelwise audit recipes/digits/noise40.yaml --set audit.epochs=4 --folds 3 --seeds 1 --views 2 --out "$out/audit" --quiet
labelwise audit apply "$out/audit" --above 0.95 --out "$out/corrected.csv"
labelwise data stats digits --set "data.labels={file: $out/corrected.csv, column: label}"
python - "$out/photos" <<'PYTHON'
import sys
from pathlib import Path
from PIL import Image
from sklearn.datasets import load_digits
digits = load_digits()
for i in range(120):
    place = Path(sys.argv[1]) / "train" / f"digit-{digits.target[i]}" / f"{i}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((digits.images[i] * 15).astype("uint8")).save(place)
PYTHON
labelwise audit "$out/photos" --model small-narrow --set audit.epochs=2 --set views.size=8 --folds 2 --seeds 1 --views 1 \
  --out "$out/photo-audit" --quiet
labelwise audit export "$out/photo-audit" --to label-studio --out "$out/tasks.json"
test -s "$out/audit/audit.csv" -a -s "$out/audit/audit.parquet" -a -s "$out/audit/audit.json" -a -s "$out/audit/report.html"

if [ -d "$data" ]; then
  labelwise data stats "$data/tiny_imagenet32_100.npz" --set data.classes=5
  labelwise refine recipes/cifar/cifar10n_features.yaml --out "$out/features" \
    --set "data.source=$data/cifar10_features_lite0_pca128.npz" --set "data.labels.file=$data/cifar10n.npz" \
    --set data.train_limit=2000 --set train.epochs=3 --set chain.generations=2
fi

python - "$out/toy.npz" <<'PYTHON'
import sys
import numpy as np
rng = np.random.default_rng(0)
x, w = rng.standard_normal((900, 20)).astype("float32"), rng.standard_normal((20, 4))
y = (x @ w + rng.standard_normal((900, 4)) > 1).astype("float32")
split = np.repeat(["fit", "select", "test"], 300)
y[(split == "fit")[:, None] & (rng.random(y.shape) > 0.2)] = np.nan
np.savez(sys.argv[1], features=x, labels=y, categories=list("abcd"), split=split)
PYTHON
labelwise cft "$out/toy.npz" --base assume-negative --threshold max-f1 --out "$out/cft" --set draws=200
labelwise cft "$out/toy.npz" --base ignore --objective auc --preset fast --out "$out/cft-auc" --set draws=200 --quiet
labelwise cft "$out/toy.npz" --base ignore --preset fast --out "$out/cft-fast" --set draws=200 --quiet
labelwise ensemble "$out/cft" "$out/cft-fast" --out "$out/both-heads"
labelwise report "$out/cft" --markdown > "$out/cft.md"
test -s "$out/cft/report.html" -a -s "$out/cft/head.safetensors" -a -s "$out/cft.md"
if [ -d "$data" ]; then
  labelwise cft "$data/ucm_features_lite0.npz" --base ignore --out "$out/ucm" --set draws=200
  labelwise data stats "$data/ucm_multilabel_128.npz"
fi

python - "$out/partial.npz" <<'PYTHON'
import sys
from pathlib import Path
from labelwise.demo import write_digit_attributes
write_digit_attributes(Path(sys.argv[1]), 0.3, 0)
PYTHON
cat > "$out/partial.yaml" <<YAML
threads: 1
data: {source: $out/partial.npz}
views: {size: 8, flip: false}
train: {epochs: 2, keep: best}
chain: {generations: 2, members: 2}
YAML
labelwise data stats "$out/partial.yaml"
labelwise refine "$out/partial.yaml" --out "$out/partial"
labelwise evaluate "$out/partial/seed-0/generation-2" --data "$out/partial.yaml"
if [ -d "$data" ]; then
  labelwise experiment recipes/tables/ucm_partial.yaml --out "$out/table" --seeds 1 --set recipe.train.epochs=1 \
    --set axis.values=[0.1] --set 'rows={ignore: [], "refine": ["chain={generations: 2, members: 2}"]}' --set 'heads={auto: {preset: fast, draws: 100}}'
  test -s "$out/table/table.md" -a -s "$out/table/table.svg"
fi
if labelwise refine recipes/digits/noise40.yaml --out "$out/bad" --set train.epoch=3 2> "$out/error.txt"; then
  echo "a misspelt key was accepted" >&2
  exit 1
fi
cat "$out/error.txt"
PYTHON=python benchmarks/gpu.sh --tiny --minutes 20 --out "$out/gpu"
echo "smoke: every command ran"
