"""Labellers: who says what each view shows.

The refinery is a frozen network that is asked about every view (arXiv 1805.02641). The other labellers need no network:
the given label of the image, labels that were made beforehand, and another labeller's answer at a temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelwise.data.loaders import Batch
from labelwise.errors import DataError, ModelError
from labelwise.losses import tempered
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier, as_classifier, class_order
from labelwise.training.task import Labeller

RANGE_TOLERANCE = 0.02
"""How far outside [0, 1] pixels may lie: resampling with bicubic overshoots, and bfloat16 rounds."""


class FrozenNetwork(nn.Module):
    """A classifier that stays in eval mode whatever is called on it, and has nothing to train.

    The official code leaves its refinery in train mode, so that a crop's label depends on the rest of the batch and
    the refinery's statistics drift. Here neither can happen.

    Parameters
    ----------
    model : the network; it is frozen in place
    name : what it is called in tables and messages; default: its own name
    autocast : makes the context of mixed precision, such as ``accelerator.autocast``
    batch_statistics : batch norms take the mean and variance of the batch, as in the official code, for comparison
    """

    def __init__(
        self,
        model: Classifier,
        name: str | None = None,
        *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        batch_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.name = name or model.name
        self.autocast, self.batch_statistics = autocast, batch_statistics
        self.eval()
        if batch_statistics:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    # A norm without statistics of its own takes the batch's, in eval mode too; none are updated.
                    module.running_mean = module.running_var = module.num_batches_tracked = None

    def train(self, mode: bool = True) -> Self:
        """Locked: always eval."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K), float32."""
        return self.model(x).float()


