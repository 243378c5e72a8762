"""An interrupted preparation goes on where it was, and never leaves a broken store."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from episodes.errors import EpisodesError
from episodes.prepare import Input, prepare_input
from episodes.prepare import decoding as decoding_module
from episodes.prepare.building import Form
from episodes.readers import Record, omniglot
from episodes.recipe import recipe_for
from episodes.store import Store
from tests.episodes.conftest import Tiny

# A preparation of some hundred small batches, so that kills hit every stage of it.
SCRIPT = """
import sys
from pathlib import Path
from episodes import manifest
from episodes.prepare import prepare, spool
spool.BATCH_ROWS = 8
folder, home = map(Path, sys.argv[1:])
print("begun", flush=True)
prepare(manifest.parse(folder / "tiny.toml"), folder, home=home, size=84, shard_bytes=200_000,
        threads=2)
"""


def begun(tiny: Tiny, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(tiny.source), str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_to_the_same_store(
    tiny: Tiny, tmp_path: Path, kills: int
) -> None:
    started = time.monotonic()
    assert begun(tiny, tmp_path / "whole").wait() == 0
    usual = time.monotonic() - started
    digest = Store(tmp_path / "whole/stores/tiny-84px").digest
    home = tmp_path / "home"
    target = home / "stores" / "tiny-84px"
    for kill in range(kills):
        process = begun(tiny, home)
        time.sleep(usual * np.random.default_rng(kill).random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        if target.exists():
            store = Store(target)
            store.verify(deep=True)
            assert store.digest == digest
            for path in target.iterdir():
                path.unlink()
            target.rmdir()
    assert begun(tiny, home).wait() == 0
    assert Store(target).digest == digest
    Store(target).verify(deep=True)
    assert [path.name for path in target.parent.iterdir() if path.is_dir()] == ["tiny-84px"]


class Interrupted(BaseException):
    """Whatever ends a process in its own words."""


def records_of(tiny: Tiny, stop_after: int | None = None) -> Iterator[Record]:
    source = tiny.manifest.sources[0]
    for count, record in enumerate(omniglot.records(tiny.manifest, source, tiny.source, False)):
        if count == stop_after:
            raise Interrupted
        yield record


def make(tiny: Tiny, home: Path, records: Callable[[], Iterator[Record]]) -> Store:
    return prepare_input(
        tiny.manifest,
        recipe_for(tiny.manifest),
        Form(),
        lambda: Input("archives", records),
        home=home,
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the images that are decoded and resized, as it happens."""
    seen: list[str] = []
    lock = threading.Lock()
    row_of = decoding_module._row_of

    def watched(marked, *arguments):  # type: ignore[no-untyped-def]
        with lock:
            seen.append(marked[0].image_id)
        return row_of(marked, *arguments)

    monkeypatch.setattr(decoding_module, "_row_of", watched)
    return seen


def test_what_was_made_before_the_interruption_is_not_made_again(
    tiny: Tiny, tiny_store: Store, tmp_path: Path, made: list[str]
) -> None:
    with pytest.raises(Interrupted):
        make(tiny, tmp_path, partial(records_of, tiny, 200))
    before = len(made)
    assert 100 < before <= 200
    assert make(tiny, tmp_path, partial(records_of, tiny)).digest == tiny_store.digest
    assert len(made) <= 320 + 96  # what was under way, at most three groups of 32
    assert len(made) >= 320


def test_an_image_that_changed_since_is_not_taken_from_the_spool(
    tiny: Tiny, tiny_store: Store, tmp_path: Path
) -> None:
    def tampered() -> Iterator[Record]:
        for count, record in enumerate(records_of(tiny, stop_after=300)):
            other = np.full((105, 105), 7, np.uint8)
            yield replace(record, image=other) if count == 5 else record

    with pytest.raises(Interrupted):
        make(tiny, tmp_path, tampered)
    store = make(tiny, tmp_path, partial(records_of, tiny))
    assert store.digest == tiny_store.digest


def test_a_spool_that_was_damaged_meanwhile_is_begun_again(
    tiny: Tiny, tiny_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        make(tiny, tmp_path, partial(records_of, tiny, 300))
    rows = tmp_path / "stores" / ".tiny.spool" / "rows"
    data = bytearray(rows.read_bytes())
    data[5000] ^= 0xFF
    rows.write_bytes(bytes(data))
    store = make(tiny, tmp_path, partial(records_of, tiny))
    assert store.digest == tiny_store.digest
    store.verify(deep=True)


def test_an_image_that_comes_twice_is_told(tiny: Tiny, tmp_path: Path) -> None:
    def twice() -> Iterator[Record]:
        yield from records_of(tiny)
        yield from records_of(tiny)

    with pytest.raises(EpisodesError, match="the image images_background/.* is there twice"):
        make(tiny, tmp_path, twice)
