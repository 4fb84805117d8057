"""Execute the manual's notebook and store what it shows: ``python tools/run_notebook.py``.

tests/test_notebook.py compares what it shows with what is stored.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from perovskite_polaron.files import write_atomically

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


def executed(path: Path = NOTEBOOK) -> Any:
    """Return the notebook with the outputs of a new kernel; CellExecutionError if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False)
    with tempfile.TemporaryDirectory() as folder:
        # Not the configuration, or the history, of whoever runs it.
        client.execute(cwd=folder, env=os.environ | {"IPYTHONDIR": folder})
    for cell in notebook.cells:
        # When something was executed is no part of it.
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    write_atomically(NOTEBOOK, nbformat.writes(executed()) + "\n")
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1000:.0f} kB")
