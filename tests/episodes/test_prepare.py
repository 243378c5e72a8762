import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import episodes
from episodes.archive import file_sha256
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Witness
from episodes.prepare import prepare
from episodes.prepare.building import natural_order
from episodes.store import Store
from tests.episodes.conftest import Tiny, one_bit_png

# The digests of the store that the generated archives of conftest.py make. They must never change.
TINY_DIGEST = "ec47c9b4f8519b21bdd065f53d7b2d7777020b6072e93b6e1a9960765388c3df"


def copy_of(tiny: Tiny, folder: Path) -> Tiny:
    shutil.copytree(tiny.source, folder)
    return Tiny(tiny.manifest, folder, tiny.drawings)


def replace_entry(archive: Path, entry: str, content: bytes, new_name: str | None = None) -> None:
    with zipfile.ZipFile(archive) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    del entries[entry]
    with zipfile.ZipFile(archive, "w") as new:
        for name, data in (entries | {new_name or entry: content}).items():
            new.writestr(name, data)


def test_rows_hold_the_drawings_in_class_and_natural_order(tiny: Tiny, tiny_store: Store) -> None:
    names = sorted({path.rsplit("/", 1)[0] for path in tiny.drawings})
    assert list(tiny_store.class_names) == names
    row = 0
    for name in names:
        for path in sorted(path for path in tiny.drawings if path.startswith(f"{name}/")):
            ink = Image.fromarray(np.where(tiny.drawings[path], 0, 255).astype(np.uint8))
            expected = np.asarray(ink.resize((28, 28), Image.Resampling.BILINEAR))
            assert tiny_store.ids(np.array([row])) == [path.rsplit("/", 1)[1]]
            np.testing.assert_array_equal(tiny_store.images(np.array([row]))[0, ..., 0], expected)
            row += 1
    assert row == 320
    assert tiny_store.images(np.arange(320)).max() > 200


