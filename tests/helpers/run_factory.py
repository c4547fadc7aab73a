"""A synthetic run folder of a refine run with everything a report can show."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.results_file import write_results
from labelwise.results import RefineResults, Row, Splits, summarise
from labelwise.results.refine import ClassScore, Comparison, FitScores, Regime, Scores

ADVICE = "Generation 1 has begun to memorise: refinement may help; early stopping is to be beaten."
CONTROLS = {"long-given": -0.004, "early-stop": 0.031, "label-smoothing": 0.012}


def png(size: int, seed: int) -> bytes:
    """Return a small smooth picture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    coarse.save(buffer, format="PNG")
    return buffer.getvalue()


def make_run(
    folder: Path, *, classes: list[str], seeds: int = 3, generations: int = 5, epochs: int = 30, pictures: bool = True
) -> Path:
    """Write a run folder as `labelwise refine --baselines` leaves it and return it."""
    rng = np.random.default_rng(0)
    rows = []
    offsets = rng.normal(0, 0.04, len(classes))
    for seed in range(seeds):
        for place in range(1, generations + 1):
            rows.append(_row(rng, f"generation-{place}", place, seed, classes, offsets, epochs))
        rows.extend(_row(rng, name, None, seed, classes, offsets, epochs) for name in CONTROLS)
        _gallery(folder / f"seed-{seed}" / "gallery", classes, pictures)
    for row in rows:
        _metrics(folder / row.path, rng, row, epochs)
        _predictions(folder / row.path, row, len(classes))
    last = f"generation-{generations}"
    results = RefineResults(
        kind="refine",
        task="single-label",
        splits=Splits(fit=9000, select=1000, test=10000),
        rows=tuple(rows),
        summary=summarise(rows),
        comparison=Comparison(
            chain=last,
            control="early-stop",
            chosen_on="select",
            metric="test top1",
            difference=0.012,
            interval=(-0.002, 0.027),
            seeds=seeds,
            sentence=f"{last} is 1.2 points above the best control (early-stop) on test, 95% interval -0.2 to +2.7 "
            f"over {seeds} seeds: not clearly better.",
        ),
        regime=Regime(state="overfit", gap=0.31, advice=ADVICE),
    )
    write_results(folder, results)
    write_json(
        folder / "run.json",
        {
            "schema": 1,
            "kind": "refine",
            "version": "0.1.0",
            "recipe_hash": "5d1c0a7e",
            "data": {
                "name": "digits, 40% of the labels replaced",
                "fingerprint": "a3f29c",
                "classes": classes,
                "sizes": {"fit": 9000, "select": 1000, "test": 10000},
                "unreadable": ["train/cat/broken.jpg"],
                "given_label_accuracy": 0.6,
                "simulated_noise": "40% uniform",
                "image": {"size": 32, "channels": 3},
            },
            "environment": {"python": "3.12.3", "torch": "2.7", "timm": "1.0", "device": "cpu", "threads": 2},
            "command": "labelwise refine recipes/digits/noisy.yaml --baselines --seeds 3",
        },
    )
    (folder / "config.yaml").write_text("data:\n  name: digits\ntrain:\n  epochs: 30\nchain:\n  generations: 5\n")
    return folder


