"""Every notebook runs from top to bottom, at toy size (``CS_STEM_TOY=1``), and comes with its results."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


# The kernel is another process: what the libraries between the two warn of is not ours.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_at_toy_size(file, monkeypatch):
    monkeypatch.setenv("CS_STEM_TOY", "1")
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(file.parent)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(len(cell.outputs) > 0 for cell in code) >= len(code) // 2


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_stored_with_its_results_and_no_errors(file):
    notebook = nbformat.read(file, as_version=4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    assert "/work" not in file.read_text(encoding="utf-8")
    assert file.stat().st_size < 3_000_000
