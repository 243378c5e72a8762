"""Stores pushed to and pulled from folders, memory and a web server: whole, or not at all."""

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from fsspec.registry import known_implementations

from episodes.cli.common import ErrorLineGroup
from episodes.cli.exchanging import pull as pull_command
from episodes.cli.exchanging import push as push_command
from episodes.download import Retries
from episodes.errors import EpisodesError, UsageError
from episodes.exchange import pull, push
from episodes.store import Store
from episodes.store.layout import write_info
from tests.episodes.made_stores import encoded_all, make_store, random_images
from tests.episodes.servers import serving

QUICK = Retries(3, 0.001)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of several shards that may be redistributed."""
    return make_store(
        tmp_path / "made", random_images(), shard_bytes=2000, name="made", redistribution=True
    )


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in fsspec's memory, which is one for the whole process."""
    yield "memory://bucket/made"
    fsspec.filesystem("memory").store.clear()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_memory() -> dict[str, bytes]:
    files = fsspec.filesystem("memory").store.items()
    return {path.rpartition("/")[2]: file.getvalue() for path, file in files}


def other_store(folder: Path) -> Store:
    """As the first in all but its pixels: every shard has the same size."""
    images = random_images(seed=1)
    return make_store(folder, images, shard_bytes=2000, name="made", redistribution=True)


