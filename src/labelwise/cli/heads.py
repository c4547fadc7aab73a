"""Commands around category-wise fine-tuning: features, cft and ensemble."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from labelwise.cli.common import (
    ByOrderOption,
    DataOption,
    EngineOption,
    ObjectiveOption,
    PretrainedOption,
    QuietOption,
    SetOption,
    ShardOption,
    ShardSamplesOption,
    TrustCodeOption,
    WeightsOption,
    WorkersOption,
    app,
    existing,
    make_console,
    show_run,
)
from labelwise.config import (
    BaseHead,
    CftConfig,
    CftMethod,
    CftPreset,
    EnsembleMean,
    FeaturePrecision,
    UncertainName,
    data_recipe,
)
from labelwise.settings import resolve


@app.command(
    epilog="Example: labelwise features resnet50.a1_in1k --pretrained --data photos.npz --out runs/features   "
    "(faster: --workers 8; several machines: --shard 3/64 on each, or start it by torchrun or as a Slurm array)"
)
def features(
    model: Annotated[
        str,
        typer.Argument(help="Checkpoint folder, or a network: a timm name, torchvision/NAME, package.module:function."),
    ],
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder to write. An interrupted command continues in it.")],
    weights: WeightsOption = None,
    pretrained: PretrainedOption = False,
    weights_by_order: ByOrderOption = False,
    keep_head: Annotated[
        bool, typer.Option("--keep-head", help="The network's outputs are the categories of the data, in their order.")
    ] = False,
    precision: Annotated[FeaturePrecision, typer.Option(help="Number format of the features in the file.")] = "fp16",
    workers: WorkersOption = 1,
    engine: EngineOption = None,
    shard: ShardOption = None,
    shard_samples: ShardSamplesOption = None,
    overrides: SetOption = None,
    trust_code: TrustCodeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute the penultimate features of every sample, once. `labelwise cft` works on these.

    The folder also holds the labels, and the head of the network where its outputs are the categories of the data. Any
    number of processes may write into one folder.
    """
    recipe = data_recipe(data, overrides or [])
    from labelwise.features.extract import write_features
    from labelwise.features.job import FeaturesRequest
    from labelwise.models.backbone import ModelSource
    from labelwise.runs import RESULTS
    from labelwise.sharding.part import own_part

    source = ModelSource(model, weights, pretrained, weights_by_order, trust_code)
    request = FeaturesRequest(source, recipe, keep_head, precision, shard_samples)
    part, first, finished = own_part(shard, os.environ), not int(os.environ.get("RANK", "0")), (out / RESULTS).exists()
    found = write_features(request, out, part, workers, engine=engine, quiet=quiet or not first)
    if found is not None:
        words = (
            f"{found.rows:,} x {found.dim:,} features ({found.precision}) {'with its' if found.head else 'without a'}"
        )
        words += f" head, {found.images_per_second or 0:.0f} a second -> {out}"
    else:
        words = part.missing_in_words(out)
    if first or not (finished or found is None):  # whoever made the last shard tells
        make_console().print(words, soft_wrap=True, highlight=False)


@app.command(epilog="Example: labelwise cft features.npz --objective ap --out runs/cft   (no head: --base ignore)")
def cft(
    features: Annotated[
        Path, typer.Argument(help="Feature file: .npz, or a folder of .npy files.", metavar="F", callback=existing)
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Run folder. Default: runs/NAME-cft.")] = None,
    objective: ObjectiveOption = "ap",
    method: Annotated[CftMethod, typer.Option(help="Solver. auto compares several on select.")] = "auto",
    preset: Annotated[
        CftPreset | None, typer.Option(help="Settings of the solver. paper-2024: the published ones.")
    ] = None,
    base: Annotated[
        BaseHead | None, typer.Option(help="Fit a first head. What unknown labels count as while it is fitted.")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="Rule for each category: max-f1, precision=X, recall=X (or sensitivity=X) or specificity=X."),
    ] = None,
    uncertain: Annotated[UncertainName, typer.Option(help="What uncertain fit labels count as.")] = "unknown",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Set any other option: key=value.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    quiet: QuietOption = False,
) -> None:
    """Re-fit the logistic regression of every category on its known labels.

    A category keeps its old head unless the select split says that the new one is better.
    """
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
    config = resolve(CftConfig, values, overrides or [])
    from labelwise.cft.run import run_cft

    folder = out or Path("runs") / f"{features.stem}-cft"
    run_cft(config, folder, quiet=quiet)
    show_run(folder)


@app.command(epilog="Example: labelwise ensemble runs/cft-a runs/cft-b --how rank --out runs/both")
def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of CFT runs on the same samples.", metavar="RUN...", callback=existing)
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/ensemble"),
    how: Annotated[EnsembleMean, typer.Option(help="What the mean is taken of.")] = "rank",
    objective: ObjectiveOption = "ap",
) -> None:
    """Score the mean of several fine-tuned models, beside each model alone."""
    from labelwise.cft.ensemble import EnsembleConfig, run_ensemble
    from labelwise.report.scores import ensemble_table
    from labelwise.report.table import terminal

    results = run_ensemble(runs, out, EnsembleConfig(how=how, objective=objective))
    make_console().print(terminal(ensemble_table(results)))
