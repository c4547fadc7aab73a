"""The commands of the campaigns, and what they work on. A new command that writes is a new line of ``COMMANDS``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.trials import Command, run
from labelwise import demo

TINY = "--set threads=1 --set data.train_limit=100 --set data.test_limit=40 --set views.size=8 --quiet"

RECIPE = """
threads: 1
data: {source: digits, train_limit: 100, test_limit: 40, noise: {rate: 0.3}}
views: {size: 8, flip: false, scale: [0.6, 1.0]}
model: {name: small-narrow}
train: {epochs: 2, batch_size: 32, keep: best, checkpoint_seconds: 0, channels_last: false}
chain: {generations: 2}
baselines: {early_stop_epochs: [1], smoothing: [0.1]}
"""
MULTI_LABEL = """
threads: 1
data: {{source: {inputs}/attributes.npz}}
views: {{size: 8, flip: false}}
model: {{name: small-narrow}}
train: {{epochs: 1, batch_size: 64, checkpoint_seconds: 0, channels_last: false}}
chain: {{generations: 2, members: 2}}
"""
TABLE = """
recipe:
  threads: 1
  data: {{source: {inputs}/attributes.npz}}
  views: {{size: 8, flip: false}}
  model: {{name: small-narrow}}
  train: {{epochs: 1, batch_size: 64, checkpoint_seconds: 0, channels_last: false}}
  chain: {{generations: 1}}
