"""docs/notebook.ipynb: every cell runs, in order, with a tiny budget."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.test_commands import TINY

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_keeps_no_output() -> None:
    book = read()
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(cells) > 5 and not [cell for cell in cells if cell.outputs or cell.execution_count]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook after a run in its own directory."""
    budget = {**TINY, "ORIGCLI_CACHE": str(tmp_path / "cache"), "IPYTHONDIR": str(tmp_path / "ipython")}
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    for name, value in budget.items():
        monkeypatch.setenv(name, value)
    book = read()
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    return book


def test_its_cells_show_pictures_numbers_and_a_comparison(ran: Any) -> None:
    shown = [
        {kind: str(data) for output in cell.outputs for kind, data in output.get("data", {}).items()}
        for cell in ran.cells
        if cell.cell_type == "code"
    ]
    scored = next(data["text/html"] for data in shown if "text/html" in data)
    assert scored.count("<img") >= 2 and "common" in scored and "unseen" in scored
    compared = [data["text/html"] for data in shown if "text/html" in data][1]
    assert "difference" in compared
    assert "report.html" in " ".join(data.get("text/plain", "") for data in shown)
    assert "image/png" in shown[-1], "the pipeline of diffusers drew with the token"
    printed = "".join(
        output.text
        for cell in ran.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )
    assert printed.count("1 tokens: distance") == 2
