"""What a run says in numbers and words: shared by the page and the terminal."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from labelwise.report.read import mapping, number, sequence, text

ROLES = ("generation", "member", "control")
ROLE_TITLES = {
    "generation": "Generations",
    "member": "Ensemble members",
    "control": "Controls: no refinery, trained for an honest comparison",
}
FIT_SCORES = ("noise_auroc", "hidden_map", "refined_label_accuracy")
"""Numbers about the labels of training images; they have no split in their name."""

STATES = ("underfit", "balanced", "overfit")
REGIMES = {
    "underfit": "Generation 1 does not yet fit its own training crops. Such a refinery has little to teach: it hands "
    "on blurred labels, and refinement tends to cost accuracy here.",
    "balanced": "Generation 1 does about as well on images it has not seen as on its training crops. Expect a small "
    "effect from refinement, in either direction.",
    "overfit": "Generation 1 fits its training crops clearly better than images it has not seen: it has begun to "
    "memorise labels, wrong and partial ones included. This is where refined labels usually help.",
}


@dataclass(frozen=True)
class Stat:
    """Mean and standard deviation over seeds; the deviation is None with one seed."""

    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class Column:
    """A column of the results table: which number, its heading, and how it is written."""

    key: str
    title: str
    kind: str
    hint: str


@dataclass(frozen=True)
class Entry:
    """One network of the run over all seeds. ``marked`` where it is the best of its role, chosen on ``select``."""

    name: str
    role: str
    generation: int | None
    seeds: int
    labels: str
    stats: dict[str, Stat]
    marked: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer of a run.

    ``tone`` is ``gain``, ``loss``, ``mixed`` (the interval holds zero) or ``open`` (nothing to compare with).
    """

    tone: str
    badge: str
    sentence: str


def metric_of(results: dict[str, Any]) -> tuple[str, str]:
    """Return the key and the printed name of the metric that a run is judged by."""
    return ("map", "mAP") if results.get("task") == "multi-label" else ("top1", "top-1 accuracy")


@dataclass(frozen=True)
class Words:
    """How a page speaks of the data: what labels name, what each is scored by, and what is counted beside it."""

    one: str
    many: str
    score: str
    count: str
    lead: str
    beliefs: str
    right: str


SINGLE_LABEL = Words(
    one="class",
    many="classes",
    score="Accuracy",
    count="images",
    lead="Every generation is a fresh network trained on the labels that the one before it gives to each crop.",
    beliefs="Accuracy counts only the first answer.",
    right="Share of training images whose refined top-1 label is the true one.",
)
MULTI_LABEL = Words(
    one="category",
    many="categories",
    score="AP",
    count="positives",
    lead="Every generation is a fresh network. Given labels stay; what is unknown, the one before it answers for.",
    beliefs="mAP looks at the order alone.",
    right="Share of the hidden labels of training images that the refined label, rounded, gets right.",
)


def words_of(results: dict[str, Any]) -> Words:
    """Return how to speak of the data of a run."""
    return MULTI_LABEL if results.get("task") == "multi-label" else SINGLE_LABEL


def columns(results: dict[str, Any], entries: Sequence[Entry]) -> list[Column]:
    """Return the columns that at least one network has a number for."""
    key, name = metric_of(results)
    known = [
        Column(
            f"fit_{key}", "train crops", "percent", f"{name} on training crops against the given labels, in percent"
        ),
        Column(f"select_{key}", "select", "percent", f"{name} on the split that choices are made on, in percent"),
        Column(f"test_{key}", "test", "percent", f"{name} on the split that is only reported, in percent"),
        Column("test_nll", "NLL", "plain", "negative log-likelihood on test, in nats; lower is better"),
        Column("test_ece", "ECE", "plain", "expected calibration error on test; lower is better"),
        Column("test_human_kl", "human KL", "plain", "KL of people's votes from the network's answer on test, in nats"),
        Column(
            "noise_auroc", "noise AUROC", "plain", "how well 1 - q[given label] finds the wrong labels; 0.5 is chance"
        ),
        Column("hidden_map", "hidden mAP", "percent", "mAP on the hidden labels of training images, in percent"),
        Column("refined_label_accuracy", "refined labels", "percent", "refined labels that are true, in percent"),
        Column("seconds", "time", "seconds", "training time of one seed"),
    ]
    return [column for column in known if any(_stat(entry, column.key).mean is not None for entry in entries)]