def told(error: pytest.ExceptionInfo[EpisodesError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("protocol", ["path", "file", "memory"])
def test_a_store_goes_there_and_back(
    store: Store, tmp_path: Path, memory: str, protocol: str
) -> None:
    folder = tmp_path / "there" / "made"
    url = {"path": f"{folder}/", "file": f"file://{folder}", "memory": memory}[protocol]
    (store.path / "card.md").write_text("# A card\n")
    sent = push(store, url).bytes
    assert sent == sum(shard.bytes for shard in store.info.shards) and len(store.info.shards) > 2
    if protocol != "memory":
        assert contents(folder) == contents(store.path)
    pulled = pull(url, home=tmp_path / "home")
    assert pulled.bytes == sent and pulled.store.path == tmp_path / "home" / "stores" / "made"
    assert contents(pulled.store.path) == contents(store.path)
    pulled.store.verify(deep=True)
    assert push(store, url).bytes == 0
    assert pull(url, home=tmp_path / "home").bytes == 0
    assert [path.name for path in (tmp_path / "home" / "stores").iterdir() if path.is_dir()] == [
        "made"
    ]


@pytest.mark.parametrize("encoding", ["raw", "original"])
def test_a_store_of_tars_takes_its_indices_along(
    tmp_path: Path, memory: str, encoding: str
) -> None:
    images = random_images()
    given = encoded_all(images) if encoding == "original" else images
    tars = make_store(tmp_path / "tars", given, "webdataset", encoding, 9000, redistribution=True)
    push(tars, memory)
    pulled = pull(memory, out=tmp_path / "pulled").store
    pulled.verify(deep=True)
    rows = np.arange(tars.info.rows)
    np.testing.assert_array_equal(pulled.images(rows), tars.images(rows))
    assert any(path.suffix == ".npy" for path in pulled.path.iterdir())


def test_a_pulled_store_has_the_name_that_it_is_given(
    store: Store, tmp_path: Path, memory: str
) -> None:
    push(store, memory)
    pulled = pull(memory, name="other", home=tmp_path / "home").store
    assert (pulled.path.name, pulled.name, pulled.digest) == ("other", "other", store.digest)
    assert pull(memory, name="other", home=tmp_path / "home").bytes == 0
    assert pull(memory, out=tmp_path / "out").store.name == "out"
    with pytest.raises(UsageError, match="leave --name out"):
        pull(memory, name="x", out=tmp_path / "y")
    for name in ("../up", ".hidden", "a/b", "", "a\0"):
        with pytest.raises(UsageError, match="give another --name"):
            pull(memory, name=name, home=tmp_path / "home")


def test_images_that_may_not_be_redistributed_need_a_word_about_rights(
    tmp_path: Path, memory: str
) -> None:
    own = make_store(tmp_path / "own", random_images(), dataset="birds", licence="research only")
    with pytest.raises(UsageError) as error:
        push(own, memory)
    assert "birds" in told(error) and "research only" in told(error)
    assert "add --i-have-rights" in told(error) and in_memory() == {}
    push(own, memory, i_have_rights=True)
    pull(memory, out=tmp_path / "pulled").store.verify()


def test_another_store_is_replaced_only_by_force(store: Store, tmp_path: Path, memory: str) -> None:
    push(store, memory)
    pull(memory, out=tmp_path / "here")
    other = other_store(tmp_path / "another")
    with pytest.raises(EpisodesError, match="holds another store.*--force"):
        push(other, memory)
    push(other, memory, force=True)
    assert in_memory() == contents(other.path)
    with pytest.raises(EpisodesError, match="holds another store.*--force"):
        pull(memory, out=tmp_path / "here")
    assert Store(tmp_path / "here").digest == store.digest
    assert pull(memory, out=tmp_path / "here", force=True).store.digest == other.digest


def test_a_folder_of_other_files_is_left_alone(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"holds thesis.tex.*such as file://.*/folder/made"):
        push(store, f"file://{folder}", force=True)
    push(store, f"file://{folder}/made")
    for force in (False, True):
        with pytest.raises(EpisodesError, match="is there and is not a store"):
            pull(f"file://{folder}/made", out=folder, force=force)
    (folder / "made" / "notes.txt").touch()
    with pytest.raises(EpisodesError, match="holds notes.txt"):
        pull(f"file://{folder}/made", out=folder / "made", force=True)


class Quits(Exception):
    """What stops a push or a pull half-way in these tests."""


def quitting_after(count: int):
    calls = []

    def progress(what: str, done: int, total: int, unit: str = "") -> None:
        calls.append(done)
        if len(calls) == count:
            raise Quits

    return progress


def test_a_push_that_stops_half_way_is_no_store_and_goes_on(
    store: Store, tmp_path: Path, memory: str
) -> None:
    folder = tmp_path / "there"
    with pytest.raises(Quits):
        push(store, f"file://{folder}", progress=quitting_after(2))
    first, second = (shard.file for shard in store.info.shards[:2])
    assert {first, second} <= contents(folder).keys() and "store.json" not in contents(folder)
    with pytest.raises(EpisodesError) as error:
        pull(f"file://{folder}", out=tmp_path / "pulled", retries=QUICK)
    assert f"file://{folder} holds no store: store.json" in told(error)
    (folder / second).write_bytes((folder / second).read_bytes()[:-1])  # killed inside of it
    rest = sum(shard.bytes for shard in store.info.shards[1:])
    assert push(store, f"file://{folder}").bytes == rest
    assert contents(folder) == contents(store.path)


def test_shards_of_another_store_are_not_taken_for_ones_own(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    with pytest.raises(Quits):
        push(other_store(tmp_path / "another"), f"file://{folder}", progress=quitting_after(2))
    there = contents(folder)
    with pytest.raises(UsageError, match=r"holds shard-00000.h5 and no store: .*--force to remove"):
        push(store, f"file://{folder}")
    assert contents(folder) == there
    push(store, f"file://{folder}", force=True)
    assert contents(folder) == contents(store.path)


@pytest.mark.parametrize("name", ["shard-00000.tar", "shard-00000.h5", "card.md"])
def test_files_that_no_push_left_there_are_removed_only_by_force(
    store: Store, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / name).write_bytes(b"somebody's work")
    expected = (
        rf"theirs holds {name} and no store: .* such as file://.*/theirs/made, or add --force"
    )
    with pytest.raises(UsageError, match=expected) as error:
        push(store, f"file://{folder}")
    assert "\n" not in str(error.value)
    assert contents(folder) == {name: b"somebody's work"}
    push(store, f"file://{folder}", force=True)
    assert contents(folder) == contents(store.path)


@pytest.mark.parametrize("name", ["shard-000000.tar", "shard-train.tar", "shard-0.h5", "README.md"])
def test_what_is_no_file_of_a_store_is_never_removed(
    store: Store, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / name).write_bytes(b"somebody's work")
    for force in (False, True):
        with pytest.raises(UsageError, match=f"holds {name}, which is no part of a store"):
            push(store, f"file://{folder}", force=force)
    assert contents(folder) == {name: b"somebody's work"}


def test_a_store_json_of_another_program_is_never_removed(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "store.json").write_text('{"shop": "open"}')
    for force in (False, True):
        with pytest.raises(UsageError, match="holds a store.json that describes no store"):
            push(store, f"file://{folder}", force=force)
    assert contents(folder) == {"store.json": b'{"shop": "open"}'}


@pytest.mark.parametrize("force", [False, True])
def test_a_push_killed_while_it_wrote_the_description_goes_on(
    store: Store, tmp_path: Path, force: bool
) -> None:
    folder = tmp_path / "there"
    with pytest.raises(Quits):
        push(store, f"file://{folder}", progress=quitting_after(2))
    (folder / "store.json").write_bytes((store.path / "store.json").read_bytes()[:100])
    rest = sum(shard.bytes for shard in store.info.shards[2:])
    assert push(store, f"file://{folder}", force=force).bytes == rest
    assert contents(folder) == contents(store.path)


def test_a_damaged_store_is_not_pushed(store: Store, memory: str) -> None:
    path = store.path / store.info.shards[1].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EpisodesError, match="is damaged"):
        push(store, memory)
    assert in_memory() == {}


@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "missing"])
@pytest.mark.parametrize("place", ["memory", "web"])
def test_a_damaged_shard_makes_no_store(
    store: Store, tmp_path: Path, memory: str, damage: str, place: str
) -> None:
    push(store, memory)
    shard = store.info.shards[1].file
    files = fsspec.filesystem("memory")
    content = files.cat_file(f"/bucket/made/{shard}")
    files.rm_file(f"/bucket/made/{shard}")
    damaged = {"changed": b"?" + content[1:], "cut": content[:-9], "longer": content + b"?"}
    if damage in damaged:
        files.pipe_file(f"/bucket/made/{shard}", damaged[damage])
    files.get("/bucket/made", str(tmp_path / "served"), recursive=True)
    with serving(tmp_path / "served") as server:
        url = server.url if place == "web" else memory
        with pytest.raises(EpisodesError) as error:
            pull(url, out=tmp_path / "pulled", retries=QUICK)
        assert f"{url}/{shard}: " in told(error)
        assert not (tmp_path / "pulled").exists()
        # What came whole is not fetched again.
        files.pipe_file(f"/bucket/made/{shard}", content)
        (tmp_path / "served" / shard).write_bytes(content)
        with serving(tmp_path / "served") as mended:
            again = pull(mended.url if place == "web" else memory, out=tmp_path / "pulled")
    assert again.bytes < sum(each.bytes for each in store.info.shards)
    again.store.verify(deep=True)


