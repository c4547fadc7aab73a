"""A trained network as ``labelwise features`` uses it: how it sees the data, and whether its head is theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from labelwise.config import Recipe, ViewConfig
from labelwise.data.dataset import Dataset, Features
from labelwise.errors import ModelError
from labelwise.models.backbone import Backbone, ModelSource, open_model
from labelwise.models.checkpoint import weights_hash
from labelwise.models.classifier import Classifier
from labelwise.models.head import SplitModel, split_head
from labelwise.training.input_spec import measure_input_spec


@dataclass(frozen=True)
class Network:
    """A network in eval mode, split in front of its head.

    Attributes
    ----------
    classifier, split : the network, and its backbone and head
    views : how its centre view is cut
    weights_hash : of all parameters and buffers
    head : weight (C, D) and bias (C,) in the order of the data's categories; None where its outputs are other classes
    """

    classifier: Classifier
    split: SplitModel
    views: ViewConfig
    weights_hash: str
    head: tuple[Tensor, Tensor] | None

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return int(self.split.linear.in_features)


def open_network(source: ModelSource, recipe: Recipe, dataset: Dataset, keep_head: bool) -> Network:
    """Open a network for the images of ``dataset``.

    Size, crop and interpolation are the network's own, unless the recipe's ``views`` set them.

    Parameters
    ----------
    keep_head : the outputs of a network by name are the data's categories, in this order

    Raises
    ------
    LabelwiseError
        If network and data do not fit, or the head is not one linear layer.
    """
    model = source.model
    chosen = recipe.views.model_fields_set
    spec = measure_input_spec(dataset, recipe.views)
    if spec.kind == "image" and recipe.views.size is None:
        spec = replace(spec, size=0)
    opened = open_model(source, recipe.model.args, spec)
    _refuse_other_input(opened.classifier, dataset, model)
    seen = opened.classifier.spec
    if "interpolation" in chosen:
        seen = replace(seen, interpolation=recipe.views.interpolation)
    crop = recipe.views.eval_crop if "eval_crop" in chosen else opened.eval_crop
    classifier = opened.classifier
    classifier = Classifier(classifier.net, seen, classifier.classes, classifier.name, classifier.args).eval()
    split = split_head(classifier, seen, model)
    order = _head_order(opened, dataset.classes, model, keep_head)
    return Network(
        classifier=classifier,
        split=split,
        views=ViewConfig(eval_crop=crop, interpolation="bicubic" if seen.interpolation == "bicubic" else "bilinear"),
        weights_hash=weights_hash(classifier.net),
        head=None if order is None else (split.weight[order], split.bias[order]),
    )


def _head_order(opened: Backbone, categories: tuple[str, ...], name: str, keep_head: bool) -> list[int] | None:
    """The output of each category; None where the outputs are not the data's categories."""
    classes = opened.classifier.classes
    if opened.head == "named":
        return [classes.index(category) for category in categories] if set(classes) == set(categories) else None
    if not keep_head:
        return None
    if opened.head == "none":
        raise ModelError(f"--keep-head: {name} has no head for the data; leave the option out")
    if len(classes) != len(categories):
        raise ModelError(f"--keep-head: {name} has {len(classes)} outputs, the data have {len(categories)} categories")
    return list(range(len(categories)))


def _refuse_other_input(model: Classifier, dataset: Dataset, name: str) -> None:
    spec, source = model.spec, dataset.source
    if isinstance(source, Features):
        if spec.kind != "features":
            raise ModelError(f"{name} takes images, {dataset.name} holds embeddings")
        if spec.size != source.values.shape[1]:
            width = source.values.shape[1]
            raise ModelError(f"{name} takes embeddings of {spec.size} numbers, those of {dataset.name} have {width}")
    elif spec.kind != "image":
        raise ModelError(f"{name} takes embeddings, {dataset.name} holds images")
    elif spec.channels == 1 and source.channels == 3:
        raise ModelError(f"{name} takes grey images, {dataset.name} holds colour images; set data.channels=1")
