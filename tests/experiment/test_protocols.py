"""The published protocols from end to end: miniatures of CheXpert, MS-COCO, Open Images and VOC, one tiny network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from labelwise.data.readers.chexpert import COMPETITION, OBSERVATIONS
from labelwise.data.readers.voc import CATEGORIES

RNG = np.random.default_rng(0)
NAN = float("nan")
TINY = "views: {size: 8}, model: {name: small-narrow}, train: {epochs: 1, batch_size: 16}, chain: {generations: 1}"


def draw(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3) if mode == "RGB" else (8, 8), dtype=np.uint8)).save(path)


def marks(samples: int, categories: int) -> np.ndarray:
    """0 and 1, both of them in every category."""
    found = RNG.integers(0, 2, (samples, categories))
    found[0], found[1] = 0, 1
    return found


def run(labelwise: Callable[..., Any], folder: Path, data: str, table: str) -> dict[str, Any]:
    """The results of an experiment, by the command."""
    file = folder / "table.yaml"
    file.write_text(f"name: mini\nrecipe: {{threads: 1, data: {{workers: 0, {data}}}, {TINY}}}\n{table}")
    done = labelwise("experiment", file, "--out", folder / "out", "--quiet")
    assert done.code == 0, done.err
    return dict(json.loads((folder / "out" / "results.json").read_text()))


def entry(results: dict[str, Any], row: str, column: int | None = 0, axis: int = 0, head: str = "base") -> Any:
    wanted = (row, head, column, axis)
    [found] = [e for e in results["table"] if (e["row"], e["head"], e["column"], e["axis"]) == wanted]
    return found


def logits(cell: Path, network: str = "generation-1", seed: int = 0) -> np.ndarray:
    """What a network says on test."""
    with np.load(cell / f"seed-{seed}" / f"seed-{seed}" / network / "predictions.npz") as stored:
        return stored["logits"].astype(np.float64)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def ap(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    """AP of every category over its known labels; NaN where it has only one kind."""
    found = []
    for x, y in zip(scores.T, labels.T, strict=True):
        known = ~np.isnan(y)
        found.append(average_precision_score(y[known], x[known]) if len(set(y[known])) == 2 else NAN)
    return found


@pytest.fixture
def chexpert(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Patients with one study of two frontal views and a lateral one; and the labels (8, 14) of the test studies."""
    root = tmp_path / "chexpert"
    root.mkdir()
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(OBSERVATIONS)}\n"
    test = marks(8, 14)
    for part, labels in (("train", marks(20, 14)), ("valid", marks(6, 14)), ("test", test)):
        text = labels.astype(str)
        if part == "train":
            text[5:9], text[9:12] = "-1.0", ""
        lines = []
        for patient, cells in enumerate(text):
            for view, kind in ((1, "Frontal"), (2, "Frontal"), (3, "Lateral")):
                path = f"CheXpert-v1.0/{part}/patient{part}{patient:02}/study1/view{view}_{kind.lower()}.jpg"
                draw(root / path.removeprefix("CheXpert-v1.0/"), "L")
                lines.append(f"{path},Male,50,{kind},AP,{','.join(cells)}\n")
        (root / f"{part}.csv").write_text(header + "".join(lines))
    return root, test


