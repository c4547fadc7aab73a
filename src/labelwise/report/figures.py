"""The pictures of a run: picks the numbers out of a run folder and hands them to `plots`."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from labelwise.report.plots import Line, change_plot, curve_plot, generation_plot
from labelwise.report.read import RunFolder, mapping, number, sequence, text
from labelwise.report.summary import Entry, Words, generation_of, metric_of, percent, points, row_number, words_of

MOST_BARS = 40
MOST_PANELS = 16


@dataclass(frozen=True)
class Picture:
    """A picture with its heading and the sentence under it."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class ClassChange:
    """One class on test: accuracy in the first and the last generation, means over seeds; ``n`` images."""

    name: str
    n: int | None
    first: float | None
    last: float | None

    @property
    def change(self) -> float | None:
        """Return last minus first."""
        return None if self.first is None or self.last is None else self.last - self.first


def generations(results: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of every generation, in order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in results["rows"]:
        place = generation_of(row)
        if place is not None:
            found.setdefault(place, []).append(row)
    return dict(sorted(found.items()))


def line_over_generations(results: dict[str, Any], key: str, label: str, colour: str) -> Line | None:
    """Return one number by generation, mean and single seeds; None where no generation has it."""
    rows = generations(results)
    seeds = list(dict.fromkeys(text(row.get("seed")) for group in rows.values() for row in group))
    values = {(place, text(r.get("seed"))): row_number(r, key) for place, group in rows.items() for r in group}
    runs = [[values.get((place, seed)) for place in rows] for seed in seeds]
    means = [_mean([run[index] for run in runs]) for index in range(len(rows))]
    if all(mean is None for mean in means):
        return None
    return Line(label, colour, list(rows), means, runs)


def accuracy_picture(results: dict[str, Any], entries: Sequence[Entry]) -> Picture | None:
    """Draw accuracy on training crops, select and test by generation, with the controls on test."""
    key, name = metric_of(results)
    labels = {"fit": "training crops", "select": "select", "test": "test"}
    lines = [
        line
        for split, label in labels.items()
        if (line := line_over_generations(results, f"{split}_{key}", label, split)) is not None
    ]
    if not lines:
        return None
    levels = _levels(entries, f"test_{key}")
    said = "; ".join(f"{line.label} {_said(line.y, percent)}" for line in lines)
    alt = f"Line plot of {name} in percent by generation: {said}."
    if levels:
        alt += " Controls on test: " + ", ".join(f"{control} {percent(value)}" for control, value in levels) + "."
    several = any(len(line.runs) > 1 for line in lines)
    caption = "The vertical distance between training crops and the other lines is the gap that refinement works on. "
    caption += "Training crops are scored against the given labels, wrong ones included."
    caption += " Thin lines: single seeds." if several else ""
    caption += " Dashed: controls on test." if levels else ""
    svg = generation_plot(lines, levels, key="accuracy", alt=alt, width=5.7, height=4.1)
    return Picture(f"{name[0].upper() if name != 'mAP' else 'm'}{name[1:]} by generation", svg, caption)


def belief_pictures(results: dict[str, Any], entries: Sequence[Entry]) -> list[Picture]:
    """Draw NLL, ECE and the quality of the labels by generation, each where it is known."""
    wanted = (
        (
            "test_nll",
            "Negative log-likelihood",
            "On test, in nats. Lower is better: the probabilities fit what is true.",
            False,
        ),
        ("test_ece", "Calibration error", "ECE on test. Lower is better: 80% sure means right 80% of the time.", False),
        (
            "noise_auroc",
            "Finding wrong labels",
            "AUROC of 1 − q[given label] against the labels known to be wrong. 0.5 is chance, 1 is perfect.",
            False,
        ),
        (
            "refined_label_accuracy",
            "Refined labels that are true",
            words_of(results).right,
            True,
        ),
    )
    lines = [line_over_generations(results, key, title, "test") for key, title, _, _ in wanted]
    width = 5.2 if sum(line is not None for line in lines) in (1, 2, 4) else 4.0
    found = []
    for line, (key, title, caption, in_percent) in zip(lines, wanted, strict=True):
        if line is None:
            continue
        write: Callable[[float], str] = percent if in_percent else "{:.3f}".format
        levels = [("", value) for _, value in _levels([entry for entry in entries if entry.marked], key)]
        alt = f"{title} by generation: {_said(line.y, write)}."
        if levels:
            caption += " Dashed: the best control."
            alt += f" Best control {write(levels[0][1])}."
        slug = "belief-" + key.replace("_", "-")
        svg = generation_plot([line], levels, key=slug, alt=alt, as_percent=in_percent, width=width, height=2.9)
        found.append(Picture(title, svg, caption))
    return found


def curve_pictures(run: RunFolder, entries: Sequence[Entry]) -> list[Picture]:
    """Draw the learning curves of every generation and control as small multiples with one common scale."""
    metric = metric_of(run.results)[0]
    kept: dict[str, list[float]] = {}
    for row in run.results["rows"]:
        if (epoch := number(row.get("kept_epoch"))) is not None:
            kept.setdefault(text(row.get("name")), []).append(epoch)
    panels: list[tuple[Entry, list[Line]]] = []
    for entry in entries:
        curves = [epochs for (name, _), epochs in run.curves.items() if name == entry.name]
        lines = []
        for epochs in curves:
            for part, colour in (("train", "fit"), ("select", "select")):
                pairs = [(number(e["epoch"]), number(mapping(e.get(part)).get(metric))) for e in epochs]
                known = [(x, y) for x, y in pairs if x is not None and y is not None]
                if known:
                    lines.append(Line(part, colour, [x for x, _ in known], [y for _, y in known]))
        if lines:
            panels.append((entry, lines))
    values = [y for _, lines in panels for line in lines for y in line.y if y is not None]
    if not values:
        return []
    room = 0.05 * (max(values) - min(values)) or 0.02
    limits = (min(values) - room, max(values) + room)
    found = []
    for index, (entry, lines) in enumerate(panels[:MOST_PANELS]):
        ends = {part: _mean([line.y[-1] for line in lines if line.label == part]) for part in ("train", "select")}
        said = ", ".join(f"{part} ends at {percent(end)}%" for part, end in ends.items() if end is not None)
        alt = f"Learning curves of {entry.name}: {said}."
        marks = sorted(set(kept.get(entry.name, [])))
        found.append(Picture(entry.name, curve_plot(lines, key=f"curve-{index}", alt=alt, limits=limits, kept=marks)))
    return found


def class_changes(results: dict[str, Any]) -> list[ClassChange]:
    """Return every class (or category) of test with its score in the first and last generation, most gained first."""
    rows = generations(results)
    if not rows:
        return []
    places = list(rows)
    first, last = (_per_class(rows[place]) for place in (places[0], places[-1]))
    found = []
    for name, (value, n) in last.items():
        before = first.get(name, (None, None))[0] if len(places) > 1 else None
        found.append(ClassChange(name, n, before, value))
    return sorted(found, key=lambda item: (-(item.change or 0.0), item.name))


def change_picture(changes: Sequence[ClassChange], words: Words) -> Picture | None:
    """Draw the change per class; of many classes those that gained and lost most."""
    pairs = [(item.name, item.change) for item in changes if item.change is not None]
    if not pairs:
        return None
    shown, caption = pairs, ""
    if len(pairs) > MOST_BARS:
        half = MOST_BARS // 2
        shown = [*pairs[:half], ("", 0.0), *pairs[-half:]]
        caption = (
            f"The {half} {words.many} that gained most and the {half} that gained least or lost, of {len(pairs)}. "
        )
    up, down = sum(change > 0 for _, change in pairs), sum(change < 0 for _, change in pairs)
    caption += f"{up} of {len(pairs)} {words.many} gained, {down} lost, {len(pairs) - up - down} stayed."
    counts = [item.n for item in changes if item.n]
    if counts and words.count == "images":
        one = points(1 / statistics.median(counts)).lstrip("+")
        caption += f" With {statistics.median(counts):g} test images a class, one image is {one} points."
    best, worst = pairs[0], pairs[-1]
    ends = "; ".join(f"{name}: {points(change)} points" for name, change in (best, worst))
    alt = f"Bars of the change per {words.one}. {ends}."
    svg = change_plot(
        [name for name, _ in shown], [change for _, change in shown], key="classes", alt=alt + " " + caption
    )
    return Picture(f"Change per {words.one} on test", svg, caption)


def runs_picture(runs: Sequence[tuple[str, dict[str, Any]]]) -> Picture | None:
    """Draw test accuracy by generation, one line a run."""
    lines = []
    for index, (label, results) in enumerate(runs):
        key = f"test_{metric_of(results)[0]}"
        line = line_over_generations(results, key, label, f"run-{index % 6 + 1}")
        if line is not None:
            lines.append(line)
    if not lines:
        return None
    alt = "Test accuracy by generation. " + " ".join(f"{line.label}: {_said(line.y, percent)}." for line in lines)
    return Picture("Test by generation", generation_plot(lines, key="runs", alt=alt, width=7.4, height=4.2))


def _levels(entries: Sequence[Entry], key: str) -> list[tuple[str, float]]:
    found = []
    for entry in entries:
        stat = entry.stats.get(key)
        if entry.role == "control" and stat is not None and stat.mean is not None:
            found.append((entry.name, stat.mean))
    return found


def _per_class(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[float | None, int | None]]:
    """Return mean accuracy and number of images of every class over the seeds of one generation; of categories AP."""
    values: dict[str, list[float | None]] = {}
    counts: dict[str, int | None] = {}
    for row in rows:
        test = mapping(row.get("test"))
        for item in map(mapping, sequence(test.get("per_class") or test.get("per_category"))):
            name, n = text(item.get("class", item.get("category"))), number(item.get("n", item.get("positives")))
            values.setdefault(name, []).append(number(item.get("top1", item.get("ap"))))
            counts[name] = None if n is None else int(n)
    return {name: (_mean(found), counts[name]) for name, found in values.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _said(values: Sequence[float | None], write: Callable[[float], str]) -> str:
    return ", ".join("unknown" if value is None else write(value) for value in values)
