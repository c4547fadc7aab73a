"""The command ``labelwise``: one short function per command, no logic."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, get_args

# Set before torch is imported by a command: two libraries of threads on one core help nobody.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer
from rich.console import Console

from labelwise.config import Recipe, UncertainName, load_recipe
from labelwise.errors import LabelwiseError
from labelwise.settings import dump_yaml

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Better image classifiers by working on their labels.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before anything is trained.")
app.add_typer(data_app, name="data")

RecipeArgument = Annotated[
    Path | None, typer.Argument(help="YAML recipe; without one, the defaults.", metavar="RECIPE")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder; default: runs/NAME of the recipe.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a key: section.key=value. Repeatable.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="First seed.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress.")]
ModelArgument = Annotated[Path, typer.Argument(help="Checkpoint folder (a generation of a run).", metavar="MODEL")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _recipe(path: Path | None, overrides: list[str] | None, seed: int | None, seeds: int | None = None) -> Recipe:
    changes = list(overrides or [])
    changes += [f"seed={seed}"] if seed is not None else []
    changes += [f"seeds={seeds}"] if seeds is not None else []
    return load_recipe(path, changes)


@app.command(epilog="Example: labelwise refine recipes/digits/noise40.yaml --baselines --seeds 3 --out runs/digits")
def refine(
    recipe: RecipeArgument = None,
    out: OutOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Repeat with so many seeds.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Train the controls too.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved recipe and stop.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a chain of generations, each on the labels that the one before gives every crop."""
    resolved = _recipe(recipe, overrides, seed, seeds)
    if print_config:
        sys.stdout.write(dump_yaml(resolved))
        return
    from labelwise.refinery.chain import refine as run

    folder = out or Path("runs") / resolved.name
    results = run(resolved, folder, baselines=baselines, quiet=quiet)
    _show(results, folder)


@app.command(epilog="Example: labelwise train recipes/digits/clean.yaml --out runs/plain --set train.epochs=20")
def train(
    recipe: RecipeArgument = None,
    out: OutOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved recipe and stop.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train one network on the given labels."""
    resolved = _recipe(recipe, overrides, seed)
    if print_config:
        sys.stdout.write(dump_yaml(resolved))
        return
    from labelwise.refinery.chain import train as run

    folder = out or Path("runs") / resolved.name
    _show(run(resolved, folder, quiet=quiet), folder)


@app.command(epilog="Example: labelwise evaluate runs/digits/seed-0/generation-5 --data digits --split test")
def evaluate(
    model: ModelArgument,
    data: Annotated[str, typer.Option("--data", help="A data source, or a recipe (.yaml) whose data section is used.")],
    split: Annotated[str, typer.Option(help="fit, select or test.")] = "test",
    overrides: SetOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the scores to this JSON file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Top-1, top-5, NLL, calibration and the table per class of a checkpoint.

    Multi-label: mAP, AUC, precision, recall and F1 at 0.5 and at thresholds tuned on select, over the known labels.
    """
    from labelwise.inference.evaluate import evaluate_checkpoint
    from labelwise.runs import finite, write_json

    scores = evaluate_checkpoint(model, _data_recipe(data, overrides), split)
    if out is not None:
        write_json(out, scores)
    if as_json:
        sys.stdout.write(json.dumps(finite(scores), indent=1) + "\n")
    else:
        from labelwise.report.terminal import scores_table

        _console().print(scores_table(scores))


@app.command(epilog="Example: labelwise predict runs/digits/seed-0/generation-5 photos/ --out predictions.csv")
def predict(
    model: ModelArgument,
    folder: Annotated[Path, typer.Argument(help="Folder of images, or an .npz of images or embeddings.")],
    out: Annotated[Path, typer.Option("--out", help="A .csv or .json file.")] = Path("predictions.csv"),
    top: Annotated[int, typer.Option(min=1, help="How many classes to name per image.")] = 3,
    unreadable: Annotated[str, typer.Option(help="fail, or skip and list.")] = "fail",
) -> None:
    """Name the likeliest classes of every image; of a multi-label checkpoint also all that are likelier than not."""
    from labelwise.inference.evaluate import predict_folder

    count, skipped = predict_folder(model, folder, out, top, skip_unreadable=unreadable == "skip")
    _console().print(f"{count} images -> {out}" + (f", {len(skipped)} unreadable skipped" if skipped else ""))


@app.command(epilog="Example: labelwise report runs/digits        (several runs: one page that compares them)")
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option("--out", help="Page for several runs.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables instead.")] = False,
) -> None:
    """Make report.html of a run or an experiment again, or one page that compares several runs."""
    if markdown:
        from labelwise.report.markdown import markdown_table

        sys.stdout.write("\n".join(markdown_table(run) for run in runs))
        return
    from labelwise.report.html import compare_runs, write_report

    page = write_report(runs[0]) if len(runs) == 1 else compare_runs(runs, out or Path("comparison.html"))
    _console().print(f"report: {page}")


