"""Every command and example of README.md and docs/ runs, and README's tables tell the truth.

A block under `<!-- run: MARKS -->` runs under those pytest marks. The two set-up blocks, `first`
and `tests`, are left to .ci/run, which makes their environment.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import datasets_table
import pytest
from readme_block import README, Block, fenced_blocks, marked_block

from trainers import catalog
from trainers.presets import PRESETS

ROOT = README.parent
SET_UP = ("first", "tests")
OWN_CLASSES = ("cat", "dog", "owl", "fox")
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list:
    """The page's blocks in a language as test parameters that carry the marks of their markers."""
    return [
        pytest.param(
            block,
            id=f"{page.relative_to(ROOT)}:{block.line}",
            marks=[getattr(pytest.mark, mark) for mark in block.marker.split()],
        )
        for page in PAGES
        for block in fenced_blocks(page.read_text(encoding="utf-8"))
        if block.language == language and block.marker not in SET_UP
    ]


def write_own_images(folder: Path) -> None:
    """The same few pictures as class folders, as a table of their paths, and as a parquet file."""
    import datasets
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    rows = [(f"my-images/{name}/{i}.png", name) for name in OWN_CLASSES for i in range(4)]
    for path, _ in rows:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 30, 3), np.uint8)).save(folder / path)
    table = "".join(f"{path},{name}\n" for path, name in rows)
    (folder / "my-labels.csv").write_text(f"path,label\n{table}")
    columns = {
        "image": [str(folder / path) for path, _ in rows],
        "label": [name for _, name in rows],
    }
    images = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    images.to_parquet(folder / "my-dataset.parquet")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the checkout's tools, whose user keeps the test archives in ~/Downloads."""
    if data := os.environ.get("EPISODES_TEST_DATA"):
        (tmp_path / "Downloads").symlink_to(Path(data).resolve())
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    write_own_images(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", blocks("bash"))
def test_bash_block_runs(block: Block, workplace: Path) -> None:
    shell = ["bash", "-euo", "pipefail", "-c", block.code]
    run = subprocess.run(shell, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("block", blocks("python"))
def test_python_block_runs(block: Block, workplace: Path) -> None:
    if "adapters" in block.marker.split():
        # Not every pair of frameworks can be loaded into one process.
        run = subprocess.run([sys.executable, "-c", block.code], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
        return
    exec(compile(block.code, f"README block at line {block.line}", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("name", SET_UP)
def test_ci_runs_the_set_up_block(name: str) -> None:
    block = marked_block(README.read_text(encoding="utf-8"), name)
    assert block.code.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    stages = re.findall(
        r"^stage .* readme (\w+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE
    )
    assert name in stages


def states(heading: str) -> dict[str, str]:
    """The names in the row `heading` of README's table of what works, each with its state."""
    row = re.search(
        rf"^\| {heading} \|(.+)\|(.+)\|$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert row, f"README has no table row {heading!r}"
    return {
        name: state
        for state, cell in zip(("works", "planned"), row.groups(), strict=True)
        for name in re.findall(r"`([\w+-]+)`", cell)
    }


def test_the_page_on_datasets_has_the_tables_of_the_manifests() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert "\n".join(datasets_table.lines()) in page


def test_datasets_that_work_are_those_with_a_manifest() -> None:
    working = {name for name, state in states("datasets").items() if state == "works"}
    assert working == {path.stem for path in (ROOT / "manifests").glob("*.toml")}


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("algorithms", catalog.ALGORITHMS),
        ("rate schemes", catalog.RATE_SCHEMES),
        ("backbones", catalog.BACKBONES),
        ("regression tasks", catalog.FAMILIES),
        ("presets", PRESETS),
        ("samplers", catalog.SAMPLERS),
        ("regularizers", catalog.REGULARIZERS),
    ],
)
def test_table_states_what_the_command_line_states(heading: str, table: dict) -> None:
    working = {name for name, state in states(heading).items() if state == "works"}
    assert working == set(table)


def test_block_finder_reads_markers_languages_and_lines() -> None:
    text = (
        "a\n```bash\none\n```\n<!-- run: slow real_data -->\n```python\ntwo\n\n```\n```\nx\n```\n"
    )
    assert fenced_blocks(text) == [
        Block(language="bash", code="one\n", line=2, marker=""),
        Block(language="python", code="two\n\n", line=6, marker="slow real_data"),
    ]
    with pytest.raises(LookupError, match="0 blocks are marked '<!-- run: absent -->'"):
        marked_block(text, "absent")