def test_chexpert(labelwise: Callable[..., Any], tmp_path: Path, chexpert: tuple[Path, np.ndarray]) -> None:
    root, truth = chexpert
    table = f"""\
rows: {{U-Zeros: [labels.unknown=negative, labels.uncertain=negative], U-Ones: [labels.uncertain=positive]}}
seeds: 2
ensembles: [{{name: both, rows: [U-Zeros, U-Ones]}}, {{name: all, rows: [U-Zeros, U-Ones], over: seeds}}]
score: {{metric: auc, unit: study, per_category: true, categories: [{", ".join(COMPETITION)}]}}
"""
    results = run(labelwise, tmp_path, f"source: {root}, projection: frontal, channels: 3", table)
    assert (results["metric"], results["unit"], results["categories"]) == ("mauc", "study", list(COMPETITION))
    five = [OBSERVATIONS.index(name) for name in COMPETITION]

    def auc(scores: np.ndarray) -> np.ndarray:
        """Of the five categories, over studies: both frontal views of a study stand one after the other."""
        highest = scores.reshape(8, 2, 14).max(axis=1)
        return np.array([roc_auc_score(truth[:, c], highest[:, c]) for c in five])

    z = {(row, s): logits(tmp_path / "out/cells" / row, seed=s) for row in ("U-Zeros", "U-Ones") for s in (0, 1)}
    for row in ("U-Zeros", "U-Ones"):
        by_seed = np.array([auc(z[row, seed]) for seed in (0, 1)])
        assert entry(results, row)["by_seed"] == pytest.approx(by_seed.mean(axis=1))
        for c, name in enumerate(COMPETITION):
            assert entry(results, row)["categories"][name]["by_seed"] == pytest.approx(by_seed[:, c])
    both = [auc((sigmoid(z["U-Zeros", seed]) + sigmoid(z["U-Ones", seed])) / 2).mean() for seed in (0, 1)]
    assert entry(results, "both")["by_seed"] == pytest.approx(both)
    everything = entry(results, "all")
    assert everything["by_seed"] == pytest.approx([auc(sum(map(sigmoid, z.values())) / 4).mean()])
    singles = np.mean([auc(one).mean() for one in z.values()])
    assert everything["over_networks"]["gain"] == pytest.approx(everything["by_seed"][0] - singles)
    zeros = np.mean(entry(results, "U-Zeros")["by_seed"])
    assert everything["over_reference"]["gain"] == pytest.approx(everything["by_seed"][0] - zeros)
    text = (tmp_path / "out/table.md").read_text()
    assert "mean AUC of studies" in text and "| Edema |" in text and "**categories**" in text


def test_coco(labelwise: Callable[..., Any], tmp_path: Path) -> None:
    names, truth = ("person", "car", "dog"), {}
    for part, samples in (("train", 30), ("val", 12)):
        truth[part] = marks(samples, 3)
        images = [{"id": i, "file_name": f"COCO_{part}2014_{i:012}.jpg"} for i in range(samples)]
        for image in images:
            draw(tmp_path / "coco" / f"{part}2014" / str(image["file_name"]))
        pairs = np.argwhere(truth[part]).tolist()
        content = {
            "images": images,
            "annotations": [{"id": n, "image_id": i, "category_id": c + 1} for n, (i, c) in enumerate(pairs)],
            "categories": [{"id": c + 1, "name": name} for c, name in enumerate(names)],
        }
        (tmp_path / "coco/annotations").mkdir(exist_ok=True)
        (tmp_path / f"coco/annotations/instances_{part}2014.json").write_text(json.dumps(content))
    table = """\
axis:
  - {title: uniform, key: data.known.share, values: [0.5, 0.9], overrides: [data.known.protocol=uniform]}
  - {title: single positive, overrides: [data.known.protocol=single_positive]}
seed_keys: [seed, data.known.seed]
seeds: 1
rows: {assume: [labels.unknown=negative], refine: ["chain={generations: 2, members: 2}"]}
ensembles: [{name: labellers, rows: [refine], over: members}]
"""
    results = run(labelwise, tmp_path, f"source: {tmp_path / 'coco'}, select_share: 0.2", table)
    assert results["columns"] == ["uniform 0.5", "uniform 0.9", "single positive"]
    cells, labels = tmp_path / "out/cells", truth["val"].astype(float)
    folders = [cells / "uniform/0.5", cells / "uniform/0.9", cells / "single positive"]
    for column, folder in enumerate(folders):
        axis = int(column == 2)
        found = entry(results, "assume", column, axis)
        assert found["by_seed"] == pytest.approx([np.mean(ap(logits(folder / "assume"), labels))])
        members = [logits(folder / "refine", name) for name in ("generation-1", "generation-1-member-2")]
        together = np.mean(ap(sum(map(sigmoid, members)) / 2, labels))
        assert entry(results, "labellers", column, axis)["by_seed"] == pytest.approx([together])
    mean = np.mean([entry(results, "refine", column)["by_seed"] for column in (0, 1)])
    assert entry(results, "refine", None)["by_seed"] == pytest.approx([mean])
    known = [
        json.loads((folder / "assume/seed-0/run.json").read_text())["data"]["known"]["share"] for folder in folders
    ]
    assert known[2] < known[0] < known[1]
    text = (tmp_path / "out/table.md").read_text()
    assert "|  | uniform 0.5 | uniform 0.9 | mean over uniform | single positive |" in text


