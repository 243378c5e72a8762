"""Execute the notebooks of docs/notebooks in a fresh folder and keep their outputs.

A notebook that was changed is renewed by `python tools/execute_notebooks.py
docs/notebooks/NAME.ipynb`; without names all are. What changes from one execution to the next
(times, kernel versions, progress on standard error) is not kept; pictures are kept as PNG of at
most 256 colours.
"""

import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
MOST_BYTES = 300_000
SECONDS_A_CELL = 120
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|work|Users|private|usr|opt|var|mnt)/|\b[A-Z]:\\"
)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path, folder: Path) -> NotebookNode:
    """The notebook at `path` with the outputs of an execution in `folder`, and nothing else new.

    The commands of this Python's environment come first on its PATH, and the user's IPython
    settings are not read. Raises nbclient's CellExecutionError for the first cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    commands = str(Path(sys.executable).parent)
    client.execute(
        env={
            **os.environ,
            "PATH": os.pathsep.join([commands, os.environ.get("PATH", os.defpath)]),
            "IPYTHONDIR": str(folder / ".ipython"),
        }
    )
    notebook.metadata = NotebookNode(METADATA)
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    for output in outputs(notebook):
        if "image/png" in output.get("data", {}):
            output.data = NotebookNode(
                {"image/png": with_palette(output.data["image/png"]), "text/plain": "a picture"}
            )
    return notebook


def with_palette(png: str) -> str:
    """The base64 text of a PNG, with a palette of at most 256 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """The outputs of all cells."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def machine_paths(notebook: NotebookNode) -> list[str]:
    """The lines of the outputs' text that hold an absolute path of this machine."""
    texts: list[str] = []
    for output in outputs(notebook):
        texts += [output.get("text", ""), *output.get("traceback", [])]
        texts += [text for kind, text in output.get("data", {}).items() if "text/" in kind]
    return [line for text in texts for line in text.splitlines() if MACHINE_PATH.search(line)]


@click.command()
@click.argument("notebooks", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(notebooks: tuple[Path, ...]) -> None:
    """Execute NOTEBOOKS (default: all of docs/notebooks) and write their outputs into them."""
    for path in notebooks or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        if lines := machine_paths(notebook):
            raise click.ClickException(f"{path}: an output holds a machine path: {lines[0]}")
        written = f"{nbformat.writes(notebook)}\n".encode()
        if len(written) > MOST_BYTES:
            raise click.ClickException(
                f"{path}: {len(written):,} bytes with its outputs, expected {MOST_BYTES:,} at most"
            )
        path.write_bytes(written)
        click.echo(f"{path.name}: {len(written):,} bytes")


if __name__ == "__main__":
    main()
