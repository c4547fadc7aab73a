"""Warnings about partly known labels: blanks that are not random, splits that differ, too little to choose on.

What can be seen. Whether a label is blank can be compared with what is known of the same sample: the labels of other
categories, and how many of them are known. Where blanks depend on these, a network that ignores them learns from a
selection of the samples, and one that takes them for negative learns who was asked. (So random here is what Rubin
(1976) calls missing completely at random.)

What cannot be seen. Blanks that depend on the missing label itself and on nothing else that is known leave no trace in
the table, but for two cases: that only positives are known, and that the prevalence among the known labels of `fit`
differs from that of a better known split. No warning is no proof.

How it is tested. G-tests of two shares (log-likelihood ratio, one degree of freedom, Williams' correction); where the
counts are too small for it (an expected one under 5), nothing is tested. All tests of a kind are corrected together by
the false discovery rate of Benjamini and Hochberg (1995): where all blanks are random, the chance of any warning of
that kind is about `LEVEL`. A difference must also be worth a word, a Cohen's h (1988) of 0.2, a "small" effect.
Samples are taken as independent; several of one patient overstate the evidence, not the effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelwise.labels.table import GIVEN, UNCERTAIN, LabelTable

LEVEL = 0.01
SMALL = 0.2
"""Effects below this are no warning however many samples show them."""

FEWEST_EXPECTED = 5
FEWEST_KNOWN = 10
"""Positives of a category without a known negative: half of the samples positive, the chance of it is 1 in 1,000."""

FEWEST_TO_CHOOSE = 20
MOST_COMPARED = 200
"""Categories whose labels every other one's blanks are compared with, those with the most of both kinds."""

MOST_LINES, MOST_NAMES = 10, 5
ROWS_AT_ONCE = 1 << 16  # counts of so many rows are exact in float32

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dependence:
    """Blanks of ``category`` that are not random.

    Attributes
    ----------
    other : the category whose known labels they go with; or a number of other known labels of a sample
    shares : how often ``category`` is known where ``other`` is positive and where it is negative; or in the samples
        with so many other known labels and in those with fewer
    effect : Cohen's h of the shares
    p_value : corrected for all tests of the table
    """

    category: str
    other: str | int
    shares: tuple[float, float]
    effect: float
    p_value: float


@dataclass(frozen=True)
class Shift:
    """A prevalence among known labels that differs between ``fit`` and another split."""

    category: str
    split: str
    shares: tuple[float, float]
    effect: float
    p_value: float


def label_warnings(table: LabelTable, split: NDArray[np.str_]) -> list[str]:
    """What to know before training on partly labelled data, in sentences, the gravest first.

    Parameters
    ----------
    table : labels of all samples
    split : (N,) of ``fit``, ``select`` and ``test``
    """
    fit = table.take(np.flatnonzero(split == "fit"))
    lines = []
    if lonely := only_positives_known(fit):
        lines.append(
            f"fit: only positives are known of {in_words(lonely, table)}; a network cannot learn them from known labels"
            " alone: count unknown labels as negative, or add negative labels"
        )
    lines += _some([_sentence(found) for found in not_at_random(fit)], "categories whose blanks are not random")
    lines += _some([_shift_sentence(found) for found in prevalence_shifts(table, split)], "prevalences that differ")
    if few := too_few_to_choose(table.take(np.flatnonzero(split == "select"))):
        lines.append(
            f"select: fewer than {FEWEST_TO_CHOOSE} known positives or negatives of {in_words(few, table)}: what is"
            " chosen on them is chosen by chance"
        )
    if unscored := not_scored(table.take(np.flatnonzero(split == "test"))):
        lines.append(
            f"test: no known positive or no known negative of {in_words(unscored, table)}: left out of every mean"
        )
    return lines


def only_positives_known(table: LabelTable) -> tuple[str, ...]:
    """Categories of which positives and blanks are there and no negative.

    Where any category has a known negative, only those with at least 10 positives: fewer may be chance.
    """
    positive, negative = table.known_positive, table.known_negative
    blank = ~_answered(table).all(axis=0)
    fewest = FEWEST_KNOWN if negative.any() else 1
    return _where(blank & (negative == 0) & (positive >= fewest), table)


