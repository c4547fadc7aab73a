"""Features of a network over real readers: the right rows, labels and head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from labelwise.config import ModelConfig, Recipe, load_recipe
from labelwise.data.loaders import make_loader
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import Shard, plan_evaluation
from labelwise.errors import ConfigError, DataError, ModelError, RunError
from labelwise.features.extract import write_features
from labelwise.features.file import read_features
from labelwise.features.job import FeaturesRequest
from labelwise.models import checkpoint, zoo
from labelwise.models.backbone import ModelSource
from labelwise.models.classifier import Classifier, InputSpec
from labelwise.runs import read_json

N, SIZE, NAMES = 24, 12, ("cat", "dog", "fish")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)
MULTI = RNG.choice([1, 0, np.nan, -1], size=(N, 3)).astype(np.float32)
SINGLE = np.r_[np.arange(N - 2) % 3, -1, -1]
SPLIT = np.array(["fit"] * 12 + ["select"] * 6 + ["test"] * 6)
SPEC = InputSpec("image", SIZE, 3, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    ids = np.array([f"image {row}" for row in range(N)])
    np.savez(path, images=PIXELS, label=MULTI, categories=np.array(NAMES), split=SPLIT, ids=ids)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A checkpoint whose classes are the data's categories in another order."""
    torch.manual_seed(1)
    classifier = zoo.build(ModelConfig(name="small-narrow"), ("fish", "cat", "dog"), SPEC)
    classifier.train()(torch.rand(8, 3, SIZE, SIZE))  # moves the batch statistics
    checkpoint.save(tmp_path / "model", classifier, {"eval_crop": 1.0})
    return tmp_path / "model"


def recipe(path: Path, *overrides: str) -> Recipe:
    return load_recipe(None, [f"data.source={path}", "train.channels_last=false", *overrides])


def request_for(model: Path | str, path: Path, *overrides: str, **options: Any) -> FeaturesRequest:
    named = {key: options.pop(key) for key in ("weights", "pretrained", "weights_by_order") if key in options}
    return FeaturesRequest(ModelSource(str(model), **named), recipe(path, *overrides), **options)


def run(model: Path | str, path: Path, out: Path, *overrides: str, **options: Any) -> dict[str, Any]:
    found = write_features(request_for(model, path, *overrides, **options), out, quiet=True)
    assert found is not None
    return found.to_json()