@app.command(epilog="Example: labelwise demo --out runs/demo")
def demo(out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo")) -> None:
    """Both halves on built-in real digits with simulated faults, beside honest controls; minutes on two cores.

    Wrong labels: a chain of refiners. Hidden labels of many categories: fine-tuning of each category, in OUT/cft.
    """
    from labelwise import pipeline
    from labelwise.refinery.chain import refine as run
    from labelwise.refinery.demo import DEMO_NOTE, demo_recipe
    from labelwise.runs import REPORT

    console, second = _console(), out / "cft"
    console.print(DEMO_NOTE, markup=True)
    _show(run(demo_recipe(), out, baselines=True), out)
    console.print(f"\n{pipeline.DEMO_NOTE}", markup=True)
    results = pipeline.demo(second)
    _show(results, second)
    console.print(pipeline.control_line(results), soft_wrap=True)
    console.print(f"both reports: {out / REPORT} and {second / REPORT}", soft_wrap=True)


@app.command(epilog="Example: labelwise features resnet50.a1_in1k --pretrained --data photos.npz --out runs/features")
def features(
    model: Annotated[
        str,
        typer.Argument(help="Checkpoint folder, or a network: a timm name, torchvision/NAME, package.module:function."),
    ],
    data: Annotated[str, typer.Option("--data", help="A data source, or a recipe (.yaml) whose data section is used.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the features; a killed run goes on in it.")],
    weights: Annotated[Path | None, typer.Option("--weights", help="The network's weights (safetensors, .pt).")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The network's weights from its hub.")] = False,
    keep_head: Annotated[bool, typer.Option("--keep-head", help="The outputs are the categories, in order.")] = False,
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = "fp16",
    overrides: SetOption = None,
    quiet: QuietOption = False,
) -> None:
    """Penultimate features, labels and head of a network, once for all: what `labelwise cft` works on."""
    from labelwise.features.extract import extract_features

    recipe = _data_recipe(data, overrides)
    found = extract_features(
        model,
        recipe,
        out,
        weights=weights,
        pretrained=pretrained,
        keep_head=keep_head,
        precision=precision,
        quiet=quiet,
    )
    if not int(os.environ.get("RANK", "0")):
        head = "with its head" if found["head"] else "without a head"
        size = f"{found['rows']:,} x {found['dim']:,} features ({found['precision']}) {head}"
        _console().print(f"{size}, {found['images_per_second']:.0f} a second -> {out}", soft_wrap=True, highlight=False)


@app.command(epilog="Example: labelwise cft features.npz --objective ap --out runs/cft   (no head: --base ignore)")
def cft(
    features: Annotated[Path, typer.Argument(help="Feature file: .npz, or a folder of .npy.", metavar="F")],
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default: runs/NAME-cft.")] = None,
    objective: Annotated[str, typer.Option(help="ap or auc.")] = "ap",
    method: Annotated[str, typer.Option(help="auto, logistic, backprop or genetic.")] = "auto",
    preset: Annotated[str | None, typer.Option(help="fast, or paper-2024: the published solvers and settings.")] = None,
    base: Annotated[str | None, typer.Option(help="First head: assume-negative or ignore.")] = None,
    threshold: Annotated[
        str | None, typer.Option(help="max-f1, precision=X, recall=X or specificity=X, per category.")
    ] = None,
    uncertain: Annotated[
        str, typer.Option(help=f"Uncertain labels: {', '.join(get_args(UncertainName))}.")
    ] = "unknown",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Any other option: key=value.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed.")] = 0,
    quiet: QuietOption = False,
) -> None:
    """Re-fit every category's logistic regression on its known labels; keep what select says is better."""
    from labelwise.cft.run import run_cft
    from labelwise.config import CftConfig
    from labelwise.settings import resolve

    values = {
        "features": str(features),
        "objective": objective,
        "method": method,
        "preset": preset,
        "base": base,
        "threshold": threshold,
        "uncertain": uncertain,
        "seed": seed,
    }
    folder = out or Path("runs") / f"{features.stem}-cft"
    _show(run_cft(resolve(CftConfig, values, overrides or []), folder, quiet=quiet), folder)


@app.command(epilog="Example: labelwise ensemble runs/cft-a runs/cft-b --how rank --out runs/both")
def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Folders of CFT runs on the same samples.", metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/ensemble"),
    how: Annotated[str, typer.Option(help="Mean of what: logit, probability or rank.")] = "rank",
    objective: Annotated[str, typer.Option(help="ap or auc.")] = "ap",
) -> None:
    """Score the mean of several fine-tuned models beside each of them."""
    from labelwise.cft.ensemble import EnsembleConfig, run_ensemble
    from labelwise.report.cft_terminal import ensemble_table
    from labelwise.settings import resolve

    config = resolve(EnsembleConfig, {"how": how, "objective": objective})
    _console().print(ensemble_table(run_ensemble(runs, out, config)))


