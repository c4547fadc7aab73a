"""Controls are trained: each is the preferred one of several candidates, which learn from the given labels."""

from __future__ import annotations

from labelwise.refinery import controls
from labelwise.refinery.choice import Judgement, judging_folds
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import Generation, NetworkSpec, fold_networks, generation_of
from labelwise.refinery.network import train_if_time, train_network
from labelwise.results import Row
from labelwise.results.refine import Epoch
from labelwise.runs import METRICS, ROW, read_lines


def run_controls(context: TrainingContext, chain: list[Row]) -> list[Row]:
    """Controls for the network that the chain ends with, as far as there is time."""
    recipe, rows = context.recipe, list[Row | None]()
    last, possible = generation_of(recipe, recipe.chain.generations), controls.control_kinds(recipe, context.dataset)
    for kind in (kind for kind in recipe.baselines.kinds if kind in possible):
        match kind:
            case "long":  # a chain that is extended gets a longer one beside it
                epochs = sum(row.epochs for row in chain)
                rows.append(best_of(context, [controls.long_network(last, epochs)], "long"))
            case "early_stop":
                same = chain[0].to_the_end is not None and not recipe.chain.networks
                stopped = chain[0] if same else early_stop(context, last)
                update = {"name": "early-stop", "role": "control", "generation": None}
                rows.append(None if stopped is None else stopped.model_copy(update=update))
            case "smoothing":
                rows.append(best_of(context, controls.smoothing_networks(recipe, last), "smoothing"))
            case "mixup":
                rows.append(best_of(context, controls.mixup_networks(recipe, last), "mixup"))
            case "ema":
                rows.append(best_of(context, controls.ema_networks(recipe, last), "ema"))
            case "closed_form":
                rows += [best_of(context, [network], network.name) for network in controls.closed_form_networks()]
    return [row for row in rows if row is not None]


def early_stop(context: TrainingContext, generation: Generation) -> Row | None:
    """In each of several schedules the best epoch, and the preferred one of all.

    ``to_the_end`` is the last record of the longest: what would have become of the network without stopping.
    """
    networks = controls.early_stop_networks(context.recipe, generation)
    best = best_of(context, networks, "early-stop")
    if best is None:
        return None
    trained = [network for network in networks if (context.folder / network.name / ROW).exists()]
    longest = max(trained, key=lambda network: network.train.epochs)
    last = Epoch.model_validate(read_lines(context.folder / longest.name / METRICS)[-1])
    return best.model_copy(update={"to_the_end": last})


def best_of(context: TrainingContext, networks: list[NetworkSpec], name: str) -> Row | None:
    """The preferred network, under its role's name. Its seconds are those of all candidates. None without any, which
    happens where the time is up."""
    folds = judging_folds(context.recipe)
    candidates = [row for network in networks if (row := train_if_time(context, network)) is not None]
    if not candidates:
        return None
    for_folds = [one for network in networks for one in fold_networks(network, folds)] if folds > 1 else []
    others = [train_network(context, one) for one in for_folds]
    found = Judgement(context.dataset, context.folder.parent, folds).most_likely([[row] for row in candidates])
    best = candidates[-1 if found is None else found]
    seconds = round(sum(row.seconds for row in candidates + others), 3)
    return best.model_copy(update={"name": name, "role": "control", "seconds": seconds, "chosen": best.name})