def test_a_pull_over_http_survives_interruptions(store: Store, tmp_path: Path) -> None:
    first, second, third = (shard.file for shard in store.info.shards[:3])
    scripts = {
        "store.json": ["status 503", "cut 100"],
        first: ["cut 700", "hang-up", "cut 900"],
        second: ["cut 500", "other-range"],
        third: ["redirect", "no-ranges", "status 500"],
    }
    with serving(store.path, scripts) as server:
        shown: list[tuple[int, int]] = []
        pulled = pull(
            f"{server.url}/",
            out=tmp_path / "pulled",
            retries=Retries(5, 0.001),
            progress=lambda what, done, total, unit="": shown.append((done, total)),
        )
        assert server.files[first].requests[-1] == "bytes=1600-"
    pulled.store.verify(deep=True)
    whole = sum(shard.bytes for shard in store.info.shards)
    assert shown[-1] == (whole, whole)
    assert contents(pulled.store.path).keys() == {"store.json"} | {
        shard.file for shard in store.info.shards
    }


def test_an_interrupted_pull_goes_on_where_it_was(
    store: Store, tmp_path: Path, memory: str
) -> None:
    push(store, memory)
    with pytest.raises(Quits):
        pull(memory, out=tmp_path / "pulled", progress=quitting_after(3))
    assert not (tmp_path / "pulled").exists()
    pulled = pull(memory, out=tmp_path / "pulled")
    assert pulled.bytes == sum(shard.bytes for shard in store.info.shards[2:])
    pulled.store.verify(deep=True)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"made", "pulled"}


