"""An audit from beginning to end: data, out-of-sample answers, scores, and the files of the run folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from labelwise.audit import expected
from labelwise.audit.answers import Answers, join_answers, log_probability
from labelwise.audit.embeddings import Embedded, answer_embeddings, standardised
from labelwise.audit.networks import panel_answers, panels_of_run, train_panels
from labelwise.audit.samples import audited_rows, draw_folds
from labelwise.audit.subject import Subject, open_subject
from labelwise.audit.table import WRONG, judge, single_label_table
from labelwise.audit.thumbnails import write_thumbnails
from labelwise.audit.wrong_labels import fit_noise_model
from labelwise.config import AuditConfig, Recipe
from labelwise.data.dataset import Features
from labelwise.results.audit import AuditResults
from labelwise.results.audit_table import write_audit_table
from labelwise.results.record import Splits
from labelwise.runs import Run, start_run, write_json

JSON = "audit.json"

NOT_ANSWERS = {"thumbnails", "duplicates", "similarity", "threads"}
"""Options that no answer depends on: an audit may be run again with others."""


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
    return _conclude(config, subject, answer(config, subject, run.folder, quiet), run, started)


def answer(config: AuditConfig, subject: Subject, folder: Path, quiet: bool) -> Answers:
    """Out-of-sample answers to the audited samples, of everybody who can give them."""
    samples, dataset = subject.samples, subject.dataset
    if subject.given is not None:
        return subject.given
    assert dataset is not None
    parts = []
    if subject.recipe is not None:
        if subject.run is not None:
            panels = iter(panels_of_run(subject.run[0], subject.recipe, subject.run[1], dataset, quiet))
        else:
            panels = train_panels(config, subject.recipe, dataset, folder, quiet)
        rows = audited_rows(dataset) if subject.run is not None else np.arange(len(dataset))
        answers = panel_answers(panels, rows, config, folder, quiet)
        parts += [(name, kind, log_probability(p)) for name, kind, p in answers]
    if isinstance(dataset.source, Features) and subject.run is None:
        data = Embedded(
            standardised(dataset.source.values),
            samples.label,
            samples.num_classes,
            draw_folds(samples, config.folds, config.seed),
            samples.groups,
        )
        parts += answer_embeddings(data, config, folder, quiet)
    return join_answers(parts)


def _conclude(config: AuditConfig, subject: Subject, answers: Answers, run: Run, started: float) -> AuditResults:
    """Scores, the list and the results, from the answers."""
    samples = subject.samples
    mean = answers.mean()
    model = fit_noise_model(mean, samples.label, config.seed)
    right = model.right_class(mean, samples.label)
    judged = judge(right, samples.label)
    doubt = expected.doubt_of(model, mean, samples.label, samples.groups, config.seed)
    verdicts = ["wrong" if wrong else "correct" for wrong in judged.score >= WRONG]
    frame, order = single_label_table(samples, judged, answers, verdicts)
    write_audit_table(run.folder, frame)
    if subject.dataset is not None:
        shown = pd.unique(frame["id"])[: config.thumbnails]
        write_thumbnails(subject.dataset, pd.Index(subject.dataset.ids).get_indexer(shown), run.folder)
    results = AuditResults(
        kind="audit",
        name=samples.name,
        task="single-label",
        labels=len(samples),
        splits=Splits(**subject.sizes),
        answers=answers.names,
        noise_rate=expected.noise_rate(judged.score, doubt),
        transition=expected.transition(right, samples.label),
        classes=expected.class_health(samples.classes, samples.label, judged.suggested, judged.score),
        verdicts=dict(Counter(verdicts)),
        expected=expected.expected(judged.score, order, doubt),
        duplicates=None,
        warnings=(),
        seed=config.seed,
        seconds=round(time.monotonic() - started, 3),
    )
    write_json(run.folder / JSON, results.to_json())
    run.finish(results)
    return results
