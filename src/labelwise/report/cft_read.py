"""Read a run of category-wise fine-tuning for its reports: any key may be missing, no number is ever non-finite."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from labelwise.errors import RunError
from labelwise.report.read import (
    RunFolder,
    check_schema,
    mapping,
    number,
    read_about,
    results_of_kind,
    sequence,
    text,
)
from labelwise.runs import RESULTS

METRICS = {"ap": ("AP", "mAP"), "auc": ("AUC", "mean AUC")}
STATUSES = ("improved", "unchanged", "not_fitted")
STATUS_TITLES = {"improved": "improved", "unchanged": "kept", "not_fitted": "not fitted"}


@dataclass(frozen=True)
class Score:
    """A ranking metric on one split, before and after; None where it is not defined.

    ``interval`` is the 95% interval of the gain, ``scored`` over how many categories a mean was taken.
    """

    before: float | None = None
    after: float | None = None
    interval: tuple[float, float] | None = None
    positives: int | None = None
    negatives: int | None = None
    scored: int | None = None

    @property
    def gain(self) -> float | None:
        """Return after minus before."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Threshold:
    """A decision threshold of one category and what it does on the split that chose it."""

    rule: str
    logit: float | None
    probability: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    positives: int | None
    split: str


@dataclass(frozen=True)
class Candidate:
    """One candidate head: its score on select and its share in the head that was adopted."""

    name: str
    select: float | None
    share: float | None


@dataclass(frozen=True)
class Category:
    """One category of the run."""

    name: str
    status: str
    reason: str
    method: str
    known_positive: int | None
    known_negative: int | None
    unknown: int | None
    uncertain: int | None
    select: Score
    test: Score
    ece: tuple[float | None, float | None]
    threshold: Threshold | None
    evidence: tuple[Candidate, ...]


@dataclass(frozen=True)
class CftResults:
    """``results.json`` of kind ``cft``, checked.

    ``test`` is None where the run has no test split; ``other`` is the ranking metric that was not the objective.
    ``raw`` is the dictionary that all this was read from.
    """

    raw: dict[str, Any]
    categories: tuple[Category, ...]
    select: Score
    test: Score | None
    other: tuple[str, Score, Score] | None

    @property
    def metric(self) -> str:
        """Return the printed name of the objective for one category."""
        return self._names[0]

    @property
    def mean_name(self) -> str:
        """Return the printed name of the macro mean of the objective."""
        return self._names[1]

    @property
    def split(self) -> str:
        """Return the split that gains are reported on: test, or select where there is nothing else."""
        return "select" if self.test is None else "test"

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return how many categories have each status, in the order of `STATUSES`."""
        given = mapping(self.raw.get("counts"))
        own = [category.status for category in self.categories]
        return {s: own.count(s) if (n := number(given.get(s))) is None else int(n) for s in STATUSES}

    @cached_property
    def ranked(self) -> tuple[Category, ...]:
        """Return the categories by their gain, largest first, then those that could not be scored."""

        def place(category: Category) -> tuple[bool, float, int, str]:
            gain = self.gain(category)
            return gain is None, -(gain or 0.0), STATUSES.index(category.status), category.name

        return tuple(sorted(self.categories, key=place))

    def score(self, category: Category) -> Score:
        """Return what a category's gain is read from."""
        return category.select if self.test is None else category.test

    def gain(self, category: Category) -> float | None:
        """Return a category's gain on `split`."""
        return self.score(category).gain

    def excerpt(self, most: int) -> tuple[list[Category], list[Category], list[Category]]:
        """Return the first of `ranked`, those left out, and the last; all are first where they fit.

        Categories without a gain are the first to be left out.
        """
        found = list(self.ranked)
        scored = sum(self.gain(category) is not None for category in found)
        if len(found) <= most or scored < most:
            return found[:most], found[most:], []
        head, tail = most - most // 2, scored - most // 2
        return found[:head], found[head:tail] + found[scored:], found[tail:scored]

    @property
    def _names(self) -> tuple[str, str]:
        objective = text(self.raw.get("objective"))
        return METRICS.get(objective, (objective or "score",) * 2)


