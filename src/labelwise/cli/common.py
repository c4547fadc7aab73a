"""What all commands share: the application, options that several commands have, and how results are shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

# Set before torch is imported by a command: two libraries of threads on one core help nobody.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer
from rich.console import Console

import labelwise
from labelwise.config import Metric, Recipe, load_recipe
from labelwise.errors import DataError
from labelwise.progress import AS_JSON
from labelwise.shipped import by_name


def existing(paths: Path | list[Path]) -> Path | list[Path]:
    """Refuse a path where there is nothing, before anything is imported or read."""
    for path in paths if isinstance(paths, list) else [paths]:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    return paths


def existing_model(model: Path) -> Path:
    """Refuse a checkpoint where there is nothing; what lies on a hub is looked up later."""
    if not str(model).startswith(("hf-hub:", "hf_hub:")):
        existing(model)
    return model


def trust_working_folder(trust_code: bool) -> bool:
    """Let modules of the working folder be imported, after all that are installed; otherwise they never are."""
    if trust_code:
        sys.path.append(str(Path.cwd()))
    return trust_code


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Better image classifiers by working on their labels.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before anything is trained.")
app.add_typer(data_app, name="data")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(labelwise.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
    log_json: Annotated[
        bool,
        typer.Option("--log-json", envvar=AS_JSON, help="Write progress and errors to stderr as JSON, one a line."),
    ] = False,
) -> None:
    """Options of ``labelwise`` itself."""
    if log_json:
        os.environ[AS_JSON] = "1"


RecipeArgument = Annotated[
    Path | None,
    typer.Argument(
        help="YAML recipe, or the name of one of labelwise's own. Without one, every option has its default.",
        metavar="RECIPE",
    ),
]
RecipeOrDataArgument = Annotated[
    Path | None,
    typer.Argument(
        help="YAML recipe, or the name of one of labelwise's own. Without one, every option has its default. With "
        "--budget: the data, as in data.source.",
        metavar="RECIPE|DATA",
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: runs/NAME of the recipe.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Set one option: section.key=value. May be given several times.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="First random seed.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
PrintConfigOption = Annotated[bool, typer.Option("--print-config", help="Print the resolved recipe and stop.")]
ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="Checkpoint folder, such as RUN/seed-0/generation-2; a folder of timm or transformers; hf-hub:USER/NAME.",
        metavar="MODEL",
        callback=existing_model,
    ),
]
DataOption = Annotated[str, typer.Option("--data", help="Data source, or a recipe (.yaml) with a data section.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="File with the weights of the network (.safetensors or .pt).")
]
ByOrderOption = Annotated[
    bool, typer.Option("--weights-by-order", help="Match the tensors of --weights by order and shape, not by key.")
]
PretrainedOption = Annotated[bool, typer.Option("--pretrained", help="Download the published weights of the network.")]
ObjectiveOption = Annotated[Metric, typer.Option(help="Metric: average precision, or area under the ROC curve.")]
TrustCodeOption = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run code that a checkpoint names as its network. Modules of the working folder are found, too.",
        callback=trust_working_folder,
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Number of processes. One uses one core, or one GPU.")
]
EngineOption = Annotated[
    Literal["ray"] | None, typer.Option(help="Let Ray make the shards, on the cluster of RAY_ADDRESS or here.")
]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", help="Make part I of N alone, such as 3/64. Default: the place in a Slurm array."),
]
ShardSamplesOption = Annotated[
    int | None, typer.Option("--shard-samples", min=1, help="Samples in a shard. Default: by the size of the data.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def read_recipe(path: Path | None, overrides: list[str] | None, seed: int | None, seeds: int | None = None) -> Recipe:
    """The recipe of a file, or the defaults, with what the command line says over it."""
    return load_recipe(None if path is None else by_name(path), given_overrides(overrides, seed, seeds))


def given_overrides(overrides: list[str] | None, seed: int | None, seeds: int | None) -> list[str]:
    """Options of the recipe that the command line gives, as ``section.key=value``."""
    changes = list(overrides or [])
    changes += [f"seed={seed}"] if seed is not None else []
    return changes + ([f"seeds={seeds}"] if seeds is not None else [])


def make_console() -> Console:
    """A console that takes brackets and colons in the user's names neither for markup nor for emoji."""
    return Console(markup=False, emoji=False)


def show_run(folder: Path) -> None:
    """Table, summary and report of a finished run, once, by the main process."""
    if not int(os.environ.get("RANK", "0")):
        from labelwise.report.write import show

        show(folder, make_console())
