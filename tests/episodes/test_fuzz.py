"""Random damage to archives and stores: an error in one line, or the right pixels; never a hang."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from episodes import manifest
from episodes.errors import EpisodesError
from episodes.manifest import Manifest
from episodes.prepare import prepare
from episodes.store import Store
from tests.episodes.conftest import Tiny
from tests.episodes.layouts import all_layouts, small

LAYOUTS = all_layouts()
ARCHIVES = [
    ("cub", "archive"),  # tar.gz
    ("dogs", "archive"),  # tar
    ("aircraft", "archive"),  # tar.gz with lists
    ("cifar-fs", "bertinetto-zip"),  # zip
    ("fc100", "cifar-100-python"),  # Python 2 pickles in a tar.gz
    ("fc100", "cifar-100-binary"),
    ("miniimagenet", "cached-pickles"),  # loose pickles
    ("miniimagenet", "ilsvrc-train"),  # tars in a tar
    ("tieredimagenet", "pickles"),
]
FORMS = [(c, e) for c in ("hdf5", "webdataset") for e in ("raw", "original")]
MOST_SECONDS = 20
ROUNDS = [10, pytest.param(80, marks=pytest.mark.slow)]


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def damaged(data: bytes, random: Random) -> bytes:
    """`data` with one or a few random faults."""
    broken = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at, length = random.randrange(len(broken) + 1), random.choice((1, 4, 100, 512, 5000))
        match random.randrange(7):
            case 0 | 1:
                if broken:
                    broken[min(at, len(broken) - 1)] ^= 1 << random.randrange(8)
            case 2:
                broken[at : at + length] = random.randbytes(length)
            case 3:
                broken[at : at + length] = bytes(length)
            case 4:
                del broken[at:]
            case 5:
                del broken[at : at + length]
            case _:
                broken[at:at] = broken[max(0, at - length) : at]
    return bytes(broken)


def few_classes(facts: Manifest) -> Manifest:
    """`facts` where all but a few classes have no images, so that a case takes milliseconds.

    Tables of labels, such as CIFAR's, have at least one image of each.
    """
    least = 1 if facts.image.size == 32 else 0
    counts = tuple(2 if index in range(3, 7) else least for index in range(len(facts.class_names)))
    return replace(facts, class_images=counts, images=sum(counts))


def unknown_files(facts: Manifest) -> Manifest:
    """`facts` without sizes and hashes of its files, so that damage reaches what reads them."""
    source = facts.sources[0]
    files = tuple(replace(file, bytes=None, sha256=None, md5=None) for file in source.files)
    return replace(facts, sources=(replace(source, files=files),))


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize(("dataset", "source"), ARCHIVES, ids=[":".join(key) for key in ARCHIVES])
def test_damaged_archives(dataset: str, source: str, rounds: int, tmp_path: Path) -> None:
    facts = unknown_files(few_classes(small(manifest.load(dataset), source)))
    whole = tmp_path / "whole"
    whole.mkdir()
    LAYOUTS[dataset, source](whole, facts)
    digest = prepare(facts, whole, home=tmp_path / "home", partial=True, threads=1).digest
    files = sorted(path for path in whole.iterdir() if path.is_file())
    for number in range(rounds):
        random = Random(f"{dataset} {source} {number}")
        victim = random.choice(files)
        given, home = tmp_path / f"given{number}", tmp_path / f"home{number}"
        shutil.copytree(whole, given)
        (given / victim.name).write_bytes(damaged(victim.read_bytes(), random))
        try:
            with no_hang():
                store = prepare(facts, given, home=home, partial=True, threads=1)
        except EpisodesError as error:
            assert "\n" not in str(error)
            assert not list(home.glob("stores/[!.]*"))
        else:
            store.verify(deep=True)
            if victim.suffix in (".gz", ".tgz", ".zip"):
                assert store.digest == digest  # its own checksums tell what its bytes were
        shutil.rmtree(given)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize(("container", "encoding"), FORMS)
def test_damaged_stores(
    container: str, encoding: str, rounds: int, tiny: Tiny, tmp_path: Path
) -> None:
    whole = tiny.prepare(tmp_path, container=container, encoding=encoding, shard_bytes=100_000)
    files = sorted(whole.path.iterdir())
    rows = range(0, 320, 37)
    for number in range(rounds * 2):
        random = Random(f"{container} {encoding} {number}")
        victim = random.choice(files)
        folder = tmp_path / f"case{number}"
        shutil.copytree(whole.path, folder)
        broken = damaged(victim.read_bytes(), random)
        (folder / victim.name).write_bytes(broken)
        try:
            with no_hang():
                store = Store(folder)
                for row in rows:
                    store.image(row)
                store.ids(store.class_starts)
                store.verify(deep=True)
        except EpisodesError as error:
            assert "\n" not in str(error)
        else:
            assert store.digest == whole.digest
            assert store.info == whole.info
            assert victim.suffix in (".md", ".json") or broken == victim.read_bytes()
        shutil.rmtree(folder)


def test_a_file_of_the_right_size_with_another_hash_is_damaged(tiny: Tiny, tmp_path: Path) -> None:
    archives = tiny.manifest.sources[0]
    sizes = [(tiny.source / file.name).stat().st_size for file in archives.files]
    files = tuple(
        replace(file, bytes=size) for file, size in zip(archives.files, sizes, strict=True)
    )
    facts = replace(tiny.manifest, sources=(replace(archives, files=files),))
    with pytest.raises(EpisodesError, match="images_background.zip is damaged: it has the orig"):
        prepare(facts, tiny.source, home=tmp_path)
