"""Further scores of a table and rows that are chosen on select: what is told of them, and that nothing runs again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.results_file import write_results
from helpers.rows import make_row
from helpers.tables import experiment_of, told_as, write_tables
from labelwise.config import Recipe
from labelwise.errors import ConfigError
from labelwise.experiment.config import ExperimentConfig, load_experiment
from labelwise.experiment.row_scores import is_name, names_in, score_of
from labelwise.experiment.run import run_experiment
from labelwise.report.experiment import experiment_lines
from labelwise.results import RefineResults, Splits
from labelwise.results.refine import FitScores, Scores

ROW = {
    "name": "n",
    "kept": True,
    "epochs": 3,
    "seconds": 1.5,
    "fit": {"top1": 0.9, "noise_auroc": None},
    "test": {"top1": 0.6, "nll": float("nan"), "per_class": [{"n": 1}]},
}
BEST = [
    {"name": "best control", "rows": ["one", "two"]},
    {"name": "best smoothed", "rows": ["smooth", "smoother"], "reference": "best control"},
]


def test_names_of_scores() -> None:
    assert score_of(ROW, "seconds") == 1.5 and score_of(ROW, "fit.top1") == 0.9 and score_of(ROW, "epochs") == 3
    assert score_of(ROW, "fit.top1 - test.top1") == pytest.approx(0.3)
    for name in ("fit.noise_auroc", "test.nll", "kept", "name", "fit", "fit.top1.x", "select.top1", "test.per_class"):
        assert score_of(ROW, name) is None
        assert score_of(ROW, f"fit.top1 - {name}") is None and score_of(ROW, f"{name} - fit.top1") is None
    assert list(names_in(ROW)) == ["epochs", "seconds", "fit.top1", "test.top1", "test.nll"]
    assert is_name("test.nll") and is_name("fit.top1 - test.top1")
    for bad in ("", "fit-test", "fit.", ".top1", "a -b", "a + b", " a", "a - ", "test.nll\n"):
        assert not is_name(bad), bad


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Four rows over two columns and two seeds, on embeddings of three overlapping classes."""
    rng = np.random.default_rng(0)
    label = np.arange(300) % 3
    features = rng.standard_normal((300, 8)) + 2 * np.eye(8)[label]
    np.savez(folder / "x.npz", features=features, label=label, n_train=200)
    return {
        "name": "extra",
        "recipe": {
            "threads": 1,
            "data": {"source": str(folder / "x.npz"), "select_share": 0.3},
            "model": {"name": "mlp"},
            "train": {"batch_size": 32, "epochs": 1},
            "chain": {"generations": 1},
        },
        "rows": {
            "one": [],
            "two": ["train.epochs=3"],
            "smooth": ["train.label_smoothing=0.1"],
            "smoother": ["train.label_smoothing=0.3", "train.epochs=3"],
        },
        "axis": {"key": "data.noise.rate", "values": [0.0, 0.4], "title": "noise"},
        "seeds": 2,
        **changes,
    }


def load(folder: Path, **changes: Any) -> ExperimentConfig:
    (folder / "extra.yaml").write_text(json.dumps(settings(folder, **changes)))
    return load_experiment(folder / "extra.yaml")


