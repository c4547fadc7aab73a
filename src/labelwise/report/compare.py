"""What the page of several runs side by side shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from labelwise.report.formats import DASH, Spread, interval, percent, points
from labelwise.report.read import Folder
from labelwise.report.refine import ROLES, Network, ends_of, facts_of, networks_of, noise_lines, tiles_of, verdict_of
from labelwise.report.refine_page import runs_picture
from labelwise.report.table import Cell, Column, Row, Table
from labelwise.results import RefineResults

Run = tuple[RefineResults, Folder]


def compare_context(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what the template of a comparison fills in; runs of one name are numbered."""
    names = [folder.name for _, folder in runs]
    labels = [name if names.count(name) == 1 else f"{name} ({index + 1})" for index, name in enumerate(names)]
    prints = {folder.about.data.fingerprint for _, folder in runs}
    return {
        "title": f"{len(runs)} runs side by side",
        "same_data": len(prints) == 1 and prints != {""},
        "found": _found_table(labels, runs),
        "runs": [(label, *run) for label, run in zip(labels, runs, strict=True)],
        "facts_of": facts_of,
        "verdict_of": verdict_of,
        "noise_lines": noise_lines,
        "networks": _network_table(labels, runs),
        "picture": runs_picture([(label, results) for label, (results, _) in zip(labels, runs, strict=True)]),
        "differences": _config_differences(labels, runs),
    }


def _found_table(labels: Sequence[str], runs: Sequence[Run]) -> Table:
    columns = [Column("run", right=False), Column("generation 1"), Column("best generation"), Column("best control")]
    columns += [Column("difference", points), Column("95% interval", interval), Column("regime")]
    rows = []
    for label, (results, folder) in zip(labels, runs, strict=True):
        data, found = folder.about.data, results.comparison
        noise = ", simulated noise" if data.simulated_noise else ""
        tiles = {tile.heading: f"{tile.big} {tile.beside}" for tile in tiles_of(results)}
        scores = [tiles.get(heading, DASH) for heading in ("Generation 1", "Best generation", "Best control")]
        difference = None if found is None else found.difference
        state = DASH if results.regime is None else results.regime.state
        name = Cell(label, [f"{data.name or folder.name}{noise}"])
        rows.append(Row([name, *scores, difference, ends_of(results), state]))
    return Table(columns, rows)


def _network_table(labels: Sequence[str], runs: Sequence[Run]) -> Table:
    """Every network on test, a column a run."""
    tables: list[dict[str, Network]] = [{n.name: n for n in networks_of(results)} for results, _ in runs]
    role = {name: network.summary.role for table in tables for name, network in table.items()}
    names = sorted(role, key=lambda name: list(ROLES).index(role[name]))

    def score(place: int, name: str) -> str:
        network, write = tables[place].get(name), Spread(percent)
        if network is None:
            return DASH
        return ("★ " if network.marked else "") + write(network.stat(f"test_{runs[place][0].metric}"))

    columns = [Column("network", right=False), *(Column(label) for label in labels)]
    return Table(columns, [Row([name, *(score(place, name) for place in range(len(runs)))]) for name in names])


def _config_differences(labels: Sequence[str], runs: Sequence[Run]) -> Table | None:
    """Return the options in which the recipes differ, with each run's value."""
    options = [_options(folder) for _, folder in runs]
    keys = dict.fromkeys(key for own in options for key in own)
    values = {key: [own.get(key, DASH) for own in options] for key in keys}
    rows = [Row([key, *own]) for key, own in values.items() if len(set(own)) > 1]
    return (
        Table([Column("option", right=False), *(Column(label, right=False) for label in labels)], rows)
        if rows
        else None
    )


def _options(folder: Folder) -> dict[str, str]:
    """Every option of a recipe with its value; nothing of one that cannot be read."""
    try:
        return dict(_flat("", yaml.safe_load(folder.config)))
    except (yaml.YAMLError, RecursionError):
        return {}


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), item)]
    return [(prefix, str(value))] if prefix else []
