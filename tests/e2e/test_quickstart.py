"""docs/quickstart.ipynb runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


@pytest.mark.slow(minutes=2)
def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.delenv("BRATS_ABLATE_WORK", raising=False)
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    results = {
        i: output.get("text") or output["data"].get("text/plain", "")
        for i, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", ())
    }
    texts = list(results.values())
    assert any("baseline" in text and "WT" in text for text in texts)  # scores
    assert "((64, 64, 48), (3, 64, 64, 48), ('WT', 'TC', 'ET'))" in texts
    assert "U-Net" in texts[-1]
    assert "DS" in texts[-1]
    assert len(list((tmp_path / "work" / "phantom" / "runs").glob("*/fold=*/lr=*/seed=*/checkpoints/best*.pt"))) >= 4


def test_the_notebook_is_stored_without_outputs() -> None:
    import json

    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
