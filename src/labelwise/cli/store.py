"""Commands that look after stores of crop labels: verify, info, merge and export."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from labelwise.cli.common import JsonOption, SetOption, TrustCodeOption, app, existing, make_console
from labelwise.config import data_recipe
from labelwise.errors import LabelwiseError

store_app = typer.Typer(no_args_is_help=True, help="Look after stores of crop labels.")
app.add_typer(store_app, name="store")

StoreArgument = Annotated[
    Path, typer.Argument(help="Folder written by `labelwise label`.", metavar="STORE", callback=existing)
]


@store_app.command(epilog="Example: labelwise store info runs/store")
def info(store: StoreArgument, as_json: JsonOption = False) -> None:
    """Print what the labels of a store are, what they were made with, and whether all shards are there."""
    from labelwise.store.check import describe

    about = describe(store)
    if as_json:
        sys.stdout.write(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
        return
    console = make_console()
    for key, value in about.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        short = text if len(text) <= 200 else f"{text[:197]}..."
        console.print(f"{key.replace('_', ' ')}: {short}", soft_wrap=True, highlight=False)


@store_app.command(epilog="Example: labelwise store verify runs/store --sample 4096")
def verify(
    store: StoreArgument,
    data: Annotated[
        str | None, typer.Option("--data", help="Data source, or a recipe. Default: what the store was made of.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Network that labelled; may be given several times. Default: those of the store."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Number of crops that are labelled again; 0 compares checksums alone.")
    ] = 1024,
    overrides: SetOption = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check every byte of a store by its checksums, then label random crops again from the images.

    Where the data or the networks are not at hand, the checksums alone are compared. The exit code is 1 if a byte has
    changed, an image is another one, or a probability differs by more than rounding explains.
    """
    from labelwise.store.check import damages

    found, compared, note = damages(store), None, ""
    if not found and sample:
        from labelwise.labelling.verify import compare_again

        recipe = None if data is None else data_recipe(data, overrides or [])
        try:
            compared = compare_again(store, recipe, tuple(models or ()), sample, trust_code)
        except LabelwiseError as error:
            if recipe is not None or models:
                raise
            note = f"only checksums were compared; give --data and --model ({error})"
    if as_json:
        sys.stdout.write(json.dumps({"damages": found, "replay": compared and asdict(compared)}, indent=1) + "\n")
    else:
        words = [*found] or ["every byte is as it was written"]
        words += [compared.in_words()] if compared else [note] if note else []
        for line in words:
            make_console().print(line, soft_wrap=True, highlight=False)
    if found or (compared and not compared.same):
        raise typer.Exit(1)


@store_app.command(epilog="Example: labelwise store merge runs/store-a runs/store-b --out runs/store")
def merge(
    stores: Annotated[
        list[Path],
        typer.Argument(help="Stores of different samples, made alike.", metavar="STORE...", callback=existing),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
) -> None:
    """Join stores of different samples into one."""
    from labelwise.store.merge import merge as run

    header = run(stores, out)
    make_console().print(
        f"{header.samples:,} samples in {header.shards:,} shards -> {out}", soft_wrap=True, highlight=False
    )


@store_app.command(epilog="Example: labelwise store export runs/store --out labels.parquet")
def export(
    store: StoreArgument,
    out: Annotated[Path, typer.Option("--out", help="File .parquet, or a folder for a file of each image.")],
    tables: Annotated[Literal["npz", "csv"], typer.Option(help="Format of the files in a folder.")] = "npz",
) -> None:
    """Write a store as one Parquet file with a row for each crop, or as a small file for each image."""
    from labelwise.store import export as exported
    from labelwise.store.reader import Store

    opened = Store(store)
    if out.suffix == ".parquet":
        exported.export_parquet(opened, out)
        words = f"{len(opened) * opened.header.views_per_sample:,} crops"
    else:
        words = f"{exported.export_tables(opened, out, tables):,} files"
    make_console().print(f"{words} -> {out}", soft_wrap=True, highlight=False)
