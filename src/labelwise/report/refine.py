"""What a run of `labelwise refine` or `labelwise train` says: its networks, its table, its verdict.

The page is made in `refine_page`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from labelwise.report import formats
from labelwise.report.formats import Ends, Spread, interval, percent, points, several
from labelwise.report.page import Bar, Tile, Verdict, tone_of
from labelwise.report.read import Folder
from labelwise.report.table import Cell, Column, Row, Table, as_code, escape, markdown
from labelwise.report.zero_shot import zero_shot_lines
from labelwise.results import RefineResults, Stat, Summary, best_on_select
from labelwise.results import Row as NetworkRow
from labelwise.results.refine import AgainstControl, Best
from labelwise.runs import BEST

ROLES = {
    "generation": "Generations",
    "network": "Network",
    "member": "Ensemble members",
    "control": "Controls: trained without a refinery, for an honest comparison",
    "candidate": "Candidates: what the controls were chosen from, on select",
}
HIDDEN_ON_TERMINALS = ("hidden_map", "refined_label_accuracy")


class Words(NamedTuple):
    """How to speak of the data: the metric, what labels name, what each is scored by, and what is counted beside it."""

    metric: str
    one: str
    many: str
    score: str
    counted: str


WORDS = {
    "single-label": Words("top-1 accuracy", "class", "classes", "Accuracy", "images"),
    "multi-label": Words("mAP", "category", "categories", "AP", "positives"),
}


@dataclass(frozen=True)
class Network:
    """One network over all seeds: its means and its rows. ``marked`` where it is the best of its role on ``select``."""

    name: str
    summary: Summary
    rows: Sequence[NetworkRow]
    marked: bool

    def stat(self, key: str) -> Stat | None:
        """Mean and deviation of a number by its name in the summary; None where no seed has it."""
        stat: Stat | None = getattr(self.summary, key)
        return stat

    def mean(self, key: str) -> float | None:
        """The mean alone."""
        stat = self.stat(key)
        return None if stat is None else stat.mean


def networks_of(results: RefineResults) -> list[Network]:
    """Return the networks of a run: generations in order, then members, then controls, the best ones marked.

    The best are those that the run compared; in a run without a comparison, those with the highest mean on ``select``.
    """
    found, metric = results.comparison, results.metric
    if found is not None:
        best = {found.chain, found.control}
    else:
        roles = [[e for e in results.summary if e.role == role] for role in ("generation", "control")]
        chosen = [best_on_select(own, lambda entry: entry.on_select(metric)) for own in roles]
        best = {entry.name for entry in chosen if entry is not None}
    rows = {e.name: [row for row in results.rows if row.name == e.name] for e in results.summary}
    networks = [Network(e.name, e, rows[e.name], e.name in best) for e in results.summary]
    return sorted(networks, key=lambda network: list(ROLES).index(network.summary.role))


def results_table(results: RefineResults, *, digits: int = 1, brief: bool = False, members: bool = True) -> Table:
    """Return the table of a run: generations and controls, mean ± deviation over seeds.

    Parameters
    ----------
    digits : int
        Behind the point of percentages.
    brief : bool
        For a terminal: fewer columns, and deviations only of what is compared.
    members : bool
        With the single networks of ensembles.
    """
    key, metric = results.metric, WORDS[results.task].metric
    networks = [network for network in networks_of(results) if members or network.summary.role != "member"]
    in_percent = partial(percent, digits=digits)
    known: list[tuple[str, str, Callable[[float | None], str], str]] = [
        (f"fit_{key}", "train crops", in_percent, f"{metric} on training crops against the given labels, in percent"),
        (f"select_{key}", "select", in_percent, f"{metric} on the split that choices are made on, in percent"),
        (f"test_{key}", "test", in_percent, f"{metric} on the split that is only reported, in percent"),
        ("test_nll", "NLL", formats.short, "negative log-likelihood on test, in nats; lower is better"),
        ("test_ece", "ECE", in_percent, "expected calibration error on test, in percent; lower is better"),
        ("test_human_kl", "human KL", formats.short, "KL from people's votes to the network's answer on test, in nats"),
        ("noise_auroc", "noise AUROC", formats.short, "how well low belief in a label finds wrong ones; 0.5 is chance"),
        ("hidden_map", "hidden mAP", in_percent, "mAP on the hidden labels of training images, in percent"),
        ("refined_label_accuracy", "refined labels true", in_percent, "share of refined labels that are true"),
        ("seconds", "time", formats.duration, "training time of one seed"),
    ]
    left_out = HIDDEN_ON_TERMINALS if brief else ()
    known = [part for part in known if part[0] not in left_out and any(n.mean(part[0]) is not None for n in networks)]
    alone = {"seconds", *(part[0] for part in known if brief and part[0] not in (f"select_{key}", f"test_{key}"))}
    columns = [Column(title, Spread(write, alone=name in alone), hint=hint) for name, title, write, hint in known]
    rows = []
    for network in networks:
        role = network.summary.role
        labels = [network.rows[0].labels] if network.rows else []
        cells = [Cell(network.name, labels), *(network.stat(part[0]) for part in known)]
        rows.append(Row(cells, marked=network.marked, quiet=role == "control", group=ROLES[role]))
    seeds = max((network.summary.seeds for network in networks), default=0)
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    after = "★ best of its kind, chosen on select; test is only reported" if any(row.marked for row in rows) else ""
    return Table([Column("network", right=False), *columns], rows, f"{metric} in %, {spread}", after=after)


def verdict_of(results: RefineResults) -> Verdict:
    """Return what the run says to the one question, whether its product is better than the best control."""
    found = results.comparison
    if results.best is not None and results.best.against_control is not None:
        return _verdict_on(results, results.best, results.best.against_control)
    if found is None:
        said = "No control was trained, so this run cannot say whether refinement beats training on the given labels."
        if results.kind == "train":
            said = "One network was trained on the given labels. This run compares it with no other."
        return Verdict("open", "not compared", said)
    tone = tone_of(ends_of(results))
    badges = {"gain": "beats", "loss": "worse than"}
    control = "the best control" if _has_controls(results) else "the first generation"
    badge = {"mixed": "no clear difference", "open": "no interval"}.get(tone) or f"{badges[tone]} {control}"
    return Verdict(tone, badge, found.sentence)


def _verdict_on(results: RefineResults, best: Best, against: AgainstControl) -> Verdict:
    """What the product is, what the user would have had without refining, and what it cost."""
    metric, mine = WORDS[results.task].metric, _on_test(results, best.name)
    count = len({row.generation for row in results.rows if row.generation is not None})
    if best.name == against.name:
        said = f"Best: {best.name}, {mine} {metric} on test. It is a control: refining is not clearly better here."
        return Verdict("mixed", "do not refine here", said)
    low, high = against.interval
    ends = None if low is None or high is None else (low, high)
    tone = tone_of(ends)
    badge = {"gain": "better", "loss": "worse", "mixed": "no clear difference"}.get(tone, "no interval")
    cost = formats.duration(best.seconds)
    said = (
        f"Best: {best.name} of {count}, {mine} {metric} on test. The best you would have had without refining: "
        f"{_on_test(results, against.name)} ({against.name}). The difference is {points(against.difference, 2)} points,"
        f" 95% interval {interval(ends, 2)}. Its training took {cost}, that of {against.name} "
        f"{formats.duration(best.control_seconds)}."
    )
    return Verdict(tone, f"{badge} than the best control" if tone in ("gain", "loss") else badge, said)


def _on_test(results: RefineResults, name: str) -> str:
    """Mean and deviation over seeds of a network on test, in percent."""
    [entry] = [entry for entry in results.summary if entry.name == name]
    stat: Stat | None = getattr(entry, f"test_{results.metric}")
    if stat is None:
        return formats.DASH
    return f"{percent(stat.mean)}%" + ("" if stat.std is None else f" ± {percent(stat.std)}")


def ends_of(results: RefineResults) -> Ends:
    """Return the 95% interval of the difference between chain and control, where the run has one."""
    low, high = results.comparison.interval if results.comparison is not None else (None, None)
    return None if low is None or high is None else (low, high)


def summary_lines(results: RefineResults) -> list[str]:
    """Return what a run found, in a few plain lines: the product first, why, then the regime and the run's advice."""
    regime = results.regime
    lines = [verdict_of(results).sentence, *why_lines(results)]
    if regime is None or (results.best is not None and results.best.against_control is not None):
        return lines
    return [*lines, f"{regime.advice} (Regime of generation 1: {regime.state}.)"]


