"""The page of a run of `labelwise refine` or `labelwise train`: its pictures, and all that its template fills in."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labelwise.report import refine, svg
from labelwise.report.confusion import Confusion, confusion_of
from labelwise.report.formats import count, percent, points, short
from labelwise.report.page import Picture
from labelwise.report.plots import DotRow, Line, curve_plot, dot_plot, generation_plot
from labelwise.report.read import Folder, Gallery, read_epochs, read_gallery
from labelwise.report.refine import WORDS, Network, Words, networks_of
from labelwise.report.table import Column, Row, Table
from labelwise.report.zero_shot import zero_shot_table
from labelwise.results import RefineResults
from labelwise.results import Row as NetworkRow
from labelwise.results.refine import number_of

MOST_BARS, MOST_PANELS = 40, 16
STATES = ("underfit", "balanced", "overfit")


def refine_context(results: RefineResults, folder: Folder) -> dict[str, Any]:
    """Return what ``refine.html.j2`` fills in."""
    words, networks, data = WORDS[results.task], networks_of(results), folder.about.data
    changes = class_changes(results)
    return {
        "title": data.name or folder.name,
        "results": results,
        "folder": folder,
        "facts": refine.facts_of(results, folder),
        "verdict": refine.verdict_of(results),
        "noise_lines": [*refine.noise_lines(folder), *refine.why_lines(results)],
        "tiles": refine.tiles_of(results),
        "table": refine.results_table(results),
        "accuracy": accuracy_picture(results, networks),
        "states": STATES,
        "beliefs": belief_pictures(results, networks),
        "curves": curve_pictures(results, folder),
        "change_picture": change_picture(changes, words),
        "changes": _change_table(changes, words, list(generations(results))) if changes else None,
        "words": words,
        "zero_shot": zero_shot_table(results),
        "confusion": _confusion(results, folder),
        "gallery": _gallery(results, folder),
        "rows": _row_table(results),
        "lineage": folder.about.lineage({"Data": data.name, "Data fingerprint": data.fingerprint}),
    }


class ClassChange(NamedTuple):
    """One class on test: its score in the first and the last generation, means over seeds, of ``n`` images."""

    name: str
    n: int
    first: float | None
    last: float | None

    @property
    def change(self) -> float | None:
        """Last minus first."""
        return None if self.first is None or self.last is None else self.last - self.first


def generations(results: RefineResults) -> dict[int, list[NetworkRow]]:
    """Return the rows of every generation, in order."""
    found: dict[int, list[NetworkRow]] = {}
    for row in results.rows:
        if row.role == "generation" and row.generation is not None:
            found.setdefault(row.generation, []).append(row)
    return dict(sorted(found.items()))


def line_over_generations(results: RefineResults, key: str, label: str, colour: str) -> list[Line]:
    """Return one number of the summary by generation, mean and single seeds; nothing where no generation has it."""
    rows = generations(results)
    values = {(row.seed, place): number_of(row, key) for place, own in rows.items() for row in own}
    runs = [[values.get((seed, place)) for place in rows] for seed in dict.fromkeys(seed for seed, _ in values)]
    means = [_mean(at_place) for at_place in zip(*runs, strict=True)]
    return [Line(label, colour, list(rows), means, runs)] if any(mean is not None for mean in means) else []


def accuracy_picture(results: RefineResults, networks: Sequence[Network]) -> Picture | None:
    """Draw the metric on training crops, select and test by generation, with the controls on test."""
    key, name = results.metric, WORDS[results.task].metric
    labels = {"fit": "training crops", "select": "select", "test": "test"}
    split_lines = [line_over_generations(results, f"{split}_{key}", label, split) for split, label in labels.items()]
    lines = [line for own in split_lines for line in own]
    if not lines:
        return None
    levels = _levels(networks, f"test_{key}")
    said = "; ".join(f"{line.label} {_said(line.y, percent)}" for line in lines)
    alt = f"Line plot of {name} in percent by generation: {said}."
    if levels:
        alt += " Controls on test: " + ", ".join(f"{control} {percent(value)}" for control, value in levels) + "."
    caption = "Training crops are scored against the given labels, wrong ones included. "
    caption += "Refinement works on the distance between training crops and the other lines."
    caption += " Thin lines: single seeds." if any(len(line.runs) > 1 for line in lines) else ""
    caption += " Dashed: controls on test." if levels else ""
    drawn = generation_plot("accuracy", alt, lines, levels, width=5.7, height=4.1)
    return Picture(f"{name if name == 'mAP' else name.capitalize()} by generation", drawn, caption)


def belief_pictures(results: RefineResults, networks: Sequence[Network]) -> list[Picture]:
    """Draw NLL, ECE and the quality of the labels by generation, each where it is known."""
    right = "Share of training images whose refined label has the true class on top."
    if results.task == "multi-label":
        right = "Share of the hidden labels of training images that the refined label, rounded, gets right."
    sure = "ECE on test. Lower is better: a network that is 80% sure is right 80% of the time."
    wrong = "AUROC of 1 − q[given label] against the labels known to be wrong. 0.5 is chance, 1 is perfect."
    wanted: list[tuple[str, str, str, Callable[[float | None], str]]] = [
        ("test_nll", "Negative log-likelihood", "On test, in nats. Lower is better.", short),
        ("test_ece", "Calibration error", sure, percent),
        ("noise_auroc", "Finding wrong labels", wrong, short),
        ("refined_label_accuracy", "Refined labels that are true", right, percent),
    ]
    found = []
    known = [(line, *one) for one in wanted for line in line_over_generations(results, one[0], one[1], "test")]
    for line, key, title, caption, write in known:
        best = [value for _, value in _levels([n for n in networks if n.marked], key)]
        control = f" Best control {write(best[0])}." if best else ""
        alt = f"{title} by generation: {_said(line.y, write)}.{control}"
        tick, width = svg.percent_tick if write is percent else svg.plain_tick, 4.0 if len(known) == 3 else 5.2
        levels = [("", value) for value in best]
        drawn = generation_plot(f"belief-{key}", alt, [line], levels, write=tick, width=width, height=2.9)
        found.append(Picture(title, drawn, caption + (" Dashed: the best control." if best else "")))
    return found


def curve_pictures(results: RefineResults, folder: Folder) -> list[Picture]:
    """Draw the learning curves of every generation and control as small multiples with one common scale."""
    panels = [(network, _curves(results, network, folder)) for network in networks_of(results)]
    panels = [(network, lines) for network, lines in panels if lines][:MOST_PANELS]
    values = [y for _, lines in panels for line in lines for y in line.y if y is not None]
    limits = svg.axis_limits(values, room=0.05)
    found = []
    for index, (network, lines) in enumerate(panels):
        kept = sorted({float(row.kept_epoch) for row in network.rows})
        ends = {part: _mean([line.y[-1] for line in lines if line.label == part]) for part in ("train", "select")}
        said = ", ".join(f"{part} ends at {percent(end)}%" for part, end in ends.items() if end is not None)
        alt = f"Learning curves of {network.name}: {said}."
        found.append(Picture(network.name, curve_plot(f"curve-{index}", alt, lines, limits, kept)))
    return found


def _curves(results: RefineResults, network: Network, folder: Folder) -> list[Line]:
    """The learning curves of a network, those of every seed: on training crops and on select."""
    lines = []
    for row in network.rows:
        epochs = read_epochs(_row_folder(folder.path, row), folder.notes)
        for part, colour in (("train", "fit"), ("select", "select")):
            scores = [(epoch.epoch, (getattr(epoch, part) or {}).get(results.metric)) for epoch in epochs]
            known = [(number, score) for number, score in scores if score is not None]
            lines += [Line(part, colour, *zip(*known, strict=True))] if known else []
    return lines


def class_changes(results: RefineResults) -> list[ClassChange]:
    """Return every class (or category) of test with its score in the first and last generation, most gained first."""
    rows = list(generations(results).values())
    if not rows:
        return []
    first, last = (_per_class(own) if len(rows) > 1 else {} for own in (rows[0], rows[-1]))
    last = last or _per_class(rows[0])
    found = [ClassChange(name, n, first.get(name, (None, 0))[0], value) for name, (value, n) in last.items()]
    return sorted(found, key=lambda item: (-(item.change or 0.0), item.name))


def change_picture(changes: Sequence[ClassChange], words: Words) -> Picture | None:
    """Draw the change per class; of many classes those that gained and lost most."""
    pairs = [(item.name, item.change) for item in changes if item.change is not None]
    if not pairs:
        return None
    rows = [
        DotRow(name, "gain" if change > 0 else "loss", change, (0.0, change), [points(change)])
        for name, change in pairs
    ]
    caption, half = "", MOST_BARS // 2
    if len(pairs) > MOST_BARS:
        rows[half:-half] = [DotRow("…")]
        most = f"The {half} {words.many} that gained most and the {half} that gained least or lost"
        caption = f"{most}, of {len(pairs)}. "
    up, down = sum(change > 0 for _, change in pairs), sum(change < 0 for _, change in pairs)
    caption += f"{up} of {len(pairs)} {words.many} gained, {down} lost, {len(pairs) - up - down} stayed."
    counts = [item.n for item in changes if item.n]
    if counts and words.counted == "images":
        one = points(1 / statistics.median(counts)).lstrip("+")
        caption += f" With {statistics.median(counts):g} test images a class, one image is {one} points."
    ends = "; ".join(f"{name}: {points(change)} points" for name, change in (pairs[0], pairs[-1]))
    alt = f"The change of each {words.one}. {ends}. {caption}"
    drawn = dot_plot("classes", alt, rows, "change in percentage points", width=6.6)
    return Picture(f"Change per {words.one} on test", drawn, caption)


def runs_picture(runs: Sequence[tuple[str, RefineResults]]) -> Picture | None:
    """Draw the metric on test by generation, one line a run."""
    lines = [
        line
        for index, (label, results) in enumerate(runs)
        for line in line_over_generations(results, f"test_{results.metric}", label, f"run-{index % 6 + 1}")
    ]
    if not lines:
        return None
    alt = "Score on test by generation. " + " ".join(f"{line.label}: {_said(line.y, percent)}." for line in lines)
    return Picture("Test by generation", generation_plot("runs", alt, lines, width=7.4, height=4.2))


def _confusion(results: RefineResults, folder: Folder) -> Confusion | None:
    """Return what the first and the last generation take for what, over all seeds."""
    rows, names = list(generations(results).values()), folder.about.data.classes
    if results.task != "single-label" or len(rows) < 2 or len(names) < 2:
        return None
    ends = {own[0].name: [_row_folder(folder.path, row) for row in own] for own in (rows[0], rows[-1])}
    return confusion_of(names, ends)


def _levels(networks: Sequence[Network], key: str) -> list[tuple[str, float]]:
    controls = [(n.name, n.mean(key)) for n in networks if n.summary.role == "control"]
    return [(name, mean) for name, mean in controls if mean is not None]


def _per_class(rows: Sequence[NetworkRow]) -> dict[str, tuple[float | None, int]]:
    """Return the mean score and number of images of every class over the seeds of one generation."""
    found: dict[str, list[tuple[float | None, int]]] = {}
    for row in rows:
        for one in (row.test and row.test.per_class) or ():
            found.setdefault(one.name, []).append((one.top1, one.n))
        for category in (row.test and row.test.per_category) or ():
            found.setdefault(category.category, []).append((category.ap, category.positives))
    return {name: (_mean([value for value, _ in own]), own[-1][1]) for name, own in found.items()}


def _change_table(changes: Sequence[ClassChange], words: Words, places: Sequence[int]) -> Table:
    columns = [Column(words.one, right=False), Column(words.counted, count), Column(f"gen. {places[-1]}", percent)]
    if len(places) == 1:
        return Table(columns, [Row([item.name, item.n, item.last]) for item in changes])
    columns[2:2] = [Column(f"gen. {places[0]}", percent)]
    rows = [Row([item.name, item.n, item.first, item.last, item.change]) for item in changes]
    return Table([*columns, Column("change", points)], rows)


def _row_table(results: RefineResults) -> Table:
    """Return every single network, unaveraged."""
    titles = ("select", "test", "test top-5", "fit entropy", "images/s")
    writes = (percent, percent, percent, short, count)
    columns = [Column("network", right=False), Column("seed"), Column("model"), Column("labels"), Column("epochs")]
    columns += map(Column, titles, writes)
    rows = []
    for row in results.rows:
        select, test = (getattr(scores, results.metric, None) for scores in (row.select, row.test))
        epochs = f"{row.epochs} (kept {row.kept_epoch})"
        scores = [select, test, row.test and row.test.top5, row.fit.entropy, row.images_per_second]
        rows.append(Row([row.name, row.seed, row.model, row.labels, epochs, *scores]))
    return Table(columns, rows)


def _gallery(results: RefineResults, folder: Folder) -> tuple[int, Gallery] | None:
    """Return the first seed that has a gallery, with its gallery."""
    for seed in dict.fromkeys(row.seed for row in results.rows):
        gallery = read_gallery(folder.path / f"seed-{seed}", folder.notes)
        if gallery is not None and gallery.items:
            return seed, gallery
    return None


def _row_folder(run: Path, row: NetworkRow) -> Path:
    """Return a row's folder; a path that leaves the run is not followed."""
    named = run / row.path
    return named if named.resolve().is_relative_to(run.resolve()) else run / f"seed-{row.seed}" / Path(row.name).name


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _said(values: Sequence[float | None], write: Callable[[float | None], str]) -> str:
    return ", ".join("unknown" if value is None else write(value) for value in values)