def pretend(recipe: Recipe, folder: Path, **_: Any) -> None:
    """What a finished run of a single network leaves, with scores drawn by its recipe."""
    rng = np.random.default_rng([recipe.seed, recipe.train.epochs, int(100 * recipe.train.label_smoothing)])
    noise = recipe.data.noise.rate
    correct = rng.random(100) < 0.5
    fit = {"top1": 0.7 + 0.3 * rng.random(), "ece": rng.random()} | ({"noise_auroc": rng.random()} if noise else {})
    refinery = make_row("network", seconds=7.0, path="nowhere", weights_hash="refinery")
    row = make_row(
        "network",
        fit=FitScores(**fit),
        select=Scores(top1=rng.random(), nll=1.0, ece=0.1),
        test=Scores(top1=float(correct.mean()), nll=noise + rng.random(), ece=0.1),
        seconds=60 * rng.random(),
        path="network",
        weights_hash=str(folder),
    )
    splits = Splits(fit=1, select=1, test=100)
    results = RefineResults(
        **{"kind": "refine", "task": "single-label", "splits": splits, "rows": (refinery, row), "summary": ()},
        comparison=None,
        regime=None,
    )
    write_results(folder, results)
    (folder / "network").mkdir(exist_ok=True)
    np.savez(folder / "network/predictions.npz", correct=correct)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Tells the same pretended runs in some way."""
    monkeypatch.setattr("labelwise.experiment.run.refine", pretend)
    return lambda **changes: run_experiment(load(tmp_path, **changes), tmp_path / "out", quiet=True).to_json()


def entry(results: dict[str, Any], row: str, column: int | None) -> dict[str, Any]:
    [found] = [e for e in results["table"] if (e["row"], e["column"]) == (row, column)]
    return found


def runs(folder: Path, row: str, noise: float) -> list[dict[str, Any]]:
    cells = [folder / "out/cells" / str(noise) / row / f"seed-{seed}/results.json" for seed in range(2)]
    return [json.loads(cell.read_text())["rows"][-1] for cell in cells]


def test_further_scores_are_those_of_the_runs(tmp_path: Path, told: Any) -> None:
    names = ["test.nll", "fit.ece", "fit.top1 - test.top1", "fit.noise_auroc", "chain.seconds"]
    results = told(score={"extra": names})
    assert results["extra"] == names
    for row in ("one", "smoother"):
        by_column = []
        for column, noise in enumerate((0.0, 0.4)):
            own, extra = runs(tmp_path, row, noise), entry(results, row, column)["extra"]
            assert list(extra) == names
            nll = [run["test"]["nll"] for run in own]
            assert extra["test.nll"]["by_seed"] == nll
            assert extra["test.nll"]["mean"] == pytest.approx(np.mean(nll))
            assert extra["test.nll"]["std"] == pytest.approx(np.std(nll, ddof=1))
            assert extra["chain.seconds"]["by_seed"] == pytest.approx([7 + run["seconds"] for run in own])
            gap = [run["fit"]["top1"] - run["test"]["top1"] for run in own]
            assert extra["fit.top1 - test.top1"]["by_seed"] == pytest.approx(gap)
            by_column.append(nll)
        mean = entry(results, row, None)["extra"]
        assert mean["test.nll"]["by_seed"] == pytest.approx(np.mean(by_column, axis=0).tolist())
        # Without noise there is none to be found, so over both columns there is no mean of it.
        assert entry(results, row, 0)["extra"]["fit.noise_auroc"] == {
            "mean": None,
            "std": None,
            "by_seed": [None, None],
        }
        assert entry(results, row, 1)["extra"]["fit.noise_auroc"]["mean"] > 0
        assert mean["fit.noise_auroc"]["mean"] is None
    markdown, picture, page = write_tables(results, tmp_path / "out")
    text = markdown.read_text()
    for title in ("top-1 accuracy, %", "test.nll", "fit.ece, %", "fit.top1 - test.top1, points", "fit.noise_auroc"):
        assert f"**{title}**\n\n|  | noise 0 | noise 0.4 | mean over noise |" in text
        assert f"<h2>{title}</h2>" in page.read_text()
    nll = entry(results, "one", 0)["extra"]["test.nll"]
    assert f"| one | {nll['mean']:.3f} ± {nll['std']:.3f} |" in text
    assert b"fit.noise_auroc" in picture.read_bytes()


def test_what_select_chooses(tmp_path: Path, told: Any) -> None:
    results = told(best=BEST, claim="Smoothing is said to help.", score={"extra": ["test.nll"]})
    for column, noise in enumerate((0.0, 0.4)):
        for best in BEST:
            select = {
                row: np.mean([run["select"]["top1"] for run in runs(tmp_path, row, noise)]) for row in best["rows"]
            }
            found = entry(results, best["name"], column)
            assert found["chosen"] == max(best["rows"], key=select.__getitem__) and found["candidates"] == 2
            same = entry(results, found["chosen"], column)
            for key in ("select", "test", "by_seed", "extra"):
                assert found[key] == same[key]
            assert found["select"]["mean"] == pytest.approx(max(select.values()))
        control, smoothed = (entry(results, best["name"], column) for best in BEST)
        gain = smoothed["over_reference"]
        assert gain["gain"] == pytest.approx(smoothed["test"]["mean"] - control["test"]["mean"])
        assert gain["interval"][0] < gain["gain"] < gain["interval"][1]
        assert control["over_reference"]["gain"] == pytest.approx(
            control["test"]["mean"] - entry(results, "one", column)["test"]["mean"]
        )
    mean = entry(results, "best control", None)
    chosen = [entry(results, "best control", column)["by_seed"] for column in (0, 1)]
    assert mean["by_seed"] == pytest.approx(np.mean(chosen, axis=0).tolist()) and "chosen" not in mean
    markdown, picture, page = write_tables(results, tmp_path / "out")
    text = markdown.read_text()
    assert "> Smoothing is said to help." in text and "Smoothing is said to help." in page.read_text()
    gain = told_as(entry(results, "best smoothed", 1)["over_reference"])
    chosen_row = entry(results, "best smoothed", 1)["chosen"]
    [line] = [line for line in text.splitlines() if line.startswith("| best smoothed, noise 0.4 |")]
    assert line.startswith(f"| best smoothed, noise 0.4 | {chosen_row} | 2 |")
    assert line.endswith(f"| {gain} | best control (of 2) |")
    assert b"best smoothed" not in picture.read_bytes()  # it would hide the row that it is
    lines = experiment_lines(experiment_of(results))
    assert "best" not in lines[0] and sum(line.startswith("best smoothed, noise") for line in lines) == 2


def test_the_first_of_equals_is_chosen(told: Any) -> None:
    results = told(best=[{"name": "a", "rows": ["two", "one"]}, {"name": "b", "rows": ["one"], "reference": "one"}])
    same = entry(results, "b", 0)
    assert same["chosen"] == "one" and same["candidates"] == 1
    assert same["over_reference"] == {"gain": 0.0, "interval": [0.0, 0.0]}


def test_one_column_has_one_table_and_is_told_anew_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = settings(tmp_path, seeds=1, rows={"one": [], "two": ["train.epochs=2"]})
    del alone["axis"]

    def tell(**changes: Any) -> dict[str, Any]:
        return run_experiment(ExperimentConfig.model_validate(alone | changes), tmp_path / "out", quiet=True).to_json()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("ran again")

    tell()
    monkeypatch.setattr("labelwise.refinery.network.fit", refuse)
    best = [{"name": "best", "rows": ["one", "two"]}]
    names = ["test.nll", "fit.entropy", "fit.ece", "fit.top1 - test.top1", "seconds"]
    results = tell(score={"extra": names}, best=best, claim="It is said.")
    text = write_tables(results, tmp_path / "out")[0].read_text()
    titles = "top-1 accuracy | test.nll | fit.entropy | fit.ece, % | fit.top1 - test.top1, points | seconds"
    assert f"|  | {titles} |" in text and "> It is said." in text
    assert "| best | one | 2 |" in text or "| best | two | 2 |" in text
    message = "no network has 'test.nl'; there are .*fit.entropy.* test.nll.* seconds"
    with pytest.raises(ConfigError, match=message) as error:
        tell(score={"extra": ["test.nl"]})
    assert "\n" not in str(error.value)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"score": {"extra": ["test-nll"]}}, "'test-nll' is no name of a score; write test.nll"),
    ({"score": {"extra": ["test.nll", "test.nll"]}}, "a score is named twice"),
    ({"best": [{"name": "one", "rows": ["two"]}]}, "'one' is the name of another row"),
    ({"best": [{"name": "b", "rows": ["three"]}]}, "'b' chooses from 'three', which is not one of the rows one, two"),
    ({"best": [{"name": "b", "rows": ["two", "two"]}]}, "'b' has a candidate twice"),
    ({"best": [{"name": "b", "rows": []}]}, "best.0.rows"),
    ({"best": [{"name": "b", "rows": ["one"], "reference": "b"}]}, "'b' is compared with 'b'; give one or two"),
    ({"best": [{"name": "b", "rows": ["one"], "reference": "c"}]}, "'b' is compared with 'c'; give one or two"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_mistakes(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_nothing_to_choose_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.experiment.run.refine", lambda *_, **__: pytest.fail("trained"))
    own = settings(tmp_path, best=BEST)
    own["recipe"]["data"] |= {"select_share": 0.0}
    with pytest.raises(ConfigError, match="best: x holds nothing out to choose on; set data"):
        run_experiment(ExperimentConfig.model_validate(own), tmp_path, quiet=True)