def write_json(path: Path, value: Any) -> None:
    """Write JSON and make the folder for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _row(
    rng: np.random.Generator,
    name: str,
    place: int | None,
    seed: int,
    classes: list[str],
    offsets: np.ndarray,
    epochs: int,
) -> Row:
    gain = 0.085 * (1 - math.exp(-0.8 * (place - 1))) if place else 0.045 + CONTROLS[name]
    test = 0.546 + gain + rng.normal(0, 0.006)
    fit = (0.86 - 0.2 * (1 - math.exp(-0.8 * (place - 1)))) if place else {"long-given": 0.93}.get(name, 0.64)
    drift = 1 if place is None else 1 + 0.9 * (place - 1) / 4
    per_class = [
        ClassScore(name=c, n=100, top1=float(np.clip(test + o * drift + rng.normal(0, 0.015), 0, 1)))
        for c, o in zip(classes, offsets, strict=True)
    ]
    fitted = FitScores(top1=fit + rng.normal(0, 0.004), entropy=0.4 + 0.1 * (place or 0))
    if place:
        beliefs = {"noise_auroc": 0.84 + gain * 0.9 + rng.normal(0, 0.004), "refined_label_accuracy": 0.71 + gain}
        fitted = fitted.model_copy(update=beliefs)
    return Row(
        name=name,
        role="generation" if place else "control",
        generation=place,
        seed=seed,
        model="small-narrow",
        network={"name": "small-narrow", "args": {}},
        labels=f"refinery soft dynamic (generation-{place - 1})" if place and place > 1 else "given",
        refineries=(f"generation-{place - 1}",) if place and place > 1 else (),
        epochs=epochs,
        kept_epoch=int(epochs * 0.4) if name == "early-stop" else epochs,
        fit=fitted,
        select=Scores(top1=test - 0.01 + rng.normal(0, 0.004), nll=1.5, ece=0.1),
        test=Scores(
            top1=test,
            top5=min(1.0, test + 0.3),
            nll=1.62 - 4 * gain + rng.normal(0, 0.02),
            ece=0.17 - 1.3 * gain + rng.normal(0, 0.005),
            per_class=tuple(per_class),
        ),
        seconds=41.2 + rng.normal(0, 1),
        images_per_second=4000.0,
        path=f"seed-{seed}/{name}",
        weights_hash=f"{name}-{seed}",
    )


def _metrics(folder: Path, rng: np.random.Generator, row: Row, epochs: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    assert row.select is not None and row.fit.top1 is not None and row.select.top1 is not None
    top1, held_out, lines = row.fit.top1, row.select.top1, []
    for epoch in range(1, epochs + 1):
        rise = 1 - math.exp(-4 * epoch / epochs)
        line: dict[str, Any] = {
            "epoch": epoch,
            "lr": 0.05,
            "train": {
                "loss": 2.3 - rise,
                "ce": 2.3 - rise,
                "kl": 1.0,
                "entropy": 0.5,
                "top1": top1 * rise,
            },
            "seconds": 1.2,
        }
        if epoch % 2 == 0:
            fall = 0.06 * max(0.0, epoch / epochs - 0.4) if top1 > 0.8 else 0.0
            line["select"] = {"top1": held_out * (1 - math.exp(-7 * epoch / epochs)) - fall + rng.normal(0, 0.008)}
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _predictions(folder: Path, row: Row, classes: int) -> None:
    """Answers on test: every image that is taken for another class is taken for the next one."""
    rng = np.random.default_rng(row.seed)
    label = np.repeat(np.arange(classes), 50)
    assert row.test is not None and row.test.top1 is not None
    wrong = rng.random(len(label)) > row.test.top1
    np.savez(folder / "predictions.npz", label=label, prediction=(label + wrong) % classes, correct=~wrong)


def _gallery(folder: Path, classes: list[str], pictures: bool) -> None:
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for index in range(18):
        given, dog, deer = (classes[int(i)] for i in rng.choice(len(classes), 3, replace=False))
        share = float(rng.uniform(0.5, 0.95))
        file = f"{index:03d}.png" if pictures else None
        if file:
            (folder / file).write_bytes(png(8 if index % 2 else 96, index))
        true = None if index % 5 == 4 else given if index % 7 == 3 else dog
        top = [[dog, share], [given, (1 - share) * 0.6], [deer, (1 - share) * 0.2]]
        if index == 17:
            top[0][0], top[1][0] = given, dog
        steps = [[f"generation-{place}", dog if place > 1 else given, 0.3 + 0.1 * place, 0.2] for place in range(1, 5)]
        items.append(
            {
                "steps": steps,
                "file": file,
                "id": f"train/{index:05d}",
                "given": given,
                "true": true,
                "top": top,
                "divergence": 1.9,
            }
        )
    write_json(folder / "gallery.json", {"refinery": "generation-4", "items": items})