def why_lines(results: RefineResults) -> list[str]:
    """Return why the product was chosen, where it is, and where a zero-shot network took part."""
    why = [] if results.best is None else [f"Why: {results.best.why}. Its checkpoint is in the folder {BEST}."]
    found = found_line(results)
    return [*why, *([] if found is None else [found]), *zero_shot_lines(results)]


def found_line(results: RefineResults) -> str | None:
    """Return how many wrong labels the product finds, where the true labels are known."""
    best = results.best
    own = [row for row in results.rows if best is not None and (row.name, row.seed) == (best.name, best.seed)]
    if not own or own[0].fit.wrong_labels is None or own[0].fit.wrong_found is None:
        return None
    wrong, found = own[0].fit.wrong_labels, own[0].fit.wrong_found
    return (
        f"Training labels ranked by how little {own[0].name} believes them: {found:.0f} of the {wrong:.0f} wrong labels"
        f" stand among the first {wrong:.0f}."
    )


def noise_lines(folder: Folder) -> list[str]:
    """Say what is known about the given labels, above all whether their noise is simulated."""
    data = folder.about.data
    share = data.given_label_accuracy
    right = "" if share is None else f"{percent(share)}% of the given training labels are true"
    if data.simulated_noise:
        return [f"The label noise is simulated ({data.simulated_noise})" + (f": {right}." if right else ".")]
    return [f"{right}, where the true label is known."] if right else []