def not_at_random(table: LabelTable, *, level: float = LEVEL, smallest: float = SMALL) -> list[Dependence]:
    """Categories whose blanks go with what else is known of a sample, one entry each, with its strongest evidence.

    Known or uncertain labels are no blanks; inferred ones are. A label's being known is compared with every other
    category's known labels (of at most the 200 categories that have most of both kinds), and with the number of other
    labels that are known, at least the median or fewer, over the samples where that is not 0: wholly blank samples say
    nothing about a category. Categories of which only positives are known are left out.

    Parameters
    ----------
    table : the labels of one split; another may be labelled by another rule
    level : false discovery rate
    smallest : Cohen's h that is worth a warning
    """
    counted = _count(table)
    # A category beside itself is not tested: where it is known, it is never blank.
    tested = (counted.known_with, counted.samples_with, counted.known_without, counted.samples_without)
    g, h = _g_test(*tested), _cohens_h(*tested)
    g[:, np.isin(table.categories, only_positives_known(table))] = np.nan
    p = benjamini_hochberg(_tail(g))
    flagged = (p <= level) & (np.abs(h) >= smallest)
    flagged[-1] &= ~flagged[:-1].any(axis=0)  # a category's name tells more than a number
    found = []
    for c in np.flatnonzero(flagged.any(axis=0)):
        d = int(np.where(flagged[:, c], g[:, c], -1.0).argmax())
        other = counted.number if d == len(counted.compared) else table.categories[counted.compared[d]]
        shares = (
            float(counted.known_with[d, c] / counted.samples_with[d, c]),
            float(counted.known_without[d, c] / counted.samples_without[d, c]),
        )
        found.append(Dependence(table.categories[c], other, shares, float(h[d, c]), float(p[d, c])))
    return sorted(found, key=lambda entry: (isinstance(entry.other, int), -abs(entry.effect)))


def prevalence_shifts(
    table: LabelTable, split: NDArray[np.str_], *, level: float = LEVEL, smallest: float = SMALL
) -> list[Shift]:
    """Categories whose share of positives among known labels differs between ``fit`` and ``select`` or ``test``.

    Parameters are those of `not_at_random` and `label_warnings`.
    """
    parts = {name: table.take(np.flatnonzero(split == name)) for name in ("fit", "select", "test")}
    positive = {name: part.known_positive.astype(np.float64) for name, part in parts.items()}
    known = {name: positive[name] + part.known_negative for name, part in parts.items()}
    others = ("select", "test")
    tests = np.stack([_g_test(positive["fit"], known["fit"], positive[name], known[name]) for name in others])
    h = np.stack([_cohens_h(positive["fit"], known["fit"], positive[name], known[name]) for name in others])
    p = benjamini_hochberg(_tail(tests))
    flagged = (p <= level) & (np.abs(h) >= smallest)
    found = []
    for s, c in np.argwhere(flagged):
        shares = (float(positive["fit"][c] / known["fit"][c]), float(positive[others[s]][c] / known[others[s]][c]))
        found.append(Shift(table.categories[c], others[s], shares, float(h[s, c]), float(p[s, c])))
    return sorted(found, key=lambda entry: -abs(entry.effect))


def too_few_to_choose(select: LabelTable) -> tuple[str, ...]:
    """Categories with fewer than 20 known positives or negatives; none where there is no sample at all."""
    rarer = np.minimum(select.known_positive, select.known_negative)
    return _where((rarer < FEWEST_TO_CHOOSE) & (len(select) > 0), select)


def not_scored(test: LabelTable) -> tuple[str, ...]:
    """Categories without a known positive or a known negative; none where there is no sample at all."""
    return _where(~test.trainable() & (len(test) > 0), test)


