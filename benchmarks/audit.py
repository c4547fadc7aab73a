"""Wrong labels found by `labelwise audit`, by cleanlab and by a vote of neighbours, on the same embeddings.

    uv venv .venv-peers && uv pip install --python .venv-peers/bin/python -r benchmarks/peers/requirements-cleanlab.txt
    python benchmarks/audit.py find --data ../shared/data --peer-python .venv-peers/bin/python --out audit
    python benchmarks/audit.py act --data ../shared/data --out audit
    python benchmarks/audit.py again --data ../shared/data --out audit --seeds 1
    python benchmarks/audit.py pixels --data ../shared/data --peer-python .venv-peers/bin/python --out audit
    python benchmarks/audit.py find --data ../shared/data --out audit --images 1000 --seeds 1   # no peer, a minute

`find`: CIFAR-10N, three kinds of human labels of the first 10,000 images, 128 features, and the test images of CIFAR-10
whose labels people reviewed. Every method has one setting for all of them and sees no clean label. cleanlab answers
twice: from its usual cross-validated logistic regression, and from labelwise's own out-of-sample answers.
`act`: what the corrections of the first 500 of the list are worth, by the test accuracy of a classifier.
`again`: the first 500 are corrected, and the data audited once more: how many wrong labels it says are left.
`pixels`: the same labels of 10,000 images, whose pixels small networks learn; nine minutes of a core for each audit.
Finished audits are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from labelwise.audit.answers import Answer, Answers
from labelwise.audit.run import run_audit
from labelwise.config import AuditConfig
from labelwise.results import AuditResults, read_results_as
from labelwise.results.audit_table import read_audit_table
from labelwise.runs import environment, write_json
from labelwise.training.closed_form.candidates import Samples
from labelwise.training.closed_form.fit import fit_closed_form

LABELS = ("worse_label", "random_label1", "aggre_label")
REVIEWED = "cifar10_test"
CORRECTED = 500
AUTOMATIC = 0.95
WORKER = Path(__file__).parent / "peers" / "audit_cleanlab.py"

KINDS = {
    "kernel_ridge_refined": "kernel ridge",
    "nearest_neighbours": "nearest neighbours",
    "logistic": "logistic",
}
"""Files of the answers of an audit, and their kinds."""


def problem(name: str, options: argparse.Namespace) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Embeddings, given labels and true labels; of the reviewed test images the given ones twice."""
    stored = np.load(options.data / "cifar10_features_lite0_pca128.npz")
    if name == REVIEWED:
        x, label = stored["features"][50_000:], stored["label"][50_000:]
        return x.astype(np.float32), label, label
    human = np.load(options.data / "cifar10n.npz")
    x = stored["features"][: options.images].astype(np.float32)
    return x, *(human[key][: options.images].astype(np.int64) for key in (name, "clean_label"))  # type: ignore[return-value]


def audited(name: str, seed: int, options: argparse.Namespace) -> tuple[AuditResults, Any, NDArray[np.float32]]:
    """The results, the list in the order of the samples, and the mean out-of-sample probabilities."""
    x, label, _ = problem(name, options)
    source = options.out / f"{name}.npz"
    np.savez(source, features=x, label=label, ids=np.arange(len(label)).astype(str))
    folder = options.out / f"{name}-{seed}"
    results = run_audit(AuditConfig(seed=seed, duplicates=False), source, folder, quiet=True)
    frame = read_audit_table(folder)
    frame = frame.set_index(frame["id"].astype(int)).sort_index()
    answers = []
    for file, kind in KINDS.items():
        with np.load(folder / "answers" / f"{file}.npz") as kept:
            answers.append(Answer(file, kind, kept["answers"]))
    return results, frame, torch.softmax(torch.from_numpy(Answers(tuple(answers)).mean()), 1).numpy()


