"""What the page of several runs side by side shows."""

from collections.abc import Sequence
from typing import Any

import yaml

from labelwise.report import figures, summary
from labelwise.report.parts import facts_of, interval_picture, tiles_of, title_of
from labelwise.report.read import RunFolder, mapping, text


def compare_context(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return what the template of a comparison fills in; runs of one name are numbered."""
    names = [run.name for run in runs]
    labels = [name if names.count(name) == 1 else f"{name} ({index + 1})" for index, name in enumerate(names)]
    entries = [summary.entries_of(run.results) for run in runs]
    tables = [{entry.name: entry for entry in found} for found in entries]
    networks = list(dict.fromkeys(entry.name for found in entries for entry in found))
    role = {entry.name: entry.role for found in entries for entry in found}
    networks.sort(key=lambda name: summary.ROLES.index(role[name]))
    keys = [f"test_{summary.metric_of(run.results)[0]}" for run in runs]
    prints = {text(mapping(run.run.get("data")).get("fingerprint")) for run in runs}
    return {
        "title": f"{len(runs)} runs side by side",
        "same_data": len(prints) == 1 and prints != {""},
        "runs": [
            {
                "label": label,
                "title": title_of(run),
                "facts": facts_of(run),
                "verdict": summary.verdict_of(run.results),
                "regime_lines": summary.regime_lines(run.results),
                "noise_lines": summary.noise_lines(run.run),
                "simulated": bool(mapping(run.run.get("data")).get("simulated_noise")),
                "tiles": {heading: f"{big} {spread}" for heading, big, spread, _ in tiles_of(run.results, found)},
                "interval": interval_picture(run.results),
                "state": text(mapping(run.results.get("regime")).get("state")),
            }
            for label, run, found in zip(labels, runs, entries, strict=True)
        ],
        "networks": [(name, [table.get(name) for table in tables]) for name in networks],
        "keys": keys,
        "picture": figures.runs_picture([(label, run.results) for label, run in zip(labels, runs, strict=True)]),
        "differences": _config_differences(runs),
    }


def _config_differences(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    """Return the options in which the recipes differ, with each run's value."""
    flat: list[dict[str, str]] = []
    for run in runs:
        try:
            flat.append(dict(_flat("", yaml.safe_load(run.config))))
        except (yaml.YAMLError, RecursionError):
            flat.append({})
    found = []
    for key in dict.fromkeys(key for config in flat for key in config):
        values = [config.get(key, "–") for config in flat]
        if len(set(values)) > 1:
            found.append((key, values))
    return found


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), item)]
    return [(prefix, str(value))] if prefix else []
