"""A labelling pass between two generations: what the one says of the views of the other is written to a store."""

from __future__ import annotations

from labelwise.data.counter_rng import derive_seed
from labelwise.models import checkpoint
from labelwise.progress import Progress
from labelwise.refinery.context import TrainingContext
from labelwise.refinery.generations import Generation, LabelStore, NetworkSpec, Refinery
from labelwise.refinery.network import refinery_labels
from labelwise.refinery.stored import stored_rows
from labelwise.runs import read_json
from labelwise.store.header import Refined
from labelwise.store.making import Kept, LabelPass, MadeWith, new_header
from labelwise.store.reader import Store


def write_labels(context: TrainingContext, generation: Generation, refineries: tuple[Refinery, ...]) -> LabelStore:
    """The store of what ``refineries`` say of the views that ``generation`` learns from; what is missing of it is made.

    It lies beside the networks of the seed, and is a store like any other. Ranks take turns with its shards.

    Raises
    ------
    LabelwiseError
        If the folder holds another store, or it cannot be made.
    """
    context = context.with_views(generation.views)
    recipe, runtime = context.recipe, context.runtime
    options, by = recipe.chain.write_store, generation.labelled_by
    folder = context.folder / f"labels-by-generation-{by}"
    labels = refinery_labels(context, NetworkSpec("", "", generation.model, generation.train, refineries=refineries))
    assert labels is not None
    made_with = MadeWith(
        tuple(_refined(one) for one in refineries),
        recipe.train.precision,
        recipe.views,
        derive_seed(context.seed, "labels by generation", by),
    )
    rows = stored_rows(recipe, context.dataset)
    kept = Kept(options.views, options.k, options.precision, options.mass)
    header, edges = new_header(context.dataset, rows, kept, made_with)
    work = LabelPass(header, context.dataset, rows, edges, labels, context.loader)
    work.claim(folder)
    todo = [number for number in range(work.shards) if not work.is_finished(folder, number)]
    own = todo[runtime.shard.rank :: runtime.shard.world]
    runtime.accelerator.wait_for_everyone()
    with Progress(f"seed {context.seed} {folder.name}", quiet=context.quiet or not runtime.is_main) as progress:
        progress.start(sum(work.size(number) for number in own))
        for number in own:
            work.make(folder, number, progress.advance)
    labels.assert_unchanged()
    runtime.accelerator.wait_for_everyone()
    return LabelStore(folder, Store(folder).checksum())


def _refined(refinery: Refinery) -> Refined:
    card = read_json(refinery.path / checkpoint.CARD)
    return Refined(name=refinery.name, weights_hash=refinery.weights_hash, input=card["input"])
