"""Every notebook of docs/notebooks runs as it is committed; what it states, its own asserts check.

A class for each notebook, because `--dist=loadscope` gives all tests of one class to one process.
"""

import base64
from pathlib import Path

import nbformat
import pytest
from execute_notebooks import FOLDER, MOST_BYTES, executed, machine_paths, outputs


class Notebook:
    """What is asked of each notebook; `name` is its file's."""

    name: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.ipynb"

    def test_runs_in_a_fresh_folder(self, tmp_path: Path) -> None:
        assert machine_paths(executed(self.path, tmp_path)) == []

    def test_is_committed_with_the_outputs_of_one_whole_execution(self) -> None:
        notebook = nbformat.read(self.path, as_version=4)
        nbformat.validate(notebook)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert machine_paths(notebook) == []
        assert self.path.stat().st_size <= MOST_BYTES
        pictures = [png for output in outputs(notebook) if (png := _png(output))]
        assert pictures and all(base64.b64decode(png)[:4] == b"\x89PNG" for png in pictures)

    def test_checks_its_own_result(self) -> None:
        cells = nbformat.read(self.path, as_version=4).cells
        assert any("assert " in cell.source for cell in cells if cell.cell_type == "code")


class TestFirstClassifier(Notebook):
    name = "first_classifier"


class TestOwnData(Notebook):
    name = "own_data"


class TestOwnRateScheme(Notebook):
    name = "own_rate_scheme"


class TestStreamToJax(Notebook):
    name = "stream_to_jax"


def test_every_notebook_has_a_class() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {
        tests.name for tests in Notebook.__subclasses__()
    }


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("saved to /home/ann/run", True),
        ("'/tmp/x'", True),
        (r"C:\Users\ann", True),
        ("in runs/tmp/first, https://example.org/home/", False),
        ("support / query, 3 /5", False),
    ],
)
def test_machine_paths_are_told_from_other_text(text: str, is_found: bool) -> None:
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text=text)])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert (machine_paths(notebook) == [text]) == is_found


def test_a_cell_that_fails_fails_the_execution(tmp_path: Path) -> None:
    from nbclient.exceptions import CellExecutionError

    cells = [nbformat.v4.new_code_cell("assert 1 + 1 == 3, 'wrong sum'")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    with pytest.raises(CellExecutionError, match="wrong sum"):
        executed(tmp_path / "wrong.ipynb", tmp_path)


def _png(output: nbformat.NotebookNode) -> str | None:
    return output.get("data", {}).get("image/png")
