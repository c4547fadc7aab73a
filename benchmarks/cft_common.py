"""What the CFT benchmarks share: UC Merced problems with labels taken away, finished cells, the peer, tables."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score

import labelwise
from labelwise.cft.finetuner import CategoryWiseFineTuner
from labelwise.runs import atomic_write, environment, read_json, write_json

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Part = tuple[Floats, Floats]
"""Features (n, D) and labels (n, C) of a split; NaN unknown."""

OURS: dict[str, dict[str, Any]] = {
    "auto": {"method": "auto"},
    "logistic": {"method": "logistic"},
    "fast": {"method": "auto", "preset": "fast"},
    "backprop-bce": {"method": "backprop", "loss": "bce"},
    "backprop-asl": {"method": "backprop", "preset": "paper-2024"},
    "genetic": {"method": "genetic"},
    "genetic-paper": {"method": "genetic", "preset": "paper-2024"},
}
PEERS = ("mlcpl bp-bce", "mlcpl bp-asl", "mlcpl ga", "libauc auc", "libauc ap")
"""A library and its method."""
DECAYS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
LIGHT = 3.0
WORKERS = Path(__file__).parent / "peers"
_GRADIENT = 1e-3


@dataclass(frozen=True)
class Head:
    """``weight`` (C, D) and ``bias`` (C,)."""

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Doubles:
        """(n, C), in float64."""
        return features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias

    def ap(self, part: Part) -> Doubles:
        """(C,) average precision in points by scikit-learn on float64 logits over known labels; NaN where undefined."""
        features, labels = part
        logits = self.logits(features)
        found = np.full(labels.shape[1], np.nan)
        for c, label in enumerate(labels.T):
            known = ~np.isnan(label)
            if len(np.unique(label[known])) == 2:
                found[c] = 100 * average_precision_score(label[known], logits[known, c])
        return found


@dataclass(frozen=True)
class Problem:
    """``fit`` with labels taken away, ``select`` chooses, ``test`` reports; ``base`` is the trained head."""

    fit: Part
    select: Part
    test: Part
    base: Head
    decay: float

    def save(self, path: Path) -> None:
        """In the format of the peer's worker."""
        arrays = {"features_fit": self.fit[0], "labels_fit": self.fit[1]}
        arrays |= {"features_select": self.select[0], "labels_select": self.select[1]}
        np.savez(path, **arrays, head_weight=self.base.weight, head_bias=self.base.bias)


