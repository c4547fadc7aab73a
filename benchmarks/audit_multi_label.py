"""Wrong labels of partly known multi-label data, found by `labelwise audit` and by cleanlab, on the same embeddings.

    uv venv .venv-peers && uv pip install --python .venv-peers/bin/python -r benchmarks/peers/requirements-cleanlab.txt
    python benchmarks/audit_multi_label.py --data ../shared/data --peer-python .venv-peers/bin/python --out m.json
    python benchmarks/audit_multi_label.py --data ../shared/data --seeds 1 --out m.json   # no peer, a minute

UC Merced, 2,100 images, 17 categories, 1,280 features: 5% of the positive labels become negative and 2% of the negative
ones positive, then all labels or 30% are known. The base model is logistic regression with the C of the likeliest known
labels, of each category on its known labels, over 5 folds: its own scores, and cleanlab's scores of its answers.
cleanlab also has the mean of the answers that labelwise makes its scores of.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from labelwise.audit.answers import Answers
from labelwise.audit.category_answers import EmbeddedCells
from labelwise.audit.multi_label import SUGGESTED, JudgedCells, answer_cells, doubt_of_cells, judge_cells
from labelwise.runs import environment, write_json

FOLDS, STRENGTHS = 5, (0.001, 0.01)
WORKER = Path(__file__).parent / "peers" / "audit_multi_label_cleanlab.py"

Array = NDArray[np.floating]


def problem(data: Path, known: float, seed: int) -> tuple[EmbeddedCells, Array]:
    """Embeddings with noisy, partly known labels, and the right labels."""
    stored = np.load(data / "ucm_features_lite0.npz")
    right, rng = stored["labels"].astype(np.float32), np.random.default_rng(seed)
    drawn = rng.random(right.shape)
    values = np.where(right == 1, drawn >= 0.05, drawn < 0.02).astype(np.float32)
    values[rng.random(right.shape) >= known] = np.nan
    fold = rng.permutation(len(right)) % FOLDS
    return EmbeddedCells(values, fold, np.arange(len(right)).astype(str), stored["features"].astype(np.float32)), right


def base_model(cells: EmbeddedCells) -> Array:
    """Out-of-sample probabilities (n, C) of logistic regression on standardised features."""
    x = (cells.x - cells.x.mean(0)) / (cells.x.std(0) + 1e-6)
    found = np.empty(cells.values.shape)
    for category, values in enumerate(cells.values.T):
        known, tried = ~np.isnan(values), {}
        for strength in STRENGTHS:
            p = np.empty(len(x))
            for fold in range(FOLDS):
                seen = known & (cells.fold != fold)
                model = LogisticRegression(C=strength, max_iter=100).fit(x[seen], values[seen])
                p[cells.fold == fold] = model.predict_proba(x[cells.fold == fold])[:, 1]
            p = p.clip(1e-6, 1 - 1e-6)
            tried[strength] = (np.where(values[known] == 1, -np.log(p[known]), -np.log(1 - p[known])).mean(), p)
        found[:, category] = min(tried.values(), key=lambda one: one[0])[1]
    return found


def evaluate(score: Array, values: Array, right: Array) -> dict[str, float]:
    """AP of missing positives among known negatives, of false positives among known positives, and of both."""
    kinds = {"missing": values == 0, "false": values == 1, "both": ~np.isnan(values)}
    return {name: float(average_precision_score((values != right)[own], score[own])) for name, own in kinds.items()}


def calibration(judged: JudgedCells, right: Array) -> dict[str, Any]:
    """Mean score and share of wrong labels in bins of the score; and the same of suggestions."""
    known = ~np.isnan(judged.values)
    score, wrong = judged.score[known], (judged.values != right)[known]
    bins = [(score >= low) & (score < low + 0.2 + (low == 0.8)) for low in (0.0, 0.2, 0.4, 0.6, 0.8)]
    bins = [inside for inside in bins if inside.any()]
    suggested = ~known & (judged.positive >= SUGGESTED)
    found: dict[str, Any] = {"scores": [(int(b.sum()), float(score[b].mean()), float(wrong[b].mean())) for b in bins]}
    if suggested.any():
        said, true = judged.positive[suggested], right[suggested]
        found["suggestions"] = (int(suggested.sum()), float(said.mean()), float(true.mean()))
        found["unknown_ap"] = float(average_precision_score(right[~known], judged.positive[~known]))
    return found


def run_one(options: argparse.Namespace, known: float, seed: int) -> dict[str, Any]:
    """All rows of one draw."""
    cells, right = problem(options.data, known, seed)
    base = base_model(cells)
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(tuple(answer_cells(cells, Path(folder), seed, lambda: None)))
        judged = judge_cells(cells, answers)
        mean = expit(answers.mean())
        own = {
            "base": np.where(cells.values == 1, 1 - base, base),
            "answers": np.where(cells.values == 1, 1 - mean, mean),
        }
        scores = {"labelwise": judged.score, "base model's own": own["base"], "mean answer's own": own["answers"]}
        if options.peer_python:
            np.savez(f"{folder}/in.npz", values=cells.values, p_base=base, p_answers=mean)
            subprocess.run([options.peer_python, WORKER, f"{folder}/in.npz", f"{folder}/out.npz"], check=True)
            with np.load(f"{folder}/out.npz") as peer:
                scores |= {f"cleanlab {name}": peer[name] for name in peer}
    score, doubt = doubt_of_cells(cells, judged, seed)
    rate = float((cells.values != right)[~np.isnan(cells.values)].mean())
    print(f"known {known:.0%}, seed {seed}: share of wrong labels {rate:.4f}, estimated {score.mean():.4f}", flush=True)
    return {
        "known": known,
        "seed": seed,
        "rows": {name: evaluate(one, cells.values, right) for name, one in scores.items()},
        "rate": {"true": rate, "estimate": float(score.mean()), "error": doubt.error},
        "calibration": calibration(judged, right),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: AP in percent, mean and standard deviation over draws."""
    lines = ["| known | scores | missing positives | false positives | both |", "|---|---|---:|---:|---:|"]
    for known in dict.fromkeys(run["known"] for run in runs):
        own = [run["rows"] for run in runs if run["known"] == known]
        for name in sorted(own[0], key=lambda name: -np.mean([rows[name]["both"] for rows in own])):
            parts = [100 * np.array([rows[name][kind] for rows in own]) for kind in ("missing", "false", "both")]
            cells = " | ".join(f"{part.mean():.1f} ± {part.std(ddof=min(1, len(part) - 1)):.1f}" for part in parts)
            lines.append(f"| {known:.0%} | {name.replace('|', ', ')} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ucm_features_lite0.npz")
    parser.add_argument("--peer-python", help="Python with cleanlab")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    runs = [run_one(options, known, seed) for known in (1.0, 0.3) for seed in range(options.seeds)]
    write_json(options.out, {"environment": environment(), "runs": json.loads(json.dumps(runs))})
    print(table(runs))


if __name__ == "__main__":
    main()
