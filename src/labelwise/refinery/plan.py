"""What is trained within a budget: a ladder of plans, of which the largest is taken that fits.

A plan is a function of facts about the data, the network's speed and the budget. Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from labelwise.config import CLOSED_FORM, Recipe
from labelwise.errors import ConfigError
from labelwise.refinery.controls import early_stop_networks, networks_of_kinds
from labelwise.refinery.generations import NetworkSpec, chain_networks, generation_of
from labelwise.settings import changed, resolve

RESERVE = 0.1
"""Share of a budget of time that is not planned with: speeds are measured in seconds and hold for hours."""

SCORED = 10_000
"""Fit samples that a finished network is scored on, at most (:data:`labelwise.refinery.context.FIT_SAMPLE`)."""

SHORTEST = 3
"""A refinement is planned with schedules of at least one third of the full length; below it one network is trained."""

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Budget:
    """Seconds, or epochs of all networks together. ``text`` is what the user wrote."""

    amount: float
    unit: Literal["seconds", "epochs"]
    text: str

    @property
    def usable(self) -> float:
        """What is planned with."""
        return self.amount * (1 - RESERVE) if self.unit == "seconds" else self.amount

    def said(self, amount: float) -> str:
        """An amount of this unit in words."""
        return f"{amount:,.0f} epochs" if self.unit == "epochs" else duration(amount)


def parse_budget(text: str) -> Budget:
    """Read ``2h``, ``90min``, ``45s``, ``1.5d`` or ``40epochs``.

    Raises
    ------
    ConfigError
        If it is anything else, or nothing.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|min|h|d|epochs?)", text.strip())
    amount = float(found[1]) if found else 0.0
    if found is None or amount == 0 or (found[2].startswith("epoch") and amount != int(amount)):
        raise ConfigError(f"--budget {text}: expected a time such as 45s, 30min or 2h, or epochs such as 200epochs")
    if found[2].startswith("epoch"):
        return Budget(amount, "epochs", text)
    return Budget(amount * _UNITS[found[2]], "seconds", text)


@dataclass(frozen=True)
class Facts:
    """What a plan depends on: samples per split, and what the samples and their labels are.

    ``unknown`` is the share of the fit labels that is unknown; ``side`` the shorter side of most images in pixels,
    0 for embeddings.
    """

    fit: int
    select: int
    test: int
    unlabelled: int = 0
    embeddings: bool = False
    multi_label: bool = False
    unknown: float = 0.0
    side: int = 0
    channels: int = 1

    @property
    def refines(self) -> bool:
        """Whether a refinery has anything to say; of several labels per sample it answers for unknown ones alone."""
        return not self.multi_label or self.unknown > 0 or self.unlabelled > 0


@dataclass(frozen=True)
class Speed:
    """Seconds: of training on one sample, of its answer by one network, and of kernel ridge regression, beside which
    the other closed forms take a tenth.

    ``fixed`` is what a network costs besides, such as being built and written.
    """

    train: float
    forward: float
    kernel_ridge: float = 0.0
    fixed: float = 0.0

    def of(self, network: NetworkSpec, facts: Facts) -> float:
        """Expected seconds of a network: its epochs, refineries, scores of every epoch, and scores at its end."""
        if network.model.name in CLOSED_FORM:
            return self.kernel_ridge * (1 if network.model.name == "kernel_ridge" else 0.1)
        epoch = facts.fit * (self.train + len(network.refineries) * self.forward) + facts.select * self.forward
        end = (min(facts.fit, SCORED) + facts.select + facts.test) * self.forward
        return network.train.epochs * epoch + end + self.fixed


def epochs_only(facts: Facts) -> Speed:
    """The speed at which a second is an epoch, so that a plan is counted in epochs."""
    return Speed(train=1 / facts.fit, forward=0.0)


