"""Run the notebooks of ``docs/notebooks`` and keep what they print: ``python docs/notebooks.py [NAME...]``.

Each runs from top to bottom in a kernel and a folder of its own, so that nothing is left over from before.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).with_name("notebooks")
FIGURES = (
    "figure_formats={'svg'}",
    "print_figure_kwargs={'bbox_inches': 'tight', 'metadata': {'Date': None}}",  # the same bytes at every run
    "rc={'svg.hashsalt': 'labelwise'}",
)


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with new output, run in ``folder``; an exception of a cell is raised."""
    book = nbformat.read(path, as_version=4)
    os.environ["IPYTHONDIR"] = str(folder / ".ipython")  # nobody's own settings
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # no widgets are wanted in a page
    client = NotebookClient(
        book,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=[f"--InlineBackend.{option}" for option in FIGURES],
    )
    client.execute()
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return book


def main(names: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(run(path, Path(folder)), path)
            print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
