"""``labelwise refine DATA --budget``: look at the data, fit a plan into the budget, write its recipe, train, stop.

The plan stands in ``plan.json`` and ``recipe.yaml`` of the run folder. The same command continues with it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from labelwise.config import CLOSED_FORM, Recipe, data_recipe, is_import_path, load_recipe, own_networks
from labelwise.data.dataset import Dataset, Features
from labelwise.data.memory import image_sizes
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import ConfigError, RunError
from labelwise.folder_lock import lock_folder
from labelwise.refinery.checks import refuse_early
from labelwise.refinery.deadline import Deadline
from labelwise.refinery.defaults import PUBLISHED_SIDE, SMALL_SIDE, default_values
from labelwise.refinery.plan import Budget, Facts, Plan, Planned, Speed, duration, epochs_only, make_plan, parse_budget
from labelwise.results import RefineResults
from labelwise.runs import PLAN, RECIPE, ROW, atomic_write, read_json, refuse_other_content, write_json
from labelwise.settings import changed

LOOKED_AT = 64
"""Images whose size is looked at, at most."""


_PLENTY = Budget(1e12, "epochs", "any")


@dataclass(frozen=True)
class Request:
    """What the user asked for: a data source, a network, a budget, and options of the recipe that stand above it."""

    data: str
    model: str | None
    budget: str
    overrides: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it is written into ``plan.json``."""
        return {"data": self.data, "model": self.model, "budget": self.budget, "set": list(self.overrides)}

    @property
    def name(self) -> str:
        """What the run is called, where the options do not say."""
        words = [Path(self.data.removeprefix("hf:")).stem, (self.model or "mlp").rpartition("/")[2]]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words))[:60]


@dataclass(frozen=True)
class Ready:
    """A plan and its data: what can be shown, or trained. ``content`` is that of ``plan.json``; ``stored`` says whether
    it was there already."""

    content: dict[str, Any]
    recipe: Recipe
    data: Dataset
    folder: Path
    started: float
    stored: bool


def prepare_within(request: Request, out: Path | None = None) -> Ready:
    """The plan of a request: that of the run folder, or a new one, for which the network's speed is measured.

    Nothing is written.

    Raises
    ------
    LabelwiseError
        If the budget cannot be read or is too small, the data or the network cannot be used, or the run folder holds
        something else.
    """
    started = time.monotonic()
    budget = parse_budget(request.budget)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--budget: plans for one process; plan without torchrun, and run RUN/recipe.yaml with it")
    asked = data_recipe(request.data, [f"name={json.dumps(request.name)}", *request.overrides])
    folder = out or Path("runs") / asked.name
    refuse_other_content(folder, "refine")
    stored = _stored(request, folder)
    if stored is not None:
        recipe = load_recipe(folder / RECIPE)
        _refuse_other_code(recipe, request, asked, folder)
        return Ready(stored, recipe, load_dataset(recipe.data), folder, started, stored=True)
    if request.model in CLOSED_FORM:
        raise ConfigError(
            f"--model {request.model}: has no epochs to plan with; give mlp, whose plan fits all closed forms beside it"
        )
    data = load_dataset(asked.data)
    facts = facts_of(data)
    if request.model is None and not facts.embeddings:
        raise ConfigError("--budget: name the network with --model, such as resnet18; these data are images")
    plan, speed = _plan(request, budget, asked, data, facts)
    content = {"request": request.to_dict(), **plan.to_dict(), "facts": vars(facts)}
    if budget.unit == "seconds":
        content["speed"] = vars(speed)
    return Ready(content, plan.recipe, data, folder, started, stored=False)


def refine_within(ready: Ready, quiet: bool = False) -> RefineResults:
    """Write the plan, train it, and end when the budget is spent. Returns the content of ``results.json``.

    Raises
    ------
    LabelwiseError
        As :func:`labelwise.refinery.chain.refine`.
    """
    from labelwise.refinery.chain import refine

    content, folder = ready.content, ready.folder
    lock = lock_folder(folder)
    if not ready.stored:
        atomic_write(folder / RECIPE, recipe_text(content).encode())
        write_json(folder / PLAN, content, sealed=True)
    deadline = None
    if content["budget"]["unit"] == "seconds":
        planned = {one["name"]: Planned(**one) for one in content["networks"]}
        rows = [read_json(file) for file in sorted(folder.glob(f"seed-*/*/{ROW}"))]
        spent = sum(row["seconds"] for row in rows) + time.monotonic() - ready.started
        deadline = Deadline(content["budget"]["amount"], planned, spent, fresh=not rows)
    recipe = ready.recipe.model_copy(update={"views": views_of(ready.recipe.data, ready.recipe.views)})
    results = refine(recipe, folder, baselines=True, quiet=quiet, dataset=ready.data, deadline=deadline)
    write_json(folder / PLAN, content | {"skipped": deadline.skipped if deadline else []}, sealed=True)
    del lock
    return results