def neighbours_vote(x: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the 50 nearest neighbours by the cosine that have another label."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = NearestNeighbors(n_neighbors=51).fit(unit).kneighbors(unit, return_distance=False)[:, 1:]
    share: NDArray[np.float64] = (label[near] != label[:, None]).mean(1)
    return share


def peer(
    x: NDArray[np.float32], label: NDArray[np.int64], seed: int, p: NDArray[np.float32], options: argparse.Namespace
) -> dict[str, NDArray[Any]]:
    """Scores and found sets of cleanlab, by name."""
    if options.peer_python is None:
        return {}
    job, done = options.out / "job.npz", options.out / "done.npz"
    np.savez(job, x=x, label=label, p=p, seed=seed)
    subprocess.run([options.peer_python, str(WORKER), str(job), str(done)], check=True)
    with np.load(done) as found:
        return dict(found)


def best_depth(score: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The first of the list whose expected F1 is the largest, from calibrated scores alone."""
    order = np.argsort(-score)
    depth = np.argmax(np.cumsum(score[order]) / (np.arange(len(score)) + 1 + score.sum())) + 1
    found = np.zeros(len(score), dtype=bool)
    found[order[:depth]] = True
    return found


def find_in(name: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a method."""
    x, label, clean = problem(name, options)
    results, frame, p = audited(name, seed, options)
    score = frame["score"].to_numpy()
    scores = {"labelwise": score, "neighbours' vote": neighbours_vote(x, label)}
    sets = {"labelwise, score above one half": score >= 0.5, "labelwise, best expected F1": best_depth(score)}
    for key, values in peer(x, label, seed, p, options).items():
        answers, kind, method = key.split("|")
        words = f"cleanlab {method}, {'its own' if answers == 'own' else 'our'} answers"
        (scores if kind == "score" else sets)[words] = values
    base = {"labels": name, "seed": seed}
    if name == REVIEWED:
        candidates, wrong = reviewed(options)
        scores["cleanlab self_confidence, its published answers"] = -published(options)[np.arange(10_000), label]
        return [
            base | {"method": method, "ap": average_precision_score(wrong, values[candidates])}
            for method, values in scores.items()
        ]
    wrong = label != clean
    rate = results.noise_rate
    rows = [
        base | {"method": method, "auroc": roc_auc_score(wrong, values), "ap": average_precision_score(wrong, values)}
        for method, values in scores.items()
    ]
    rows += [base | {"method": method, "f1": f1_score(wrong, values)} for method, values in sets.items()]
    order = np.argsort(-score, kind="stable")
    depths = [(one.depth, one.wrong, one.interval, int(wrong[order][: one.depth].sum())) for one in results.expected]
    bins = np.digitize(score, np.arange(0.1, 1, 0.1))
    reliability = [
        (float(score[bins == k].mean()), float(wrong[bins == k].mean()), int((bins == k).sum()))
        for k in range(10)
        if (bins == k).any()
    ]
    said = {"rate": rate.estimate, "interval": rate.interval, "true": float(wrong.mean())}
    return [*rows, base | {"method": "calibration", **said, "depths": depths, "reliability": reliability}]


def reviewed(options: argparse.Namespace) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The 275 test images that five people looked at, and whether fewer than three of them chose the given label."""
    entries = json.loads((options.data / "cifar10_test_label_errors.json").read_text())
    wrong = [entry["mturk"]["given"] < 3 for entry in entries]
    return np.array([entry["id"] for entry in entries]), np.array(wrong)


def published(options: argparse.Namespace) -> NDArray[np.float32]:
    with np.load(options.data / "cifar10_test_crossval_probs.npz") as stored:
        p: NDArray[np.float32] = stored["prob"]
    return p


def published_audit(options: argparse.Namespace) -> dict[str, Any]:
    """labelwise's score from cleanlab's published answers, within the reviewed images."""
    source = options.out / "published.npz"
    p = published(options).astype(np.float64)
    np.savez(source, probabilities=p / p.sum(1, keepdims=True), labels=problem(REVIEWED, options)[1])
    run_audit(AuditConfig(), source, options.out / "published", quiet=True)
    frame = read_audit_table(options.out / "published")
    score = frame.set_index(frame["id"].astype(int)).sort_index()["score"].to_numpy()
    candidates, wrong = reviewed(options)
    ap = average_precision_score(wrong, score[candidates])
    return {"labels": REVIEWED, "seed": 0, "method": "labelwise, cleanlab's published answers", "ap": ap}


def find(options: argparse.Namespace) -> None:
    rows = []
    for seed in range(options.seeds):
        for name in LABELS:
            rows += find_in(name, seed, options)
            print(f"{name}, seed {seed}: done", file=sys.stderr)
        if seed == 0 and options.images == 10_000:
            rows += [*find_in(REVIEWED, 0, options), published_audit(options)]
        write_json(options.out / "find.json", {"environment": environment(), "rows": rows})
    print_scores(rows, (*LABELS, REVIEWED))


def print_scores(rows: list[dict[str, Any]], names: Sequence[str]) -> None:
    """A table for each kind of labels."""
    for name in names:
        print(f"\n**{name}**\n\n| method | AUROC | AP | F1 |\n|---|---:|---:|---:|")
        own = [row for row in rows if row["labels"] == name and row["method"] != "calibration"]
        for method in dict.fromkeys(row["method"] for row in own):
            cells = [spread([row[key] for row in own if row["method"] == method and key in row]) for key in KEYS]
            print(f"| {method} | " + " | ".join(cells) + " |")


KEYS = ("auroc", "ap", "f1")


def spread(values: list[float], scale: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return ""
    error = f" ± {scale * np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{scale * np.mean(values):.3f}{error}"


def act(options: argparse.Namespace) -> None:
    """Test accuracy of kernel ridge regression after corrections of worse_label."""
    test_x, test_label, _ = problem(REVIEWED, options)
    rows = []
    for seed in range(options.seeds):
        x, label, clean = problem("worse_label", options)
        _, frame, _ = audited("worse_label", seed, options)
        order = np.argsort(-frame["score"].to_numpy(), kind="stable")
        drawn = np.random.default_rng(seed).permutation(len(label))[:CORRECTED]
        names = {str(k): k for k in range(10)}
        suggested = frame["suggested"].map(names).to_numpy()
        sure = frame["score"].to_numpy() > AUTOMATIC
        made = {
            "none": label,
            f"{CORRECTED} at random": with_labels(label, drawn, clean),
            f"first {CORRECTED} of the list": with_labels(label, order[:CORRECTED], clean),
            f"automatic, score above {AUTOMATIC}": np.where(sure, suggested, label),
        }
        for words, corrected in made.items():
            right = test_accuracy(x, corrected, test_x, test_label, seed)
            rows.append({"labels": words, "seed": seed, "wrong": float((corrected != clean).mean()), "top1": right})
            print(rows[-1], file=sys.stderr)
    write_json(options.out / "act.json", {"environment": environment(), "rows": rows})
    print("| corrections | wrong labels left, in % | test accuracy, in % |\n|---|---:|---:|")
    for words in dict.fromkeys(row["labels"] for row in rows):
        own = [row for row in rows if row["labels"] == words]
        cells = [spread([row[key] for row in own], 100) for key in ("wrong", "top1")]
        print(f"| {words} | {' | '.join(cells)} |")


def again(options: argparse.Namespace) -> None:
    """The share of wrong labels by a second audit, after a review of the top of the first one's list."""
    rows = []
    for seed in range(options.seeds):
        for name in LABELS:
            _, label, clean = problem(name, options)
            _, frame, _ = audited(name, seed, options)
            top = np.argsort(-frame["score"].to_numpy(), kind="stable")[:CORRECTED]
            now = with_labels(label, top, clean)
            provenance = np.where(np.isin(np.arange(len(label)), top), "reviewed", "given")
            table = options.out / f"{name}-{seed}.csv"
            pd.DataFrame({"id": np.arange(len(label)), "label": now, "provenance": provenance}).to_csv(
                table, index=False
            )
            config, folder = AuditConfig(seed=seed, duplicates=False), options.out / f"{name}-{seed}-again"
            source = options.out / f"{name}.npz"
            found = run_audit(config, source, folder, overrides=[f"data.labels.file={table}"], quiet=True)
            said = {"estimated": found.noise_rate.estimate, "interval": found.noise_rate.interval}
            rows.append({"labels": name, "seed": seed, "true": float((now != clean).mean()), **said})
            print(rows[-1])
    write_json(options.out / "again.json", {"environment": environment(), "rows": rows})


def pixels(options: argparse.Namespace) -> None:
    """Networks of small-wide over five folds of 10,000 images, asked about four views."""
    human = np.load(options.data / "cifar10n.npz")
    features = np.load(options.data / "cifar10_features_lite0_pca128.npz")["features"]
    rows = []
    for seed, name in itertools.product(range(options.seeds), LABELS):
        folder = options.out / f"pixels-{name}-{seed}"
        words = ["--model", "small-wide", "--seeds", "1", "--quiet", "--out", str(folder)]
        for value in (f"audit.seed={seed}", "audit.epochs=20", "views.mixup=1.0", "data.train_limit=10000"):
            words += ["--set", value]
        words += ["--set", f"data.labels={{file: {options.data / 'cifar10n.npz'}, column: {name}}}"]
        source = str(options.data / "cifar10_jpeg.npz")
        subprocess.run([sys.executable, "-m", "labelwise", "audit", source, *words], check=True)
        frame = read_audit_table(folder)
        frame = frame.set_index(frame["id"].astype(int)).sort_index()
        ids, score = frame.index.to_numpy(), frame["score"].to_numpy()
        label, wrong = human[name][ids].astype(np.int64), human[name][ids] != human["clean_label"][ids]
        views = [np.load(path)["answers"] for path in sorted((folder / "answers").glob("*.npz"))]
        parts = tuple(Answer(str(view), "network", values, view) for view, values in enumerate(views))
        p = torch.softmax(torch.from_numpy(Answers(parts).mean()), 1).numpy()
        scores = {"labelwise": score, "1 - p(given), the same answers": 1 - p[np.arange(len(label)), label]}
        for key, values in peer(features[ids].astype(np.float32), label, seed, p, options).items():
            if key.startswith("given|score"):
                scores[f"cleanlab {key.rpartition('|')[2]}, the same answers"] = values
        base = {"labels": name, "seed": seed}
        for method, values in scores.items():
            found = {"auroc": roc_auc_score(wrong, values), "ap": average_precision_score(wrong, values)}
            rows.append(base | {"method": method} | found)
        results, depths = read_results_as(folder, AuditResults), np.cumsum(wrong[np.argsort(-score, kind="stable")])
        said = [(one.depth, one.wrong, *one.interval, int(depths[one.depth - 1])) for one in results.expected]
        rate = {"rate": results.noise_rate.estimate, "interval": results.noise_rate.interval}
        rows.append(base | {"method": "calibration", "depths": said, **rate, "true": float(wrong.mean())})
        print(rows[-1], file=sys.stderr)
    write_json(options.out / "pixels.json", {"environment": environment(), "rows": rows})
    print_scores(rows, LABELS)


def with_labels(label: NDArray[np.int64], rows: NDArray[np.int64], clean: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of which some rows were reviewed."""
    found = label.copy()
    found[rows] = clean[rows]
    return found


def test_accuracy(
    x: NDArray[np.float32],
    label: NDArray[np.int64],
    test_x: NDArray[np.float32],
    test_label: NDArray[np.int64],
    seed: int,
) -> float:
    targets = torch.nn.functional.one_hot(torch.from_numpy(label)).double()
    args = {"centres": 1000, "bandwidth": 1.0}
    fitted = fit_closed_form("kernel_ridge", args, Samples(torch.from_numpy(x).double(), targets), seed=seed)
    with torch.no_grad():
        answers = fitted.net(torch.from_numpy(test_x)).argmax(1).numpy()
    return float((answers == test_label).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("find", "act", "again", "pixels"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    {"find": find, "act": act, "again": again, "pixels": pixels}[options.what](options)


if __name__ == "__main__":
    main()
