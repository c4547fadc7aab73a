"""The command ``label``: what networks say of every crop, once, as a store that any training reads."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelwise.cli.common import (
    DataOption,
    EngineOption,
    JsonOption,
    QuietOption,
    SeedOption,
    SetOption,
    ShardOption,
    ShardSamplesOption,
    TrustCodeOption,
    WorkersOption,
    app,
    existing,
    given_overrides,
    make_console,
)
from labelwise.config import LabelledSplit, data_recipe, own_networks
from labelwise.errors import ConfigError

if TYPE_CHECKING:
    from labelwise.labelling.run import LabelRun
    from labelwise.results import LabelResults


KOption = Annotated[
    str | None,
    typer.Option("--k", help="Number of likeliest classes kept of a crop, or all. Default: 10; multi-label: all."),
]
MassOption = Annotated[
    float | None, typer.Option("--mass", min=0, max=1, help="Keep no more classes than have this probability together.")
]
PrecisionOption = Annotated[
    Literal["fp16", "uint8"], typer.Option(help="Number format of a log-probability: two bytes or one.")
]
NoBoxesOption = Annotated[
    bool, typer.Option("--no-boxes", help="Leave the crop boxes out (8 bytes); they are drawn again from the seed.")
]


@app.command(
    epilog="Example: labelwise label runs/photos/best --data photos --views 64 --k 10 --out runs/store   "
    "(several machines: --shard 3/64 on each, or start it by torchrun or as a Slurm array)"
)
def label(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Checkpoint folders, or timm:NAME with the classes of the data. The mean of several labels.",
            metavar="MODEL...",
        ),
    ],
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the store. An interrupted command continues in it.")],
    views: Annotated[
        int | None, typer.Option("--views", min=1, help="Crops of every sample. Default: views.number of the recipe.")
    ] = None,
    k: KOption = None,
    mass: MassOption = None,
    precision: PrecisionOption = "fp16",
    no_boxes: NoBoxesOption = False,
    split: Annotated[
        LabelledSplit, typer.Option(help="Samples that are labelled. training: fit and unlabelled.")
    ] = "training",
    workers: WorkersOption = 1,
    engine: EngineOption = None,
    shard: ShardOption = None,
    shard_samples: ShardSamplesOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print size and expected time and stop.")] = False,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the labels of V random crops of every sample, once, for any number of trainings.

    Size and expected time are printed before the run. The same command continues a stopped run. Any number of processes
    may write into one store: each shard is a pure function of the seed, and appears whole or not at all.
    """
    for model in models:
        if not model.startswith(("timm:", "torchvision:")):
            existing(Path(model))
    if k not in (None, "all") and not (k.isdecimal() and int(k) > 0):
        raise ConfigError(f"--k {k}: expected a number of classes from 1 on, or all")
    recipe = data_recipe(data, given_overrides(overrides, seed, None))
    if (number := views or recipe.views.number) is None:
        raise ConfigError("say how many views of every sample are labelled: --views")
    from labelwise.labelling.job import LabelRequest
    from labelwise.labelling.run import label as run
    from labelwise.labelling.run import prepare
    from labelwise.sharding.part import own_part
    from labelwise.store.making import Kept

    kept: int | Literal["all"] | None = int(k) if k and k.isdecimal() else "all" if k else None
    keeps = Kept(number, kept, precision, mass, not no_boxes, shard_samples)
    request = LabelRequest(tuple(models), recipe, keeps, split, trust_code or own_networks(recipe))
    ready = prepare(request, out, own_part(shard, os.environ), workers)
    first = not int(os.environ.get("RANK", "0"))
    if first:
        _tell_plan(ready, plan and as_json, as_json or (quiet and not plan))
    if not plan:
        found = run(ready, engine=engine, quiet=quiet or not first)
        if first or (found is not None and ready.shards.todo):  # whoever made the last shard tells
            _tell_result(ready, found, as_json)


def _tell_plan(run: LabelRun, as_json: bool, quiet: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(run.estimate), indent=1) + "\n")
    elif not quiet:
        part = run.shards.part
        place = "" if part.count == 1 else f"{part}: "
        make_console().print(f"{place}{run.estimate.in_words()}", soft_wrap=True, highlight=False)


def _tell_result(run: LabelRun, found: LabelResults | None, as_json: bool) -> None:
    if found is None:
        words = run.shards.part.missing_in_words(run.shards.out)
    elif as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
        return
    else:
        speed = f", {found.crops_per_second:,.0f} a second" if found.crops_per_second else ""
        words = f"{found.crops:,} crops, {found.bytes_per_crop:.1f} bytes each{speed}, checksum {found.checksum}"
        words += f" -> {run.shards.out}"
    make_console().print(words, soft_wrap=True, highlight=False)
