"""What is audited: data, a finished refine run, or somebody's out-of-sample probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelwise.audit.answers import Answers
from labelwise.audit.given_answers import holds_answers, read_answers
from labelwise.audit.networks import network_recipe
from labelwise.audit.samples import LabelledSamples, labelled_samples, take_audited
from labelwise.config import AuditConfig, Recipe, data_recipe, is_import_path, load_recipe, own_networks
from labelwise.data.dataset import Dataset
from labelwise.data.readers import load_dataset
from labelwise.errors import ConfigError, RunError
from labelwise.results import RefineResults, open_run
from labelwise.runs import CONFIG, RUN, fingerprint


@dataclass(frozen=True)
class Subject:
    """Samples, and who answers: ``given`` answers, the networks of a finished ``run``, or networks and classifiers that
    are trained on the audited samples. ``dataset`` has all samples, also those that are not audited, but for given
    answers. ``recipe`` is that of the networks, if any."""

    samples: LabelledSamples
    source: str
    given: Answers | None = None
    dataset: Dataset | None = None
    recipe: Recipe | None = None
    run: tuple[Path, RefineResults] | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Number of audited samples of each split."""
        return {name: int((self.samples.split == name).sum()) for name in ("fit", "select", "test")}

    def identity(self) -> dict[str, Any]:
        """What makes two audits the same one, besides their options."""
        found: dict[str, Any] = {"data": self.samples.fingerprint()}
        if self.given is not None:
            found["answers"] = fingerprint([one.values.astype(float).round(4).tolist() for one in self.given.parts])
        if self.dataset is not None:
            found["data"] = take_audited(self.dataset).fingerprint()
        if self.run is not None:
            found["networks"] = fingerprint([row.weights_hash for row in self.run[1].rows])
        elif self.recipe is not None:
            found["networks"] = fingerprint(self.recipe.model_dump(mode="json", exclude={"data", "threads"}))
        return found


def open_subject(
    config: AuditConfig,
    source: str | Path | Recipe,
    model: str | None = None,
    overrides: Sequence[str] = (),
    trust_code: bool = False,
) -> Subject:
    """Read what is audited.

    Raises
    ------
    LabelwiseError
        If it cannot be read, there is nothing to doubt, or nobody to answer.
    """
    if isinstance(source, Recipe):
        return _of_data(config, source, model, overrides, named=True)
    path = Path(source)
    if holds_answers(path) or (path / RUN).exists():
        if overrides or model is not None:
            option = f"--set {overrides[0]}" if overrides else f"--model {model}"
            raise ConfigError(f"{option}: {source} holds answers already; leave it out")
        if path.is_dir():
            return _of_run(path, trust_code)
        samples, given = read_answers(path)
        return Subject(samples, str(source), given)
    trusted = [*overrides, *(["chain.trust_code=true"] if trust_code else [])]
    named = path.suffix in (".yaml", ".yml")
    return _of_data(config, data_recipe(source, trusted), model, trusted, named)


def _of_data(config: AuditConfig, asked: Recipe, model: str | None, overrides: Sequence[str], named: bool) -> Subject:
    """``named``: whether the network of the recipe was chosen by the user."""
    dataset = load_dataset(asked.data, partial=True)
    samples = labelled_samples(dataset, asked.data.source)
    if dataset.is_features and model is None:
        return Subject(samples, asked.data.source, dataset=dataset)
    if model is None and not named:
        raise ConfigError(f"{dataset.name}: images; name the network that answers with --model, such as resnet18")
    recipe = network_recipe(asked, model, overrides, take_audited(dataset), config)
    return Subject(samples, asked.data.source, dataset=dataset, recipe=recipe)


def _of_run(run: Path, trust_code: bool) -> Subject:
    results = open_run(run).results
    if not isinstance(results, RefineResults):
        raise RunError(f"{run}: is of a run of `labelwise {results.kind}`; an audit reads one of refine, or data")
    recipe = load_recipe(run / CONFIG)
    code = [own.name for own in own_networks(recipe) if is_import_path(own.name)]
    if not trust_code and (code or recipe.chain.trust_code):
        raise RunError(
            f"{run}: its recipe lets code run ({code[0] if code else 'chain.trust_code'}); --trust-code allows it"
        )
    dataset = load_dataset(recipe.data)
    samples = labelled_samples(dataset, recipe.data.source)
    return Subject(samples, recipe.data.source, dataset=dataset, recipe=recipe, run=(run, results))