def parse_results(results: dict[str, Any]) -> CftResults:
    """Return checked results; whatever is missing or of another type becomes None, zero or empty."""
    mean, splits = mapping(results.get("mean")), mapping(results.get("splits"))
    categories = tuple(_category(mapping(item)) for item in sequence(results.get("categories")))
    tested = bool(mapping(mean.get("test"))) or bool(number(splits.get("test")))
    tested = tested or any(c.test.before is not None or c.test.after is not None for c in categories)
    other = mapping(results.get("other"))
    return CftResults(
        raw=results,
        categories=categories,
        select=_score(mean.get("select")),
        test=_score(mean.get("test")) if tested else None,
        other=(
            METRICS.get(text(other.get("metric")), ("", text(other.get("metric"))))[1],
            _score(other.get("select")),
            _score(other.get("test")),
        )
        if other
        else None,
    )


def read_cft_run(run: Path) -> RunFolder | None:
    """Read a run folder whose ``results.json`` is of kind ``cft``.

    Returns
    -------
    RunFolder or None
        None for a run of another kind, and for results that cannot be read: `read_run` reports those.

    Raises
    ------
    RunError
        The results are of kind ``cft`` but of a schema that this version does not know, or name no categories.
    """
    results = results_of_kind(run, "cft")
    if results is None:
        return None
    check_schema(run / RESULTS, results)
    if not isinstance(results.get("categories"), list):
        raise RunError(f"{run / RESULTS}: has no list of 'categories', so it is no result of `labelwise cft`")
    notes: list[str] = []
    about, config = read_about(run, notes)
    return RunFolder(run, results, run=about, config=config, notes=tuple(notes))


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)


def _score(value: object) -> Score:
    found = mapping(value)
    ends = [number(end) for end in sequence(found.get("gain_interval"))]
    low, high = ends if len(ends) == 2 else (None, None)
    return Score(
        before=number(found.get("before")),
        after=number(found.get("after")),
        interval=None if low is None or high is None else (min(low, high), max(low, high)),
        positives=_whole(found.get("positives")),
        negatives=_whole(found.get("negatives")),
        scored=_whole(found.get("scored")),
    )


def _category(item: dict[str, Any]) -> Category:
    status, ece = text(item.get("status")), mapping(item.get("ece"))
    evidence = [mapping(one) for one in sequence(item.get("evidence"))]
    return Category(
        name=" ".join(text(item.get("name")).split()) or "(no name)",
        status=status if status in STATUSES else "unchanged",
        reason=text(item.get("reason")),
        method=text(item.get("method")),
        known_positive=_whole(item.get("known_positive")),
        known_negative=_whole(item.get("known_negative")),
        unknown=_whole(item.get("unknown")),
        uncertain=_whole(item.get("uncertain")),
        select=_score(item.get("select")),
        test=_score(item.get("test")),
        ece=(number(ece.get("before")), number(ece.get("after"))),
        threshold=_threshold(mapping(item.get("threshold"))),
        evidence=tuple(
            Candidate(text(one.get("candidate")), number(one.get("select")), number(one.get("share")))
            for one in evidence
        ),
    )


def _threshold(item: dict[str, Any]) -> Threshold | None:
    if number(item.get("value")) is None and number(item.get("probability")) is None:
        return None
    logit, probability, precision, recall, specificity = (
        number(item.get(key)) for key in ("value", "probability", "precision", "recall", "specificity")
    )
    return Threshold(
        rule=text(item.get("rule")),
        logit=logit,
        probability=probability,
        precision=precision,
        recall=recall,
        specificity=specificity,
        positives=_whole(item.get("positives")),
        split=text(item.get("split")),
    )
