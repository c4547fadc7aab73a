"""``labelwise export``: a finished network for other tools: a folder that timm, torch and labelwise itself can load.

``model.safetensors`` is a plain state dict, ``model.json`` says what it is, and for a network of timm ``config.json``
makes ``timm.create_model("local-dir:FOLDER", pretrained=True)`` work. A run of category-wise fine-tuning holds only a
head; it is merged into the network that the features came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from labelwise.errors import ConfigError, LabelwiseError, ModelError, RunError
from labelwise.export.formats import FILES, NO_GRAPHS, ONNX_DATA, Graphs, check_installed, write_graphs
from labelwise.folder_lock import lock_folder
from labelwise.models import checkpoint
from labelwise.models.backbone import ModelSource, is_timm, open_model
from labelwise.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, InputSpec, logits_of
from labelwise.models.foreign import refuse_foreign_args
from labelwise.models.head import probe, split_head
from labelwise.results import CftResults, FeaturesResults, RefineResults, read_results
from labelwise.runs import RESULTS, write_json

HEAD, TIMM_CONFIG, README = "head.safetensors", "config.json", "README.md"
_KEPT = ("pool_size", "first_conv", "classifier", "fixed_input_size")  # of what timm knows of an architecture
_TOLERANCE = 1e-4  # relative, of logits computed by two copies of one network


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, whether timm loads it, and how far its logits are from those expected of it.

    ``graphs`` are the files for other runtimes, each with its largest difference to the network.
    """

    folder: Path
    timm: bool
    categories: tuple[str, ...]
    largest_difference: float
    graphs: dict[Path, float]


def export(
    run: Path,
    out: Path | None = None,
    network: ModelSource | None = None,
    *,
    graphs: Graphs = NO_GRAPHS,
    trust_code: bool = False,
) -> Exported:
    """Write the network of a checkpoint, or the head of a CFT run in its network, for timm, torch and labelwise.

    Parameters
    ----------
    run : a checkpoint folder, or the folder of a CFT run
    out : default: ``export`` inside ``run``
    network : of a CFT run: the network that the features came from
    graphs : files for other runtimes that are written besides
    trust_code : whether code that the checkpoint or the CFT run names may be run

    Raises
    ------
    LabelwiseError
        If there is nothing to export, head and network do not fit, or the exported network does not give the logits
        that it should.
    """
    folder = out or (run if run.is_dir() else run.parent) / "export"
    _refuse_other_files(folder)
    check_installed(graphs)
    if run.is_file() or (checkpoint.folder_of(run) / checkpoint.CARD).exists():
        if network is not None:
            raise ConfigError(f"{run} is a checkpoint, a whole network; leave --model, --weights and --pretrained out")
        classifier, card = checkpoint.load(run, trust_code)
        expected = logits_of(classifier.net.eval()(probe(classifier.net, classifier.spec)))
        return _write(folder, classifier, card, expected, graphs)
    results = read_results(run)
    if isinstance(results, RefineResults):
        raise RunError(f"{run}: a run of several networks; name the checkpoint to export{_checkpoints(results)}")
    if not isinstance(results, CftResults):
        raise RunError(f"{run}: a run of `labelwise {results.kind}` holds no network; name a checkpoint or a CFT run")
    if network is None or not network.model:
        raise ConfigError(f"{run} holds a head; say --model CHECKPOINT, or --model NAME with --weights FILE")
    head = _read_head(run / HEAD)
    categories = tuple(category.name for category in results.categories)
    if len(head[0]) != len(categories):
        raise RunError(f"{run / HEAD}: {len(head[0])} outputs for the {len(categories)} categories of {RESULTS}")
    source = results.features
    if source is not None and not trust_code:
        refuse_foreign_args(source.args, str(run / RESULTS))
    opened = open_model(network, {} if source is None else source.args, _input(source))
    _refuse_other_weights(opened.classifier, source, network.model)
    found = {entry.name: entry.threshold for entry in results.categories}
    thresholds = {name: at.value for name, at in found.items() if at is not None and at.value is not None}
    card = {
        "task": "multi-label",
        "eval_crop": opened.eval_crop if source is None else source.eval_crop,
        "labels": "category-wise fine-tuning",
        "lineage": [str(run), network.model],
        **({"thresholds": thresholds} if thresholds else {}),
    }
    merged, expected = _merge(_as_seen(opened.classifier, source), head, categories)
    return _write(folder, merged, card, expected, graphs)


