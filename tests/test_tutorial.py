"""The tutorial notebook runs from its first cell to its last, and is small enough for a repository."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import needs

NOTEBOOK = Path(__file__).parents[1] / "docs/tutorial.ipynb"


def sources() -> str:
    return "\n".join("".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"])


def test_the_notebook_is_small_and_names_no_folder_of_a_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < 400_000
    assert not [place for place in ("/home/", "/root/", "/tmp/", "/Users/") if place in text]
    for name in {word.strip("`.,)") for word in sources().split() if "experiments/" in word}:
        assert (NOTEBOOK.parents[1] / name).is_file(), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Jupyter's own packages
def test_every_cell_runs(tmp_path, monkeypatch):
    """With a tenth of the training."""
    client, nbformat = needs("nbclient", "dev"), needs("nbformat", "dev")
    needs("ipykernel", "dev")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (training,) = (cell for cell in notebook.cells if "fsseg fit" in cell.source)
    assert training.source.count("steps 200") == 2
    training.source = training.source.replace("steps 200", "steps 20")
    done = client.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    made = tmp_path / "tutorial"
    assert (made / "runs/quickstart/fold0/test/table.md").is_file()
    assert sorted(path.name for path in (made / "masks/masks").iterdir()) == [f"photo{k}.png" for k in (6, 7, 8, 9)]
