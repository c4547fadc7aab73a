#!/usr/bin/env bash
# Every command once, as a user would type it, on small data; with the real data too where it is at hand.
set -euo pipefail
cd "$(dirname "$0")/.."
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
export TERM=dumb COLUMNS=100 OMP_NUM_THREADS=1

labelwise refine --print-config > "$out/defaults.yaml"
labelwise data stats digits
labelwise refine recipes/digits/noise40.yaml --baselines --out "$out/digits" \
  --set train.epochs=3 --set chain.generations=2 --set 'baselines.early_stop_epochs=[2]' --set 'baselines.smoothing=[0.1]'
labelwise refine recipes/digits/noise40.yaml --baselines --out "$out/digits" --quiet \
  --set train.epochs=3 --set chain.generations=2 --set 'baselines.early_stop_epochs=[2]' --set 'baselines.smoothing=[0.1]'
labelwise train recipes/digits/clean.yaml --out "$out/plain" --set train.epochs=2 --quiet
labelwise evaluate "$out/digits/seed-0/generation-2" --data digits --json > "$out/scores.json"
labelwise report "$out/digits" "$out/plain" --out "$out/both.html"
test -s "$out/digits/report.html" -a -s "$out/digits/results.json" -a -s "$out/both.html"

data="${LABELWISE_DATA:-../shared/data}"
if [ -d "$data" ]; then
  labelwise data stats "$data/tiny_imagenet32_100.npz" --set data.classes=5
  labelwise refine recipes/cifar/cifar10n_features.yaml --out "$out/features" \
    --set "data.source=$data/cifar10_features_lite0_pca128.npz" --set "data.labels.file=$data/cifar10n.npz" \
    --set data.train_limit=2000 --set train.epochs=3 --set chain.generations=2
fi
if labelwise refine recipes/digits/noise40.yaml --out "$out/bad" --set train.epoch=3 2> "$out/error.txt"; then
  echo "a misspelt key was accepted" >&2
  exit 1
fi
cat "$out/error.txt"
echo "smoke: every command ran"
