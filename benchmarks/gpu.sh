#!/usr/bin/env bash
# What needs a GPU, in one call that ends within --minutes (9) and needs no network.
#
#   LABELWISE_DATA=DIR benchmarks/gpu.sh --out DIR             # on a machine with a CUDA device
#   benchmarks/gpu.sh --tiny                                   # a dry run of the same steps, small, also on a CPU
#   benchmarks/gpu.sh --only cft,ranking --limit cft=60        # some steps; another time limit in seconds
#
# Steps: tests, speed, ranking, cft, rates, cifar10n, students. Each has its own time limit and writes its own small
# DIR/STEP.json. A step that fails or runs out of time stops no other, and what is finished of a table is kept.
# DIR/summary.json names all of them. The exit code is 0 where all steps are done.
#
# The two tables take the time that is left: `rates` measures images per second, then `cifar10n` gets as many epochs, and
# `students` as many images, as fit. They need cifar10_jpeg.npz, cifar10n.npz and tiny_imagenet32_100.npz in
# LABELWISE_DATA (default ../shared/data); a dry run makes data of its own where they are not there.
#
# Python is PYTHON, or .venv/bin/python, or python3; labelwise itself need not be installed. Packages that are missing
# can lie as wheels in LABELWISE_WHEELS (default .whl), those that they need beside them.
set -euo pipefail
cd "$(dirname "$0")/.."

steps=(tests speed ranking cft rates cifar10n students)
declare -A limits=([tests]=60 [speed]=100 [ranking]=45 [cft]=90 [rates]=75 [cifar10n]=600 [students]=600)
out=runs/gpu minutes=9 tiny='' only='' made=''

fail() {
  echo "gpu.sh: $1" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case "$1" in
    --tiny) tiny=--tiny ;;
    --out | --minutes | --only | --limit)
      [ $# -gt 1 ] || fail "$1 needs a value"
      case "$1" in
        --out) out="$2" ;;
        --minutes) minutes="$2" ;;
        --only) only="$2" ;;
        --limit) limits[${2%%=*}]="${2#*=}" ;;
      esac
      shift
      ;;
    *) fail "no option $1; there are --tiny, --out DIR, --minutes M, --only STEP,STEP and --limit STEP=SECONDS" ;;
  esac
  shift