def test_zips_and_extracted_folders_give_the_same_store(
    tiny: Tiny, tiny_store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "extracted"
    for archive in tiny.source.glob("*.zip"):
        with zipfile.ZipFile(archive) as zip_file:
            zip_file.extractall(folder)
    store = prepare(tiny.manifest, folder, out=tmp_path / "elsewhere" / "here")
    assert store.digest == tiny_store.digest
    assert store.path == tmp_path / "elsewhere" / "here"


def test_the_shard_size_does_not_change_the_content(
    tiny: Tiny, tiny_store: Store, tmp_path: Path
) -> None:
    store = tiny.prepare(tmp_path, shard_bytes=28 * 28 * 33)
    assert len(store.info.shards) == 10
    assert store.digest == tiny_store.digest
    rows = np.random.default_rng(0).permutation(320)
    np.testing.assert_array_equal(store.images(rows), tiny_store.images(rows))
    assert store.ids(rows) == tiny_store.ids(rows)
    store.verify(deep=True)


def test_rotations_are_classes_of_their_own(tiny: Tiny, tiny_store: Store, tmp_path: Path) -> None:
    turned = tiny.prepare(tmp_path, rotations=True)
    assert turned.name == "tiny-rotations"
    assert len(turned.class_names) == 64
    for part in ("train", "test"):
        assert len(turned.split_classes(part)) == 4 * len(tiny_store.split_classes(part))
    original = tiny_store.images(np.arange(20))[..., 0]
    for turn, suffix in enumerate(("rot000", "rot090", "rot180", "rot270")):
        assert turned.class_names[turn] == f"{tiny_store.class_names[0]}/{suffix}"
        images = turned.images(np.arange(20 * turn, 20 * turn + 20))[..., 0]
        for upright, image in zip(original, images, strict=True):
            picture = Image.fromarray(upright).rotate(90 * turn)
            np.testing.assert_array_equal(image, np.asarray(picture))


def test_another_size_is_another_store(tiny: Tiny, tmp_path: Path) -> None:
    store = tiny.prepare(tmp_path, size=105)
    assert (store.name, store.image_shape) == ("tiny-105px", (105, 105, 1))
    assert set(np.unique(store.images(np.arange(320)))) == {0, 255}
    with pytest.raises(UsageError, match="size is 0; expected 1 to 4096"):
        tiny.prepare(tmp_path, size=0)


def test_a_second_call_opens_what_is_there(tiny: Tiny, tmp_path: Path) -> None:
    first = tiny.prepare(tmp_path)
    made = (first.path / "store.json").stat().st_mtime_ns
    nowhere = Tiny(tiny.manifest, tmp_path / "nowhere", {})
    assert nowhere.prepare(tmp_path).digest == first.digest
    assert (first.path / "store.json").stat().st_mtime_ns == made
    again = tiny.prepare(tmp_path, force=True)
    assert again.digest == first.digest
    assert (again.path / "store.json").stat().st_mtime_ns > made


def test_another_recipe_does_not_take_the_place(tiny: Tiny, tmp_path: Path) -> None:
    tiny.prepare(tmp_path, out=tmp_path / "mine")
    with pytest.raises(EpisodesError, match="choose another --out, or add --force"):
        tiny.prepare(tmp_path, out=tmp_path / "mine", rotations=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("words")
    with pytest.raises(EpisodesError, match="is there and is not a store"):
        tiny.prepare(tmp_path, out=tmp_path / "precious")
    with pytest.raises(EpisodesError, match="is there and is not a store"):
        tiny.prepare(tmp_path, out=tmp_path / "precious", force=True)
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "words"


def test_force_spares_a_folder_that_only_looks_like_a_store(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "store.json").write_text('{"cart": []}')
    (tmp_path / "app" / "thesis.tex").write_text("words")
    with pytest.raises(EpisodesError, match="holds thesis.tex, which is no part of a store"):
        tiny.prepare(tmp_path, out=tmp_path / "app", force=True)
    assert (tmp_path / "app" / "thesis.tex").read_text() == "words"


def test_a_store_whose_replacement_was_killed_is_put_back(tiny: Tiny, tmp_path: Path) -> None:
    store = tiny.prepare(tmp_path / "home")
    store.path.rename(store.path.parent / ".tiny.old-killed")
    broken = damaged(tiny, tmp_path / "archives", "undecodable")
    with pytest.raises(EpisodesError, match="does not decode"):
        broken.prepare(tmp_path / "home", force=True)
    Store(store.path).verify(deep=True)


def test_a_store_of_other_splits_is_not_taken_for_this_one(tiny: Tiny, tmp_path: Path) -> None:
    tiny.prepare(tmp_path)
    later = replace(tiny.manifest, version="2")
    with pytest.raises(EpisodesError, match="an earlier manifest of tiny.*add --force"):
        prepare(later, tiny.source, home=tmp_path)
    assert prepare(later, tiny.source, home=tmp_path, force=True).info.version == "2"


def test_a_witnessed_digest_is_compared(tiny: Tiny, tmp_path: Path) -> None:
    right = Witness("archives", "none", 28, "bilinear", False, TINY_DIGEST)
    wrong = replace(right, digest="0" * 64)
    for witnesses, expected in (
        ((wrong,), "names and counts; the pixels differ from the witnessed digest 000"),
        ((wrong, right), "names, counts and pixels"),
    ):
        facts = replace(tiny.manifest, witnesses=witnesses)
        store = prepare(facts, tiny.source, home=tmp_path, force=True)
        assert store.info.verified.startswith(expected)


def test_an_original_archive_is_told_from_a_repacked_one(tiny_store: Store) -> None:
    assert [source["original"] for source in tiny_store.info.sources] == [False, False]
    assert tiny_store.info.verified.startswith("names and counts; no pixel digest")


def damaged(tiny: Tiny, folder: Path, damage: str) -> Tiny:
    broken = copy_of(tiny, folder)
    archive = broken.source / "images_evaluation.zip"
    victim = next(path for path in tiny.drawings if path.startswith("images_evaluation"))
    match damage:
        case "missing":
            archive.unlink()
        case "truncated":
            archive.write_bytes(archive.read_bytes()[:-5000])
        case "web page":
            archive.write_text("<!DOCTYPE html><title>Quota exceeded</title>")
        case "climbing":
            replace_entry(archive, victim, b"", "../../etc/passwd")
        case "absolute":
            replace_entry(archive, victim, b"", "/etc/passwd")
        case "undecodable":
            replace_entry(archive, victim, b"\x89PNG not really")
        case "cut image":
            replace_entry(archive, victim, one_bit_png(tiny.drawings[victim])[:-30])
        case "image missing":
            replace_entry(archive, victim, b"", "images_evaluation/readme.txt")
        case "stranger":
            replace_entry(
                archive,
                victim,
                one_bit_png(tiny.drawings[victim]),
                "images_evaluation/Klingon/character01/9999_01.png",
            )
        case "dot":
            replace_entry(archive, victim, b"", ".")
        case "future":
            data = archive.read_bytes()
            archive.write_bytes(data.replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\x63"))
        case "bomb":
            huge = struct.pack(">II", 40_000, 40_000)
            png = one_bit_png(tiny.drawings[victim])
            header = png[12:16] + huge + png[24:29]
            crc = struct.pack(">I", zlib.crc32(header))
            replace_entry(archive, victim, png[:12] + header + crc + png[33:])
        case "flipped byte":
            data = bytearray(archive.read_bytes())
            with zipfile.ZipFile(archive) as zip_file:
                info = zip_file.getinfo(victim)
            data[info.header_offset + 30 + len(victim) + 40] ^= 0xFF
            archive.write_bytes(bytes(data))
    return broken


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "holds neither images_evaluation.zip nor the folder images_evaluation: fetch"),
        ("truncated", "a truncated or damaged zip, not a whole zip archive"),
        ("web page", "a web page, not a whole zip archive"),
        ("climbing", "'../../etc/passwd' climbs out of its folder"),
        ("absolute", "'/etc/passwd' climbs out of its folder"),
        ("undecodable", "does not decode"),
        ("cut image", "does not decode"),
        (
            "image missing",
            r"tiny has 319 images of 16 classes; expected 320 of 16 \(\S+: 19 of 20\)",
        ),
        (
            "stranger",
            "'images_evaluation/Klingon/character01', which is not in the dataset's class table",
        ),
        ("dot", "'.' climbs out of its folder"),
        ("future", "cannot be read|a truncated or damaged zip"),
        ("bomb", "does not decode"),
        ("flipped byte", "cannot be read|does not decode"),
    ],
)
def test_bad_archives_end_in_one_line_and_no_store(
    tiny: Tiny, tmp_path: Path, damage: str, message: str
) -> None:
    broken = damaged(tiny, tmp_path / "archives", damage)
    with pytest.raises(EpisodesError, match=message) as caught:
        broken.prepare(tmp_path / "home")
    assert "\n" not in str(caught.value)
    left = {path.name for path in (tmp_path / "home").glob("stores/*")}
    assert left <= {".tiny.lock", ".tiny.spool", ".tiny.spool.lock"}


