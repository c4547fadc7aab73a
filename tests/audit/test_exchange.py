"""An audit to Label Studio and FiftyOne and back. benchmarks/peers/check_exchange.py loads the files with the tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from helpers.audit_lists import CATEGORIES, CLASSES, MULTI, SINGLE, multi, single
from labelwise.audit.corrections import read_corrections
from labelwise.audit.exchange import write_export
from labelwise.audit.finished import Correction, open_audit
from labelwise.audit.questions import questions
from labelwise.errors import DataError


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def annotation(*chosen: str, who: int = 1, when: str = "2026-01-01T10:00:00Z", **more: Any) -> dict[str, Any]:
    """As Label Studio exports one."""
    region = {"id": "x1", "from_name": "label", "to_name": "image", "type": "choices", "origin": "manual"}
    result = [{**region, "value": {"choices": list(chosen)}}] if chosen else []
    dated = {"created_at": when, "updated_at": when, "lead_time": 3.1}
    return {
        "id": 7,
        "completed_by": who,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        **dated,
        **more,
    }


def task(name: str | None, *annotations: dict[str, Any], image: str = "") -> dict[str, Any]:
    meta = {} if name is None else {"meta": {"id": name}}
    return {"id": 12, "data": {"image": image, "note": "given: cat"}, **meta, "annotations": list(annotations)}


def pairs(corrections: list[Correction]) -> dict[Any, str]:
    return {(one.id, one.category) if one.category else one.id: one.label for one in corrections}


def test_tasks_of_one_class(labelwise, tmp_path):
    audit, out = single(tmp_path / "audit"), tmp_path / "tasks.json"
    done = labelwise("audit", "export", audit, "--to", "label-studio", "--out", out)
    assert done.code == 0 and "3 samples -> " in done.out and f"images are named from {Path.cwd()}\n" in done.out
    first, second, third = json.loads(out.read_text())
    assert first["data"] == {"image": "/data/local-files/?d=photos/train/b.jpg", "note": "given: cat. wrong (0.98)"}
    assert first["meta"] == {"id": "train/b.jpg"}
    [prediction] = first["predictions"]
    assert prediction["score"] == 0.98 and prediction["model_version"] == "labelwise-audit"
    [region] = prediction["result"]
    assert region == {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": ["dog"]}}
    assert (
        second["meta"]["id"] == "train/a.jpg"
        and third["data"]["image"] == "/data/local-files/?d=photos/train/x%20y.jpg"
    )
    setup = ElementTree.fromstring(out.with_suffix(".xml").read_text())
    assert [one.get("value") for one in setup.iter("Choice")] == CLASSES
    [choices] = setup.iter("Choices")
    assert (choices.get("name"), choices.get("toName"), choices.get("choice")) == ("label", "image", "single")


def test_tasks_of_several_categories_have_one_task_for_each_sample(tmp_path):
    audit = open_audit(multi(tmp_path / "audit"))
    asked = questions(audit, Path(), first=1)
    assert [one.id for one in asked] == ["s1"] and len(questions(audit, Path())) == 2, "s3 has correct labels alone"
    [one] = asked
    assert set(one.suggested) == {"edema", "no finding", "nodule"} and one.given == ("no finding",)
    assert one.verdict == "edema: missing positive; nodule: suggestion" and one.score == 0.97
    files = write_export(audit, questions(audit, Path()), "label-studio", tmp_path / "t.json")
    choices = next(ElementTree.fromstring(files[1].read_text()).iter("Choices"))
    assert choices.get("choice") == "multiple"
    two = json.loads(files[0].read_text())[1]
    assert two["predictions"][0]["result"][0]["value"]["choices"] == ["nodule"] and two["meta"]["id"] == "s2"


def test_labels_of_fiftyone(labelwise, tmp_path):
    audit, out = single(tmp_path / "audit"), tmp_path / "labels.json"
    assert labelwise("audit", "export", audit, "--to", "fiftyone", "--first", "1", "--out", out).code == 0
    attributes = {"given": "cat", "verdict": "wrong", "score": 0.98}
    assert json.loads(out.read_text()) == {
        "classes": CLASSES,
        "labels": {"train/b": {"label": 1, "attributes": attributes}},
    }
    audit, out = multi(tmp_path / "many"), tmp_path / "many.json"
    assert labelwise("audit", "export", audit, "--to", "fiftyone", "--out", out).code == 0
    content = json.loads(out.read_text())
    assert content["classes"] == CATEGORIES and sorted(one["label"] for one in content["labels"]["s1"]) == [0, 1, 2]


@pytest.mark.parametrize("tool", ["label-studio", "fiftyone"])
@pytest.mark.parametrize("make", [single, multi])
def test_accepted_suggestions_come_back_as_they_went(tmp_path, tool, make):
    audit = open_audit(make(tmp_path / "audit"))
    [path, *_] = write_export(audit, questions(audit, Path()), tool, tmp_path / "out.json")
    content = json.loads(path.read_text())
    if tool == "label-studio":
        for one in content:
            one["annotations"] = [{**annotation(), "result": one["predictions"][0]["result"]}]
    found = pairs(read_corrections(save(path, content), audit))
    if make is single:
        assert found == {"train/b.jpg": "dog", "train/a.jpg": "10", "train/x y.jpg": "cat"}
    else:
        accepted = {("s1", "edema"): "1", ("s1", "no finding"): "1", ("s1", "nodule"): "1"}
        assert found == accepted | {("s2", "edema"): "0", ("s2", "nodule"): "1"}, "s2 has no say on 'no finding'"


def test_annotations_that_do_not_hold_are_left_aside(tmp_path):
    audit = open_audit(single(tmp_path / "audit"))
    content = [
        task("train/b.jpg", annotation("cat", was_cancelled=True)),
        task("test/a.jpg", annotation("dog", reviews=[{"accepted": True}, {"accepted": False}])),
        task("train/d.jpg", annotation()),
        task("somebody else's"),
        task("train/a.jpg", annotation("cat", when="2026-01-02T10:00:00Z"), annotation("dog")),
        task("train/x y.jpg", annotation("cat"), annotation("dog", who=2, ground_truth=True), annotation("cat", who=3)),
    ]
    found = read_corrections(save(tmp_path / "export.json", content), audit)
    assert pairs(found) == {"train/a.jpg": "cat", "train/x y.jpg": "dog"}
    with pytest.raises(DataError, match="holds no corrections"):
        read_corrections(save(tmp_path / "export.json", content[:4]), audit)


def test_of_several_categories_a_reviewer_decides_what_was_asked_and_what_was_given(tmp_path):
    audit = open_audit(multi(tmp_path / "audit"))
    content = [task("s1", annotation("edema")), task("s2", annotation()), task("s3", annotation("edema", "nodule"))]
    found = pairs(read_corrections(save(tmp_path / "export.json", content), audit))
    assert found == {
        ("s1", "edema"): "1",
        ("s1", "no finding"): "0",  # given as present, and taken away
        ("s2", "edema"): "0",
        ("s2", "nodule"): "0",
        ("s3", "edema"): "1",
        ("s3", "nodule"): "1",
    }, "the unknown labels that nobody has chosen stay unknown"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("/data/local-files/?d=train/b.jpg", "train/b.jpg"),
        ("/data/local-files/?d=photos/train/x%20y.jpg", "train/x y.jpg"),
        ("https://pictures.example/photos/test/a.jpg", "test/a.jpg"),
        ("b.jpg", "train/b.jpg"),
    ],
)
def test_a_task_of_somebody_s_own_project_is_found_by_its_image(tmp_path, image, expected):
    audit = open_audit(single(tmp_path / "audit"))
    content = [task(None, annotation("dog"), image=image)]
    assert pairs(read_corrections(save(tmp_path / "export.json", content), audit)) == {expected: "dog"}


@pytest.mark.parametrize("label", [1, "dog", {"label": "dog", "confidence": 0.7}, {"label": 1, "attributes": {}}])
def test_every_form_of_a_label_in_fiftyone(tmp_path, label):
    audit = open_audit(single(tmp_path / "audit"))
    content = {"classes": CLASSES, "labels": {"train/b": label, "/somewhere/photos/train/d.jpg": label, "test/a": None}}
    found = pairs(read_corrections(save(tmp_path / "labels.json", content), audit))
    assert found == {"train/b.jpg": "dog", "train/d.jpg": "dog"}


def test_images_of_one_name_are_told_apart_by_their_folder(tmp_path):
    text = SINGLE.replace("photos/test/a.jpg", "photos/a.jpg").replace("photos/train/d.jpg", "photos/x.1.jpg")
    audit = open_audit(single(tmp_path / "audit", text))
    assert audit.find("a", "w") == audit.find("a.jpg", "w") == "test/a.jpg", "the path from the common folder on"
    assert audit.find("train/a", "w") == "train/a.jpg" and audit.find("x.1", "w") == audit.find("x.1.jpg", "w")
    with pytest.raises(DataError, match="w: 'c' is not a sample of the audit"):
        audit.find("c", "w")
    two = open_audit(single(tmp_path / "two"))
    with pytest.raises(DataError, match=r"'a.jpg' is the name of several images"):
        two.find("a.jpg", "w")


def contradiction() -> list[dict[str, Any]]:
    return [task("train/b.jpg", annotation("cat"), annotation("dog", who=2))]


WRONG: dict[str, tuple[Any, str]] = {
    "annotators disagree": (contradiction(), "annotators disagree on 1 samples, first 'train/b.jpg'; mark the right"),
    "unknown sample": ([task("train/z.jpg", annotation("cat"))], "task 12: 'train/z.jpg' is not a sample of the audit"),
    "no image": ([{"annotations": [annotation("cat")]}], "task 0: has neither meta.id nor an image"),
    "unknown class": ([task("train/b.jpg", annotation("cow"))], "'cow' of 'train/b.jpg' is not one of cat, dog, 10"),
    "two classes": ([task("train/b.jpg", annotation("cat", "dog"))], "'train/b.jpg' has several classes, cat and dog"),
    "no task": ([3], "task 0 is not one of Label Studio's JSON export"),
    "no choices": ([task("train/b.jpg", annotation("cat") | {"result": [{"type": "choices"}]})], "has not the layout"),
    "a number of no class": ({"classes": CLASSES, "labels": {"train/b": 3}}, "'train/b' has the label 3, which is"),
    "a number without classes": ({"classes": None, "labels": {"train/b": 0}}, "has the label 0, which is neither"),
    "another file": ({"images": []}, "neither a JSON export of Label Studio (a list of tasks) nor labels of a"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_export_is_one_line_and_nothing_is_written(labelwise, tmp_path, name):
    content, message = WRONG[name]
    export, out = save(tmp_path / "export.json", content), tmp_path / "labels.csv"
    done = labelwise("audit", "apply", single(tmp_path / "audit"), "--corrections", export, "--out", out)
    assert done.code == 1 and len(done.err) == 1 and message in done.err[0] and not out.exists()


def test_what_is_no_json_is_one_line(tmp_path):
    audit = open_audit(single(tmp_path / "audit"))
    (tmp_path / "broken.json").write_text('[{"id": ')
    for name, message in [("broken.json", "damaged or not JSON"), ("none.json", "no such file")]:
        with pytest.raises(DataError, match=message):
            read_corrections(tmp_path / name, audit)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (SINGLE, ["--root", "elsewhere"], "--root elsewhere: photos/train/b.jpg is not in this folder"),
        (SINGLE, ["--out", "tasks.csv"], "--out tasks.csv: expected a .json file"),
        (MULTI.replace("s1.png", ""), [], "its samples are no image files"),
        (SINGLE.replace("wrong", "correct").replace("ambiguous", "correct"), [], "there is nothing to review"),
    ],
)
def test_an_export_that_cannot_be_is_one_line(labelwise, tmp_path, monkeypatch, text, words, message):
    monkeypatch.chdir(tmp_path)
    audit = (multi if text.startswith(MULTI[:20]) else single)(tmp_path / "audit", text)
    out = [] if "--out" in words else ["--out", "tasks.json"]
    done = labelwise("audit", "export", audit, "--to", "label-studio", *words, *out)
    assert done.code == 1 and len(done.err) == 1 and message in done.err[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit"]


def test_paths_may_be_named_from_another_folder_and_no_file_is_overwritten(labelwise, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audit = single(tmp_path / "audit")
    words = ["audit", "export", audit, "--to", "label-studio", "--out", "tasks.json"]
    assert labelwise(*words, "--root", "photos").code == 0
    assert json.loads(Path("tasks.json").read_text())[0]["data"]["image"] == "/data/local-files/?d=train/b.jpg"
    other = labelwise(*words)
    assert other.code == 1 and "exists, and nothing is overwritten" in other.err[0]