class RefineryLabels:
    """Soft labels of views: what the frozen network makes of exactly these pixels, without any given label.

    The label of a view is the network's probability for each class; of several networks, their mean. It has no graph,
    so ``torch.nn.functional.cross_entropy(student(images), labels(images))`` trains the student alone.

    Parameters
    ----------
    models : one refinery or several: networks of labelwise, timm, torchvision or your own that give logits (B, K). They
        are frozen in place and stay in eval mode
    classes : names of the K classes in the order of the labels, or K. A refinery of labelwise with the same names in
        another order is re-ordered. Default: those of the first refinery, which must then be a network of labelwise
    mean, std : what a network that is not labelwise's wants its pixels in [0, 1] normalised with, per channel.
        Default: what the ``pretrained_cfg`` of a timm model says
    size : side in px of the images that such a network takes. Default: any size
    normalised : (mean, std) that the images of your loop were normalised with, per channel. Default: they are raw
        pixels, uint8 in 0..255 or floats in [0, 1]
    multi_label : the classes are separate questions: probabilities are sigmoids
    unseen : (N,) by row of the data set the number of the one refinery that has not seen the sample, and labels it;
        -1: all label it, as none has learnt its label. Default: all refineries label all samples

    Raises
    ------
    ModelError
        If a refinery has other classes, or does not say how its input is normalised.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> labels = RefineryLabels(net, ("cat", "dog"), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    >>> labels(torch.rand(4, 3, 8, 8)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        models: nn.Module | Sequence[nn.Module],
        classes: Sequence[str] | int | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: int | None = None,
        normalised: tuple[Sequence[float], Sequence[float]] | None = None,
        multi_label: bool = False,
        unseen: NDArray[np.int64] | None = None,
    ) -> None:
        given = [models] if isinstance(models, nn.Module) else list(models)
        networks = [model.model if isinstance(model, FrozenNetwork) else model for model in given]
        names = _class_names(networks, classes)
        self._refineries: list[FrozenNetwork] = []
        for model in given:
            if isinstance(model, FrozenNetwork):
                self._refineries.append(model)
            else:
                self._refineries.append(FrozenNetwork(as_classifier(model, names, mean, std, size)))
        any_names = isinstance(classes, int)
        self._orders = [None if any_names else class_order(one.model, names, one.name) for one in self._refineries]
        self._classes, self._size, self._unseen, self._multi_label = len(names), size, unseen, multi_label
        self._normalised = None if normalised is None else [torch.tensor(v).view(1, -1, 1, 1) for v in normalised]
        self.batch_statistics = any(one.batch_statistics for one in self._refineries)
        self.sizes = tuple(sorted({one.model.spec.size for one in self._refineries}))
        self._before = self.hashes()

    @torch.no_grad()
    def __call__(self, views: Batch | Tensor) -> Tensor:
        """Labels (B, K) float32 of B views.

        Parameters
        ----------
        views : images (B, C, H, W) as the constructor says, embeddings (B, D), or a batch of labelwise's loaders

        Raises
        ------
        DataError
            If the images are not what the constructor says: out of range, NaN, of another dtype or shape.
        ModelError
            If a refinery cannot take them, or answers with NaN or with another number of classes.
        """
        if isinstance(views, Batch):
            return self.answer(views)
        if self._unseen is not None:
            raise ModelError("RefineryLabels: unseen needs to know the samples; call it with a Batch")
        total = torch.zeros(())
        for number, refinery in enumerate(self._refineries):
            q = self._probability(number, self._checked(views, refinery.model))
            total = total.to(q.device) + q
        if not torch.isfinite(total).all():
            raise ModelError(f"refinery {self.names} answers with NaN; are its weights the right ones?")
        return total / len(self._refineries)

    def by_unseen(self, unseen: NDArray[np.int64]) -> RefineryLabels:
        """The same refineries; each sample is labelled by the one that has not seen it.

        Parameters
        ----------
        unseen : (N,) as in the constructor
        """
        found = copy(self)
        found._unseen = unseen
        return found

    def answer(self, batch: Batch) -> Tensor:
        """The labels of a batch with the graph back to its views, along which jitter moves them.

        Parameters
        ----------
        batch : its ``inputs`` hold the views (B, channels, size, size) by size

        Returns
        -------
        (B, K) float32 probabilities
        """
        views = [batch.inputs[refinery.model.spec.size] for refinery in self._refineries]
        if self._unseen is None:
            return self._mean(views)
        unseen = self._unseen[batch.rows]
        parts, places = [], []
        for number in np.unique(unseen):
            place = torch.from_numpy(np.flatnonzero(unseen == number)).to(views[0].device)
            places.append(place)
            if number < 0:
                parts.append(self._mean([x[place] for x in views]))
            else:
                parts.append(self._probability(int(number), views[number][place]))
        return torch.cat(parts)[torch.argsort(torch.cat(places))]

    def _mean(self, views: list[Tensor]) -> Tensor:
        total = torch.zeros((), device=views[0].device)
        for number, x in enumerate(views):
            total = total + self._probability(number, x)
        return total / len(self._refineries)

    @torch.no_grad()
    def log_answer(self, batch: Batch) -> Tensor:
        """Logarithms of :meth:`answer`, without its rounding where a refinery is very sure; all label all samples.

        Parameters
        ----------
        batch : as there

        Returns
        -------
        (B, K) float32 log-probabilities; of multi-label data log-odds
        """
        views = [batch.inputs[refinery.model.spec.size] for refinery in self._refineries]
        logits = torch.stack([self._logits(number, x) for number, x in enumerate(views)])
        if not self._multi_label:
            return torch.logsumexp(torch.log_softmax(logits, 2), 0) - math.log(len(logits))
        yes, no = (torch.logsumexp(nn.functional.logsigmoid(sign * logits), 0) for sign in (1, -1))
        return yes - no

    def _probability(self, number: int, x: Tensor) -> Tensor:
        logits = self._logits(number, x)
        return torch.sigmoid(logits) if self._multi_label else torch.softmax(logits, dim=1)

    def _logits(self, number: int, x: Tensor) -> Tensor:
        refinery, order = self._refineries[number], self._orders[number]
        with refinery.autocast():
            try:
                logits = refinery(x)
            except (RuntimeError, ValueError, AssertionError, IndexError) as error:
                reason = " ".join(str(error).split())[:160]
                raise ModelError(f"refinery {refinery.name} cannot take {tuple(x.shape)} inputs: {reason}") from error
            if logits.ndim != 2 or logits.shape[1] != self._classes:
                raise ModelError(
                    f"refinery {refinery.name} gives logits {tuple(logits.shape)}, expected {self._classes} classes"
                )
        return logits if order is None else logits[:, order.to(logits.device)]

    def _checked(self, images: Tensor, model: Classifier) -> Tensor:
        """The images as raw pixels in [0, 1] on the device of ``model``, or the embeddings."""
        spec = model.spec
        if spec.kind == "features":
            if images.ndim != 2 or images.shape[1] != spec.size:
                raise DataError(f"{model.name} takes embeddings (B, {spec.size}), got {tuple(images.shape)}")
            return images.to(model.mean.device)
        if images.ndim != 4 or images.shape[1] not in (spec.channels, 1):
            raise DataError(f"{model.name} takes images (B, {spec.channels}, H, W), got {tuple(images.shape)}")
        if self._size is not None and tuple(images.shape[2:]) != (self._size, self._size):
            raise DataError(f"{model.name} takes images of {self._size} px, got {tuple(images.shape[2:])}; resize them")
        images = images.to(model.mean.device)
        if self._normalised is not None:
            mean, std = (values.to(images.device) for values in self._normalised)
            if not images.is_floating_point() or len(mean.flatten()) not in (1, images.shape[1]):
                raise DataError(
                    f"normalised images must be floats of {len(mean.flatten())} channels, as the given mean says; got"
                    f" {images.dtype} of {images.shape[1]} channels"
                )
            images = images.float() * std + mean
        elif images.dtype == torch.uint8:
            return images.float() / 255
        elif not images.is_floating_point():
            raise DataError(f"raw pixels must be uint8 in 0..255 or floats in [0, 1], got {images.dtype}")
        low, high = torch.aminmax(images)
        if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):  # NaN fails both
            what = "raw pixels" if self._normalised is None else "the images, with their normalisation undone,"
            raise DataError(
                f"{what} must lie in [0, 1], these lie in [{low:.3g}, {high:.3g}]; pass raw pixels, or normalised="
                "(mean, std) with what the images were normalised with"
            )
        return images.clamp(0, 1)

    @property
    def names(self) -> str:
        """Who labels, for tables."""
        names = [refinery.name for refinery in self._refineries]
        if len(names) == 1:
            return names[0]
        return f"{'mean' if self._unseen is None else 'the unseen one'} of {', '.join(names)}"

    def describe(self) -> str:
        """What the labels are called, for tables."""
        return f"refinery soft dynamic ({self.names})"

    def hashes(self) -> tuple[str, ...]:
        """A hash of each refinery's parameters and buffers."""
        return tuple(weights_hash(refinery.model.net) for refinery in self._refineries)

    def assert_unchanged(self) -> None:
        """Prove that labelling has not touched a parameter or a buffer.

        Raises
        ------
        ModelError
            If it has; the labels of this generation were then not those of one refinery.
        """
        for refinery, before, after in zip(self._refineries, self._before, self.hashes(), strict=True):
            if before != after:
                raise ModelError(f"refinery {refinery.name} changed while it labelled (hash {before} became {after})")


