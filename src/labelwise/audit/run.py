"""An audit from beginning to end: data, out-of-sample answers, scores, and the files of the run folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from labelwise.audit import expected
from labelwise.audit.answers import Answers
from labelwise.audit.category_answers import Cells, EmbeddedCells
from labelwise.audit.duplicates import (
    count_duplicates,
    duplicate_table,
    duplicates_of_embeddings,
    duplicates_of_images,
)
from labelwise.audit.embeddings import Embedded, answer_embeddings, standardised
from labelwise.audit.multi_label import (
    CLASSIFIERS,
    answer_cells,
    cell_health,
    cell_table,
    cell_warnings,
    doubt_of_cells,
    given_cells,
    judge_cells,
)
from labelwise.audit.neighbours import outlier_scores
from labelwise.audit.networks import Panel, panel_answers, panel_logits, panels_of_run, train_panels
from labelwise.audit.samples import audited_rows, draw_folds, take_audited
from labelwise.audit.subject import Subject, open_subject
from labelwise.audit.table import judge, single_label_table
from labelwise.audit.thumbnails import write_thumbnails
from labelwise.audit.verdicts import verdicts
from labelwise.audit.wrong_labels import fit_noise_model
from labelwise.config import AuditConfig, Recipe
from labelwise.data.dataset import Dataset, Features
from labelwise.progress import Progress
from labelwise.results.audit import AuditResults, ClassHealth, Duplicates
from labelwise.results.audit_table import write_audit_table
from labelwise.results.record import Splits
from labelwise.runs import Run, atomic_write, start_run, write_json

JSON, DUPLICATES = "audit.json", "duplicates.csv"

NOT_ANSWERS = {"thumbnails", "duplicates", "similarity", "threads"}
"""Options that no answer depends on: an audit may be run again with others."""


UNKNOWN_BEFORE = (
    "labels were corrected, and the data do not say what they were before, so the wrong ones that are left look fewer"
)


@dataclass(frozen=True)
class Findings:
    """The list ``frame``; the scores (m,) of all given labels, their ``order`` in it and how far they may be off."""

    frame: pd.DataFrame
    order: NDArray[np.int64]
    score: NDArray[np.float64]
    doubt: expected.Doubt
    classes: tuple[ClassHealth, ...]
    answers: tuple[str, ...]
    transition: tuple[tuple[float | None, ...], ...] | None = None
    warnings: tuple[str, ...] = ()


def run_audit(
    config: AuditConfig,
    source: str | Path | Recipe,
    out: str | Path,
    *,
    model: str | None = None,
    overrides: Sequence[str] = (),
    trust_code: bool = False,
    quiet: bool = False,
) -> AuditResults:
    """Rank the labels of a data set by how likely they are wrong, and write the folder of an audit.

    Parameters
    ----------
    config : the options
    source : data, a recipe, the folder of a refine run with fold networks, or a file of out-of-sample probabilities
        (.npz, .csv; see :func:`labelwise.audit.given_answers.read_answers`)
    out : the folder; one of the same audit is continued
    model : the network that answers; images need one, embeddings have classifiers of their own
    overrides : of the recipe of the data, ``section.key=value``
    trust_code : whether code that the recipe of a run names as its network may be run
    quiet : show no progress

    Returns
    -------
    the content of ``results.json``

    Raises
    ------
    LabelwiseError
        If the data, the network or the folder cannot be used.
    """
    started = time.monotonic()
    if config.threads:
        torch.set_num_threads(config.threads)
    subject = open_subject(config, source, model, overrides, trust_code)
    data = {"name": subject.samples.name, "source": subject.source, "classes": list(subject.samples.classes)}
    options = config.model_dump(mode="json", exclude=NOT_ANSWERS)
    identity = {**subject.identity(), "options": options}
    run = start_run(Path(out), "audit", identity, config, facts={"data": data | {"sizes": subject.sizes}})
    judge_all = _judge_cells if subject.samples.table is not None else _judge_samples
    found = judge_all(config, subject, run.folder, quiet)
    return _conclude(config, subject, found, run, started)


def answer(config: AuditConfig, subject: Subject, folder: Path, quiet: bool) -> Answers:
    """Out-of-sample answers to the audited samples, of everybody who can give them."""
    samples, dataset = subject.samples, subject.dataset
    if subject.given is not None:
        return subject.given
    assert dataset is not None
    parts = panel_answers(*_panels(config, subject, folder, quiet), config, folder, quiet)
    if subject.run is None and isinstance(dataset.source, Features):
        x = standardised(dataset.source.values[audited_rows(dataset)])
        fold = draw_folds(samples, config.folds, config.seed)
        data = Embedded(x, samples.given(), samples.num_classes, fold, samples.groups)
        parts += answer_embeddings(data, config, folder, quiet)
    return Answers(tuple(parts))


def _panels(
    config: AuditConfig, subject: Subject, folder: Path, quiet: bool
) -> tuple[Iterable[Panel], NDArray[np.int64]]:
    """The networks that answer, trained as they are asked for, and the audited rows (n,) of the data they know."""
    dataset, recipe = subject.dataset, subject.recipe
    assert dataset is not None
    rows = audited_rows(dataset)
    if recipe is None:
        return (), rows
    if subject.run is not None:
        return panels_of_run(subject.run[0], recipe, subject.run[1], dataset, quiet), rows
    return train_panels(config, recipe, take_audited(dataset), folder, quiet), np.arange(len(rows))


def _judge_samples(config: AuditConfig, subject: Subject, folder: Path, quiet: bool) -> Findings:
    """Scores and the list of single-label data, from the answers."""
    samples, answers = subject.samples, answer(config, subject, folder, quiet)
    mean, given = answers.mean(), samples.given()
    model = fit_noise_model(mean, given, config.seed)
    right = model.right_class(mean, given)
    judged = judge(right, samples.label)
    outliers = _outliers(subject.dataset, config.seed)
    verdict = verdicts(judged.score, right, answers.by_view(), outliers, samples.reviewed)
    frame, order = single_label_table(samples, judged, answers, verdict)
    return Findings(
        frame,
        order,
        judged.score,
        expected.doubt_of(model, mean, given, samples.groups, config.seed),
        expected.class_health(samples.classes, samples.label, judged.suggested, judged.score),
        answers.names,
        transition=expected.transition(right, samples.label),
        warnings=(UNKNOWN_BEFORE,) if (given.first < 0).any() else (),
    )


def _judge_cells(config: AuditConfig, subject: Subject, folder: Path, quiet: bool) -> Findings:
    """Scores and the list of multi-label data, from the answers of networks and of classifiers of embeddings."""
    samples, dataset = subject.samples, subject.dataset
    assert dataset is not None and samples.table is not None
    fold = draw_folds(samples, config.folds, config.seed)
    first = None if samples.uncorrected is None else samples.uncorrected.astype(np.float32)
    data = Cells(given_cells(samples.table), fold, samples.groups, first=first, reviewed=samples.reviewed)
    parts = panel_logits(*_panels(config, subject, folder, quiet), config, folder, quiet)
    if subject.run is None and isinstance(dataset.source, Features):
        x = standardised(dataset.source.values[audited_rows(dataset)])
        with Progress("audit", "classifiers", quiet) as progress:
            progress.start(len(CLASSIFIERS))
            embedded = EmbeddedCells(data.values, fold, data.groups, x)
            parts += answer_cells(embedded, folder, config.seed, progress.advance)
    answers = Answers(tuple(parts))
    judged = judge_cells(data, answers)
    frame, order = cell_table(samples, judged)
    score, doubt = doubt_of_cells(data, judged, config.seed)
    health, warnings = cell_health(samples.classes, judged), cell_warnings(samples.classes, data.values)
    return Findings(frame, order, score, doubt, health, answers.names, warnings=warnings)


def _conclude(config: AuditConfig, subject: Subject, found: Findings, run: Run, started: float) -> AuditResults:
    """The files of the run folder; its results last."""
    dataset, frame = subject.dataset, found.frame
    write_audit_table(run.folder, frame)
    if dataset is not None:
        shown = pd.unique(frame["id"])[: config.thumbnails]
        write_thumbnails(dataset, pd.Index(dataset.ids).get_indexer(shown), run.folder)
    results = AuditResults(
        kind="audit",
        name=subject.samples.name,
        task="single-label" if subject.samples.table is None else "multi-label",
        labels=len(found.score),
        reviewed=0 if subject.samples.reviewed is None else int(subject.samples.reviewed.sum()),
        splits=Splits(**subject.sizes),
        answers=found.answers,
        noise_rate=expected.noise_rate(found.score, found.doubt),
        transition=found.transition,
        classes=found.classes,
        verdicts=dict(Counter(frame["verdict"])),
        expected=expected.expected(found.score, found.order, found.doubt),
        duplicates=_duplicates(config, dataset, run.folder),
        warnings=found.warnings,
        seed=config.seed,
        seconds=round(time.monotonic() - started, 3),
    )
    write_json(run.folder / JSON, results.to_json())
    run.finish(results)
    return results


def _outliers(dataset: Dataset | None, seed: int) -> NDArray[np.float64] | None:
    """How far each audited embedding is from all others; None of images, which have no embedding."""
    if dataset is None or not isinstance(dataset.source, Features):
        return None
    return outlier_scores(dataset.source.values, seed)[audited_rows(dataset)]


def _duplicates(config: AuditConfig, dataset: Dataset | None, folder: Path) -> Duplicates | None:
    """Near duplicates among all samples, audited or not, in a table of their own."""
    if dataset is None or not config.duplicates:
        return None
    if isinstance(dataset.source, Features):
        method = f"cosine of embeddings from {config.similarity:g}"
        pairs = duplicates_of_embeddings(dataset.source.values, config.similarity, config.seed)
    else:
        method, source = "perceptual hash", dataset.source
        pairs = duplicates_of_images((source.read(row) for row in range(len(source))), config.seed)
    table = duplicate_table(pairs, dataset.ids, dataset.split, _words(dataset))
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    atomic_write(folder / DUPLICATES, text.encode("utf-8", errors="surrogateescape"))
    return count_duplicates(table, method)


def _words(dataset: Dataset) -> list[str]:
    """The given label of every sample in words, of multi-label data its known positive ones; blank without any."""
    if dataset.table is None:
        return [dataset.classes[k] if k >= 0 else "" for k in dataset.label.tolist()]
    positive = dataset.table.known & (dataset.table.values >= 0.5)
    return [", ".join(dataset.classes[k] for k in np.flatnonzero(row)) for row in positive]