@app.command(epilog="Example: labelwise experiment recipes/tables/ucm_partial.yaml --out runs/ucm --jobs 2")
def experiment(
    table: Annotated[Path, typer.Argument(help="YAML of rows, columns and heads.", metavar="EXPERIMENT")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: runs/NAME of the experiment.")] = None,
    overrides: SetOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="How many seeds.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Cells that run at once.")] = 1,
    quiet: QuietOption = False,
) -> None:
    """Run a table of many trainings, mean and spread over seeds; goes on where it was stopped."""
    from labelwise.experiment.config import load_experiment
    from labelwise.experiment.run import run_experiment
    from labelwise.report.experiment import experiment_lines, experiment_table, write_tables

    config = load_experiment(table, [*(overrides or []), *([f"seeds={seeds}"] if seeds is not None else [])])
    folder = out or Path("runs") / config.name
    results = run_experiment(config, folder, jobs=jobs, quiet=quiet)
    console = _console()
    console.print(experiment_table(results))
    for line in experiment_lines(results):
        console.print(line, soft_wrap=True)
    console.print("table: {}, picture: {}, page: {}".format(*write_tables(results, folder)), soft_wrap=True)


@app.command(epilog="Example: labelwise export runs/cft --model resnet50.a1_in1k --pretrained --out exported")
def export(
    run: Annotated[Path, typer.Argument(help="Checkpoint folder, or the folder of a CFT run.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; default: RUN/export.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="CFT run: the network of the features.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="The network's weights (safetensors, .pt).")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The network's weights from its hub.")] = False,
) -> None:
    """The network in a folder that timm, torch and labelwise load; a CFT run's head is merged into its network."""
    from labelwise.export import export as write

    done = write(run, out, model=model, weights=weights, pretrained=pretrained)
    console = _console()
    console.print(f"{len(done.categories):,} categories -> {done.folder}, checked", soft_wrap=True, highlight=False)
    if done.timm:
        console.print(f'timm.create_model("local-dir:{done.folder}", pretrained=True)', soft_wrap=True, highlight=False)


@data_app.command("stats", epilog="Example: labelwise data stats photos/ --set data.select_share=0.1")
def data_stats(
    data: Annotated[str, typer.Argument(help="A data source, or a recipe (.yaml) whose data section is used.")],
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Counts per class or category and split, image sizes, unreadable files; warnings about labels that are known."""
    from labelwise.data.readers import load_dataset
    from labelwise.data.stats import dataset_stats, render_stats
    from labelwise.runs import finite

    stats = dataset_stats(load_dataset(_data_recipe(data, overrides).data, partial=True))
    if as_json:
        sys.stdout.write(json.dumps(finite(stats), indent=1) + "\n")
    else:
        _console().print(render_stats(stats))


def _data_recipe(data: str, overrides: list[str] | None) -> Recipe:
    if data.endswith((".yaml", ".yml")):
        return load_recipe(Path(data), overrides or [])
    return load_recipe(None, [f"data.source={json.dumps(data)}", *(overrides or [])])


def _console(width: int | None = None) -> Console:
    """For what may hold names of the user's, in which brackets and colons are neither markup nor emoji."""
    return Console(width=width, markup=False, emoji=False)


def _show(results: dict[str, object], folder: Path) -> None:
    """Table, summary and report of a finished run, once, by the main process."""
    if int(os.environ.get("RANK", "0")):
        return
    from labelwise.report.cft_terminal import CFT_WIDTH, cft_summary_lines, cft_table
    from labelwise.report.html import write_report
    from labelwise.report.terminal import results_table, summary_lines

    page = write_report(folder)
    console = _console()
    multi_label = results["kind"] == "cft"
    if multi_label:  # a narrower terminal folds its lines, which loses less than cutting columns off
        _console(max(console.width, CFT_WIDTH)).print(cft_table(results))
    else:
        console.print(results_table(results))
    for line in cft_summary_lines(results) if multi_label else summary_lines(results):
        console.print(line, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)


def main() -> None:
    """Entry point: errors of the user's making become one line and exit code 1."""
    try:
        app()
    except LabelwiseError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {_plain(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command goes on where it was")
        sys.exit(130)
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    """Under torchrun, say goodbye to the other processes; nothing to do (and no torch to import) elsewhere."""
    if "RANK" in os.environ:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
