"""``README.md`` of a pushed checkpoint: a model card from what the checkpoint and its run say, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import binomtest

from labelwise import __version__
from labelwise.errors import LabelwiseError
from labelwise.models.classifier import Classifier
from labelwise.models.zoo import parameter_count
from labelwise.results import RefineResults, read_results
from labelwise.results.refine import Row
from labelwise.runs import RESULTS

LOWEST = 3
"""Classes that the card names as those it is worst at."""


def find_run(checkpoint: Path, weights_hash: str) -> tuple[RefineResults, Row] | None:
    """The results of the run that a checkpoint lies in, and its row; None for a checkpoint from elsewhere."""
    for folder in list(checkpoint.absolute().parents)[:3]:
        if (folder / RESULTS).exists():
            try:
                results = read_results(folder)
            except LabelwiseError:
                return None
            rows = [row for row in getattr(results, "rows", ()) if getattr(row, "weights_hash", "") == weights_hash]
            return (results, rows[0]) if rows and isinstance(results, RefineResults) else None
    return None


def model_card(
    name: str, model: Classifier, card: dict[str, Any], run: tuple[RefineResults, Row] | None, timm: bool
) -> str:
    """The text of the card of ``name``, USER/NAME on the hub."""
    tags = ["image-classification", "labelwise", *(["timm"] if timm else [])]
    head: dict[str, Any] = {"tags": tags, "pipeline_tag": "image-classification"}
    if timm:
        head["library_name"] = "timm"
    lines = ["---", yaml.safe_dump(head, sort_keys=False).rstrip(), "---", f"# {name}", ""]
    lines += [*_what(model, card), "", "## Data and labels", "", *_labels(card, run), "", "## Scores", ""]
    lines += [*_scores(run), "", "## Limits", "", *_limits(card, run), "", "## Use", "", *_use(name, model, timm)]
    return "\n".join(lines) + "\n"


def _what(model: Classifier, card: dict[str, Any]) -> Iterator[str]:
    spec = model.spec
    kind = "multi-label" if card.get("task") == "multi-label" else "one class a sample"
    seen = f"images of {spec.size} px" if spec.kind == "image" else f"embeddings of {spec.size} numbers"
    named = ", ".join(model.classes[:20]) + (", ..." if len(model.classes) > 20 else "")
    yield f"`{model.name}`, {parameter_count(model.net):,} parameters; takes {seen}; {kind}."
    yield ""
    yield f"{len(model.classes):,} classes: {named}"
    if card.get("thresholds"):
        yield ""
        yield f"Categories with a threshold of their own, in `model.json`: {len(card['thresholds']):,}"


def _labels(card: dict[str, Any], run: tuple[RefineResults, Row] | None) -> Iterator[str]:
    yield f"- Labels it was trained on: {card.get('labels', 'unknown')}"
    if "data" in card:
        yield f"- Data: {card['data']}"
    if run is None:
        return
    results, row = run
    splits = results.splits
    yield f"- Samples: {splits.fit:,} to fit, {splits.select:,} to select, {splits.test:,} to test"
    if row.refineries:
        yield f"- Its labels come from {len(row.refineries)} network(s) of the same run: {', '.join(row.refineries)}"
    yield f"- {row.epochs:,} epochs, of which {row.kept_epoch:,} was kept; seed {row.seed}"


def _scores(run: tuple[RefineResults, Row] | None) -> Iterator[str]:
    if run is None or run[1].test is None:
        yield "None is known here. `labelwise evaluate` scores it on labelled data."
        return
    results, row = run
    assert row.test is not None
    value = getattr(row.test, results.metric)
    if results.metric == "top1" and value is not None:
        n = results.splits.test
        low, high = binomtest(round(value * n), n).proportion_ci(method="wilson")
        yield f"- Test top-1: {value:.2%} (95% interval {low:.2%} to {high:.2%}, of {n:,} samples)"
    elif value is not None:
        yield f"- Test mAP: {value:.2%}, over {row.test.scored} categories"
    for label, number in (("NLL", row.test.nll), ("expected calibration error", row.test.ece)):
        if number is not None:
            yield f"- Test {label}: {number:.3f}"
    for one in results.summary:
        spread = one.test_top1 if results.metric == "top1" else one.test_map
        if (one.name, one.role) == (row.name, row.role) and one.seeds > 1 and spread is not None:
            yield f"- Over {one.seeds} seeds: {spread.mean:.2%}, standard deviation {spread.std or 0:.2%}"
    if results.comparison is not None:
        yield f"- Refined networks against controls of equal effort: {results.comparison.sentence}"


def _limits(card: dict[str, Any], run: tuple[RefineResults, Row] | None) -> Iterator[str]:
    yield "- Scores are of test samples from the same source as the training data. Other data may be harder."
    yield "- The labels of the test samples were taken as given. Where these are wrong, so are the scores."
    if run is None or run[1].test is None:
        return
    row = run[1]
    assert row.test is not None
    worst = sorted((one.top1, one.name, one.n) for one in row.test.per_class or () if one.top1 is not None)[:LOWEST]
    ranked = sorted((one.ap, one.category, one.positives) for one in row.test.per_category or () if one.ap is not None)
    if worst:
        yield "- Lowest classes: " + ", ".join(f"{name} ({value:.1%} of {n:,})" for value, name, n in worst)
    if ranked:
        told = (f"{name} (AP {value:.1%}, {n:,} positives)" for value, name, n in ranked[:LOWEST])
        yield "- Lowest categories: " + ", ".join(told)
    if run[0].regime is not None:
        yield f"- {run[0].regime.advice}"


def _use(name: str, model: Classifier, timm: bool) -> Iterator[str]:
    yield f"    labelwise predict hf-hub:{name} photos/ --out predictions.csv"
    if timm:
        yield ""
        yield "```python"
        yield "import timm"
        yield ""
        yield f'model = timm.create_model("hf-hub:{name}", pretrained=True)'
        yield "```"
    yield ""
    yield f"Written by labelwise {__version__}."
