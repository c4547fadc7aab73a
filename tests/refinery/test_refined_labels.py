"""What becomes of a refinery's answer: per view, image or category; soft or hard; of networks that have not seen it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelwise.config import ChainConfig, RefinedLabelsConfig, load_recipe
from labelwise.data.folds import folds_of
from labelwise.data.loaders import Mix
from labelwise.data.readers import load_dataset
from labelwise.data.sampling import BatchPlan
from labelwise.errors import ConfigError, LabelwiseError
from labelwise.models import checkpoint
from labelwise.models.checkpoint import weights_hash
from labelwise.refinery.chain import make_context, refine
from labelwise.refinery.context import TrainingContext, load_refinery
from labelwise.refinery.generations import NetworkSpec
from labelwise.refinery.labellers import FrozenNetwork
from labelwise.refinery.network import refinery_labels
from labelwise.refinery.single_label import category_means, described, refined_labels
from labelwise.training.runtime import start_runtime
from labelwise.training.task import hardened

BASE = (
    "data={source: digits, train_limit: 160, test_limit: 50}",
    "views={scale: [0.5, 1.0], flip: false}",
    "train={epochs: 2, batch_size: 32, warmup_epochs: 0.5, channels_last: false}",
)


def run(out: Path, *changes: str) -> list[dict[str, Any]]:
    return list(refine(load_recipe(None, [*BASE, *changes]), out, quiet=True).to_json()["rows"])


def lineage(out: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((out / "seed-0" / name / "network.json").read_text())["lineage"])


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain whose second generation is labelled by three networks, each trained without a fold."""
    out = tmp_path_factory.mktemp("folded") / "run"
    run(out, "chain={generations: 2, folds: 3, fold_labels: unseen}")
    return out


def context_of(out: Path, *changes: str) -> TrainingContext:
    recipe = load_recipe(None, [*BASE, *changes])
    data = load_dataset(recipe.data)
    return make_context(recipe, data, start_runtime(recipe, out), out / "seed-0", 0, quiet=True)


def network_of(out: Path, *names: str, unseen: bool = False) -> NetworkSpec:
    refineries = tuple(
        load_refinery(name, out / "seed-0" / name, fold if unseen else None) for fold, name in enumerate(names)
    )
    recipe = load_recipe(None, BASE)
    return NetworkSpec("x", "generation", recipe.model, recipe.train, 2, refineries, unseen_labels=unseen)


def refinery_of(context: TrainingContext, network: NetworkSpec) -> Any:
    return refinery_labels(context, network)


def batch_of(context: TrainingContext, number: int, count: int = 32) -> Any:
    rows = context.dataset.rows("fit")[:count]
    (batch,) = context.loader.stream([BatchPlan(rows, np.full(count, number))], (8,), 0)
    return batch


# folds


