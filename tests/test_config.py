"""Every mistake in a recipe is one line that names the full key, the value and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.config import Recipe, TableConfig, TrainConfig, load_recipe, merge_train, parse_lr_steps
from labelwise.demo import refine_recipe
from labelwise.errors import ConfigError
from labelwise.settings import dump_yaml

FOLDER = Path(__file__).parents[1] / "recipes"
TABLES = sorted((FOLDER / "tables").glob("*.yaml"))
RECIPES = sorted(set(FOLDER.rglob("*.yaml")) - set(TABLES))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def error_of(path: Path | None = None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_key_is_named_in_full_with_a_suggestion_and_what_is_allowed(tmp_path):
    message = error_of(write(tmp_path, "train: {epohcs: 3}"))
    assert "'train.epohcs'" in message and "value 3" in message and "Did you mean 'epochs'?" in message
    assert "batch_size" in message and "weight_decay" in message
    top = error_of(write(tmp_path, "vews: {}"))
    assert "'vews'" in top and "'views'" in top and "baselines" in top
    data = error_of(write(tmp_path, "data: {source: x.csv, lable_column: y}"))
    assert "'data.lable_column'" in data and "Did you mean 'label_column'?" in data and "projection" not in data
    deep = error_of(write(tmp_path, "data: {noise: {kindd: pairs}}"))
    assert "'data.noise.kindd'" in deep and "Allowed: kind, rate, seed" in deep
    optional = error_of(write(tmp_path, "data: {labels: {file: a, column: b, colum: c}}"))
    assert "'data.labels.colum'" in optional and "Allowed: column, file" in optional


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=many", "train.epochs: expected a whole number, got 'many'"),
        ("train.epochs=1.5", "train.epochs: expected a whole number, got 1.5"),
        ("train.epochs=true", "train.epochs: expected a number, got true"),
        ("data.train_limit=true", "data.train_limit: expected a number, got true"),
        ("data.channels=true", "data.channels: expected a number, got true"),
        ("data.channels=2", "data.channels: expected 'auto', 1 or 3, got 2"),
        ("train.optimizer=adam", "train.optimizer: expected 'sgd' or 'adamw', got 'adam'"),
        ("train.lr=-1", "train.lr: expected a number greater than 0, got -1"),
        ("train.epochs=3000000000", "train.epochs: expected a number less than or equal to 1000000, got 3000000000"),
        ("seeds=1000001", "seeds: expected a number less than or equal to 1000000, got 1000001"),
        ("threads=100000", "threads: expected a number less than or equal to 1024, got 100000"),
        ("train.lr=.nan", "train.lr: expected a finite number, got nan"),
        ("train.lr=.inf", "train.lr: expected a finite number, got inf"),
        ("train.lr=null", "train.lr: expected a number, got null"),
        ("views.flip=maybe", "views.flip: expected true or false, got 'maybe'"),
        ("train=5", "train: expected a mapping of keys, got 5"),
        ("data=5", "data: expected a mapping of keys, got 5"),
        ("train.lr_steps=true", "train.lr_steps: expected a mapping, got true"),
        ("chain.unknown.share=true", "chain.unknown.share: expected a list, got true"),
        ("data.labels={file: [1]}", "data.labels.file: expected text, got [1]"),
        ("data={labels: {column: a}}", "data.labels.file: this key is required"),
        (
            "labels.unknown=yes",
            "labels.unknown: expected 'ignore', 'negative' or 'positive', or a list, or a mapping, got 'yes'",
        ),
    ],
)
def test_a_value_of_another_type_is_named_with_what_is_expected(override: str, message: str) -> None:
    assert error_of(None, override) == message


def test_further_problems_are_counted() -> None:
    assert error_of(None, "train.lr=-1", "train.epochs=0", "name=[1]").endswith(" (and 2 more problems)")


def test_keys_of_a_network_of_the_chain(tmp_path):
    text = "chain: {networks: [{model: {name: small-wide}}, {model: {name: small-narrow}, train: {%s}}]}"
    message = error_of(write(tmp_path, text % "epoch: 3"))
    assert "'chain.networks.1.train.epoch'" in message and "'epochs'" in message
    assert "chain.networks.1.train.lr: expected a number greater than 0, got 0" in error_of(
        write(tmp_path, text % "lr: 0")
    )
    assert load_recipe(write(tmp_path, text % "epochs: 3")).chain.networks[1].train == {"epochs": 3}
    message = error_of(write(tmp_path, "chain: {networks: [{model: {nam: x}}]}"))
    assert "'chain.networks.0.model.nam'" in message and "'name'" in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["views.scale=[0.5, 0.2]"], "views: scale must be [low, high]"),
        (["views.scale=[0.5, 1.2]"], "at most 1, got 1.2"),
        (["chain.first=early_stop", "chain.refinery=[a]"], "drop one"),
        (["data.select_share=0", "train.keep=best"], "data.select_share must be above 0"),
        (["train.lr_steps={1-30: 0.1}"], "lr_steps needs schedule: step"),
        (["train.schedule=step"], "no learning rate for epoch 1"),
        (["name=a/b"], "name: expected text to match pattern"),
    ],
)
def test_values_that_contradict_each_other(overrides, words):
    assert words in error_of(None, *overrides)


def test_lr_steps():
    assert parse_lr_steps({"1-2": 0.1, "3": 0.2, "4-9": 0.3}, 5) == [0.1, 0.1, 0.2, 0.3, 0.3]
    for steps, words in [
        ({"1-2": 0.1, "4-5": 0.1}, "no learning rate for epoch 3"),
        ({"1-3": 0.1, "3-5": 0.1}, "epoch 3 is in two"),
        ({"0-5": 0.1}, "1 <= first"),
        ({"1-5": 0.1, "4-2": 0.1}, "'4-2' must have"),
        ({"one": 0.1}, "'one' is not an interval"),
        ({"-3": 0.1}, "'-3' is not an interval"),
    ]:
        with pytest.raises(ValueError) as caught:
            parse_lr_steps(steps, 5)
        assert words in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data())
def test_every_epoch_has_the_rate_of_its_interval(lengths, data):
    steps, expected = {}, []
    for i, length in enumerate(lengths):
        steps[f"{len(expected) + 1}-{len(expected) + length}"] = 1.0 / (i + 1)
        expected += [1.0 / (i + 1)] * length
    epochs = data.draw(st.integers(1, len(expected)))
    assert parse_lr_steps(dict(data.draw(st.permutations(list(steps.items())))), epochs) == expected[:epochs]


def test_set_reads_its_value_as_yaml():
    recipe = load_recipe(
        None,
        [
            "train.epochs=3",
            "train.lr=1e-3",
            "views.flip=false",
            "views.scale=[0.3, 0.9]",
            "chain.min_gain=null",
            "data.source=some dir/x=1",
            "model.args.norm=group",
        ],
    )
    assert recipe.train.epochs == 3 and recipe.train.lr == 0.001 and recipe.views.flip is False
    assert recipe.views.scale == (0.3, 0.9) and recipe.chain.min_gain is None
    assert recipe.data.source == "some dir/x=1" and recipe.model.args == {"norm": "group"}


@pytest.mark.parametrize("separator", [" ", "#", ",", "\t", "|", ";", "*", "'", "7"])
def test_a_separator_is_text_as_it_stands(tmp_path: Path, separator: str) -> None:
    recipe = load_recipe(None, ["data.source=t.csv", f"data.label_separator={separator}"])
    assert isinstance(recipe.data, TableConfig) and recipe.data.label_separator == separator
    assert load_recipe(write(tmp_path, dump_yaml(recipe))) == recipe


@pytest.mark.parametrize("text", [" ", "", "# c", "|", ">", ",", "\t", "*"])
def test_a_separator_that_a_recipe_must_quote_is_told(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"data:\n  source: t.csv\n  label_separator: {text}\n")
    assert "quotes" in error_of(path)
    path.write_text(f"data: {{source: t.csv, label_separator: '{text or '/'}'}}")
    recipe = load_recipe(path)
    assert isinstance(recipe.data, TableConfig) and recipe.data.label_separator == (text or "/")


@pytest.mark.parametrize(
    ("text", "columns"),
    [("[1,2]", ("1", "2")), ("*", ("*",)), ('"*"', ("*",)), ("cat", ("cat",)), ("[007, 12:30]", ("007", "12:30"))],
)
def test_names_of_columns_may_be_numbers_or_a_single_one(text: str, columns: tuple[str, ...]) -> None:
    recipe = load_recipe(None, ["data.source=t.csv", f"data.label_columns={text}"])
    assert isinstance(recipe.data, TableConfig) and recipe.data.label_columns == columns


@pytest.mark.parametrize("word", ["null", "~", ""])
def test_an_option_of_text_may_be_taken_back(tmp_path: Path, word: str) -> None:
    path = write(tmp_path, "data: {source: t.csv, label_separator: ','}")
    recipe = load_recipe(path, [f"data.label_separator={word}"])
    assert isinstance(recipe.data, TableConfig) and recipe.data.label_separator is None


@pytest.mark.parametrize(
    "item", ["[{previous}, {previous}]", "{{a: {previous}, b: {previous}}}", "{{<<: [{previous}]}}"]
)
def test_aliases_of_aliases_are_bounded(tmp_path: Path, item: str) -> None:
    lines = ["a0: &a0 {k: 1}" if "<<" in item else "a0: &a0 [1]"]
    for i in range(40):
        previous = ", ".join([f"*a{i}"] * 2) if "<<" in item else f"*a{i}"
        lines.append(f"a{i + 1}: &a{i + 1} {item.format(previous=previous)}")
    assert "not valid YAML" in error_of(write(tmp_path, "\n".join(lines)))


def test_set_overrides_the_file(tmp_path):
    path = write(tmp_path, "train: {epochs: 9, lr: 0.5}\nviews:\n")
    recipe = load_recipe(path, ["train.epochs=3", "views.size=8"])
    assert (recipe.train.epochs, recipe.train.lr, recipe.views.size) == (3, 0.5, 8)


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train.epochs=[1"])
def test_set_that_cannot_be_read(override):
    assert f"--set {override}" in error_of(None, override)


def test_a_step_of_a_chain_has_the_recipe_s_model_or_its_own(tmp_path):
    chain = "chain={networks: [{model: {name: small-wide}}, {%s}, {%s}]}"
    recipe = load_recipe(None, ["model.name=mlp", chain % ("", "start_from: 2")])
    assert [step.model and step.model.name for step in recipe.chain.networks] == ["small-wide", None, None]
    assert load_recipe(write(tmp_path, dump_yaml(recipe))) == recipe


@pytest.mark.parametrize(
    ("model", "second", "third", "other"),
    [
        ("small-wide", "", "start_from: 1", None),
        ("small-wide", "", "model: {name: small-wide, init: pretrained}, start_from: 2", None),
        ("mlp", "", "start_from: 1", "generation 1 is another network (small-wide)"),
        ("mlp", "", "model: {name: small-wide}, start_from: 2", "generation 2 is another network (mlp)"),
        ("mlp", "", "model: {name: mlp, args: {hidden: 8}}, start_from: 2", "generation 2 is another network (mlp)"),
    ],
)
def test_weights_are_taken_from_the_same_network_alone(model, second, third, other):
    changes = [
        f"model.name={model}",
        f"chain={{networks: [{{model: {{name: small-wide}}}}, {{{second}}}, {{{third}}}]}}",
    ]
    if other is None:
        assert load_recipe(None, changes).chain.networks[2].start_from
        return
    with pytest.raises(ConfigError, match=re.escape(f"chain.networks.2.start_from: {other}")):
        load_recipe(None, changes)


def test_environment_variables_are_expanded(tmp_path, monkeypatch):
    path = write(tmp_path, "data: {source: '${SOME_ROOT}/x.npz'}\nchain: {refinery: ['${SOME_ROOT}/r']}")
    monkeypatch.setenv("SOME_ROOT", "/data")
    recipe = load_recipe(path)
    assert recipe.data.source == "/data/x.npz" and recipe.chain.refinery == ("/data/r",)
    monkeypatch.delenv("SOME_ROOT")
    message = error_of(path)
    assert "data.source" in message and "SOME_ROOT" in message and "not set" in message


def test_the_resolved_recipe_can_be_loaded_again(tmp_path):
    recipe = load_recipe(
        None,
        [
            "train={schedule: step, epochs: 4, lr_steps: {1-2: 0.1, 3-4: 0.01}, trackers: [wandb]}",
            "data={channels: 3, labels: {file: é.npz, column: x}}",
            "chain={networks: [{model: {name: mlp, args: {hidden: 8}}, train: {lr: 0.2}}], min_gain: 0.1}",
        ],
    )
    again = load_recipe(write(tmp_path, dump_yaml(recipe)))
    assert again == recipe
    assert set(yaml.safe_load(dump_yaml(Recipe()))["train"]) == set(TrainConfig.model_fields)


def test_files_that_are_no_recipes(tmp_path):
    assert "a mapping of sections, got a list" in error_of(write(tmp_path, "- a\n- b"))
    assert "a mapping of sections, got a str" in error_of(write(tmp_path, "just words"))
    assert "not valid YAML" in error_of(write(tmp_path, "train: {epochs: 3"))
    assert "no such recipe" in error_of(tmp_path / "missing.yaml")
    assert "cannot be read" in error_of(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    assert "binary.yaml" in error_of(tmp_path / "binary.yaml")


@pytest.mark.parametrize("text", ["train: &t {lr: 0.1, more: *t}", "chain: &c [1, {networks: *c}]", "&a [*a]"])
def test_an_alias_that_refers_to_itself_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert (
        error_of(path)
        == f"{path}: not valid YAML: an alias (*name) lies inside the value that it names; write the value out"
    )


def test_a_value_may_be_used_in_two_places(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "chain: {networks: [{train: &t {lr: 0.1}}, {train: *t}]}"))
    assert [step.train for step in recipe.chain.networks] == [{"lr": 0.1}, {"lr": 0.1}]


def test_an_empty_recipe_is_the_defaults(tmp_path):
    assert load_recipe(write(tmp_path, "# nothing\n")) == Recipe() == load_recipe(None)


def test_merge_train():
    base = TrainConfig(schedule="step", epochs=4, lr_steps={"1-4": 0.1})
    assert merge_train(base, {"schedule": "cosine"}).lr_steps == {}
    assert merge_train(base, {"epochs": 2}).epochs == 2
    with pytest.raises(ConfigError, match=r"there\.train: lr_steps: no learning rate for epoch 5"):
        merge_train(base, {"epochs": 8}, "there.train")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: "/".join(path.parts[-3:]))
def test_every_recipe_loads_and_says_how_to_run_it(path, monkeypatch):
    for variable in re.findall(r"\$\{(LABELWISE_\w+)\}", path.read_text()):
        monkeypatch.setenv(variable, "/data")
    recipe = load_recipe(path)
    assert recipe.description
    first = path.read_text().splitlines()[0]
    assert first.startswith("#") and "labelwise" in first


def test_the_demo_is_a_recipe():
    [path] = [path for path in RECIPES if path.match("digits/noise40_folds.yaml")]
    demo = refine_recipe().model_dump(exclude={"name", "description"})
    assert demo == load_recipe(path).model_dump(exclude={"name", "description"})


@pytest.mark.parametrize("text", ["&a [*a]", "[", ","])
def test_values_that_are_no_yaml_are_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="the value is not valid YAML") as error:
        load_recipe(None, [f"model.args={text}"])
    assert "\n" not in str(error.value)


def test_an_override_changes_no_other_place_of_an_alias(tmp_path: Path) -> None:
    text = "train: &t {lr: 0.1}\nchain: {networks: [{train: *t}, {}]}\n"
    (tmp_path / "r.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "r.yaml", ["train.lr=0.7"])
    assert recipe.train.lr == 0.7 and recipe.chain.networks[0].train == {"lr": 0.1}


def test_merged_mappings_and_keys_that_stand_twice(tmp_path: Path) -> None:
    text = "train: &a {lr: 0.1}\nchain: {networks: [{train: &b {<<: *a, lr: 0.2}}, {train: {<<: *b, epochs: 3}}]}\n"
    (tmp_path / "r.yaml").write_text(text)
    assert load_recipe(tmp_path / "r.yaml").chain.networks[1].train == {"lr": 0.2, "epochs": 3}
    (tmp_path / "r.yaml").write_text("train: {lr: 0.1, lr: 0.2}\n")
    with pytest.raises(ConfigError, match="the key 'lr' is given twice"):
        load_recipe(tmp_path / "r.yaml")