def logits_of(path: Path) -> torch.Tensor:
    """Logits of a checkpoint for PIXELS, whose size is the network's: a centre view is the image itself."""
    classifier, _ = checkpoint.load(path)
    with torch.no_grad():
        return classifier.eval()(torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_checkpoint_with_the_data_s_categories(tmp_path, data, model, precision):
    results = run(model, data, tmp_path / "f", precision=precision)
    found = read_features(tmp_path / "f")
    assert isinstance(found.features, np.memmap) and found.features.dtype == precision.replace("fp", "float")
    np.testing.assert_array_equal(found.labels, MULTI)
    assert found.categories == NAMES and found.split.tolist() == SPLIT.tolist() and found.ids[3] == "image 3"
    own = found.features.astype(np.float32) @ found.head_weight.T + found.head_bias
    expected = logits_of(model).numpy()[:, [1, 2, 0]]
    difference = np.abs(own - expected).max()
    assert difference < (1e-5 if precision == "fp32" else 5e-3)
    told = results["largest_logit_difference"]
    assert told == 0 if precision == "fp32" else difference * 0.9 < told < difference * 1.1 + 1e-5
    assert results["rows"] == N and results["dim"] == 64 and results["splits"] == {"fit": 12, "select": 6, "test": 6}
    assert results["images_per_second"] > 0 and results["kind"] == "features"
    assert (
        read_json(tmp_path / "f" / "results.json")["weights_hash"]
        == read_json(tmp_path / "f" / "features.json")["weights_hash"]
    )


def test_single_label_data_become_one_hot(tmp_path, model):
    path = tmp_path / "single.npz"
    np.savez(path, images=PIXELS, label=SINGLE, classes=np.array(NAMES), split=SPLIT)
    run(model, path, tmp_path / "f")
    found = read_features(tmp_path / "f")
    expected = np.where(SINGLE[:, None] < 0, np.nan, SINGLE[:, None] == np.arange(3))
    np.testing.assert_array_equal(found.labels, expected)


def test_labels_that_an_audit_inferred_are_unknown_to_heads(tmp_path, data, model):
    columns: dict[str, Any] = {"id": [f"image {row}" for row in range(N)]}
    for name in NAMES:
        columns |= {name: ["1"] * 2 + [""] * (N - 2), f"{name}:provenance": ["reviewed", "inferred"] + [""] * (N - 2)}
    pd.DataFrame(columns).to_csv(tmp_path / "labels.csv", index=False)
    run(model, data, tmp_path / "f", f"data.labels.file={tmp_path / 'labels.csv'}")
    expected = MULTI.copy()
    expected[:2] = [[1], [np.nan]]
    np.testing.assert_array_equal(read_features(tmp_path / "f").labels, expected)


def test_a_head_of_other_classes_stays_out(tmp_path, data):
    checkpoint.save(tmp_path / "other", zoo.build(ModelConfig(name="small-narrow"), ("a", "b", "c"), SPEC), {})
    results = run(tmp_path / "other", data, tmp_path / "f")
    found = read_features(tmp_path / "f")
    assert found.head_weight is None and found.head_bias is None
    assert results["head"] is False and results["largest_logit_difference"] is None


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    """The state dict as another library would have it: other keys, the same order."""
    return {f"_module{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(state.items())}


def test_weights_of_another_library_are_taken_by_order(tmp_path, data, weights, capsys):
    expected = run("test_resnet", data, tmp_path / "plain", weights=weights)
    state = renamed(timm.create_model("test_resnet", num_classes=7).state_dict() | load_file(weights))
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"extra|lacks .*--weights-by-order"):
        run("test_resnet", data, tmp_path / "refused", weights=tmp_path / "other.pt")
    capsys.readouterr()
    found = run("test_resnet", data, tmp_path / "f", weights=tmp_path / "other.pt", weights_by_order=True)
    assert found["weights_hash"] == expected["weights_hash"]
    assert "matched by order and shape alone" in capsys.readouterr().err
    one, two = (read_features(tmp_path / name).features for name in ("plain", "f"))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(ConfigError, match="--weights-by-order"):
        run("test_resnet", data, tmp_path / "g", pretrained=True, weights_by_order=True)


def test_a_timm_network_by_name_with_weights_of_its_own_classes(tmp_path, data, weights):
    """Normalised and sized as timm knows the network, unless the views say otherwise."""
    results = run("test_resnet", data, tmp_path / "f", "views.size=24", weights=weights, precision="fp32")
    net = timm.create_model("test_resnet", num_classes=7)
    checkpoint.load_weights(net, checkpoint.read_weights(weights), "w")
    habits = net.pretrained_cfg
    assert results["input"]["size"] == 24 and results["input"]["mean"] == list(habits["mean"])
    assert results["eval_crop"] == habits["crop_pct"] != 1.0
    dataset = load_dataset(recipe(data).data, partial=True)
    spec = InputSpec.from_json(results["input"])
    views = recipe(data, f"views.eval_crop={habits['crop_pct']}", f"views.interpolation={spec.interpolation}").views
    loader = make_loader(dataset, views, torch.device("cpu"))
    [batch] = loader.stream(plan_evaluation(np.arange(N), N, Shard()), (24,), 0)
    seen = Classifier(net.eval(), spec, tuple("abcdefg"), "", {})
    net.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = seen(batch.inputs[24]).numpy()
    found = read_features(tmp_path / "f")
    np.testing.assert_allclose(found.features, expected, atol=1e-5, rtol=1e-4)
    assert found.head_weight is None
    whole = run("test_resnet", data, tmp_path / "g", "views.eval_crop=1.0", weights=weights)
    assert whole["input"]["size"] == habits["input_size"][1] and whole["eval_crop"] == 1.0


def test_keep_head(tmp_path, data, weights):
    with pytest.raises(ModelError, match="--keep-head: test_resnet has 7 outputs, the data have 3 categories"):
        run("test_resnet", data, tmp_path / "f", weights=weights, keep_head=True)
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    save_file(state, tmp_path / "3.safetensors")
    run("test_resnet", data, tmp_path / "f", "views.size=24", weights=tmp_path / "3.safetensors", keep_head=True)
    np.testing.assert_array_equal(read_features(tmp_path / "f").head_weight, state["fc.weight"])


def test_weights_without_a_head(tmp_path, data):
    backbone = {k: v for k, v in timm.create_model("test_resnet").state_dict().items() if not k.startswith("fc.")}
    torch.save(backbone, tmp_path / "w.pt")
    run("test_resnet", data, tmp_path / "f", "views.size=24", weights=tmp_path / "w.pt")
    assert read_features(tmp_path / "f").head_weight is None
    with pytest.raises(ModelError, match="--keep-head: test_resnet has no head"):
        run("test_resnet", data, tmp_path / "g", weights=tmp_path / "w.pt", keep_head=True)


def test_grey_images_in_a_network_of_three_channels(tmp_path, weights):
    path = tmp_path / "grey.npz"
    np.savez(path, images=PIXELS[..., 0], label=MULTI, split=SPLIT)
    assert run("test_resnet", path, tmp_path / "f", "views.size=24", weights=weights)["input"]["channels"] == 3
    grey = timm.create_model("test_resnet", num_classes=2, in_chans=1).state_dict()
    save_file(grey, tmp_path / "grey.safetensors")
    results = run("test_resnet", path, tmp_path / "g", "views.size=24", weights=tmp_path / "grey.safetensors")
    assert results["input"]["channels"] == len(results["input"]["mean"]) == 1


def test_a_folder_of_other_features_is_refused(tmp_path, data, model):
    run(model, data, tmp_path / "f")
    with pytest.raises(RunError, match=r"f: holds a run with another precision \(fp16, now fp32\)"):
        run(model, data, tmp_path / "f", precision="fp32")
    labels = np.load(data)["label"].copy()
    labels[0, 0] = 1 if labels[0, 0] != 1 else 0
    np.savez(tmp_path / "other.npz", **{**np.load(data), "label": labels})
    with pytest.raises(RunError, match="another data"):
        run(model, tmp_path / "other.npz", tmp_path / "f")
    changed, _ = checkpoint.load(model)
    torch.nn.init.zeros_(changed.net.classifier.bias)
    checkpoint.save(tmp_path / "changed", changed, {"eval_crop": 1.0})
    (tmp_path / "f" / "results.json").unlink()
    with pytest.raises(RunError, match="another weights_hash"):
        run(tmp_path / "changed", data, tmp_path / "f")
    facts = read_json(tmp_path / "f" / "run.json")
    old = {key: value for key, value in facts["identity"].items() if key != "shard_samples"} | {"shards": 1}
    (tmp_path / "f" / "run.json").write_text(json.dumps(facts | {"identity": old}))
    (tmp_path / "f" / "features.json").unlink()
    with pytest.raises(RunError, match=r"an older version .* another shard_samples \(None, now \d+\); give another"):
        run(model, data, tmp_path / "f")
    (tmp_path / "hand").mkdir()
    np.save(tmp_path / "hand" / "features.npy", np.zeros((2, 2)))
    with pytest.raises(RunError, match=r"holds no run of labelwise \(it holds features\.npy\)"):
        run(model, data, tmp_path / "hand")


def test_what_does_not_fit_into_half_precision(tmp_path, data, model):
    classifier, _ = checkpoint.load(model)
    norms = [m for m in classifier.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.nn.init.constant_(norms[-1].bias, 1e5)
    checkpoint.save(tmp_path / "large", classifier, {"eval_crop": 1.0})
    with pytest.raises(
        DataError, match=r"sample 'image 0': a feature of 1e\+05 does not fit into fp16; use --precision"
    ):
        run(tmp_path / "large", data, tmp_path / "f")
    run(tmp_path / "large", data, tmp_path / "g", precision="fp32")
    torch.nn.init.constant_(norms[-1].bias, float("nan"))
    checkpoint.save(tmp_path / "nan", classifier, {"eval_crop": 1.0})
    with pytest.raises(ModelError, match="nan: gives NaN or infinite logits"):
        run(tmp_path / "nan", data, tmp_path / "h", precision="fp32")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("test_resnet", {}, ConfigError, "test_resnet: no such checkpoint; a network's name needs either --weights"),
        ("test_resnet", {"precision": "bf16"}, ConfigError, "precision: expected one of fp16, fp32, got 'bf16'"),
        ("no_such_net", {"weights": "w"}, ModelError, "no network called 'no_such_net'"),
        ("test_vit", {"weights": "w"}, ModelError, "weights of another architecture"),
        ("small-narrow", {"pretrained": True}, ModelError, "no pretrained weights of small-narrow"),
        ("torchvision/squeezenet1_1", {"weights": "w"}, ModelError, r"not one linear layer.*\(Conv2d\)"),
        ("mlp", {"weights": "w"}, ModelError, "mlp takes embeddings"),
    ],
)
def test_networks_that_do_not_fit(tmp_path, data, weights, name, options, error, message):
    options = {**options, **({"weights": weights} if "weights" in options else {})}
    with pytest.raises(error, match=message) as caught:
        run(name, data, tmp_path / "f", **options)
    assert "\n" not in str(caught.value) and not (tmp_path / "f").exists()


