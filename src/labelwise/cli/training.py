"""Commands that train networks: refine, train, demo and experiment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli.common import (
    OutOption,
    PrintConfigOption,
    QuietOption,
    RecipeArgument,
    RecipeOrDataArgument,
    SeedOption,
    SetOption,
    TrustCodeOption,
    app,
    given_overrides,
    make_console,
    read_recipe,
    show_run,
)
from labelwise.config.formats import find_format
from labelwise.errors import ConfigError
from labelwise.settings import dump_yaml
from labelwise.shipped import by_name


@app.command(
    epilog="Example: labelwise refine photos --model resnet18 --budget 2h --out runs/photos   "
    "(with a recipe: labelwise refine digits/noise40 --baselines --seeds 3)",
)
def refine(
    recipe: RecipeOrDataArgument = None,
    out: OutOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds. All are trained.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also train the controls.")] = False,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="DATA without a recipe: time (45s, 30min, 2h) or epochs (200epochs) in all."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="With --budget: the network. Default for embeddings: mlp.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="With --budget: print the plan and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --plan: print JSON instead of a table.")] = False,
    trust_code: TrustCodeOption = False,
    print_config: PrintConfigOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train several generations of a network. Each one learns from the labels that the previous one gives every crop.

    The first generation learns from the given labels. With --budget no recipe is needed: a plan is fitted into the
    budget, with the controls that practitioners use, and the best of all is left in RUN/best. An interrupted run
    continues where it stopped.
    """
    overrides = [*(overrides or []), *(["chain.trust_code=true"] if trust_code else [])]
    if budget is not None or model is not None or plan or as_json:
        _refine_within(
            recipe, budget, model, given_overrides(overrides, seed, seeds), out, (plan, as_json, quiet, print_config)
        )
        return
    if recipe is not None and find_format(str(recipe)) is not None:
        raise ConfigError(f"{recipe}: is data, not a recipe; say how long training may take, such as --budget 2h")
    resolved = read_recipe(recipe, overrides, seed, seeds)
    if print_config:
        sys.stdout.write(dump_yaml(resolved))
        return
    from labelwise.refinery.checks import prepare

    resolved, data = prepare(resolved, baselines)  # before torch is loaded: a mistake is told in a second
    from labelwise.refinery.chain import refine as run

    folder = out or Path("runs") / resolved.name
    run(resolved, folder, baselines=baselines, quiet=quiet, dataset=data)
    show_run(folder)


def _refine_within(
    data: Path | None,
    budget: str | None,
    model: str | None,
    overrides: list[str],
    out: Path | None,
    flags: tuple[bool, bool, bool, bool],
) -> None:
    plan, as_json, quiet, print_config = flags
    if budget is None:
        raise ConfigError("--model, --plan and --json go with --budget; a recipe names its network in model.name")
    if data is None or data.suffix in (".yaml", ".yml"):
        given = "" if data is None else f", not {data}"
        raise ConfigError(f"--budget {budget}: makes its own recipe; give DATA, such as a folder of images{given}")
    if (as_json and not plan) or print_config:
        raise ConfigError("--json goes with --plan; the two together print the recipe, too, in place of --print-config")
    from labelwise.refinery.budget import Request, prepare_within, refine_within

    ready = prepare_within(Request(str(data), model, budget, tuple(overrides)), out)
    if as_json:
        sys.stdout.write(json.dumps(ready.content, indent=1) + "\n")
    elif plan or not quiet:
        from labelwise.cli.planned import plan_table

        make_console().print(plan_table(ready.content))
    if not plan:
        refine_within(ready, quiet)
        show_run(ready.folder)


@app.command(epilog="Example: labelwise train recipes/digits/clean.yaml --out runs/plain --set train.epochs=20")
def train(
    recipe: RecipeArgument = None,
    out: OutOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    trust_code: TrustCodeOption = False,
    print_config: PrintConfigOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one network on the given labels."""
    resolved = read_recipe(recipe, overrides, seed)
    if print_config:
        sys.stdout.write(dump_yaml(resolved))
        return
    from labelwise.refinery.checks import prepare
    from labelwise.refinery.generations import without_chain

    resolved, data = prepare(without_chain(resolved))
    from labelwise.refinery.chain import train as run

    folder = out or Path("runs") / resolved.name
    run(resolved, folder, quiet=quiet, dataset=data)
    show_run(folder)


@app.command(epilog="Example: labelwise demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"), seed: SeedOption = 0
) -> None:
    """Try both methods on real digits with simulated faults, beside controls. It takes minutes on two cores.

    First, labels are made wrong, and a chain refines them. Second, other labels are hidden, and heads on the frozen
    network are re-fitted. The second run is written to OUT/cft.
    """
    from labelwise import demo as demonstration
    from labelwise.refinery.chain import refine as run
    from labelwise.runs import BEST, REPORT

    console = make_console()
    console.print(demonstration.REFINE_NOTE, markup=True)
    run(demonstration.refine_recipe(seed or 0), out, baselines=True)
    show_run(out)
    console.print(f"\n{demonstration.REFIT_NOTE}", markup=True)
    found = demonstration.refit_heads(out / BEST, out, seed=seed or 0)
    show_run(out / "cft")
    console.print(demonstration.control_line(found), soft_wrap=True)
    console.print(f"both reports: {out / REPORT} and {out / 'cft' / REPORT}", soft_wrap=True)


@app.command(epilog="Example: labelwise experiment recipes/tables/ucm_partial.yaml --out runs/ucm --jobs 2")
def experiment(
    table: Annotated[
        Path, typer.Argument(help="YAML file of rows, columns and heads, or a name.", metavar="EXPERIMENT")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder. Default: runs/NAME of the experiment.")] = None,
    overrides: SetOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Number of cells that run at the same time.")] = 1,
    trust_code: TrustCodeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a table of many trainings, and show mean and spread over seeds.

    An interrupted experiment continues where it stopped.
    """
    from labelwise.experiment.config import load_experiment

    changes = [*(overrides or []), *([f"seeds={seeds}"] if seeds is not None else [])]
    config = load_experiment(by_name(table), changes + (["recipe.chain.trust_code=true"] if trust_code else []))
    from labelwise.experiment.run import run_experiment

    folder = out or Path("runs") / config.name
    run_experiment(config, folder, jobs=jobs, quiet=quiet)
    show_run(folder)
