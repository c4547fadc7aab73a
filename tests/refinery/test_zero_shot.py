"""A network of images and texts labels beside the refineries, where known labels show that it helps alone."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers.clip import SIDE, Nearest, random_tower, stand_in
from labelwise import demo
from labelwise.config import DataConfig, Recipe, ZeroShotConfig, load_recipe
from labelwise.data.readers import load_dataset
from labelwise.errors import ConfigError, ModelError
from labelwise.models import checkpoint, of_open_clip, zoo
from labelwise.models.classifier import InputSpec
from labelwise.models.head import split_head
from labelwise.refinery.chain import make_context, refine
from labelwise.refinery.context import TrainingContext, load_refinery
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.network import refinery_labels
from labelwise.refinery.zero_shot import Known, WithZeroShot, beside, judge
from labelwise.report.write import terminal_report, write_report
from labelwise.results import RefineResults
from labelwise.training.runtime import start_runtime

ODD = "<b>&\"{}{0} |ü'"
"""A category of which no label is known, with characters of markup and of patterns in its name."""

CATEGORIES = (*demo.ATTRIBUTES, ODD)
ZERO_SHOT = "chain.unknown.zero_shot={pretrained: ours}"


@pytest.fixture(scope="module")
def data(digit_attributes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with one more category, all unknown."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    arrays = dict(np.load(digit_attributes))
    labels = np.pad(arrays["labels"].astype(np.float32), ((0, 0), (0, 1)), constant_values=np.nan)
    np.savez(path, **arrays | {"labels": labels, "categories": np.array(CATEGORIES)})
    return path


def recipe(data: Path, *changes: str) -> Recipe:
    base = [f"data.source={data}", "data.known={protocol: cells, share: 0.2}", "data.train_limit=300", "threads=1"]
    base += ["views={size: 8, flip: false}", "train={epochs: 2, batch_size: 64}", "chain.generations=2"]
    return load_recipe(None, [*base, *changes])


def knowing(data: Path) -> partial[nn.Module]:
    """A tower whose embedding of a digit says which one it is."""
    digits = load_dataset(DataConfig(source="digits", select_share=0.25))
    with np.load(data) as arrays:
        return partial(Nearest, arrays["images"], np.eye(10)[digits.label])


ANSWERS = {f"a photo of a {name}": np.isin(np.arange(10), digits) for name, digits in demo.ATTRIBUTES.items()}


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RefineResults:
    return refine(recipe(data), tmp_path_factory.mktemp("alone") / "run", quiet=True)


def opened(recipe: Recipe, out: Path) -> TrainingContext:
    return make_context(recipe, load_dataset(recipe.data), start_runtime(recipe), out / "seed-0", 0, quiet=True)


def accuracy(context: TrainingContext, labeller: Any) -> float:
    """Share of the hidden labels of fit that the answers on centre views, rounded, get right."""
    dataset = context.dataset
    assert dataset.table is not None and dataset.true_table is not None
    hidden = dataset.true_table.known & ~dataset.table.known
    hidden[np.setdiff1d(np.arange(len(hidden)), dataset.rows("fit"))] = False
    right = (context.view_answers(labeller) > 0.5) == (dataset.true_table.values > 0.5)
    return float(right[hidden].mean())


def test_a_tower_that_knows_the_answer_is_adopted_and_completes_labels_better(
    data: Path, alone: RefineResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand_in(monkeypatch, knowing(data), 10, ANSWERS)
    out = tmp_path / "run"
    found = refine(recipe(data, ZERO_SHOT), out, quiet=True)
    first, second = found.rows
    assert first.zero_shot is None and first.weights_hash == alone.rows[0].weights_hash  # it learns given labels
    assert second.zero_shot is not None and second.zero_shot[-1].category == ODD
    adopted = [one.category for one in second.zero_shot if one.adopted]
    assert len(adopted) >= 8 and ODD not in adopted
    where = f"{len(adopted)} of {len(CATEGORIES)} categories"
    assert second.labels == f"refinery soft dynamic (generation-1, zero-shot in {where})"
    context = opened(recipe(data, ZERO_SHOT), out)
    generation = NetworkSpec(
        "generation-2",
        "generation",
        context.recipe.model,
        context.recipe.train,
        2,
        (load_refinery("generation-1", out / first.path),),
    )
    refinery = refinery_labels(context, generation)
    assert refinery is not None
    labeller, again = beside(context, refinery, 1)
    assert isinstance(labeller, WithZeroShot) and again == second.zero_shot
    assert accuracy(context, labeller) > accuracy(context, refinery) + 0.05
    assert second.fit.hidden_map is not None and alone.rows[1].fit.hidden_map is not None
    assert second.fit.hidden_map > alone.rows[1].fit.hidden_map
    # Its name is a text, whatever characters it has; a second call reads what the first has written.
    assert f"a photo of a {ODD}" in made[0].asked and len([one for one in made if one.asked]) == 1
    assert refine(recipe(data, ZERO_SHOT), out, quiet=True) == found
    # What is said of it.
    assert json.loads((out / "results.json").read_text())["rows"][1]["zero_shot"][-1]["category"] == ODD
    page = write_report(out).read_text()
    assert "Zero-shot labels" in page and "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert "fewer than 5 known positives or negatives in fit" in page
    said = " ".join(terminal_report(found)[1])
    assert f"labels {where}" in said and ODD in said


def test_a_random_tower_is_adopted_nowhere_and_changes_nothing(
    data: Path, alone: RefineResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, random_tower, 10)
    found = refine(recipe(data, ZERO_SHOT), tmp_path / "run", quiet=True)
    judged = found.rows[1].zero_shot
    assert judged is not None and not any(one.adopted for one in judged)
    assert all(one.reason for one in judged) and judged[0].needed is not None
    for own, other in zip(found.rows, alone.rows, strict=True):
        assert (own.weights_hash, own.labels, own.test) == (other.weights_hash, other.labels, other.test)


def test_the_network_is_a_checkpoint(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, random_tower, 10)
    model = of_open_clip.zero_shot_classifier(ZeroShotConfig(pretrained="ours"), ("cat", "dog"))
    assert model.spec == InputSpec("image", SIDE, 3, (0.0,) * 3, (1.0,) * 3, "bicubic")
    checkpoint.save(tmp_path, model, {})
    again, _ = checkpoint.load(tmp_path)
    x = torch.rand(3, 1, SIDE, SIDE)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    assert split_head(again.net, again.spec).weight.shape == (2, 10)  # features and heads can be had of it
    cosine = model(x) / torch.tensor(3.0).exp()
    assert cosine.abs().max() <= 1


def test_texts_of_a_category(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stand_in(monkeypatch, random_tower, 10)
    options = ZeroShotConfig(pretrained="ours", prompt=("a {}", "{} and {}"), prompts={"dog": "no {} at all"})
    of_open_clip.zero_shot_classifier(options, ("{0}", "dog"))
    assert made[0].asked == ["a {0}", "{0} and {0}", "no {} at all"]
    with pytest.raises(ModelError, match=r"prompts: 'bird' is no category"):
        of_open_clip.zero_shot_classifier(ZeroShotConfig(pretrained="ours", prompts={"bird": "x"}), ("cat", "dog"))


def test_what_cannot_be_had_is_told_in_one_line(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match=r"zero_shot: needs the package open_clip_torch: pip install 'labelwise\[clip"):
        refine(recipe(data, ZERO_SHOT), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    stand_in(monkeypatch, random_tower, 10)
    with pytest.raises(ModelError, match=r"ViT-B-32 with weights 'no' cannot be opened \(RuntimeError: Failed") as told:
        refine(recipe(data, "chain.unknown.zero_shot={pretrained: no}"), tmp_path / "run", quiet=True)
    assert "\n" not in str(told.value) and not list((tmp_path / "run").rglob("*.safetensors"))
    with pytest.raises(ModelError, match="name a checkpoint of open_clip/tiny"):
        zoo.build(
            zoo.ModelConfig(name="open_clip/tiny", init="pretrained"), ("a", "b"), InputSpec("image", 8, 3, (), ())
        )
    with pytest.raises(ModelError, match="it has none, got depth"):
        of_open_clip.build("open_clip/tiny", {"depth": 3}, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["chain.unknown.zero_shot={prompt: a photo}"], "no {} where the name"),
        (["chain.unknown.zero_shot={weights: x}"], "weights"),
        (["chain.unknown.zero_shot={model: 'hf-hub:a/b'}"], "model"),
    ],
)
def test_options_are_checked(data: Path, changes: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(data, *changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["chain.generations=1"], "beside a refinery; set chain.generations above 1"),
        (["chain.write_store.views=2"], "chain.unknown.zero_shot: needs the refinery itself"),
    ],
)
def test_a_run_without_use_for_it_is_refused(data: Path, tmp_path: Path, changes: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        refine(recipe(data, ZERO_SHOT, *changes), tmp_path / "run", quiet=True)


def test_without_held_out_labels_nothing_can_be_adopted(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(recipe(data).data)
    dataset = replace(dataset, split=np.where(dataset.split == "select", "test", dataset.split))
    with pytest.raises(ConfigError, match="known labels of select decide"):
        refine(recipe(data, ZERO_SHOT), tmp_path / "run", quiet=True, dataset=dataset)


def test_data_of_one_class_a_sample_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="images that can have several categories"):
        refine(load_recipe(None, ["data.source=digits", ZERO_SHOT]), tmp_path / "run", quiet=True)


# the rule


def sides(n: int, seed: int) -> tuple[np.ndarray, Known]:
    generator = np.random.default_rng(seed)
    truth = (generator.random((n, 3)) < 0.4).astype(np.float32)
    return truth, Known(truth, np.arange(n))


def test_categories_with_few_known_labels_are_refused() -> None:
    truth, fit = sides(100, 0)
    _, select = sides(100, 1)
    few = np.where(np.cumsum(truth[:, 0]) > 4, np.nan, truth[:, 0])
    fit = Known(np.column_stack([few, np.full(100, np.nan), truth[:, 2]]).astype(np.float32), fit.groups)
    knows = np.where(select.labels == 1, 0.9, 0.1)
    found = judge("abc", fit, select, np.full((100, 3), 0.5), knows, share=0.5)
    assert [one.adopted for one in found] == [False, False, True]
    assert [one.fit for one in found[:2]] == [4, 0] and "in fit" in found[1].reason and found[1].difference is None


def test_samples_of_one_group_are_one_observation() -> None:
    _, fit = sides(100, 0)
    _, select = sides(100, 1)
    grouped = Known(select.labels, np.arange(100) // 25)
    knows = np.where(select.labels == 1, 0.9, 0.1)
    assert not any(one.adopted for one in judge("abc", fit, grouped, np.full((100, 3), 0.5), knows, share=0.5))


def test_less_overconfidence_is_no_reason_to_adopt() -> None:
    """A network that says the same of every image makes overconfident answers likelier, as any constant does."""
    _, fit = sides(300, 0)
    truth, select = sides(300, 1)
    generator = np.random.default_rng(2)
    sure = 1 / (1 + np.exp(-2 * (2 * truth - 1) - 2 * generator.standard_t(1.2, truth.shape).clip(-50, 50)))
    noise = 0.4 + 0.01 * generator.standard_normal(truth.shape)
    assert not any(one.adopted for one in judge("abc", fit, select, sure, noise, share=0.5))
    knows = np.where(truth == 1, 0.8, 0.2)
    assert all(one.adopted for one in judge("abc", fit, select, sure, knows, share=0.5))


def test_open_clip_itself(tmp_path: Path) -> None:
    """A tiny network of its own, with random weights."""
    import open_clip as clip

    tiny = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-clip.json").write_text(json.dumps(tiny))
    clip.add_model_config(tmp_path)
    torch.save(clip.create_model("tiny-clip").state_dict(), tmp_path / "weights.pt")
    options = ZeroShotConfig(model="tiny-clip", pretrained=str(tmp_path / "weights.pt"))
    model = of_open_clip.zero_shot_classifier(options, ("cat", "dog <b>"))
    checkpoint.save(tmp_path / "saved", model, {})
    again, _ = checkpoint.load(tmp_path / "saved")
    whole = clip.create_model("tiny-clip", pretrained=options.pretrained).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        texts = clip.get_tokenizer("tiny-clip")(["a photo of a cat", "a photo of a dog <b>"])
        images, words = whole.encode_image((x - model.mean) / model.std), whole.encode_text(texts)
        cosine = nn.functional.normalize(images, dim=-1) @ nn.functional.normalize(words, dim=-1).T
        torch.testing.assert_close(again(x), whole.logit_scale.exp() * cosine, rtol=1e-4, atol=1e-4)