done
[[ "$minutes" =~ ^[0-9]+$ ]] || fail "--minutes is a whole number, not $minutes"
for step in ${only//,/ } "${!limits[@]}"; do
  [[ " ${steps[*]} " = *" $step "* ]] || fail "no step $step; there are ${steps[*]}"
  [[ "${limits[$step]}" =~ ^[0-9]+$ ]] || fail "--limit $step= takes whole seconds, not ${limits[$step]}"
done
wanted() { [[ -z "$only" || ",$only," = *",$1,"* ]]; }

export LABELWISE_DATA="${LABELWISE_DATA:-../shared/data}" PYTHONUNBUFFERED=1
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
for step in cifar10n students; do
  if wanted $step && ! wanted rates; then fail "$step needs the step rates too"; fi
done

for file in cifar10_jpeg.npz cifar10n.npz tiny_imagenet32_100.npz; do
  if wanted rates && [ ! -f "$LABELWISE_DATA/$file" ]; then
    [ -n "$tiny" ] || fail "no $file in $LABELWISE_DATA: set LABELWISE_DATA to its folder, or leave the tables out with --only"
    made=yes
  fi
done
[ -f "$LABELWISE_DATA/cifar10_jpeg.npz" ] || [ -n "$made" ] || unset LABELWISE_DATA # random images do for speed

work="$(mktemp -d)"
child=''
stop() {
  [ -z "$child" ] || kill "$child" 2> /dev/null || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM
mkdir -p "$out"
rm -f "$out"/summary.json
for step in "${steps[@]}"; do rm -f "$out/$step.json"; done

if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
wheels="${LABELWISE_WHEELS:-.whl}"
if [ -d "$wheels" ]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl
  PYTHONPATH="$work/site:$PYTHONPATH"
fi
gpu() { "$PYTHON" benchmarks/gpu.py "$@"; }
device_and_jobs="$(gpu start $tiny --minutes "$minutes" --wheels "$wheels" --tables "$work" --only "$only" \
  --out "$out/summary.json" "${steps[@]}")" || exit 2
if [ -n "$made" ]; then
  export LABELWISE_DATA="$work/made"
  gpu stand-in --out "$LABELWISE_DATA"
fi
read -r device jobs <<< "$device_and_jobs"

left() { echo $((60 * minutes - SECONDS)); }

# run STEP COMMAND...: within the step's limit and the time that is left
run() {
  local step="$1" code=0 seconds started=$SECONDS limit="${limits[$1]}"
  shift
  [ "$limit" -le "$(left)" ] || limit="$(left)"
  if [ "$limit" -le 0 ]; then
    echo "$step: no time is left"
    return
  fi
  echo "== $step, $limit s at most"
  timeout --kill-after=5 "$limit" "$@" > "$work/$step.log" 2>&1 &
  child=$!
  wait "$child" || code=$?
  child='' seconds=$((SECONDS - started))
  tail -n 25 "$work/$step.log"
  if [ -f "$work/$step/plan.json" ]; then # what is finished of a table
    timeout 60 "$PYTHON" benchmarks/gpu.py collect --out "$out/$step.json" "$work/$step" || true
  elif [ "$step" = cft ] && [ ! -f "$out/cft.json" ]; then
    gpu cells --out "$out/cft.json" "$work/cft"
  fi
  gpu record --seconds "$seconds" --limit "$limit" --log "$work/$step.log" --out "$out/summary.json" "$step" "$code"
}

# table NAME SHARE KEPT: a table of recipes/tables in SHARE % of the time that is left, but for what collects it
table() {
  local step="$1" seconds=$(($(left) * $2 / 100 - 20))
  [ "${limits[$step]}" -le "$seconds" ] || limits[$step]="$seconds"
  LABELWISE_DATA="$work/data" run "$step" "$PYTHON" benchmarks/gpu.py table --rates "$out/rates.json" \
    --seconds "${limits[$step]}" --keep "$3" --jobs "$jobs" "$work/$step.yaml" "$work/$step"
}

if [ -n "$tiny" ]; then
  export OMP_NUM_THREADS=1 # threads that wait for each other slow tiny networks down
  speed=(--images 300 --repeats 1 --resnet 4 --batch 64 --compile eager)
  ranking=(--shapes 1x4x500,3x4x300 --repeats 1) cft=(--rows 1000 --categories 6 --width 32 --repeats 1)
  rates=(--images 200 --most 400)
else
  speed=(--images 8192 --repeats 3 --resnet 32 --batch 512 --compile inductor)
  ranking=(--repeats 3) cft=(--rows 82000 --categories 80 --width 2048 --repeats 2)
  rates=(--images 10240)
fi

for step in "${steps[@]}"; do
  wanted "$step" || continue
  json="$out/$step.json"
  case "$step" in
    tests) run tests "$PYTHON" benchmarks/gpu.py tests --out "$json" ;;
    speed) run speed "$PYTHON" benchmarks/refine.py "${speed[@]}" --precision bf16 --out "$json" ;;
    ranking) run ranking "$PYTHON" benchmarks/ranking.py "${ranking[@]}" --device "$device" --out "$json" ;;
    cft)
      run cft "$PYTHON" benchmarks/cft.py load "${cft[@]}" --device "$device" --slow '' --cache "$work/cft" --out "$json"
      ;;
    rates)
      run rates "$PYTHON" benchmarks/gpu.py rates "${rates[@]}" --jobs "$jobs" --seconds 50 --data "$work/data" \
        --out "$json" "$work/cifar10n.yaml" "$work/students.yaml"
      ;;
    cifar10n) table cifar10n 55 images ;;
    students) table students 100 epochs ;;
  esac
done
gpu show --out "$out/summary.json"