def test_a_failed_force_keeps_the_old_store(tiny: Tiny, tmp_path: Path) -> None:
    store = tiny.prepare(tmp_path / "home")
    broken = damaged(tiny, tmp_path / "archives", "undecodable")
    with pytest.raises(EpisodesError, match="does not decode"):
        broken.prepare(tmp_path / "home", force=True)
    Store(store.path).verify(deep=True)


def script(tiny: Tiny, home: Path, limits: str = "") -> str:
    return f"""
import resource, signal
from dataclasses import replace
from pathlib import Path
from episodes import manifest
from episodes.errors import EpisodesError
from episodes.prepare import prepare
{limits}
try:
    prepare(manifest.parse(Path({str(tiny.source / "tiny.toml")!r})), Path({str(tiny.source)!r}),
            home=Path({str(home)!r}), size=84)
except EpisodesError as error:
    raise SystemExit(f"error: {{error}}")
"""


def test_a_full_disk_ends_in_one_line_and_no_store(tiny: Tiny, tmp_path: Path) -> None:
    limits = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script(tiny, tmp_path, limits)], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[0].startswith("error: cannot write the store")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "stores" / "tiny-84px").exists()


def test_an_unwritable_place_ends_in_one_line(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EpisodesError, match="cannot write the store .* choose another place"):
        tiny.prepare(tmp_path / "file")


def test_two_at_once_make_one_store(tiny: Tiny, tmp_path: Path) -> None:
    command = [sys.executable, "-c", script(tiny, tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    Store(tmp_path / "stores" / "tiny-84px").verify(deep=True)


def test_the_content_digest_never_changes(tiny_store: Store) -> None:
    assert tiny_store.digest == TINY_DIGEST


def test_natural_order_counts() -> None:
    assert sorted(["a10", "a9", "b1", "a09"], key=natural_order) == ["a09", "a9", "a10", "b1"]


@pytest.mark.real_data
def test_the_real_omniglot(archives: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for archive in (archives / "omniglot").glob("*.zip"):
            pool.submit(zipfile.ZipFile(archive).extractall, tmp_path / "extracted")
    from_zips = prepare("omniglot", archives / "omniglot", home=tmp_path)
    from_folders = prepare("omniglot", tmp_path / "extracted", out=tmp_path / "again")
    assert (len(from_zips.class_names), from_zips.info.rows) == (1623, 32460)
    assert from_zips.digest == from_folders.digest
    assert from_zips.info.verified == "names, counts and pixels"
    stream = from_zips.stream("test", way=20, shot=5, query=5, seed=0)
    assert stream.fingerprint(600) == from_folders.stream("test", 20, 5, 5, 0).fingerprint(600)


def test_info_is_json_that_says_how_it_was_made(tiny: Tiny, tiny_store: Store) -> None:
    described = json.loads((tiny_store.path / "store.json").read_text())
    assert described["preprocessing"] == {
        "size": 28,
        "resize": "bilinear",
        "crop": "none",
        "rotations": False,
        "twins": "kept",
    }
    assert described["manifest_digest"] == tiny.manifest.digest
    assert os.path.getsize(tiny_store.path / described["shards"][0]["file"]) > 320 * 28 * 28


def test_open_offers_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown dataset 'omniglott': did you mean 'omniglot'"):
        episodes.open("omniglott", home=tmp_path)
    with pytest.raises(UsageError, match="omniglot is not prepared: type `episodes prepare"):
        episodes.open("omniglot", home=tmp_path)
    with pytest.raises(EpisodesError, match=r"is not a store: it has no store.json"):
        episodes.open(tmp_path)


def test_without_from_the_files_are_those_in_downloads(
    tiny: Tiny, tiny_store: Store, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads" / "tiny"
    shutil.copytree(tiny.source, downloads)
    archives = tiny.manifest.sources[0]
    there = tuple(
        replace(
            file,
            bytes=(downloads / file.name).stat().st_size,
            sha256=file_sha256(downloads / file.name),
        )
        for file in archives.files
    )
    online = replace(tiny.manifest, sources=(replace(archives, files=there),))
    store = prepare(online, home=tmp_path)
    assert store.digest == tiny_store.digest