def facts_of(data: Dataset) -> Facts:
    """What a plan depends on, of a data set with its splits."""
    sizes = data.sizes()
    fit = data.rows("fit")
    facts: dict[str, Any] = {"unlabelled": sizes.get("unlabelled", 0)}
    if data.table is not None:
        facts |= {"multi_label": True, "unknown": round(1 - float(data.table.known[fit].mean()), 6)}
    if isinstance(data.source, Features):
        facts["embeddings"] = True
    else:
        looked_at = fit[np.linspace(0, len(fit) - 1, min(LOOKED_AT, len(fit))).astype(int)]
        found = image_sizes(data.source.take(looked_at), workers=2)[0]
        facts |= {"side": int(np.median(found.min(1))), "channels": data.source.channels}
    return Facts(sizes["fit"], sizes["select"], sizes["test"], **facts)


def _stored(request: Request, folder: Path) -> dict[str, Any] | None:
    """The plan of the run in ``folder``, if it was made for the same request; None where nothing was trained yet."""
    if not any(folder.glob("seed-*/*")):
        return None
    if not (folder / PLAN).exists():
        raise RunError(f"{folder}: holds a run that was not planned by --budget; give another --out")
    content: dict[str, Any] = read_json(folder / PLAN)
    before, now = content.get("request", {}), request.to_dict()
    for key, value in now.items():
        if before.get(key) != value:
            raise RunError(
                f"{folder}: was planned for another {key} ({before.get(key)}, now {value}); give another --out"
            )
    return content


def _refuse_other_code(stored: Recipe, request: Request, asked: Recipe, folder: Path) -> None:
    """The recipe lies in the run folder, perhaps a stranger's: code in it is run only where the request names it."""
    named = {request.model, *(own.name for own in own_networks(asked))}
    other = [own.name for own in own_networks(stored) if is_import_path(own.name) and own.name not in named]
    if other or stored.chain.trust_code > asked.chain.trust_code:
        what = other[0] if other else "chain.trust_code"
        raise RunError(f"{folder / RECIPE}: {what} lets code run that the command does not ask for; give another --out")


def _plan(request: Request, budget: Budget, asked: Recipe, data: Dataset, facts: Facts) -> tuple[Plan, Speed]:
    model, overrides = request.model or "mlp", list(request.overrides)
    unmeasured = epochs_only(facts)

    def values(pretrained: bool, gpu: bool) -> dict[str, Any]:
        own = default_values(facts, model, pretrained=pretrained, gpu=gpu)
        return {"name": request.name, "data": changed(asked.data), **own}

    # Mistakes that can be told without a network are told before torch is loaded.
    refuse_early(make_plan(facts, values(False, False), overrides, _PLENTY, unmeasured).recipe, data, True)
    from labelwise.refinery import speed as timing

    pretrained = False
    if not facts.embeddings and not any(one.startswith(("model.init", "model=")) for one in overrides):
        pretrained = starts_published(model, facts, timing.published_weights)
    found = values(pretrained, timing.supports_bfloat16())
    if budget.unit == "epochs":
        return make_plan(facts, found, overrides, budget, unmeasured), unmeasured
    largest = make_plan(facts, found, overrides, _PLENTY, unmeasured).recipe
    speed = timing.measure_speed(largest.model_copy(update={"views": views_of(largest.data, largest.views)}), data)
    if isinstance(data.source, Features) and data.table is None:
        speed = timing.with_closed_forms(speed, facts, data.source.values.shape[1])
    return make_plan(facts, found, overrides, budget, speed), speed


def starts_published(model: str, facts: Facts, published_weights: Any) -> bool:
    """Whether to start from published weights; one line where that was wanted and is not possible."""
    if facts.side <= SMALL_SIDE:
        return False
    found, why = published_weights(model)
    if not found and why:
        print(
            f"{model}: random first weights, no published ones ({why}); --set model.init=FILE names a file",
            file=sys.stderr,
        )
    return bool(found)


_COMMENTS = {
    "data": "what is learnt from; select chooses, test is only reported",
    "views": f"images up to {SMALL_SIDE} px keep their size, larger ones are shown with at most {PUBLISHED_SIDE}",
    "model": "the network that is kept",
    "train": "one network; every network keeps its epoch that is best on select",
    "chain": "generation 1 learns the given labels, the others what it says of every view",
    "baselines": "controls on the given labels; the run may end with one of them",
}


def recipe_text(content: dict[str, Any]) -> str:
    """The recipe of a plan as YAML with comments, for a user who wants to change it."""
    budget, recipe = content["budget"], content["recipe"]
    total = f"{content['expected']:.0f} epochs" if budget["unit"] == "epochs" else duration(content["expected"])
    lines = [
        f"# Planned by `labelwise refine {content['request']['data']} --budget {budget['given']}`; expected: {total}.",
        "# To change it: edit a copy, then `labelwise refine COPY.yaml --baselines --out OTHER`.",
    ]
    for key, value in recipe.items():
        lines += [f"# {_COMMENTS[key]}"] if key in _COMMENTS else []
        style = None if isinstance(value, dict) else False
        text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, default_flow_style=style)
        lines.append(text.rstrip())
    if content["left_out"]:
        lines.append("# A larger budget adds, in this order:")
        lines += [f"# - {step['adds']} ({step['keys']})" for step in content["left_out"]]
    return "\n".join(lines) + "\n"