def test_a_killed_pull_leaves_no_store_and_the_next_one_makes_it(
    store: Store, tmp_path: Path
) -> None:
    program = """
        import os, signal, sys
        from pathlib import Path
        from episodes.exchange import pull
        def progress(what, done, total, unit=""):
            if done > total // 2:
                os.kill(os.getpid(), signal.SIGKILL)
        pull(sys.argv[1], out=Path(sys.argv[2]), progress=progress)
    """
    target = tmp_path / "pulled"
    arguments = [sys.executable, "-c", textwrap.dedent(program), f"file://{store.path}", target]
    killed = subprocess.run(arguments, check=False)
    assert killed.returncode == -signal.SIGKILL and not target.exists()
    pulled = pull(f"file://{store.path}", out=target)
    assert 0 < pulled.bytes < sum(shard.bytes for shard in store.info.shards)
    pulled.store.verify(deep=True)


def resigned(folder: Path, **changes: object) -> None:
    """Change store.json, and its hash of itself accordingly."""
    path = folder / "store.json"
    values = json.loads(path.read_text()) | changes
    del values["sha256"]
    text = json.dumps(values, sort_keys=True).encode()
    path.write_text(json.dumps(values | {"sha256": hashlib.sha256(text).hexdigest()}))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("status 404", "holds no store: store.json: answered 404"),
        ("page", "holds no store: store.json: sent a web page"),
        ("unlabelled-page", "holds no store: store.json: sent a web page"),
        ("endless", "store.json is damaged: ask for it to be pushed again"),
    ],
)
def test_what_is_no_description_is_told(
    store: Store, tmp_path: Path, act: str, message: str
) -> None:
    with (
        serving(store.path, {"store.json": [act]}) as server,
        pytest.raises(EpisodesError) as error,
    ):
        pull(server.url, home=tmp_path / "home", retries=QUICK)
    assert server.url in told(error) and message in told(error)
    assert not (tmp_path / "home").exists()


def test_a_description_from_elsewhere_is_not_trusted(store: Store, tmp_path: Path) -> None:
    url, whole = f"file://{store.path}", (store.path / "store.json").read_text()

    def refused(message: str, **options: Path) -> None:
        with pytest.raises(EpisodesError, match=message) as error:
            pull(url, home=tmp_path / "home", retries=QUICK, **options)
        assert "\n" not in str(error.value)
        (store.path / "store.json").write_text(whole)

    (store.path / "store.json").write_text(whole.replace('"made"', '"mode"'))
    refused(r"store.json is damaged \(its SHA-256 differs\): ask for it to be pushed again")
    resigned(store.path, format="episodes-store/99")
    refused("has the store format 'episodes-store/99'; this version reads")
    shards = json.loads(whole)["shards"]
    resigned(store.path, shards=[shards[0] | {"file": "../shard-00000.h5"}, *shards[1:]])
    refused("is not a shard's name")
    resigned(store.path, name="../elsewhere")
    refused("give another --name")
    far = [shards[0] | {"arrays": {"images": 10**9, "ids": 10**9}}, *shards[1:]]
    resigned(store.path, shards=far)
    refused("is damaged", out=tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists() and not list(tmp_path.glob("home/stores/made"))


def test_urls_that_cannot_be_are_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="can be read and not written"):
        push(store, "https://example.org/stores")
    for action in (lambda url: push(store, url), lambda url: pull(url, out=tmp_path / "pulled")):
        for root in ("memory://", "file:///"):
            with pytest.raises(UsageError, match="names no folder of its own"):
                action(root)
        with pytest.raises(UsageError, match="Protocol not known: s4"):
            action("s4://bucket/made")
        monkeypatch.setitem(
            known_implementations,
            "s5",
            {"class": "a_package_that_is_not_there.FileSystem", "err": "Install it"},
        )
        with pytest.raises(UsageError, match="`pip install a_package_that_is_not_there`"):
            action("s5://bucket/made")
    with pytest.raises(EpisodesError, match="holds no store: store.json: is not there"):
        pull(f"file://{tmp_path}/nowhere", retries=QUICK)
    (tmp_path / "file").touch()
    with pytest.raises(EpisodesError, match="check the URL"):
        push(store, f"file://{tmp_path}/file", retries=QUICK)
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    with pytest.raises(UsageError, match="offline"):
        pull("https://example.org/stores")
    push(store, f"file://{tmp_path}/pushed")


