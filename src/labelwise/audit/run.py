"""An audit from beginning to end: data, out-of-sample answers, scores, and the files of the run folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labelwise.audit import embeddings, expected
from labelwise.audit.answers import Answers, join_answers, kept
from labelwise.audit.given_answers import holds_answers, read_answers
from labelwise.audit.kernel import UnseenKernelRidge
from labelwise.audit.samples import LabelledSamples, draw_folds, labelled_samples, take_audited
from labelwise.audit.table import WRONG, judge, single_label_table, transition_rows
from labelwise.audit.wrong_labels import fit_noise_model
from labelwise.config import AuditConfig, Recipe, data_recipe
from labelwise.data.dataset import Dataset, Features
from labelwise.data.readers import load_dataset
from labelwise.errors import ConfigError, DataError
from labelwise.progress import Progress
from labelwise.results.audit import AuditResults
from labelwise.results.audit_table import write_audit_table
from labelwise.results.record import Splits
from labelwise.runs import Run, start_run, write_json

JSON = "audit.json"

NOT_ANSWERS = ("thumbnails", "duplicates", "similarity", "threads")
"""Options that no answer depends on: an audit may be run again with others."""


@dataclass(frozen=True)
class Subject:
    """What is audited: samples, the answers of somebody's file, or the data that networks answer."""

    samples: LabelledSamples
    splits: dict[str, int]
    source: str
    dataset: Dataset | None = None
    answers: Answers | None = None


def run_audit(
    config: AuditConfig,
    source: str | Path | Recipe,
    out: str | Path,
    *,
    model: str | None = None,
    overrides: Sequence[str] = (),
    quiet: bool = False,
) -> AuditResults:
    """Rank the labels of a data set by how likely they are wrong, and write the folder of an audit.

    Parameters
    ----------
    config : the options
    source : data, a recipe, or a file of out-of-sample probabilities (.npz, .csv)
    out : the folder; one of the same audit is continued
    model : images: the network that answers
    overrides : of the recipe of the data, ``section.key=value``
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
    subject = open_subject(source, overrides)
    run = _start(config, subject, Path(out), model)
    with Progress("audit", "answers", quiet) as progress:
        answers = subject.answers or _answer(config, subject, run.folder, progress)
    return _conclude(config, subject, answers, run, started)


def open_subject(source: str | Path | Recipe, overrides: Sequence[str] = ()) -> Subject:
    """Read what is audited.

    Raises
    ------
    LabelwiseError
        If it cannot be read, or there is nothing to doubt.
    """
    if not isinstance(source, Recipe) and holds_answers(Path(source)):
        if overrides:
            raise ConfigError(f"--set {overrides[0]}: {source} holds probabilities; it takes options of audit alone")
        samples, answers = read_answers(Path(source))
        return Subject(samples, _sizes(samples), str(source), answers=answers)
    recipe = source if isinstance(source, Recipe) else data_recipe(source, overrides)
    dataset = load_dataset(recipe.data, partial=True)
    if dataset.table is not None:
        raise DataError(f"{dataset.name}: multi-label data cannot be audited yet")
    samples = labelled_samples(dataset, recipe.data.source)
    return Subject(samples, _sizes(samples), recipe.data.source, take_audited(dataset))


def _sizes(samples: LabelledSamples) -> dict[str, int]:
    return {name: int((samples.split == name).sum()) for name in ("fit", "select", "test")}


def _start(config: AuditConfig, subject: Subject, out: Path, model: str | None) -> Run:
    samples = subject.samples
    data: dict[str, Any] = {"name": samples.name, "source": subject.source, "classes": list(samples.classes)}
    data["sizes"] = subject.splits
    identity = {
        "data": samples.fingerprint() if subject.dataset is None else subject.dataset.fingerprint(),
        "model": model,
        "options": config.model_dump(mode="json", exclude=set(NOT_ANSWERS)),
    }
    return start_run(out, "audit", identity, config, facts={"data": data})


def _answer(config: AuditConfig, subject: Subject, folder: Path, progress: Progress) -> Answers:
    """Out-of-sample answers of the networks or classifiers that fit the data."""
    samples, dataset = subject.samples, subject.dataset
    assert dataset is not None
    if not isinstance(dataset.source, Features):
        raise DataError(f"{samples.name}: images cannot be audited yet; audit their embeddings (labelwise features)")
    data = embeddings.Embedded(
        embeddings.standardised(dataset.source.values),
        samples.label,
        samples.num_classes,
        draw_folds(samples, config.folds, config.seed),
        samples.groups,
    )
    return answer_embeddings(data, config, folder, progress)


def answer_embeddings(data: embeddings.Embedded, config: AuditConfig, folder: Path, progress: Progress) -> Answers:
    """The four kinds of answers; the kernel ridge one a second time, on what all of them say (one refinery round)."""
    progress.start(3 + config.folds * (1 + config.seeds))

    def advance() -> None:
        progress.advance()
        progress.show()

    ridge = UnseenKernelRidge(data.x, data.groups, config.seed)
    first = kept(folder, "kernel_ridge", lambda: ridge.log_probability(data.targets(), data.label))
    advance()
    parts = [("logistic", "logistic", kept(folder, "logistic", lambda: embeddings.logistic(data, advance)))]
    near = kept(folder, "nearest_neighbours", lambda: embeddings.nearest_neighbours(data, config.seed))
    advance()
    parts.append(("nearest neighbours", "nearest neighbours", near))
    for number in range(config.seeds):
        name = f"network {number + 1}"
        own = kept(folder, f"network_{number + 1}", lambda n=number: embeddings.network(data, config, n, advance))  # type: ignore[misc]
        parts.append((name, "network", own))
    mean = join_answers([("kernel ridge", "kernel ridge", first), *parts]).mean()
    right = fit_noise_model(mean, data.label, config.seed).right_class(mean, data.label)
    second = kept(folder, "kernel_ridge_refined", lambda: ridge.log_probability(right, data.label))
    advance()
    return join_answers([("kernel ridge", "kernel ridge", second), *parts])


def _conclude(config: AuditConfig, subject: Subject, answers: Answers, run: Run, started: float) -> AuditResults:
    """Scores, the list and the results, from the answers."""
    samples = subject.samples
    mean = answers.mean()
    model = fit_noise_model(mean, samples.label, config.seed)
    judged = judge(model.right_class(mean, samples.label), samples.label)
    verdicts = ["wrong" if wrong else "correct" for wrong in judged.score >= WRONG]
    frame, order = single_label_table(samples, judged, answers, verdicts)
    write_audit_table(run.folder, frame)
    results = AuditResults(
        kind="audit",
        name=samples.name,
        task="single-label",
        labels=len(samples),
        splits=Splits(**subject.splits),
        answers=answers.names,
        noise_rate=expected.noise_rate(judged.score, config.seed),
        transition=transition_rows(model),
        classes=expected.class_health(samples.classes, samples.label, judged.suggested, judged.score),
        verdicts=dict(Counter(verdicts)),
        expected=expected.expected(judged.score[order], config.seed),
        duplicates=None,
        warnings=(),
        seed=config.seed,
        seconds=round(time.monotonic() - started, 3),
    )
    write_json(run.folder / JSON, results.to_json())
    run.finish(results)
    return results
