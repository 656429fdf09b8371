"""Runs docs/tour.ipynb. Its outputs are kept, since most people read it where nothing runs it.

    python tests/tour.py FOLDER

runs it in the folder in which `sli demo` was run, and writes the outputs into it; a test holds them to what comes now.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[1] / "docs/tour.ipynb"
SECONDS = 120
"""How long a cell may take."""
SHOWN = ("text/html", "text/plain")
"""The outputs that are compared; of a picture only that there is one, since it differs with the fonts of a machine."""


def notebook() -> NotebookNode:
    """The notebook as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed(folder: Path) -> NotebookNode:
    """The notebook with the outputs that it has in a folder. Raises CellExecutionError."""
    run = notebook()
    NotebookClient(run, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    run.metadata = notebook().metadata  # which would name the Python of this machine
    for cell in run.cells:
        cell.metadata.pop("execution", None)  # when each cell began and ended
    return run


def outputs(run: NotebookNode) -> list[list[dict[str, str]]]:
    """What each cell of code shows: its text, or `picture`."""
    return [[_shown(output) for output in cell.outputs] for cell in run.cells if cell.cell_type == "code"]


def _shown(output: NotebookNode) -> dict[str, str]:
    if "data" not in output:
        return {output.output_type: output.get("text", "")}
    if "image/png" in output.data:
        return {"image/png": "picture"}
    return {kind: text for kind, text in output.data.items() if kind in SHOWN}


if __name__ == "__main__":
    nbformat.write(executed(Path(sys.argv[1])), NOTEBOOK)