def test_open_images(labelwise: Callable[..., Any], tmp_path: Path) -> None:
    root, classes = tmp_path / "open", [f"/m/{c}" for c in range(5)]
    test = np.array([])
    for part, samples in (("train", 30), ("validation", 10), ("test", 12)):
        values = marks(samples, 5).astype(float)
        # Of every class more labels of train are known than of the one before: the groups are the classes in order.
        for c in range(5):
            values[2 : 2 + (12 - 3 * c if part == "train" else c), c] = NAN
        lines = [
            f"{part}{i:02},verification,{classes[c]},{values[i, c]:.0f}\n" for i, c in np.argwhere(values == values)
        ]
        (root / part).mkdir(parents=True)
        (root / part / "annotations-human.csv").write_text("ImageID,Source,LabelName,Confidence\n" + "".join(lines))
        for i in range(samples):
            draw(root / part / f"{part}{i:02}.jpg")
        test = values
    (root / "classes-trainable.txt").write_text("\n".join(classes))
    table = """\
seeds: 1
rows: {ignore: [], assume: [labels.unknown=negative]}
ensembles: [{name: both, rows: [ignore, assume]}]
heads: {fast: {method: logistic, preset: fast, draws: 100}}
"""
    results = run(labelwise, tmp_path, f"source: {root}, format: open_images", table)
    assert results["groups"] == [f"group-{i}" for i in range(1, 6)] and results["categories"] == []
    for row in ("ignore", "assume"):
        expected = ap(logits(tmp_path / "out/cells" / row), test)
        found = entry(results, row)
        assert [found["groups"][name]["by_seed"][0] for name in results["groups"]] == pytest.approx(expected)
        assert found["by_seed"] == pytest.approx([np.mean(expected)])
    heads = []
    for row in ("ignore", "assume"):
        with np.load(tmp_path / "out/cells" / row / "seed-0/cft-fast/predictions.npz") as stored:
            heads.append(stored["logits"][stored["split"] == "test"].astype(np.float64))
    tuned = entry(results, "both", head="fast")
    assert tuned["by_seed"] == pytest.approx([np.mean(ap(sum(map(sigmoid, heads)) / 2, test))])
    gain = tuned["by_seed"][0] - entry(results, "both")["by_seed"][0]
    assert tuned["over_base"]["gain"] == pytest.approx(gain)
    assert "| group-1 |" in (tmp_path / "out/table.md").read_text()


def test_voc(labelwise: Callable[..., Any], tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2007"
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "Annotations").mkdir()
    test = np.array([])
    for part, samples in (("train", 20), ("val", 8), ("test", 10)):
        codes = np.where(marks(samples, 20) == 1, 1, -1)
        codes[2, 0] = 0  # difficult objects only
        ids = [f"{part}{i:02}" for i in range(samples)]
        for image in ids:
            draw(root / f"JPEGImages/{image}.jpg")
        (root / f"ImageSets/Main/{part}.txt").write_text("".join(f"{image}\n" for image in ids))
        for c, name in enumerate(CATEGORIES):
            lines = [f"{image} {code:>2}\n" for image, code in zip(ids, codes[:, c].tolist(), strict=True)]
            (root / f"ImageSets/Main/{name}_{part}.txt").write_text("".join(lines))
        test = np.where(codes == 0, NAN, codes == 1)
    table = "seeds: 1\nrows: {ignore: [data.known.protocol=hcp, data.known.share=0.5]}\n"
    results = run(labelwise, tmp_path, f"source: {root}", table)
    assert results["columns"] == [""] and len(results["table"]) == 2
    expected = np.mean(ap(logits(tmp_path / "out/cells/ignore"), test))
    assert entry(results, "ignore")["by_seed"] == pytest.approx([expected])
    assert entry(results, "ignore", None)["by_seed"] == pytest.approx([expected])
