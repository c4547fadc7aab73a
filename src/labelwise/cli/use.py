"""Commands that use what is there: evaluate, predict, report, export and data stats."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from labelwise.cli.common import (
    ByOrderOption,
    DataOption,
    JsonOption,
    ModelArgument,
    PretrainedOption,
    SetOption,
    TrustCodeOption,
    WeightsOption,
    app,
    data_app,
    existing,
    make_console,
)
from labelwise.config import UnreadablePolicy, data_recipe
from labelwise.errors import ConfigError, RunError


@app.command(epilog="Example: labelwise evaluate runs/digits/seed-0/generation-5 --data digits --split test")
def evaluate(
    model: ModelArgument,
    data: DataOption,
    split: Annotated[
        Literal["fit", "select", "test", "all"], typer.Option(help="Part of the data that is scored, or all of it.")
    ] = "test",
    overrides: SetOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file that the scores are also written to.")] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="HTML file that shows the scores in a browser, without a network.")
    ] = None,
    curves: Annotated[
        list[str] | None,
        typer.Option(
            "--curves",
            help="Multi-label: category whose PR and ROC curves are kept. May be given several times. Default with "
            "--page: the eight with the lowest AP.",
        ),
    ] = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a checkpoint: top-1, top-5, NLL, calibration, and a row per class.

    Multi-label data: mAP, AUC, and precision, recall and F1 at the checkpoint's own thresholds (0.5 without) and at
    thresholds tuned on select. Only known labels count.
    """
    from labelwise.results import check_scores_file
    from labelwise.runs import check_two_files, write_json

    check_two_files({"--out": out, "--page": page})
    if out is not None:
        check_scores_file(out)
    if page is not None:
        from labelwise.report.page import check_page_file

        check_page_file(page, "--page")
    recipe = data_recipe(data, overrides or [])
    from labelwise.inference.evaluate import evaluate as run

    drawn = curves or (None if page is None else ())
    scores = run(model, recipe, split=split, curves=drawn, trust_code=trust_code)
    if out is not None:
        write_json(out, scores.to_json())
    if page is not None:
        from labelwise.report.evaluate_page import write_evaluation

        write_evaluation(scores, page)
    if as_json:
        sys.stdout.write(json.dumps(scores.to_json(), indent=1) + "\n")
    else:
        from labelwise.report.scores import scores_table
        from labelwise.report.table import terminal

        console = make_console()
        console.print(terminal(scores_table(scores)))
        if page is not None:
            console.print(f"page: {page}", soft_wrap=True, highlight=False)


@app.command(epilog="Example: labelwise predict runs/digits/seed-0/generation-5 photos/ --out predictions.csv")
def predict(
    model: ModelArgument,
    folder: Annotated[
        Path, typer.Argument(help="Folder of images, or an .npz file of images or embeddings.", callback=existing)
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write, .csv or .json.")] = Path("predictions.csv"),
    top: Annotated[int, typer.Option(min=1, help="Number of classes that are named per image.")] = 3,
    unreadable: Annotated[
        UnreadablePolicy, typer.Option(help="Unreadable images: fail at the first, or skip and count them.")
    ] = "fail",
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Largest image that is read, in pixels. Larger ones are unreadable.")
    ] = 178_956_970,
    trust_code: TrustCodeOption = False,
) -> None:
    """Name the most probable classes of every image.

    A multi-label checkpoint also names every category at or above its threshold: the checkpoint's own, or 0.5.
    """
    from labelwise.inference.predict import check_predictions_file, write_predictions
    from labelwise.inference.predict import predict as run

    check_predictions_file(out)
    found = run(model, folder, unreadable=unreadable, max_pixels=max_pixels, trust_code=trust_code)
    write_predictions(found, out, top)
    skipped = f", {len(found.unreadable)} unreadable skipped" if found.unreadable else ""
    make_console().print(f"{len(found.ids)} images -> {out}{skipped}")


@app.command(epilog="Example: labelwise report runs/digits        (several runs: one page that compares them)")
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...", callback=existing)],
    out: Annotated[Path | None, typer.Option("--out", help="File of the page that compares several runs.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables instead of a page.")] = False,
) -> None:
    """Write report.html of a run or an experiment again, or one page that compares several runs."""
    from labelwise.report.write import compare_runs, markdown_report, write_report
    from labelwise.runs import REPORT

    if markdown:
        if out is not None:
            raise RunError(f"--out {out}: Markdown is printed; leave --out out, and redirect the output to a file")
        sys.stdout.write("\n".join(markdown_report(run) for run in runs))
        return
    if out is not None and len(runs) == 1:
        raise RunError(f"--out {out}: the page of one run is {runs[0] / REPORT}; leave --out out, or name several runs")
    page = write_report(runs[0]) if len(runs) == 1 else compare_runs(runs, out or Path("comparison.html"))
    make_console().print(f"report: {page}")