def test_each_fold_network_is_trained_without_its_fold(folded: Path) -> None:
    names = [f"generation-1-fold-{i}" for i in (1, 2, 3)]
    results = json.loads((folded / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["generation-1", *names, "generation-2"]
    assert [row["role"] for row in results["rows"]] == ["generation", "member", "member", "member", "generation"]
    assert [lineage(folded, name)["without"] for name in names] == [0, 1, 2]
    assert len({row["weights_hash"] for row in results["rows"]}) == 5
    second = lineage(folded, "generation-2")
    assert [r["name"] for r in second["refineries"]] == names and second["unseen"] == 3
    assert results["rows"][-1]["labels"] == f"refinery soft dynamic (the unseen one of {', '.join(names)})"


def test_the_unseen_network_labels_each_sample(folded: Path) -> None:
    context = context_of(folded, "chain={generations: 2, folds: 3, fold_labels: unseen}")
    names = [f"generation-1-fold-{i}" for i in (1, 2, 3)]
    labeller = refinery_of(context, network_of(folded, *names, unseen=True))
    batch = batch_of(context, 0)
    found, fold = labeller(batch), folds_of(context.dataset, 3, 0)[batch.rows]
    assert len(set(fold.tolist())) == 3
    alone = torch.stack([refinery_of(context, network_of(folded, name))(batch) for name in names])
    torch.testing.assert_close(found, alone[torch.from_numpy(fold), torch.arange(len(fold))], atol=1e-6, rtol=1e-5)
    mean = refinery_of(context_of(folded, "chain={generations: 2, folds: 3}"), network_of(folded, *names))
    torch.testing.assert_close(mean(batch), alone.mean(0), atol=1e-6, rtol=1e-5)


def test_a_fold_network_has_not_seen_its_fold(folded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    from labelwise.refinery import network as network_module

    plain = network_module.fit
    monkeypatch.setattr(
        network_module,
        "fit",
        lambda m, task, data, *a, **k: seen.append(data.rows) or plain(m, task, data, *a, **k),
    )
    run(tmp_path / "run", "chain={generations: 2, folds: 3}")
    dataset = load_dataset(load_recipe(None, BASE).data)
    fold = folds_of(dataset, 3, 0)
    every = set(dataset.rows("fit").tolist())
    assert set(seen[0].tolist()) == every == set(seen[4].tolist())
    for i in range(3):
        assert set(seen[1 + i].tolist()) == every - set(np.flatnonzero(fold == i).tolist())


# soft, hard, per image, per category, temperature


def test_what_the_answer_becomes(folded: Path) -> None:
    context, network = context_of(folded), network_of(folded, "generation-1")
    refinery = refinery_of(context, network)
    one, two = batch_of(context, 0), batch_of(context, 1)
    q = refinery(one)

    hard = hardened(refined_labels(context, refinery, RefinedLabelsConfig(kind="hard"))(one))
    assert torch.equal(hard.argmax(1), q.argmax(1)) and set(hard.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(hard.sum(1), torch.ones(len(hard)))

    image = refined_labels(context, refinery, RefinedLabelsConfig(per="image"))
    assert torch.equal(image(one), image(two)) and not torch.allclose(q, refinery(two), atol=1e-3)
    centre = next(context.loader.stream([BatchPlan(one.rows)], (8,), 0))
    torch.testing.assert_close(image(one), refinery(centre), atol=1e-6, rtol=1e-5)

    category = refined_labels(context, refinery, RefinedLabelsConfig(per="category", crops=2))(one)
    torch.testing.assert_close(category.sum(1), torch.ones(len(category)))
    same = one.given[:, None] == one.given[None]
    gaps = (category[:, None] - category[None]).abs().amax(-1)
    assert gaps[same].max() == 0 and gaps[~same].min() > 0

    mixed = replace(one, mix=Mix(torch.arange(len(one)).flip(0), torch.full((len(one),), 0.6)))
    for per in ("image", "category"):  # each sample's own label is hard, that of a mixed view is of both
        own = refined_labels(context, refinery, RefinedLabelsConfig(kind="hard", per=per))(one)
        assert set(own.unique().tolist()) == {0.0, 1.0}
        both = refined_labels(context, refinery, RefinedLabelsConfig(kind="hard", per=per))(mixed)
        torch.testing.assert_close(both, 0.6 * own + 0.4 * own.flip(0))

    soft = refined_labels(context, refinery, RefinedLabelsConfig(temperature=3))(one)
    torch.testing.assert_close(soft, torch.softmax(q.log() / 3, 1), atol=1e-6, rtol=1e-4)
    flat = refined_labels(context, refinery, RefinedLabelsConfig(temperature=3, per="image"))(one)
    torch.testing.assert_close(flat, torch.softmax(image(one).log() / 3, 1), atol=1e-6, rtol=1e-4)


def test_category_rows_are_means_over_the_class(folded: Path) -> None:
    """By brute force over the same views."""
    from labelwise.refinery.context import SCORE_VIEW

    context = context_of(folded)
    refinery = refinery_of(context, network_of(folded, "generation-1"))
    table = category_means(context, refinery, 2)
    rows = context.dataset.rows("fit")
    answers = []
    for crop in range(2):
        (batch,) = context.loader.stream([BatchPlan(rows, np.full(len(rows), SCORE_VIEW - 1 - crop))], (8,), 0)
        answers.append(refinery(batch))
    label = torch.from_numpy(context.dataset.label[rows])
    for k in range(10):
        torch.testing.assert_close(table[k], torch.cat([a[label == k] for a in answers]).mean(0), atol=1e-5, rtol=1e-4)


def test_batch_statistics_are_the_official_mode(folded: Path) -> None:
    context, network = context_of(folded), network_of(folded, "generation-1")
    model = checkpoint.load(network.refineries[0].path)[0]
    model.net.load_state_dict({k: v + 0.5 if "running_mean" in k else v for k, v in model.net.state_dict().items()})
    batch = batch_of(context, 0)
    reference = checkpoint.load(network.refineries[0].path)[0].train()
    expected = torch.softmax(reference(batch.inputs[8]), 1).detach()
    frozen = FrozenNetwork(model, batch_statistics=True)
    before = weights_hash(frozen.model.net)
    torch.testing.assert_close(torch.softmax(frozen(batch.inputs[8]), 1), expected, atol=1e-5, rtol=1e-4)
    assert weights_hash(frozen.model.net) == before and not frozen.training
    whole = refinery_of(context, replace(network, refined_labels=RefinedLabelsConfig(norm="batch")))
    halves = torch.cat([whole(part) for part in batch.split(2)])
    assert (whole(batch) - halves).abs().max() > 1e-3  # a label depends on the rest of the batch, as it says


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("chain.refined.kind=hard", "refinery hard dynamic (generation-1)"),
        ("chain.refined.per=image", "refinery soft static (generation-1)"),
        ("chain.refined={per: category, kind: soft}", "refinery soft by category (generation-1)"),
        ("chain.refined={loss: kd, temperature: 4, given: 0.5}", "kd, temperature 4, given label 50%"),
        ("chain.refined={jitter: {step: 2}}", "jitter 2/255"),
        ("chain.refined={norm: batch}", "statistics of the batch"),
        ("chain.refined={loss: reverse_kl}", "reverse_kl"),
    ],
)
def test_every_kind_runs_and_says_so(changes: str, words: str, folded: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    rows = refine(
        load_recipe(None, [*BASE, "chain.generations=2", "train.epochs=1", changes]), out, quiet=True
    ).to_json()["rows"]
    assert words in rows[1]["labels"]
    assert "refined" in lineage(out, "generation-2") and "refined" not in lineage(out, "generation-1")
    records = [json.loads(line) for line in (out / "seed-0/generation-2/metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(records[-1]["train"]["loss"])
    if "jitter" in changes:
        train = records[-1]["train"]
        assert train["moved"] == pytest.approx(0.5, abs=0.1) and train["rose"] > 0.8 * train["moved"]
        assert train["kl_after"] > train["kl_before"]


def test_default_options_leave_no_mark_in_a_lineage(folded: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", "chain.generations=2")
    assert not {"refined", "unseen", "start", "without"} & lineage(tmp_path / "run", "generation-2").keys()


def test_words() -> None:
    assert described(RefinedLabelsConfig(), "x") == "refinery soft dynamic (x)"
    words = described(RefinedLabelsConfig(kind="hard", per="image", loss="l2", norm="batch"), "x")
    assert words == "refinery hard static (x), l2, statistics of the batch"


# steps: who learns from whom


def test_a_generation_may_be_labelled_by_an_earlier_one_and_start_from_another(tmp_path: Path) -> None:
    small, wide = "{model: {name: small-narrow}", "{model: {name: small-wide}}"
    steps = f"[{wide}, {small}}}, {small}, labelled_by: 1, start_from: 2, refined: {{jitter: {{step: 2}}}}}}]"
    out = tmp_path / "run"
    rows = run(out, f"chain={{generations: 3, networks: {steps}}}")
    third = lineage(out, "generation-3")
    assert [r["name"] for r in third["refineries"]] == ["generation-1"]
    assert third["start"] == rows[1]["weights_hash"]
    assert third["refined"] == {"jitter": {"step": 2.0}} and "refined" not in lineage(out, "generation-2")
    # Warm: one epoch more of the same, so it does not begin anew.
    first_epoch = [
        json.loads((out / f"seed-0/generation-{g}/metrics.jsonl").read_text().splitlines()[0]) for g in (2, 3)
    ]
    assert first_epoch[1]["train"]["ce"] < first_epoch[0]["train"]["ce"]


def test_labelled_by_nobody_is_the_given_label(tmp_path: Path) -> None:
    narrow = "{model: {name: small-narrow}}"
    rows = run(
        tmp_path / "run",
        f"chain={{generations: 2, networks: [{narrow}, {{model: {{name: small-narrow}}, labelled_by: 0}}]}}",
    )
    assert [row["labels"] for row in rows] == ["given", "given"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "chain={networks: [{model: {name: small-narrow}, labelled_by: 1}]}",
            "generation 1 is not before generation 1",
        ),
        (
            "chain={networks: [{model: {name: small-narrow}}, {model: {name: small-wide}, start_from: 1}]}",
            r"start_from: generation 1 is another network \(small-narrow\)",
        ),
        ("chain={folds: 2, members: 2}", "leave one of them at 1"),
        ("chain={fold_labels: unseen}", "needs folds above 1"),
        ("chain={refined: {per: image, jitter: {step: 1}}}", "jitter needs a label for the moved view"),
        ("chain={networks: [{model: {}, refined: {kindd: hard}}]}", "kindd"),
        ("chain={networks: [{model: {}, refined: {jitter: {steps: 2}}}]}", "steps"),
        ("chain={networks: [{model: {}, refined: {jitter: 2}}]}", "jitter"),
        ("train={taxonomy: {file: x.json}, label_smoothing: 0.1}", "leave one of them out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_recipe(None, [change])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["chain={generations: 2, folds: 200}"], r"chain\.folds: 200 folds of \d+ groups"),
        (["chain={generations: 2, folds: 2, fold_labels: unseen}", "views.mixup=0.2"], "set mixup and cutmix to 0"),
        (["chain={generations: 2, refined: {loss: l2}}", "train.balance=class_weights"], "l2 has none"),
        (["train.taxonomy={file: nowhere.json}"], "nowhere.json"),
    ],
)
def test_what_a_run_cannot_do_is_said_in_one_line(changes: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=message) as error:
        run(tmp_path / "run", "train.epochs=1", *changes)
    assert "\n" not in str(error.value)


def test_a_taxonomy_spreads_the_given_labels(tmp_path: Path) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"even": ["0", "2", "4", "6", "8"], "odd": ["1", "3", "5", "7", "9"]}))
    rows = run(tmp_path / "run", "chain.generations=1", f"train.taxonomy={{file: {tree}, mass: 0.8}}")
    assert rows[0]["labels"] == "given, by taxonomy (mean mass 0.8)"
    changes = [
        *BASE,
        "chain.generations=1",
        "baselines.kinds=[smoothing]",
        f"train.taxonomy={{file: {tree}, mass: 0.8}}",
    ]
    results = refine(load_recipe(None, changes), tmp_path / "run", baselines=True, quiet=True).to_json()
    assert results["rows"][-1]["labels"].startswith("given, smoothed")  # the control is smoothed in its place
    record = json.loads((tmp_path / "run/seed-0/generation-1/metrics.jsonl").read_text().splitlines()[0])
    assert 0.6 < record["train"]["entropy"] < 1.6


def test_chain_options_default_to_the_paper() -> None:
    chain = ChainConfig()
    assert (chain.refined.kind, chain.refined.per, chain.refined.loss) == ("soft", "view", "kl")
    assert chain.refined.temperature == 1 and chain.refined.given == 0 and chain.refined.jitter.step == 0