def test_a_disk_that_refuses_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EpisodesError, match="cannot write the store .*choose another place"):
        pull(f"file://{store.path}", out=tmp_path / "file" / "store")


class Bytes(io.BytesIO):
    """A file in memory whose methods can be replaced."""


class Flaky:
    """fsspec's memory, of which every second request for a shard breaks off."""

    def __init__(self) -> None:
        self.memory, self.requests = fsspec.filesystem("memory"), 0

    def __getattr__(self, name: str):
        return getattr(self.memory, name)

    def put_file(self, *arguments: object, **options: object) -> None:
        self.break_off_every_second_time()
        self.memory.put_file(*arguments, **options)

    def open(self, path: str, mode: str):
        content = Bytes(self.memory.cat_file(path))
        if "shard" in path:
            whole = content.read

            def read(size: int) -> bytes:
                self.break_off_every_second_time()
                return whole(min(size, 777))

            content.read = read
        return content

    def break_off_every_second_time(self) -> None:
        self.requests += 1
        if self.requests % 2:
            raise RuntimeError("the line\nbroke")


def test_a_file_system_that_breaks_off_is_asked_again(
    store: Store, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky()
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (flaky, "/bucket/made"))
    push(store, memory, retries=QUICK)
    pulled = pull(memory, out=tmp_path / "pulled", retries=QUICK).store
    pulled.verify(deep=True)
    with pytest.raises(EpisodesError, match="the line broke"):
        push(store, memory, force=True, retries=Retries(1, 0.001))
    assert "store.json" not in in_memory()


def command(*arguments: object) -> Result:
    group = ErrorLineGroup(commands={"push": push_command, "pull": pull_command})
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_the_commands(store: Store, tmp_path: Path, memory: str) -> None:
    write_info(store.path, Store(store.path).info)
    result = command("push", store.path, memory)
    assert result.exit_code == 0 and result.output.startswith(f"made is at {memory} (")
    assert command("push", store.path, memory).output == f"made was at {memory} already\n"
    pulled = command("pull", memory, "--out", tmp_path / "pulled")
    assert pulled.exit_code == 0 and f"pulled from {memory}: " in pulled.stdout
    again = command("pull", memory, "--out", tmp_path / "pulled", "--json")
    described = json.loads(again.stdout)
    assert described["bytes_fetched"] == 0 and described["content_digest"] == store.digest
    shutil.rmtree(tmp_path / "pulled")
    assert json.loads(command("push", store.path, memory, "--json").stdout)["bytes_sent"] == 0
    refused = command("pull", "memory://nowhere", "--out", tmp_path / "pulled")
    assert refused.exit_code == 1 and refused.stderr.startswith("error: memory://nowhere holds no")


def test_a_store_is_not_pushed_onto_itself_or_nowhere(tiny_store: Store, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_store.path, tmp_path / "tiny"))
    (tmp_path / "link").symlink_to(folder)
    store = Store(folder)
    for url in (str(folder), f"file://{folder}", f"file://{tmp_path}/link/"):
        with pytest.raises(UsageError, match="is the store's own folder"):
            push(store, url, force=True)
    for url in ("/", ""):
        with pytest.raises(UsageError, match="names no folder of its own"):
            push(store, url)
        with pytest.raises(UsageError, match="names no folder of its own"):
            pull(url, home=tmp_path / "home")
    store.verify(deep=True)
