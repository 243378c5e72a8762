"""Describable Textures: its reader against its layout."""

import tarfile
from pathlib import Path

from episodes import manifest, readers
from episodes.readers import Record
from tests.episodes.layouts.making import add

FACTS = manifest.load("dtd")


def test_reads_the_images_alone_in_the_archives_order(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "dtd-r1.0.1.tar.gz", "w:gz") as tar:
        add(tar, "dtd/images/waffled/.directory", "[Dolphin]")
        add(tar, "dtd/images/waffled/waffled_0044.jpg", b"w")
        add(tar, "dtd/images/waffled/._waffled_0044.jpg", b"resource fork")
        add(tar, "dtd/images/polka-dotted/polka-dotted_0002.jpg", b"p")
        add(tar, "dtd/images/polka-dotted/Thumbs.db", b"")
        add(tar, "dtd/labels/train1.txt", "waffled/waffled_0044.jpg\n")
    source = FACTS.sources[0]
    assert list(readers.reader_of(source)(FACTS, source, tmp_path, False)) == [
        Record("waffled", "waffled_0044.jpg", b"w"),
        Record("polka-dotted", "polka-dotted_0002.jpg", b"p"),
    ]


def test_every_texture_has_120_images_and_may_be_passed_on() -> None:
    assert FACTS.class_images == (120,) * 47
    assert FACTS.redistribution and "CC BY 4.0" in FACTS.licence