rows: {{ignore: [], smooth: [train.epochs=2]}}
heads: {{auto: {{preset: fast, draws: 100}}}}
seeds: 2
"""


def small_demo() -> None:
    """The demonstration with tiny networks."""
    make = demo.refine_recipe

    def small(seed: int = 0) -> demo.Recipe:
        recipe = make(seed)
        limits = recipe.data.model_copy(update={"train_limit": 100, "test_limit": 40})
        few = recipe.train.model_copy(update={"epochs": 2, "warmup_epochs": 0, "checkpoint_seconds": 0})
        chain = recipe.chain.model_copy(update={"folds": 2})
        controls = recipe.baselines.model_copy(update={"early_stop_epochs": (1,), "smoothing": (0.1,)})
        return recipe.model_copy(update={"data": limits, "train": few, "chain": chain, "baselines": controls})

    demo.refine_recipe = small


COMMANDS = {
    "refine": Command("refine {inputs}/digits.yaml --baselines --out out --quiet"),
    "refine, multi-label": Command("refine {inputs}/partial.yaml --out out --quiet"),
    "refine --budget": Command(f"refine digits --budget 4epochs --model small-narrow --out out {TINY}"),
    "refine, from a store": Command("refine {inputs}/digits.yaml --set chain.store={inputs}/store --out out --quiet"),
    "refine, writes stores": Command("refine {inputs}/digits.yaml --set chain.write_store.views=4 --out out --quiet"),
    "train": Command("train {inputs}/digits.yaml --out out --quiet"),
    "experiment": Command("experiment {inputs}/table.yaml --out out --quiet"),
    "experiment --jobs": Command("experiment {inputs}/table.yaml --out out --quiet --jobs 2"),
    "demo": Command("demo --out out", small_demo),
    "features": Command("features {inputs}/network --data {inputs}/attributes.npz --out out"),
    "features, shards": Command(
        "features {inputs}/network --data {inputs}/attributes.npz --out out --shard-samples 50"
    ),
    "features, two ranks": Command(
        "features {inputs}/network --data {inputs}/attributes.npz --out out --shard-samples 50", ranks=2
    ),
    "cft": Command("cft {inputs}/features --threshold max-f1 --out out --set draws=100 --quiet"),
    "cft --base": Command("cft {inputs}/toy.npz --base ignore --preset fast --out out --set draws=100 --quiet"),
    "ensemble": Command("ensemble {inputs}/a {inputs}/b --out out"),
    "audit, images": Command(
        "audit {inputs}/digits.yaml --set audit.epochs=1 --folds 2 --seeds 1 --views 2 --out out --quiet"
    ),
    "audit, embeddings": Command("audit {inputs}/embeddings.npz --folds 3 --out out --quiet"),
    "audit, multi-label": Command(
        "audit {inputs}/partial.yaml --set audit.epochs=1 --folds 2 --seeds 1 --views 1 --out out --quiet"
    ),
    "audit apply": Command("audit apply {inputs}/audit --above 0.5 --out labels.csv"),
    "audit export": Command("audit export {inputs}/photo-audit --to label-studio --out tasks.json"),
    "evaluate": Command(
        "evaluate {inputs}/network --data {inputs}/attributes.npz --out scores.json --page scores.html"
    ),
    "predict": Command("predict {inputs}/network {inputs}/attributes.npz --out named.csv"),
    "label": Command("label {inputs}/network --data {inputs}/attributes.npz --views 4 --out out --quiet"),
    "store merge": Command("store merge {inputs}/part-0 {inputs}/part-1 --out out"),
    "report": Command("report {inputs}/run {inputs}/plain --out both.html"),
    "export": Command("export {inputs}/network --out out"),
    "export, a head": Command("export {inputs}/a --model {inputs}/network --out out"),
}

QUICK = ("train", "cft --base", "evaluate", "export, a head")
"""Commands of the slice that CI runs."""

INPUTS = {
    "run": COMMANDS["refine"],
    "plain": COMMANDS["train"],
    "partial": COMMANDS["refine, multi-label"],
    "audit": COMMANDS["audit, images"],
    "photo-audit": Command(
        "audit {inputs}/photos --model small-narrow --set audit.epochs=1 --set views.size=8 --folds 2 --seeds 1 "
        "--views 1 --out out --quiet"
    ),
    "store": Command("label {inputs}/run --data {inputs}/digits.yaml --views 4 --out out --quiet"),
    "part-0": Command("label {inputs}/network --data {inputs}/attributes.npz --split fit --views 4 --out out --quiet"),
    "part-1": Command("label {inputs}/network --data {inputs}/attributes.npz --split test --views 4 --out out --quiet"),
    "features": COMMANDS["features"],
    "a": COMMANDS["cft"],
    "b": Command("cft {inputs}/features --preset fast --out out --set draws=100 --quiet"),
}


def write_inputs(inputs: Path) -> None:
    """Data, recipes and finished runs that the commands read."""
    rng = np.random.default_rng(0)
    demo.write_digit_attributes(inputs / "all.npz", 0.3, seed=3)
    with np.load(inputs / "all.npz") as found:
        split = found["split"]
        rows = np.sort(np.concatenate([np.flatnonzero(split == name)[:120] for name in ("fit", "select", "test")]))
        np.savez(
            inputs / "attributes.npz",
            **{key: value if key == "categories" else value[rows] for key, value in found.items()},
        )
    label = np.arange(240) % 4
    values = (rng.normal(size=(4, 12))[label] + rng.normal(size=(240, 12))).astype(np.float32)
    label[::9] = (label[::9] + 1) % 4
    np.savez(inputs / "embeddings.npz", features=values, label=label)
    labels = (values[:, :3] + rng.normal(size=(240, 3)) > 0).astype(np.float32)
    labels[rng.random(labels.shape) < 0.4] = np.nan
    split = np.repeat(["fit", "select", "test"], 80)
    np.savez(inputs / "toy.npz", features=values, labels=labels, categories=list("abc"), split=split)
    _write_photos(inputs / "photos")
    (inputs / "digits.yaml").write_text(RECIPE)
    (inputs / "partial.yaml").write_text(MULTI_LABEL.format(inputs=inputs))
    (inputs / "table.yaml").write_text(TABLE.format(inputs=inputs))
    for name, command in INPUTS.items():
        done = run(command, inputs, inputs / f"{name}.made")
        assert done.code == 0, (name, done.err)
        (inputs / f"{name}.made" / "out").rename(inputs / name)
        if name == "partial":
            (inputs / name / "seed-0" / "generation-2").rename(inputs / "network")


def _write_photos(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in range(80):
        place = folder / "train" / f"digit-{digits.target[number] % 4}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(place)
