"""Reports need neither torch nor what comes with it: `labelwise report` answers at once."""

import subprocess
import sys

import pytest

from helpers.audit_factory import make_audit
from helpers.cft_run_factory import UCM, make_cft_run
from helpers.run_factory import make_run

HEAVY = {"torch", "torchvision", "timm", "accelerate", "sklearn", "pandas"}
SCRIPT = """
import sys
from labelwise import cli
for options in (["--markdown"], []):  # the page loads more, and what is loaded stays
    try:
        cli.app(["report", sys.argv[1], *options])
    except SystemExit as end:
        assert not end.code
    print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("kind", ["refine", "cft", "audit"])
def test_report_loads_no_torch(tmp_path, kind):
    if kind == "refine":
        run = make_run(tmp_path / "run", classes=["cat", "dog", "deer"], seeds=1, generations=2, epochs=2)
    elif kind == "audit":
        run = make_audit(tmp_path / "run", rows=20, thumbnails=2)
    else:
        run = make_cft_run(tmp_path / "run", categories=UCM[:3])
    command = [sys.executable, "-c", SCRIPT, str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    markdown, page = (set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("loaded "))
    assert "labelwise" in markdown and not markdown & HEAVY and "matplotlib" not in markdown
    assert not page & (HEAVY - {"pandas"} if kind == "audit" else HEAVY)  # the list of an audit is a table
    assert ("matplotlib" in page) == (kind != "audit")