def benjamini_hochberg(p_values: Floats) -> Floats:
    """P-values corrected for the false discovery rate over all of them (Benjamini and Hochberg 1995).

    Parameters
    ----------
    p_values : of any shape; NaN is no test, and stays

    Returns
    -------
    of the same shape
    """
    flat = p_values.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested])]
    scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
    corrected = np.full(flat.shape, np.nan)
    corrected[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return corrected.reshape(p_values.shape)


@dataclass(frozen=True)
class _Counts:
    """Samples with something and without it, (D + 1, C), and of these, those where category c is answered.

    With it: the compared category d is known to be positive; last, at least ``number`` other labels are answered.
    Without it: the category is known to be negative; last, fewer are, but not none.
    """

    compared: list[int]
    number: int
    known_with: Floats
    samples_with: Floats
    known_without: Floats
    samples_without: Floats


def _count(table: LabelTable) -> _Counts:
    rarer = np.minimum(table.known_positive, table.known_negative)
    compared = sorted(np.argsort(-rarer, kind="stable")[:MOST_COMPARED].tolist())
    total = _answered(table).sum(axis=1)
    number = max(2, math.ceil(np.median(total[total > 0]))) if total.any() else 2
    size = len(table.categories)
    by_kind, by_number = np.zeros((2, len(compared), size)), np.zeros((2, 2, size))
    for start in range(0, len(table), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        here = np.isin(table.source[rows], (GIVEN, UNCERTAIN))
        given = table.source[rows][:, compared] == GIVEN
        high = table.values[rows][:, compared] >= 0.5
        for kind, mask in enumerate((given & high, given & ~high)):
            by_kind[kind] += mask.T.astype(np.float32) @ here.astype(np.float32)
        # A sample's number is that of its other labels: one less than all where c is answered itself.
        for own, answered in enumerate((here, ~here)):
            others = total[rows] - (1 - own)
            for side, mask in enumerate((others >= number, (others > 0) & (others < number))):
                by_number[own, side] += mask.astype(np.float32) @ answered.astype(np.float32)
    kinds = (table.known_positive[compared], table.known_negative[compared])
    samples = [
        np.vstack([np.repeat(n[:, None], size, axis=1), last])
        for n, last in zip(kinds, by_number.sum(axis=0), strict=True)
    ]
    known = [np.vstack([pairs, last]) for pairs, last in zip(by_kind, by_number[0], strict=True)]
    return _Counts(compared, number, known[0], samples[0], known[1], samples[1])


def _g_test(first: Floats, of_first: Floats, second: Floats, of_second: Floats) -> Floats:
    """G = 2 sum O ln(O / E) that two shares are one, over Williams' (1976) factor; NaN where an E is under 5.

    It is taken in place of Pearson's chi-square as its tail holds where many tests ask for very small p-values.
    """
    n, yes = of_first + of_second, first + second
    g, fewest = np.zeros(n.shape), np.full(n.shape, np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        for found, size in ((first, of_first), (second, of_second)):
            for observed, all_like_it in ((found, yes), (size - found, n - yes)):
                expected = size * all_like_it / n
                g += 2 * np.where(observed > 0, observed * np.log(observed / expected), 0.0)
                fewest = np.minimum(fewest, np.nan_to_num(expected))
        factor = 1 + (n / of_first + n / of_second - 1) * (n / yes + n / (n - yes) - 1) / (6 * n)
        return np.where(fewest >= FEWEST_EXPECTED, g / factor, np.nan)


def _cohens_h(first: Floats, of_first: Floats, second: Floats, of_second: Floats) -> Floats:
    """Difference of 2 arcsin(sqrt(share))."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * (np.arcsin(np.sqrt(first / of_first)) - np.arcsin(np.sqrt(second / of_second)))


def _tail(statistic: Floats) -> Floats:
    """P-value of a chi-square with one degree of freedom."""
    found: Floats = np.vectorize(math.erfc, otypes=[np.float64])(np.sqrt(np.maximum(statistic, 0) / 2))
    return found


def _answered(table: LabelTable) -> NDArray[np.bool_]:
    return np.isin(table.source, (GIVEN, UNCERTAIN))


def _where(mask: NDArray[np.bool_], table: LabelTable) -> tuple[str, ...]:
    return tuple(table.categories[c] for c in np.flatnonzero(mask))


def in_words(categories: Sequence[str], table: LabelTable) -> str:
    """How many of the categories of ``table``, and the first of them."""
    shown = ", ".join(f"'{name}'" for name in categories[:MOST_NAMES])
    rest = ", ..." if len(categories) > MOST_NAMES else ""
    return f"{len(categories):,} of {len(table.categories):,} categories ({shown}{rest})"


def _some(lines: list[str], what: str) -> list[str]:
    """At most so many lines, and how many more there are."""
    rest = len(lines) - MOST_LINES
    return lines if rest <= 0 else [*lines[:MOST_LINES], f"{rest:,} more {what}"]


def _sentence(found: Dependence) -> str:
    high, low = (f"{share:.1%}" for share in found.shares)
    where = (
        f"with at least {found.other} other known labels, {low} of those with fewer"
        if isinstance(found.other, int)
        else f"positive for '{found.other}', {low} of those negative"
    )
    return f"fit: blanks of '{found.category}' are probably not random: known for {high} of the samples {where}"


def _shift_sentence(found: Shift) -> str:
    fit, other = found.shares
    return (
        f"prevalence of '{found.category}' among known labels: {fit:.1%} in fit, {other:.1%} in {found.split}; the"
        " splits differ, or which labels are known depends on the label"
    )
