"""CheXpert at work: trained on radiographs, scored by study, never mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from labelwise.config import Recipe, load_recipe
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset, views_of
from labelwise.data.readers.chexpert import COMPETITION, OBSERVATIONS
from labelwise.inference.evaluate import evaluate
from labelwise.refinery.chain import train
from labelwise.report.scores import scores_table
from labelwise.results import MultiLabelEvaluation

Found = tuple[Path, MultiLabelEvaluation, Dataset]
SHARED = ("threads=1", "model.name=small-narrow", "train={epochs: 1, batch_size: 32, keep: best}", "data.workers=0")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty patients to learn from and forty studies of two views each, all categories with both kinds of labels."""
    folder = tmp_path_factory.mktemp("chexpert") / "CheXpert-v1.0-small"
    rng = np.random.default_rng(0)
    for part, patients, views in (("train", range(60), 1), ("valid", range(60, 100), 2)):
        lines = ["Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(OBSERVATIONS)]
        for patient in patients:
            cells = rng.choice(["1.0", "0.0", "-1.0", ""] if part == "train" else ["1.0", "0.0"], len(OBSERVATIONS))
            for view in range(1, views + 1):
                name = f"{part}/patient{patient:05d}/study1/view{view}_{'frontal' if view == 1 else 'lateral'}.jpg"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)).save(folder / name)
                side = "Frontal,AP" if view == 1 else "Lateral,"
                lines.append(f"CheXpert-v1.0-small/{name},Male,50,{side},{','.join(cells)}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return folder


def recipe(root: Path, *changes: str) -> Recipe:
    return load_recipe(None, [f"data.source={root}", "views.size=8", *SHARED, *changes])


@pytest.fixture(scope="module")
def found(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("run")
    results = train(recipe(root), out, quiet=True).to_json()
    assert results["task"] == "multi-label" and results["splits"]["test"] == 80
    model = out / results["rows"][0]["path"]
    return out, evaluate(model, recipe(root), split="test"), load_dataset(recipe(root).data)


def test_studies_are_scored_by_their_highest_view(found: Found) -> None:
    out, scores, dataset = found
    studies = scores.studies
    assert studies is not None and studies.number == 40 and studies.scored == len(OBSERVATIONS)
    assert dataset.table is not None
    with np.load(out / "seed-0" / "generation-1" / "predictions.npz") as kept:
        rows, logits = kept["rows"], kept["logits"]
    names = np.array([name.rsplit("/", 1)[0] for name in dataset.ids[rows]])
    labels = dataset.table.take(rows).given()
    expected = []
    for category in COMPETITION:
        c = dataset.classes.index(category)
        best = [logits[names == study, c].max() for study in np.unique(names)]
        true = [labels[names == study, c].max() for study in np.unique(names)]
        expected.append(roc_auc_score(true, best))
    assert studies.competition_mauc == pytest.approx(np.mean(expected))
    assert scores.mauc != pytest.approx(studies.mauc)


def test_studies_are_shown(found: Found) -> None:
    studies, title = found[1].studies, scores_table(found[1]).title
    assert "40 studies" in title and f"{studies.competition_mauc:.2%}" in title


def test_without_the_five_there_is_no_competition(found: Found, root: Path, tmp_path: Path) -> None:
    four = recipe(root, f"data.categories=[{', '.join(COMPETITION[:4])}]")
    results = train(four, tmp_path / "run", quiet=True).to_json()
    scores = evaluate(tmp_path / "run" / results["rows"][0]["path"], four, split="test").to_json()
    assert scores["studies"]["competition_mauc"] is None and scores["studies"]["scored"] == 4


def test_radiographs_are_not_mirrored_unless_asked(root: Path, found: Found) -> None:
    plain, asked = recipe(root), recipe(root, "views.flip=true")
    assert plain.views.flip and not views_of(plain.data, plain.views).flip
    assert views_of(asked.data, asked.views).flip
    assert "flip: false" in (found[0] / "config.yaml").read_text()
    digits = load_recipe(None, [])
    assert views_of(digits.data, digits.views).flip