def _class_names(networks: Sequence[nn.Module], classes: Sequence[str] | int | None) -> tuple[str, ...]:
    if not networks:
        raise ModelError("RefineryLabels: give at least one network")
    if classes is None:
        if not isinstance(networks[0], Classifier):
            raise ModelError(
                f"RefineryLabels: {type(networks[0]).__name__} does not name its classes; give classes, as names or as"
                " their number"
            )
        return networks[0].classes
    return tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)


class GivenLabels:
    """The given label of the image for every view of it, optionally smoothed.

    Parameters
    ----------
    num_classes : K
    smoothing : the share of the mass that is spread evenly over all classes (Szegedy et al. 2016); 0 is one-hot
    """

    sizes: tuple[int, ...] = ()

    def __init__(self, num_classes: int, smoothing: float = 0.0) -> None:
        self._num_classes, self._smoothing = num_classes, smoothing

    def __call__(self, batch: Batch) -> Tensor:
        target = torch.nn.functional.one_hot(batch.given, self._num_classes).float()
        target = target * (1 - self._smoothing) + self._smoothing / self._num_classes
        return batch.mixed(target)

    def describe(self) -> str:
        return "given" if self._smoothing == 0 else f"given, smoothed {self._smoothing:g}"


class StoredLabels:
    """Labels that were made beforehand: one for all views of an image, or of all images of a given class.

    Parameters
    ----------
    table : (N, K) float32 by row of the data set, or (K, K) by given class; rows sum to one
    by : what the rows of ``table`` are
    words : what the labels are called in tables
    """

    sizes: tuple[int, ...] = ()

    def __init__(self, table: Tensor, by: Literal["row", "class"], words: str) -> None:
        self._table, self._by, self._words = table, by, words

    def __call__(self, batch: Batch) -> Tensor:
        table = self._table.to(batch.given.device)
        index = batch.given if self._by == "class" else torch.from_numpy(batch.rows).to(table.device)
        return batch.mixed(table.index_select(0, index))

    def describe(self) -> str:
        return self._words


class Tempered:
    """Another labeller's answer q as q^(1/T), made to sum to one; T above 1 makes it softer."""

    def __init__(self, labeller: Labeller, temperature: float) -> None:
        self._labeller, self._temperature = labeller, temperature
        self.sizes = labeller.sizes

    def __call__(self, batch: Batch) -> Tensor:
        return tempered(self._labeller(batch), self._temperature)

    def describe(self) -> str:
        return f"{self._labeller.describe()} at temperature {self._temperature:g}"


class AveragedViews:
    """The mean of another labeller's answers to the view itself and to other views of the sample.

    Parameters
    ----------
    labeller : answers for the view
    others : its mean answer to ``views`` - 1 other views of each sample, made beforehand
    views : how many in all
    """

    def __init__(self, labeller: Labeller, others: StoredLabels, views: int) -> None:
        self._labeller, self._others, self._views = labeller, others, views
        self.sizes = labeller.sizes

    def __call__(self, batch: Batch) -> Tensor:
        return (self._labeller(batch) + (self._views - 1) * self._others(batch)) / self._views

    def describe(self) -> str:
        return f"{self._labeller.describe()}, mean of {self._views} views"
