"""Audits of a few samples, small enough to be looked through."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from helpers.audit_factory import write_audit

CLASSES = ["cat", "dog", "10"]
CATEGORIES = ["edema", "no finding", "nodule"]

SINGLE = """
id,path,given,suggested,score,verdict
train/b.jpg,photos/train/b.jpg,cat,dog,0.98,wrong
train/a.jpg,photos/train/a.jpg,dog,10,0.90,wrong
train/x y.jpg,photos/train/x y.jpg,10,cat,0.5,ambiguous
test/a.jpg,photos/test/a.jpg,cat,cat,0.1,correct
train/d.jpg,photos/train/d.jpg,dog,dog,0.01,correct
"""
MULTI = """
id,path,category,given,suggested,score,verdict
s1,s1.png,edema,0,1,0.97,missing positive
s2,s2.png,edema,1,0,0.80,false positive
s2,s2.png,nodule,0,1,0.60,ambiguous
s3,s3.png,nodule,1,1,0.02,correct
s1,s1.png,no finding,1,1,0.01,correct
s3,s3.png,edema,0,0,0.01,correct
s1,s1.png,nodule,,1,,suggestion
s2,s2.png,no finding,,0,,suggestion
"""


def single(folder: Path, text: str = SINGLE) -> Path:
    """An audit of five photos of three classes; one class has the name of a number."""
    return _write(folder, text, CLASSES, many=False)


def multi(folder: Path, text: str = MULTI) -> Path:
    """An audit of three scans and three categories."""
    return _write(folder, text, CATEGORIES, many=True)


def _write(folder: Path, text: str, classes: list[str], *, many: bool) -> Path:
    lines = [line.split(",") for line in text.strip().splitlines()]
    frame = pd.DataFrame(lines[1:], columns=lines[0])
    frame["score"] = pd.to_numeric(frame["score"])
    frame = frame.assign(rank=range(1, len(frame) + 1), split="fit", p_given=0.1, p_suggested=0.9, agreement=1.0)
    frame = frame.assign(provenance=frame["given"].map(lambda label: "given" if label else ""), first=frame["given"])
    write_audit(folder, frame, classes, many=many)
    return folder
