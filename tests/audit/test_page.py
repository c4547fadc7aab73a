"""What `labelwise audit` leaves for people: lines on the terminal, and a page with pictures."""

import json
import re

import pandas as pd


def test_an_audit_of_images_ends_with_its_page(labelwise, tmp_path):
    small = ["data.train_limit=60", "data.test_limit=40", "views.size=8", "audit.epochs=1", "audit.thumbnails=7"]
    options = ["--folds", 2, "--seeds", 1, "--views", 1, *(word for one in small for word in ("--set", one))]
    out = tmp_path / "audit"
    done = labelwise("audit", "digits", "--model", "small-narrow", *options, "--out", out, "--quiet")
    assert done.code == 0 and f"report: {out / 'report.html'}" in done.out
    assert re.search(r"About \d+ of 100 known labels are wrong", done.out)
    source = (out / "report.html").read_text(encoding="utf-8")
    data = json.loads(source.partition('id="data">')[2].partition("</script>")[0])
    frame = pd.read_csv(out / "audit.csv", dtype={"id": str})
    assert data["columns"]["id"] == frame["id"].tolist()
    assert data["columns"]["picture"] == [*range(7), *[-1] * (len(frame) - 7)]
