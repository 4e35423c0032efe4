"""Executes the notebook of examples/: `python -m documentation.notebook` writes it anew from its source.

The source is examples/white_box_tour.py (jupytext, percent format); edit that.
"""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

SOURCE = Path(__file__).resolve().parent.parent / "examples" / "white_box_tour.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")


def executed(source: Path) -> NotebookNode:
    """Returns the notebook of a source, executed beside it.

    Raises:
        CellExecutionError: A cell failed.
    """
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # else random
    place = {"metadata": {"path": str(source.parent)}}
    client = NotebookClient(
        notebook, resources=place, timeout=600, record_timing=False, coalesce_streams=True
    )
    return client.execute()


if __name__ == "__main__":
    nbformat.write(executed(SOURCE), NOTEBOOK)