@dataclass(frozen=True)
class Step:
    """One rung of the ladder: how the networks of a run are chosen. ``adds`` says what it has more than the one below,
    ``keys`` which keys of the recipe say so."""

    adds: str
    keys: str
    refined: bool = False
    generations: int = 1
    members: int = 1
    divisors: tuple[int, ...] = (1,)
    stretch: int = 1
    mixup: bool = False
    smoothed: bool = False
    closed_form: bool = False


def ladder(facts: Facts) -> list[Step]:
    """The plans from the smallest to the largest. What a smaller budget drops first stands last."""
    steps = [Step("one network on the given labels", "model, train")]

    def add(adds: str, keys: str, **changes: Any) -> None:
        steps.append(replace(steps[-1], adds=adds, keys=keys, **changes))

    several = partial(add, keys="chain.members")
    if facts.refines:
        add("an early-stopped control, and a network that it refines", "chain", refined=True, generations=2)
    else:
        add("two lengths of its schedule", "baselines.early_stop_epochs", refined=True, divisors=(1, 2))
    if facts.embeddings and not facts.multi_label:
        add("four closed forms as controls", "baselines.kinds", closed_form=True)
    if facts.refines:
        add("two lengths of the schedule", "baselines.early_stop_epochs", divisors=(1, 2))
        several(adds="three networks as one refinery", members=3)
    mixed = "mixup on given labels" + ("" if facts.multi_label else ", as a control and for the refinery")
    add(mixed, "baselines.kinds, chain.networks, chain.refined", mixup=True)
    if facts.refines:
        several(adds="four or five networks as one refinery", members=4 if facts.multi_label else 5)
    add("three lengths of the schedule", "baselines.early_stop_epochs", divisors=(1, 2, 4))
    lengths = "schedules of twice the length, beside three shorter ones"
    add(lengths, "train.epochs, baselines.early_stop_epochs", stretch=2, divisors=(1, 2, 4, 8))
    add("label smoothing and averaged weights as controls", "baselines.kinds", smoothed=True)
    if not facts.multi_label:
        add("a third generation", "chain.generations", generations=3)
        several(adds="ten networks as one refinery", members=10)
    return steps


@dataclass(frozen=True)
class Planned:
    """One network of a plan: how long it is trained, by how many networks it is labelled, and the expected cost in the
    budget's unit."""

    name: str
    epochs: int
    refineries: int
    cost: float


@dataclass(frozen=True)
class Plan:
    """What is trained, in the order in which it is planned. ``cost`` is of all seeds, in the budget's unit."""

    budget: Budget
    recipe: Recipe
    networks: tuple[Planned, ...]
    left_out: tuple[Step, ...] = field(default=())

    @property
    def cost(self) -> float:
        return self.recipe.seeds * sum(network.cost for network in self.networks)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "budget": {"given": self.budget.text, "amount": self.budget.amount, "unit": self.budget.unit},
            "expected": round(self.cost, 2),
            "seeds": self.recipe.seeds,
            "networks": [vars(network) | {"cost": round(network.cost, 3)} for network in self.networks],
            "left_out": [{"adds": step.adds, "keys": step.keys} for step in self.left_out],
            "recipe": self._recipe(),
        }

    def _recipe(self) -> dict[str, Any]:
        """What is not at its default, and the source of the data."""
        found = changed(self.recipe)
        data = {"source": self.recipe.data.source, **found.get("data", {})}
        if data.get("format") == "auto":
            del data["format"]
        return found | {"data": data}


