"""What a user asks to be labelled, with its data and networks opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from labelwise.config import LabelledSplit, Recipe
from labelwise.data.dataset import SPLITS, UNLABELLED
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset, views_of
from labelwise.errors import DataError
from labelwise.labelling.refineries import open_refineries
from labelwise.models.foreign import Trust
from labelwise.store.making import Kept, LabelPass, MadeWith, new_header
from labelwise.training.runtime import choose_device


@dataclass(frozen=True)
class LabelJob(LabelPass):
    """A labelling pass on a device."""

    device: torch.device


@dataclass(frozen=True)
class LabelRequest:
    """What is labelled by whom; every process makes the same of it.

    Parameters
    ----------
    models : see :func:`labelwise.labelling.refineries.open_refineries`; their mean is taken
    recipe : its ``data``, ``views``, ``seed``, ``train.precision`` and ``train.channels_last`` are used
    kept : what the store keeps
    split : samples of this split are labelled; ``training`` is ``fit`` and ``unlabelled``
    trust : what may be built that the card of a checkpoint describes
    """

    models: tuple[str, ...]
    recipe: Recipe
    kept: Kept
    split: LabelledSplit = "training"
    trust: Trust = False

    def open(self, place: int = 0, processes: int = 1) -> LabelJob:
        """Open data and networks.

        Parameters
        ----------
        place, processes : see :class:`labelwise.sharding.processes.Request`

        Raises
        ------
        LabelwiseError
            If a network cannot label the data, or the store cannot be as it is asked for.
        """
        recipe = self.recipe
        device = choose_device(place)
        if device.type == "cpu":
            torch.set_num_threads(1)  # sums depend on the number of threads
        dataset = load_dataset(recipe.data)
        splits = {"training": ("fit", UNLABELLED), "all": (*SPLITS, UNLABELLED)}.get(self.split, (self.split,))
        rows = np.flatnonzero(np.isin(dataset.split, splits)).astype(np.int64)
        if not len(rows):
            raise DataError(f"{dataset.name}: no sample is in {' or '.join(splits)}; choose others by --split")
        refinery, refineries = open_refineries(self.models, dataset, recipe, device, self.trust)
        views = views_of(recipe.data, recipe.views)
        made_with = MadeWith(refineries, recipe.train.precision, views, recipe.seed)
        header, edges = new_header(dataset, rows, self.kept, made_with)
        loader = make_loader(dataset, views, device, recipe.data.decoders // processes)
        return LabelJob(header, dataset, rows, edges, refinery, loader, device)