def test_a_checkpoint_needs_no_weights_and_a_folder_is_written(tmp_path, data, model, weights):
    with pytest.raises(ConfigError, match="is a checkpoint and has its own weights"):
        run(model, data, tmp_path / "f", weights=weights)
    with pytest.raises(ConfigError, match=r"--out .*f\.npz: features are written to a folder"):
        run(model, data, tmp_path / "f.npz")


def test_embeddings(tmp_path):
    """A network of embeddings has penultimate features too."""
    values = RNG.normal(size=(N, 4)).astype(np.float32)
    np.savez(tmp_path / "e.npz", features=values, label=MULTI, split=SPLIT)
    spec = InputSpec("features", 4, 1, (0.0,) * 4, (1.0,))
    checkpoint.save(tmp_path / "mlp", zoo.build(ModelConfig(name="mlp"), ("0", "1", "2"), spec), {})
    assert run(tmp_path / "mlp", tmp_path / "e.npz", tmp_path / "f")["dim"] == 256
    assert read_features(tmp_path / "f").head_weight.shape == (3, 256)
    np.savez(tmp_path / "narrow.npz", features=values[:, :3], label=MULTI, split=SPLIT)
    with pytest.raises(ModelError, match="takes embeddings of 4 numbers, those of narrow have 3"):
        run(tmp_path / "mlp", tmp_path / "narrow.npz", tmp_path / "g")