@app.command(epilog="Example: labelwise export runs/cft --model resnet50.a1_in1k --pretrained --out exported")
def export(
    run: Annotated[
        Path, typer.Argument(help="Checkpoint folder, or the folder of a CFT run.", metavar="RUN", callback=existing)
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write. Default: RUN/export.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="CFT run: the network that the features were computed with.")
    ] = None,
    weights: WeightsOption = None,
    pretrained: PretrainedOption = False,
    weights_by_order: ByOrderOption = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write model.onnx, for ONNX Runtime and others.")] = False,
    exported: Annotated[bool, typer.Option("--exported", help="Also write model.pt2, of torch.export.")] = False,
    torchscript: Annotated[bool, typer.Option("--torchscript", help="Also write model.ts, of TorchScript.")] = False,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Images (or .npz) to check these files with. Default: random ones."),
    ] = None,
    trust_code: TrustCodeOption = False,
) -> None:
    """Write the network to a folder that timm, torch and labelwise load.

    The head of a CFT run becomes the head of its network. With --onnx, --exported and --torchscript, other runtimes
    make the same decisions as `labelwise predict`: normalisation, classes and thresholds are in the file.
    """
    if images is not None and not (onnx or exported or torchscript):
        raise ConfigError("--images: they check what --onnx, --exported or --torchscript writes; give one of these")
    existing([images] if images else [])
    from labelwise.export.formats import Graphs
    from labelwise.export.network import export as write
    from labelwise.models.backbone import ModelSource

    given = model or weights or pretrained or weights_by_order
    network = ModelSource(model or "", weights, pretrained, weights_by_order, trust_code) if given else None
    graphs = Graphs(onnx=onnx, exported=exported, torchscript=torchscript, images=images)
    done = write(run, out, network, graphs=graphs, trust_code=trust_code)
    console = make_console()
    console.print(f"{len(done.categories):,} categories -> {done.folder}, checked", soft_wrap=True, highlight=False)
    for file, gap in done.graphs.items():
        console.print(f"{file}: at most {gap:.1e} from the network", soft_wrap=True, highlight=False)
    if done.timm:
        console.print(f'timm.create_model("local-dir:{done.folder}", pretrained=True)', soft_wrap=True, highlight=False)


@app.command(epilog="Example: labelwise push runs/digits/best me/digits-narrow --dry-run")
def push(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(help="Name on the Hugging Face hub.", metavar="USER/NAME")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder that is written first. Default: MODEL/export.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder and upload nothing.")] = False,
    trust_code: TrustCodeOption = False,
) -> None:
    """Export a checkpoint, write a model card from what its run says, and upload both to the Hugging Face hub.

    Every command that takes a checkpoint takes hf-hub:USER/NAME then; timm does, too, for its own networks.
    """
    from labelwise.export.push import push as upload

    done = upload(model, name, out=out, private=private, dry_run=dry_run, trust=trust_code)
    told = f"{done.folder}: nothing was uploaded" if done.address is None else f"{done.folder} -> {done.address}"
    make_console().print(told, soft_wrap=True, highlight=False)


@data_app.command("stats", epilog="Example: labelwise data stats photos/ --set data.select_share=0.1")
def data_stats(
    data: Annotated[str, typer.Argument(help="Data source, or a recipe (.yaml) with a data section.")],
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count samples per class or category and split, and list image sizes and unreadable files.

    Warnings tell where known labels are too few, or where missing labels are not missing at random. What was assumed
    about the files and the splits is told in one line each.
    """
    from rich.text import Text

    from labelwise.data.notes import assumptions
    from labelwise.data.readers import load_dataset
    from labelwise.data.stats import dataset_stats, render_stats
    from labelwise.runs import finite

    with assumptions() as assumed:
        stats = dataset_stats(load_dataset(data_recipe(data, overrides or []).data, partial=True))
    stats["assumed"] = assumed
    if as_json:
        sys.stdout.write(json.dumps(finite(stats), indent=1) + "\n")
        return
    console = make_console()
    console.print(render_stats(stats))
    for line in assumed:  # each in one line, however long
        console.print(Text(f"Assumed: {line}"), soft_wrap=True)