def make_plan(facts: Facts, values: dict[str, Any], overrides: Sequence[str], budget: Budget, speed: Speed) -> Plan:
    """The largest plan of the ladder that fits.

    First one network, with as many epochs as the budget allows. Then a refinement whose schedules have at least a
    third of the full length. From full schedules on, whatever the next rungs add.

    Parameters
    ----------
    values : sections of a recipe, with the full length of a schedule in ``train.epochs``
    overrides : ``section.key=value``, which stand above the plan
    speed : in seconds, or :func:`epochs_only`

    Raises
    ------
    ConfigError
        If one epoch does not fit, or an override is not allowed.
    """
    full = resolve(Recipe, values, overrides).train.epochs
    overrides = [change for change in overrides if not change.startswith("train.epochs=")]
    steps = ladder(facts)

    def planned(step: Step, epochs: int) -> Plan:
        recipe = _recipe(step, epochs, values, overrides, facts)
        networks = tuple(_planned(network, facts, speed) for network in networks_of(recipe))
        return Plan(budget, recipe, networks, tuple(steps[steps.index(step) + 1 :]))

    def fits(plan: Plan) -> bool:
        return plan.cost <= budget.usable

    def most_epochs(step: Step) -> int:
        return _longest(lambda epochs: fits(planned(step, epochs)), full)

    rung = 1 if fits(planned(steps[1], max(1, full // SHORTEST))) else 0
    longest = most_epochs(steps[rung])
    if longest == 0:
        needed = planned(steps[0], 1).cost / (budget.usable / budget.amount)
        name = resolve(Recipe, values, overrides).model.name
        raise ConfigError(
            f"--budget {budget.text}: one epoch of {name} on {facts.fit:,} samples takes about {budget.said(needed)};"
            " give more, or a smaller network"
        )
    best = planned(steps[rung], longest)
    if rung == 1 and longest == full:
        for step, below in zip(steps[2:], steps[1:], strict=False):
            least = full * below.stretch // step.stretch  # longer schedules begin with those of the rung below
            longest = most_epochs(step)
            if longest < least:
                break
            best = planned(step, longest)
            if longest < full:
                break
    return best


def networks_of(recipe: Recipe) -> list[NetworkSpec]:
    """Every network that a planned recipe may train, once, each with its longest schedule."""
    found = chain_networks(recipe)
    if recipe.chain.first == "early_stop":
        first = early_stop_networks(recipe, generation_of(recipe, 1))
        found = [*first, *(one for one in found if (one.role, one.generation) != ("generation", 1))]
    found += networks_of_kinds(recipe, set(recipe.baselines.kinds))
    return list({network.name: network for network in found}.values())


def _planned(network: NetworkSpec, facts: Facts, speed: Speed) -> Planned:
    epochs = 0 if network.model.name in CLOSED_FORM else network.train.epochs
    return Planned(network.name, epochs, len(network.refineries), round(speed.of(network, facts), 6))


def _longest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number of epochs up to ``most`` that fits, by bisection; 0 if none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _recipe(step: Step, epochs: int, values: dict[str, Any], overrides: Sequence[str], facts: Facts) -> Recipe:
    """The recipe of a rung; ``epochs`` is the length of a schedule before it is stretched."""
    longest = epochs * step.stretch
    train = values["train"] | {"epochs": longest, "warmup_epochs": round(min(3.0, longest / 10), 1), "keep": "best"}
    chain: dict[str, Any] = {"generations": step.generations}
    kinds: list[str] = []
    if step.refined:
        chain["first"] = "early_stop"
        kinds += ["early_stop"]
    elif facts.unlabelled:
        chain["unlabelled"] = {"share": 0}
    if step.members > 1:
        chain["members"] = step.members
    if step.mixup:
        kinds.append("mixup")
        if not facts.multi_label:
            chain["networks"] = [{"views": {"mixup": 1.0}}, {}]
            if not facts.embeddings:
                chain["refined"] = {"temperature": 0.5}
    kinds += ["smoothing", "ema"] if step.smoothed else []
    kinds += ["closed_form"] if step.closed_form else []
    baselines: dict[str, Any] = {"kinds": kinds}
    if step.refined:
        baselines["early_stop_epochs"] = sorted({max(1, longest // divisor) for divisor in step.divisors})
    if step.mixup:
        baselines["mixup"] = [1.0]
    if step.smoothed:
        baselines["smoothing"] = [0.2]
    return resolve(Recipe, values | {"train": train, "chain": chain, "baselines": baselines}, overrides)


def duration(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
