"""Bad input to every command: at most three lines that name what is wrong, an exit code, and never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaigns.bad_files import write_bad_files

pytestmark = [pytest.mark.campaign, pytest.mark.quick, pytest.mark.xdist_group("bad inputs")]

CASES = """
refine {bad}/nowhere.yaml --out out | nowhere.yaml
refine {bad}/list.yaml --out out | list.yaml
refine {bad}/latin.yaml --out out | latin.yaml
refine {bad}/tabs.yaml --out out | tabs.yaml
refine {bad}/unknown.yaml --out out | train.epoch
refine {bad}/type.yaml --out out | train.epochs
refine {bad}/nested.yaml --out out | train
refine {bad}/tag.yaml --out out | tag.yaml
refine {bad}/empty --out out | empty
refine {bad}/fine.npz --out out | fine.npz
refine --set train.epochs --out out | train.epochs
refine --set train.epochs=0 --out out | train.epochs
refine --set train.lr=.inf --out out | train.lr
refine --set train.batch_size=-3 --out out | train.batch_size
refine --set model.name=no_such_net --out out | no_such_net
refine --set views.scale=[2,1] --out out | views: scale
refine --set chain.generations=0 --out out | chain.generations
refine --set chain.refinery={bad}/net-half --out out | net-half
refine --set data.noise.rate=2 --out out | data.noise.rate
refine --seeds 0 --out out | --seeds
refine digits --budget soon --out out | soon
refine {bad}/nowhere --budget 1h --out out | nowhere
refine --plan --out out | --plan
refine --out {bad}/fine.npz | fine.npz
refine --out {bad}/broken | broken
train --set data.source={bad}/nowhere.npz --out out | nowhere.npz
train --set data.source={bad}/zero.npz --out out | zero.npz
train --set data.source={bad}/text.npz --out out | text.npz
train --set data.source={bad}/cut.npz --out out | cut.npz
train --set data.source={bad}/unlabelled.npz --out out | unlabelled.npz
train --set data.source={bad}/alone.npz --out out | alone.npz
train --set data.source={bad}/lengths.npz --out out | lengths.npz
train --set data.source={bad}/no-rows.npz --out out | no-rows.npz
train --set data.source={bad}/no-columns.npz --out out | no-columns.npz
train --set data.source={bad}/flat.npz --out out | flat.npz
train --set data.source={bad}/words.npz --out out | words.npz
train --set data.source={bad}/complex.npz --out out | complex.npz
train --set data.source={bad}/objects.npz --out out | objects.npz
train --set data.source={bad}/nan.npz --set model.name=mlp --out out | nan.npz
train --set data.source={bad}/huge.npz --set model.name=mlp --out out | huge.npz
train --set data.source={bad}/one-class.npz --set model.name=mlp --out out | one-class
train --set data.source={bad}/split.npz --out out | split
train --set data.source={bad}/no-fit.npz --set model.name=mlp --out out | no-fit
train --set data.source={bad}/ids.npz --out out | same
train --set data.source={bad}/groups.npz --out out | groups
train --set data.source={bad}/deep.npz --out out | deep.npz
train --set data.source={bad}/fives.npz --out out | fives.npz
train --set data.source={bad}/names.npz --out out | names.npz
train --set data.source={bad}/images.npz --out out | images.npz
train --set data.source={bad}/float-images.npz --out out | float-images.npz
train --set data.source={bad}/broken --set views.size=8 --out out | broken
train --set data.source={bad}/no-classes --out out | no-classes
train --set data.source={bad}/empty --out out | empty
train --set data.source={bad}/empty.csv --out out | empty.csv
train --set data.source={bad}/header.csv --out out | header.csv
train --set data.source={bad}/columns.csv --out out | columns.csv
train --set data.source={bad}/missing.csv --out out | nowhere.png
train --set data.source={bad}/half.parquet --out out | half.parquet
train --set data.source={bad}/half.json --out out | half.json
train --set data.source={bad}/deep.json --out out | deep.json
train --set data.source={bad}/deep.jsonl --out out | deep.jsonl
train --set data.labels.file={bad}/empty.csv --out out | empty.csv
train --trust-code --set model.name=nowhere:net --out out | nowhere
data stats {bad}/nowhere | nowhere
data stats {bad}/same-names.npz | same-names.npz
data stats digits --set data.classes=0 | data.classes
data stats digits --set colour=red | colour
cft {bad}/nowhere.npz --out out | nowhere.npz
cft {bad}/zero.npz --out out | zero.npz
cft {bad}/fine.npz --out out | --base
cft {bad}/unlabelled.npz --base ignore --out out | unlabelled.npz
cft {bad}/unknown.npz --base ignore --out out | select
cft {bad}/fives.npz --base ignore --out out | fives.npz
cft {bad}/same-names.npz --base ignore --out out | same-names.npz
cft {bad}/head.npz --out out | head.npz
cft {bad}/fine.npz --base ignore --threshold best --out out | best
cft {bad}/fine.npz --base ignore --threshold precision=2 --out out | precision
cft {bad}/fine.npz --base sometimes --out out | sometimes
cft {bad}/fine.npz --base ignore --set draws=many --out out | draws
cft {bad}/features-half --out out | features-half
cft {bad}/features-labels --out out | features-labels
cft {bad}/fine.npz --base ignore --out {bad}/broken | broken
ensemble {bad}/nowhere {inputs}/b --out out | nowhere
ensemble {inputs}/run {inputs}/a --out out | run
ensemble {bad}/cft-scores {inputs}/b --out out | cft-scores
features no_such_net --data digits --out out | no_such_net
features resnet18 --data digits --out out | resnet18
features resnet18 --weights {bad}/weights.pt --data digits --out out | weights.pt
features resnet18 --weights {bad}/weights.safetensors --data digits --out out | weights.safetensors
features {bad}/net-code --data digits --out out | os:getcwd
features {inputs}/network --data {bad}/broken --out out | broken
features {inputs}/network --data digits --out out.npz | out.npz
features {inputs}/network --data digits --precision fp8 --out out | fp8
evaluate {bad}/nowhere --data digits | nowhere
evaluate {bad}/empty --data digits | empty
evaluate {bad}/net-card --data digits | net-card
evaluate {bad}/net-other --data digits | net-other
evaluate {bad}/net-classes --data digits | net-classes
evaluate {bad}/net-name --data digits | no_such_net
evaluate {bad}/net-half --data digits | net-half
evaluate {bad}/net-flip --data digits | net-flip
evaluate {bad}/net-gone --data digits | net-gone
evaluate {inputs}/network --data digits | digits
evaluate {inputs}/network --data {bad}/nowhere | nowhere
evaluate {inputs}/network --data {inputs}/attributes.npz --split train | train
evaluate {inputs}/network --data {inputs}/attributes.npz --page {bad}/list.yaml | list.yaml
predict {bad}/net-deep {inputs}/attributes.npz --out p.csv | net-deep
predict {bad}/net-half {inputs}/attributes.npz --out p.csv | net-half
predict {inputs}/network {bad}/nowhere --out p.csv | nowhere
predict {inputs}/network {bad}/empty --out p.csv | empty
predict {inputs}/network {bad}/broken --out p.csv | broken
predict {inputs}/network {bad}/zero.npz --out p.csv | zero.npz
predict {inputs}/network {bad}/fine.npz --out p.csv | fine.npz: the checkpoint
predict {inputs}/network {inputs}/attributes.npz --out p.txt | p.txt
predict {inputs}/network {inputs}/attributes.npz --top 0 --out p.csv | --top
predict {inputs}/network {inputs}/attributes.npz --out {bad}/columns.csv | columns.csv
report {bad}/nowhere | nowhere
report {bad}/empty | empty
report {bad}/run-half | run-half
report {bad}/run-deep | run-deep
report {bad}/run-schema | run-schema
report {bad}/run-kind | run-kind
report {bad}/run-rows | run-rows
report {bad}/run-gone | run-gone
report {bad}/audit-list | audit.csv
report {bad}/audit-empty | audit.csv
report {inputs}/run {inputs}/a --out both.html | inputs
report {inputs}/run {inputs}/plain --out both.txt | both.txt
export {bad}/nowhere --out out | nowhere
export {bad}/cft-head --model {inputs}/network --out out | head.safetensors
export {bad}/cft-gone --model {inputs}/network --out out | head.safetensors
export {inputs}/a --model {bad}/net-flip --out out | net-flip
export {inputs}/a --out out | --model
export {inputs}/network --out {bad}/broken | broken
experiment {bad}/nowhere.yaml --out out | nowhere.yaml
experiment {bad}/nothing.yaml --out out | rows
experiment {bad}/rows.yaml --out out | rows
experiment {bad}/row.yaml --out out | train.epoch
experiment {bad}/heads.yaml --out out | methods
experiment {bad}/axis.yaml --out out | axis
experiment {inputs}/table.yaml --jobs 0 --out out | --jobs
audit {bad}/nowhere --out out | nowhere
audit {inputs}/photos --out out | --model
audit {bad}/one-class.npz --out out | one-class
audit {bad}/nan.npz --out out | nan.npz
audit {bad}/bare.csv --out out | bare.csv
audit {inputs}/embeddings.npz --folds 1 --out out | --folds
audit {inputs}/embeddings.npz --set audit.colour=red --out out | audit.colour
audit {bad}/run-half --out out | run-half
audit apply {inputs}/audit --out labels.csv | --corrections
audit apply {bad}/empty --above 0.5 --out labels.csv | empty
audit apply {bad}/audit-list --above 0.5 --out labels.csv | audit.csv
audit apply {bad}/audit-half --above 0.5 --out labels.csv | audit-half
audit apply {inputs}/audit --above 2 --out labels.csv | --above
audit apply {inputs}/audit --corrections {bad}/corrections.csv --out labels.csv | nobody
audit apply {inputs}/audit --corrections {bad}/classes.csv --out labels.csv | unicorn
audit apply {inputs}/audit --corrections {bad}/bare.csv --out labels.csv | bare.csv
audit apply {inputs}/audit --corrections {bad}/half.json --out labels.csv | half.json
audit apply {inputs}/audit --corrections {bad}/deep.json --out labels.csv | deep.json
audit apply {inputs}/audit --corrections {bad}/nothing.json --out labels.csv | nothing.json
audit apply {inputs}/audit --corrections {bad}/nowhere.csv --out labels.csv | nowhere.csv
audit export {inputs}/photo-audit --to paper --out tasks.json | paper
audit export {inputs}/audit --to label-studio --out tasks.json | audit
audit export {bad}/audit-empty --to fiftyone --out tasks.json | audit.csv
demo --out {bad}/broken | broken
demo --seed -1 | --seed
party | party
train --colour red | --colour
"""


@pytest.fixture(scope="session")
def bad(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    write_bad_files(folder, inputs)
    return folder


@pytest.mark.parametrize("case", CASES.strip().splitlines())
def test_bad_input_is_named(
    case: str,
    inputs: Path,
    bad: Path,
    labelwise: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Any,
) -> None:
    words, _, named = case.partition(" | ")
    monkeypatch.chdir(tmp_path)
    record_property("bad inputs", 1)
    done = labelwise(*(word.format(bad=bad, inputs=inputs) for word in words.split()))
    record_property("not told well", int(not (done.code and 1 <= len(done.err) <= 3 and named in " ".join(done.err))))
    assert done.code != 0, done
    assert 1 <= len(done.err) <= 3, done.err
    assert named in " ".join(done.err), done.err