def facts_of(results: RefineResults, folder: Folder) -> list[str]:
    """Return what the run is, in a few short phrases for the head of the page."""
    data, words, sizes = folder.about.data, WORDS[results.task], results.splits
    models = list(dict.fromkeys(row.model for row in results.rows))
    generations = len({row.generation for row in results.rows if row.generation is not None})
    colours = {1: "grey", 3: "RGB"}
    return [
        ", ".join(models[:3]) + ("…" if len(models) > 3 else ""),
        *([several(generations, "generation")] if generations else []),
        several(len({row.seed for row in results.rows}), "seed"),
        *([several(len(data.classes), words.one, words.many)] if data.classes else []),
        f"{sizes.fit:,} fit · {sizes.select:,} select · {sizes.test:,} test"
        + (f" · {sizes.unlabelled:,} unlabelled" if sizes.unlabelled else ""),
        *([f"{data.image.size} px, {colours.get(data.image.channels, 'images')}"] if data.image is not None else []),
    ]


def tiles_of(results: RefineResults) -> list[Tile]:
    """Return the few numbers that matter most: on test, and the difference to the control with its interval."""
    networks, key = networks_of(results), f"test_{results.metric}"
    first = next((network for network in networks if network.summary.role == "generation"), None)
    best = {network.summary.role: network for network in networks if network.marked}
    shown = {"Generation 1": first, "Best generation": best.get("generation"), "Best control": best.get("control")}
    tiles = []
    for heading, network in shown.items():
        if network is not None and (stat := network.stat(key)) is not None:
            beside = "" if stat.std is None else f"± {percent(stat.std)}"
            tiles.append(Tile(heading, f"{percent(stat.mean)}%", beside, f"{network.name}, on test"))
    found, ends = results.comparison, ends_of(results)
    if found is not None and found.difference is not None:
        heading = "Difference to the control" if _has_controls(results) else "Difference to generation 1"
        said = (
            f"95% interval {interval(ends)}; the bar marks zero" if ends is not None else "no interval with so few runs"
        )
        bar = None if ends is None else Bar.of(found.difference, ends)
        tiles.append(Tile(heading, f"{points(found.difference)} points", "", said, bar))
    return tiles


def refine_markdown(results: RefineResults, folder: Folder) -> str:
    """Return the data, the command, the table (mean ± sample standard deviation over seeds) and what was found."""
    about, sizes, regime = folder.about, results.splits, results.regime
    accuracy = about.data.given_label_accuracy
    wrong = "" if accuracy is None else f"; {1 - accuracy:.1%} of the given fit labels are wrong"
    unlabelled = f", {sizes.unlabelled} unlabelled" if sizes.unlabelled else ""
    parts = [
        f"{escape(about.description or about.data.name or folder.name)}. {sizes.fit} fit, {sizes.select} select,"
        f" {sizes.test} test{unlabelled}{wrong}.",
        *as_code(about.command),
        *([escape(f"{about.where('threads')}.")] if about.environment else []),
        markdown(results_table(results, digits=2, members=False)).strip(),
        *map(escape, [verdict_of(results).sentence, *why_lines(results)] if results.best is not None else []),
        *([escape(results.comparison.sentence)] if results.comparison is not None else []),
        *([escape(f"What the run itself said ({regime.state}): {regime.advice}")] if regime is not None else []),
    ]
    return "\n\n".join(parts) + "\n"


def _has_controls(results: RefineResults) -> bool:
    return any(entry.role == "control" for entry in results.summary)
