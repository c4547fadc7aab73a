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
try:
    cli.app(sys.argv[1:])
except SystemExit as end:
    assert not end.code
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("kind", ["refine", "cft", "audit"])
@pytest.mark.parametrize("options", [[], ["--markdown"]])
def test_report_loads_no_torch(tmp_path, kind, options):
    if kind == "refine":
        run = make_run(tmp_path / "run", classes=["cat", "dog", "deer"], seeds=1, generations=2, epochs=2)
    elif kind == "audit":
        run = make_audit(tmp_path / "run", rows=20, thumbnails=2)
    else:
        run = make_cft_run(tmp_path / "run", categories=UCM[:3])
    command = [sys.executable, "-c", SCRIPT, "report", str(run), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    heavy = HEAVY - {"pandas"} if kind == "audit" and not options else HEAVY  # the list of an audit is a table
    assert "labelwise" in loaded and not loaded & heavy
    assert ("matplotlib" in loaded) == (kind != "audit" and not options)