def entries_of(results: dict[str, Any]) -> list[Entry]:
    """Return the networks of a run: generations in order, then members, then controls, the best ones marked.

    The summary of the run is used where it is there; what it leaves out is taken from the rows.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in results["rows"]:
        rows.setdefault(text(row.get("name")), []).append(row)
    given = {text(item.get("name")): item for item in map(mapping, sequence(results.get("summary")))}
    found = []
    for name in dict.fromkeys([*rows, *given]):
        own, item = rows.get(name, []), given.get(name, {})
        first = own[0] if own else {}
        role = text(item.get("role") or first.get("role")) or "generation"
        stats = _stats_of_rows(own)
        for key, value in item.items():
            mean = number(mapping(value).get("mean"))
            if mean is not None:
                stats[key] = Stat(mean, number(mapping(value).get("std")))
        seeds = number(item.get("seeds"))
        found.append(
            Entry(
                name=name,
                role=role if role in ROLES else "control",
                generation=generation_of(first or {"name": name, "role": role}),
                seeds=len(own) if seeds is None else int(seeds),
                labels=text(first.get("labels")),
                stats=stats,
            )
        )
    found.sort(key=lambda entry: (ROLES.index(entry.role), entry.generation or 0))
    chosen = {best.name for role in ("generation", "control") if (best := best_of(results, found, role))}
    return [Entry(e.name, e.role, e.generation, e.seeds, e.labels, e.stats, e.name in chosen) for e in found]


def generation_of(row: dict[str, Any]) -> int | None:
    """Return the generation of a row, from its name where the field is missing; None for a control."""
    if row.get("role", "generation") != "generation":
        return None
    value = number(row.get("generation"))
    if value is not None:
        return int(value)
    match = re.search(r"(\d+)$", text(row.get("name")))
    return int(match.group(1)) if match else None


def best_of(results: dict[str, Any], entries: Iterable[Entry], role: str) -> Entry | None:
    """Return the best network of a role: the one the run compared, else the first of the best on ``select``."""
    mine = [entry for entry in entries if entry.role == role]
    named = mapping(results.get("comparison")).get("chain" if role == "generation" else "control")
    for entry in mine:
        if entry.name == named:
            return entry
    key = f"select_{metric_of(results)[0]}"
    scored = [(mean, entry) for entry in mine if (mean := _stat(entry, key).mean) is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def row_number(row: dict[str, Any], key: str) -> float | None:
    """Return a number of a row by its name in the summary, such as ``test_top1``."""
    if key in FIT_SCORES:
        return number(mapping(row.get("fit")).get(key))
    split, _, metric = key.partition("_")
    return number(mapping(row.get(split)).get(metric)) if metric else number(row.get(key))


def _stats_of_rows(rows: Sequence[dict[str, Any]]) -> dict[str, Stat]:
    stats = {}
    for key in (
        *(f"{split}_{metric}" for split in ("fit", "select", "test") for metric in ("top1", "map", "nll", "ece")),
        *FIT_SCORES,
        "seconds",
    ):
        values = [value for row in rows if (value := row_number(row, key)) is not None]
        if values:
            stats[key] = Stat(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
    return stats


def _stat(entry: Entry, key: str) -> Stat:
    return entry.stats.get(key, Stat())


def duration(seconds: float) -> str:
    """Write a time as a person would."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def percent(value: float) -> str:
    """Write a fraction in percent, without the sign."""
    return f"{100 * value:.1f}"


def cell(stat: Stat | None, kind: str) -> str:
    """Write mean and deviation for a table; a missing number is a dash."""
    if stat is None or stat.mean is None:
        return "–"
    if kind == "seconds":
        return duration(stat.mean)
    write: Callable[[float], str] = percent if kind == "percent" else "{:.3f}".format
    return write(stat.mean) if stat.std is None else f"{write(stat.mean)} ± {write(stat.std)}"


def interval_of(results: dict[str, Any]) -> tuple[float, float] | None:
    """Return the 95% interval of the difference between chain and control, where the run has one."""
    ends = [number(end) for end in sequence(mapping(results.get("comparison")).get("interval"))]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return min(ends[0], ends[1]), max(ends[0], ends[1])


def verdict_of(results: dict[str, Any]) -> Verdict:
    """Return what the run says to the one question, whether the chain is better than the best control."""
    found = mapping(results.get("comparison"))
    difference = number(found.get("difference"))
    sentence = text(found.get("sentence")).strip()
    if difference is None and not sentence:
        return Verdict(
            "open",
            "not compared",
            "No control was trained, so this run cannot say whether refinement beats training on the given labels.",
        )
    interval = interval_of(results)
    if not sentence and difference is not None:
        chain, control = text(found.get("chain")) or "The chain", text(found.get("control")) or "the best control"
        spread = f" (95% interval {points(interval[0])} to {points(interval[1])})" if interval else ""
        sentence = f"{chain} against {control}: {points(difference)} points of {text(found.get('metric'))}{spread}."
    if interval is None:
        return Verdict("open", "no interval", sentence)
    if interval[0] > 0:
        return Verdict("gain", "beats the best control", sentence)
    if interval[1] < 0:
        return Verdict("loss", "worse than the best control", sentence)
    return Verdict("mixed", "no clear difference", sentence)


def points(difference: float) -> str:
    """Write a difference of fractions in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def regime_lines(results: dict[str, Any]) -> list[str]:
    """Return the run's own advice: one line, or none."""
    advice = text(mapping(results.get("regime")).get("advice")).strip()
    return [advice] if advice else []


def noise_lines(run: dict[str, Any]) -> list[str]:
    """Say what is known about the given labels, above all whether their noise is simulated."""
    data = mapping(run.get("data"))
    share, simulated = number(data.get("given_label_accuracy")), text(data.get("simulated_noise")).strip()
    right = "" if share is None else f"{percent(share)}% of the given training labels are true"
    if simulated:
        return [f"The label noise is simulated ({simulated})" + (f": {right}." if right else ".")]
    return [f"{right}, where the true label is known."] if right else []
