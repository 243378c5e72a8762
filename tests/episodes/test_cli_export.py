"""`episodes export` and `stream` as they are typed, the latter into real pipes."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from episodes.cli import main
from episodes.store import Store

COMMAND = (sys.executable, "-m", "episodes")
SHAPE = ("--way", "3", "--shot", "1", "--query", "2")


@pytest.fixture(scope="module")
def home(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_store.path, folder / "stores" / "tiny")
    return folder


@pytest.fixture(autouse=True)
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, the store prepared as `tiny`, and this package wherever it is run."""
    monkeypatch.setenv("EPISODES_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def piped(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """`episodes stream tiny` with its output in a pipe."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    if os.name == "posix":
        # Jobs that a script starts in the background ignore Ctrl-C, and so would their children.
        pipes["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([*COMMAND, "stream", "tiny", *SHAPE, *map(str, arguments)], **pipes)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_export_then_check(tiny_store: Store) -> None:
    made = run("export", "tiny", *SHAPE, "--split", "quarters.test", "--count", 8, "-o", "ours")
    fingerprint = tiny_store.stream("quarters.test", 3, 1, 2).fingerprint(8)
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith(
        "Stream(tiny quarters.test, 3-way 1-shot 2-query, seed 1): 8 episodes in ours (plan, "
    )
    assert made.stdout.endswith(f"  fingerprint {fingerprint}\n")
    assert run("export", "--check", "ours").stdout == (
        "ours: 8 episodes, 1 file(s) as recorded\n"
        f"  fingerprint {fingerprint}\n"
        "  recomputed from the names in the plan and the store tiny\n"
    )
    checked = json.loads(run("export", tiny_store.path, "--check", "ours", "--json").stdout)
    assert checked == {
        "folder": "ours",
        "fingerprint": fingerprint,
        "whole": True,
        "recomputed_from": ["the names in the plan", "the store tiny"],
    }


def test_an_export_is_checked_where_its_store_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("export", "tiny", *SHAPE, "--count", 3, "--format", "arrow", "-o", "ours", "--json")
    described = json.loads(made.stdout)
    assert described == json.loads(Path("ours/episodes.json").read_text("utf-8"))
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "nowhere"))
    checked = run("export", "--check", "ours")
    assert checked.exit_code == 0
    assert checked.stdout.endswith("  not recomputed from the store: tiny is not prepared here\n")
    Path("ours/episodes.arrow").write_bytes(b"")
    assert run("export", "--check", "ours").exit_code == 1


def test_export_notes_what_may_not_be_passed_on(tmp_path: Path) -> None:
    from tests.episodes.made_stores import make_store, random_images

    images = {name: of for name, of in random_images().items() if len(of) > 2}
    make_store(tmp_path / "made", images)
    noted = run("export", "./made", "--split", "train", *SHAPE, "--format", "hdf5", "-o", "ours")
    assert noted.stderr.startswith("note: these are images of made (licence: MIT), not marked as")
    assert run("export", "./made", "--split", "train", *SHAPE, "-o", "plan").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "tiny"], "type `episodes export NAME -o FOLDER`, or `... --check FOLDER`"),
        (["export", "-o", "ours"], "type `episodes export NAME -o FOLDER`"),
        (["export", "tiny", "-o", "."], ". is there already: choose another folder"),
        (["export", "tiny", "-o", "x", "--format", "tar"], "unknown format 'tar': did you mean"),
        (["export", "tiny", "-o", "x", "--count", "0"], "count is 0; expected a whole number"),
        (["export", "--check", "x", "--way", "5"], "--check takes no --way: the export says"),
        (["stream", "tiny", "--format", "hdf5"], "unknown format 'hdf5' (known: tar, arrow)"),
        (["stream", "tiny", "--start", "3", "--stop", "3"], "start 3, stop 3: there are no epi"),
        (["stream", "tiny", "--start", "-1"], "start -1, stop None: there are no episodes"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_tar_from_a_pipe_holds_the_episodes(tiny_store: Store) -> None:
    with piped("--start", 10**12, "--stop", 10**12 + 70, "--threads", 2) as process:
        assert process.stdout
        arrays: dict[str, np.ndarray] = {}
        facts = {}
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member).read()  # type: ignore[union-attr]
                if member.name.endswith(".npy"):
                    arrays[member.name] = np.load(io.BytesIO(content))
                else:
                    facts[member.name] = json.loads(content)
        assert process.stdout.read() == process.stderr.read() == b""  # type: ignore[union-attr]
    assert process.returncode == 0
    stream = tiny_store.stream("test", 3, 1, 2)
    assert len(facts) == 70
    for index in (10**12, 10**12 + 69):
        episode, plan = stream[index], stream.plan(index)
        for name in ("support_images", "support_labels", "query_images", "class_ids"):
            same(arrays[f"{index}.{name}.npy"], getattr(episode, name))
        assert facts[f"{index}.json"]["query_ids"] == tiny_store.ids(plan.query_rows)


def test_an_arrow_stream_from_a_pipe_holds_the_episodes(tiny_store: Store) -> None:
    import pyarrow.ipc

    with piped("--format", "arrow", "--stop", 70) as process:
        table = pyarrow.ipc.open_stream(process.stdout).read_all()
        assert process.stderr and process.stderr.read() == b""
    assert process.returncode == 0
    assert table["index"].to_pylist() == list(range(70))
    stream = tiny_store.stream("test", 3, 1, 2)
    query = np.array([stream[index].query_images for index in range(70)])
    same(table["query_images"].combine_chunks().flatten().to_numpy().reshape(query.shape), query)
    said = json.loads(table.schema.metadata[b"episodes"])
    assert (said["split"], said["stores"][0]["content_digest"]) == (stream.split, tiny_store.digest)


def begun(*arguments: object) -> subprocess.Popen[bytes]:
    """A stream without end, of which something was read already."""
    process = piped(*arguments)
    assert process.stdout and len(process.stdout.read(3000)) == 3000
    return process


@pytest.mark.parametrize("arguments", [("--format", "tar"), ("--format", "arrow", "--threads", 2)])
def test_a_reader_that_has_enough_is_no_error(arguments: tuple) -> None:
    process = begun(*arguments)
    process.stdout.close()  # type: ignore[union-attr]
    process.stdout = None
    assert process.communicate(timeout=60) == (None, b"")
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_ends_it_at_once() -> None:
    with begun("--threads", 2) as process:  # it waits for its reader, with more to write
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert process.stderr and process.stderr.read().split() == [b"Aborted!"]
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_cannot_be_written_to_is_told_in_one_line() -> None:
    import pty

    ours, terminal = pty.openpty()
    with open("/dev/full", "wb") as full, os.fdopen(ours), os.fdopen(terminal):
        to_terminal, to_full = piped(stdout=terminal), piped("--stop", 2, stdout=full)
        shown, failed = to_terminal.communicate()[1], to_full.communicate()[1]
    assert to_terminal.returncode == 2
    assert shown.startswith(b"error: episodes are bytes, which a terminal does not show: pipe them")
    assert to_full.returncode == 1
    assert failed == b"error: [Errno 28] No space left on device\n"
    assert len(shown.splitlines()) == 1


def test_head_takes_what_it_wants() -> None:
    line = f"'{sys.executable}' -m episodes stream tiny | head -c 1000 | wc -c"
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60
    )
    assert (shell.returncode, shell.stdout.strip(), shell.stderr) == (0, "1000", "")