class Cache:
    """Finished cells: one JSON per settings, and the head it found beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, settings: dict[str, Any], suffix: str) -> Path:
        mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{settings['cell']}-{mark}.{suffix}"

    def get(self, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was found under these settings, computed and kept if it is not there."""
        path = self.path(settings, "json")
        if not path.exists():
            say(f"{settings}")
            write_json(path, {"settings": settings, "found": compute(), "environment": environment()})
        return read_json(path)["found"]

    def keep_head(self, settings: dict[str, Any], head: Head) -> None:
        path = self.path(settings, "npz")
        atomic_write(path, lambda file: np.savez(file, weight=head.weight, bias=head.bias))

    def head(self, settings: dict[str, Any]) -> Head:
        with np.load(self.path(settings, "npz")) as file:
            return Head(file["weight"], file["bias"])


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@functools.cache
def code_mark() -> str:
    """Hash of the code that is measured, comments and layout left out: cells of other code are not taken up again."""
    package = Path(labelwise.__file__).parent
    files = [
        *sorted((package / "cft").glob("*.py")),
        *sorted((package / "metrics").glob("*.py")),
        *sorted((package / "losses").glob("*.py")),
    ]
    text = "".join(ast.dump(ast.parse(file.read_text())) for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# Data and the trained head


def _data() -> Path:
    return Path(os.environ.get("LABELWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def read_ucm() -> dict[str, Part]:
    """Features and complete labels of fit, select and test."""
    with np.load(_data() / "ucm_features_lite0.npz") as file:
        features, labels = file["features"].astype(np.float32), file["labels"].astype(np.float32)
        split = file["split"]
    return {name: (features[split == name], labels[split == name]) for name in ("fit", "select", "test")}


CIFAR_CATEGORIES: tuple[tuple[int, ...], ...] = (
    *((c,) for c in range(10)),
    *((0, 1, 8, 9), (2, 3, 4, 5, 6, 7), (3, 5), (0, 2), (1, 9), (4, 7), (0, 8)),
)
"""The ten classes and seven unions of them (machines, animals, ...), each a category."""


def read_cifar() -> dict[str, Part]:
    """CIFAR-10 (JPEG) embeddings as multi-label data: 2,000 fit, 400 select, 400 test rows, drawn with seed 0."""
    with np.load(_data() / "cifar10_features_lite0_pca128.npz") as file:
        features, label = file["features"], file["label"]
    order = np.random.default_rng(0).permutation(len(label))
    labels = np.stack([np.isin(label, members) for members in CIFAR_CATEGORIES], axis=1)
    places = {"fit": order[:2000], "select": order[2000:2400], "test": order[2400:2800]}
    return {name: (features[rows].astype(np.float32), labels[rows].astype(np.float32)) for name, rows in places.items()}


def hide(labels: Floats, share: int, seed: int) -> Floats:
    """Each label stays known with probability ``share`` %; one draw per label, so that masks of a seed are nested."""
    draws = np.random.Generator(np.random.PCG64(526 + seed)).random(labels.shape)
    return np.where(draws < share / 100, labels, np.float32(np.nan)).astype(np.float32)


def make_problem(
    parts: dict[str, Part], share: int, seed: int, cache: Cache, *, light: bool = False, swap: bool = False
) -> Problem:
    """A problem whose base was trained on unknown labels as negatives, its decay chosen on the split that selects.

    Parameters
    ----------
    light : the lightest decay whatever ``select`` says: an overfitted base
    swap : the splits that select and report change places
    """
    features = parts["fit"][0]
    labels = hide(parts["fit"][1], share, seed)
    select, test = (parts["test"], parts["select"]) if swap else (parts["select"], parts["test"])
    heads = _base_heads(features, labels, share, seed, cache)
    chosen = DECAYS.index(LIGHT) if light else int(np.argmax([head.ap(select).mean() for head in heads]))
    return Problem((features, labels), select, test, heads[chosen], DECAYS[chosen])


def _base_heads(features: Floats, labels: Floats, share: int, seed: int, cache: Cache) -> list[Head]:
    """A head for every decay."""
    settings = {"cell": "base", "share": share, "seed": seed, "decays": DECAYS, "rows": len(features)}
    path = cache.path(settings, "npz")
    if not path.exists():
        say(f"{settings}")
        # An orthogonal change of coordinates, which the ridge does not see: better conditioned, shorter for L-BFGS.
        basis = np.linalg.svd(features.astype(np.float64), full_matrices=False)[2]
        scores = features.astype(np.float64) @ basis.T
        assumed = np.nan_to_num(labels).astype(np.float64)
        theta = np.zeros((labels.shape[1], len(basis) + 1))
        found = []
        for decay in DECAYS[::-1]:  # each starts at the solution of the heavier one
            theta = np.stack([_fit_category(scores, y, decay, t) for y, t in zip(assumed.T, theta, strict=True)])
            found.append((theta[:, :-1] @ basis, theta[:, -1]))
        weight, bias = (np.stack(arrays[::-1]).astype(np.float32) for arrays in zip(*found, strict=True))
        atomic_write(path, lambda file: np.savez(file, weight=weight, bias=bias))
    with np.load(path) as file:
        return [Head(w, b) for w, b in zip(file["weight"], file["bias"], strict=True)]


def _fit_category(z: Doubles, y: Doubles, decay: float, start: Doubles) -> Doubles:
    """Minimise sum log(1 + e^x) - y x + decay |w|^2 / 2 over w and b, x = z w + b.

    Raises RuntimeError where L-BFGS stops short of the minimum.
    """

    def objective(theta: Doubles) -> tuple[float, Doubles]:
        w = theta[:-1]
        x = z @ w + theta[-1]
        residual = 1.0 / (1.0 + np.exp(-np.clip(x, -700, 700))) - y
        loss = np.logaddexp(0.0, x).sum() - y @ x + 0.5 * decay * w @ w
        return loss, np.append(z.T @ residual + decay * w, residual.sum())

    limits = {"maxiter": 20_000, "maxfun": 40_000, "maxcor": 30, "ftol": 0.0, "gtol": _GRADIENT / 100}
    theta = minimize(objective, start, jac=True, method="L-BFGS-B", options=limits).x
    norm = float(np.linalg.norm(objective(theta)[1]))
    if norm > _GRADIENT:
        raise RuntimeError(f"base: gradient {norm:.1e} after L-BFGS with decay {decay}")
    return theta


# Ours and the peer


def fine_tune(problem: Problem, name: str, seed: int) -> tuple[Head, float]:
    """A method of `OURS`, and the seconds of `CategoryWiseFineTuner.fit`."""
    tuner = CategoryWiseFineTuner("ap", **OURS[name], device="cpu", random_state=seed)
    started = time.perf_counter()
    base = {"head_weight": problem.base.weight, "head_bias": problem.base.bias}
    tuner.fit(*problem.fit, **base, select=problem.select)
    return Head(tuner.weight_, tuner.bias_), time.perf_counter() - started


@dataclass(frozen=True)
class PeerResult:
    """Head of the peer; ``seconds`` of its own call and ``select`` AP (points) per asked category; its settings."""

    head: Head
    categories: list[int]
    seconds: Doubles
    select: Doubles
    settings: dict[str, Any]


def run_peer(
    python: Path,
    source: Path,
    method: str,
    seed: int,
    threads: int,
    categories: Sequence[int] | None = None,
    steps: int | None = None,
) -> PeerResult:
    """A method of PEERS in its own environment on a saved problem; ``steps`` stops mlcpl early, to time steps alone."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.npz"
        library, way = method.split()
        command = [python, WORKERS / f"{library}_worker.py", source, target, "--method", way]
        command += ["--seed", str(seed), "--threads", str(threads)]
        if categories is not None:
            command += ["--categories", ",".join(map(str, categories))]
        if steps is not None:
            command += ["--epochs", str(steps), "--patience", str(steps)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
        return read_peer(target)


def read_peer(path: Path) -> PeerResult:
    with np.load(path, allow_pickle=False) as file:
        settings = json.loads(str(file["settings"]))
        head = Head(file["weight"], file["bias"])
        return PeerResult(head, file["categories"].tolist(), file["seconds"], 100 * file["select_after"], settings)


# Output


def write_result(path: Path, kind: str, found: dict[str, Any]) -> None:
    """One JSON with how it was made."""
    versions = {name: version(name) for name in ("numpy", "scipy", "scikit-learn")}
    facts = {"command": " ".join(sys.argv), "environment": environment() | {"cpu": _cpu()} | versions}
    facts["environment"]["code"] = code_mark()
    write_json(path, {"benchmark": f"cft {kind}", **facts, **found})


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as they need to be, the first one to the left."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    print(f"\n{title}")
    for row in (columns, *rows):
        cells = [f"{row[0]:{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    sys.stdout.flush()


def spread(values: Sequence[float] | Doubles, sign: bool = True) -> str:
    """Mean and sample standard deviation."""
    array = np.asarray(values, dtype=np.float64)
    deviation = f" ±{array.std(ddof=1):.2f}" if len(array) > 1 else ""
    return f"{array.mean():{'+' if sign else ''}.2f}{deviation}"


def use_threads(count: int | None) -> None:
    if count is not None:
        torch.set_num_threads(count)