def _refuse_other_files(folder: Path) -> None:
    """An earlier export is replaced, nothing else is."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file, expected a folder; give another --out")
    exported = [checkpoint.WEIGHTS, checkpoint.CARD, TIMM_CONFIG, ONNX_DATA, *FILES.values()]
    exported += [README] if (folder / checkpoint.CARD).exists() else []
    if others := sorted(path.name for path in folder.glob("[!.]*") if path.name not in exported):
        raise RunError(f"{folder}: holds more than an exported network ({others[0]}); give another --out")


@torch.no_grad()
def _merge(old: Classifier, head: tuple[Tensor, Tensor], categories: tuple[str, ...]) -> tuple[Classifier, Tensor]:
    """The network with the new head, and features @ weight.T + bias of the probe."""
    weight, bias = head
    split = split_head(old.eval().net, old.spec, old.name)
    net = split.merge(weight, bias)
    expected = split.features(probe(old.net, old.spec)).float() @ weight.T + bias
    return Classifier(net, old.spec, categories, old.name, old.args), expected


@torch.no_grad()
def _write(folder: Path, model: Classifier, card: dict[str, Any], expected: Tensor, graphs: Graphs) -> Exported:
    """Save a network and load it again the way a user will; ``expected`` are its logits (2, C) for the probe."""
    lock = lock_folder(folder)
    checkpoint.save(folder, model, card)
    timm_loads = is_timm(model.name) and model.network.keys() <= {"name", "args"}  # no boost or small_images in timm
    copies: list[nn.Module] = []
    try:
        again, known = checkpoint.load(folder, trust=True)  # what is built here was built before
        copies.append(again.net)
        if timm_loads:
            write_json(folder / TIMM_CONFIG, timm_config(model, card.get("eval_crop", 1.0)))
            copies.append(timm.create_model(f"local-dir:{folder}", pretrained=True))
    except (LabelwiseError, RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{folder}: {model.name} cannot be built again with this head ({reason})") from None
    scale = float(expected.abs().max()) + 1.0
    copied = [logits_of(copy.eval()(probe(copy, model.spec))).float() for copy in copies]
    difference = max(float((logits - expected).abs().max()) for logits in copied)
    if not difference <= _TOLERANCE * scale:
        raise ModelError(f"{folder}: the exported network's logits are {difference:.3g} away from what they should be")
    exported = Exported(folder, timm_loads, model.classes, difference, write_graphs(folder, again, known, graphs))
    del lock
    return exported


def timm_config(model: Classifier, eval_crop: float) -> dict[str, Any]:
    """``config.json`` as timm writes it for a hub: architecture, constructor arguments, and how inputs are prepared."""
    spec, net = model.spec, model.net
    known: dict[str, Any] = dict(getattr(net, "pretrained_cfg", None) or {})
    size = spec.size or known["input_size"][-1]
    channels = {} if spec.channels == 3 else {"in_chans": spec.channels}
    return {
        "architecture": known["architecture"],
        "num_classes": len(model.classes),
        "num_features": int(net.num_features),  # type: ignore[arg-type]
        "model_args": {key: value for key, value in model.args.items() if key != "pretrained_cfg_overlay"} | channels,
        "pretrained_cfg": {
            **{key: known[key] for key in _KEPT if key in known},
            "num_classes": len(model.classes),
            "input_size": [spec.channels, size, size],
            "interpolation": spec.interpolation,
            "crop_pct": eval_crop,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "label_names": list(model.classes),
            "custom_load": False,
        },
    }


def _read_head(file: Path) -> tuple[Tensor, Tensor]:
    try:
        tensors = load_file(file)
    except FileNotFoundError:
        raise RunError(f"{file}: no such file; did the run finish?") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{file}: damaged ({error})") from None
    if not {"weight", "bias"} <= tensors.keys():
        raise RunError(f"{file}: needs weight and bias, it has {', '.join(sorted(tensors)) or 'nothing'}")
    weight, bias = (tensors[key].float() for key in ("weight", "bias"))
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise RunError(f"{file}: weight {tuple(weight.shape)} and bias {tuple(bias.shape)} are no head (C, D), (C,)")
    return weight, bias


def _input(source: FeaturesResults | None) -> InputSpec:
    """What the network saw when its features were made; where that is not known, its own habits decide."""
    if source is not None:
        return InputSpec.from_json(source.input)
    return InputSpec("image", 0, 3, IMAGENET_MEAN, IMAGENET_STD)


def _as_seen(model: Classifier, source: FeaturesResults | None) -> Classifier:
    spec = model.spec if source is None else _input(source)
    return Classifier(model.net, spec, model.classes, model.name, model.args)


def _refuse_other_weights(model: Classifier, source: FeaturesResults | None, name: str) -> None:
    found = checkpoint.weights_hash(model.net)
    if source is not None and source.weights_hash != found:
        expected = source.weights_hash
        raise ModelError(f"{name}: not the weights that the features were made with ({found}, they say {expected})")


def _checkpoints(results: RefineResults) -> str:
    paths = [row.path for row in results.rows]
    return f", one of {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''}" if paths else ""
