"""`episodes prepare meta-dataset`: all sources at once, from archives in the sources' layouts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from episodes import manifest
from episodes.cli import main
from episodes.errors import UsageError
from episodes.export.tfrecord import export_records
from episodes.manifest import Manifest
from episodes.prepare import meta_dataset
from episodes.store import Store
from tests.episodes.layouts import all_layouts, omniglot, quickdraw, small

# In Meta-Dataset's order, each with the source whose archives the tests write.
SOURCES = {
    "imagenet": "ilsvrc-train",
    "omniglot": "archives",
    "aircraft": "archive",
    "cub": "archive",
    "dtd": "archive",
    "quickdraw": "bitmaps",
    "fungi": "archives",
    "vgg-flower": "archive",
    "traffic-sign": "archive",
    "mscoco": "archives",
    "mnist": "idx",
    "cifar-10": "cifar-10-python",
    "cifar-100": "cifar-100-binary",
}
# Classes of train, val and test.
PARTS = {
    "imagenet": (712, 158, 130),
    "omniglot": (883, 81, 659),
    "aircraft": (70, 15, 15),
    "cub": (140, 30, 30),
    "dtd": (33, 7, 7),
    "quickdraw": (241, 52, 52),
    "fungi": (994, 200, 200),
    "vgg-flower": (71, 15, 16),
    "traffic-sign": (0, 0, 43),
    "mscoco": (0, 40, 40),
    "mnist": (0, 0, 10),
    "cifar-10": (0, 0, 10),
    "cifar-100": (0, 0, 100),
}
WRITERS = all_layouts() | {
    ("omniglot", "archives"): omniglot.write_archives,
    ("quickdraw", "bitmaps"): quickdraw.write_bitmaps,
}
SKIPPED = "n01443537_9.JPEG"
SHIPPED = {name: manifest.load(name) for name in manifest.names()}


def of_one_each(name: str) -> Manifest:
    """A dataset's manifest with one image a class; of ImageNet one class has two to be skipped."""
    facts = small(SHIPPED[name], SOURCES[name])
    counts = (1,) * len(facts.class_names)
    if name != "imagenet":
        return replace(facts, class_images=counts, images=len(counts))
    at, twins = facts.class_names.index(SKIPPED[:9]), SHIPPED[name].twins
    assert twins is not None
    counts = (*counts[:at], 2, *counts[at + 1 :])
    twins = replace(twins, images={f"{SKIPPED[:9]}/{SKIPPED}": "cub/x"})
    return replace(facts, class_images=counts, images=sum(counts), twins=twins)


FEW = {name: of_one_each(name) for name in SOURCES}
QUICK = ("aircraft", "quickdraw", "mnist", "cifar-10")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, where the datasets are as small as their archives here."""
    monkeypatch.setattr(manifest, "load", lambda name: FEW.get(name, SHIPPED[name]))
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives of all sources, each in a folder of a name that is looked for."""
    folder = tmp_path_factory.mktemp("sources")
    folders = {"imagenet": "ilsvrc-2012", "cub": "cu_birds", "cifar-10": "cifar10"}
    for name, source in SOURCES.items():
        (folder / folders.get(name, name)).mkdir()
        WRITERS[name, source](folder / folders.get(name, name), FEW[name])
    return folder


@pytest.fixture
def run() -> Callable[..., Result]:
    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["prepare", "meta-dataset", *map(str, arguments)])

    return invoke


def without_progress(stderr: str) -> list[str]:
    """The lines that are about a source or an error: a slow machine tells how far it is, too."""
    return [line for line in stderr.splitlines() if line.split(":")[0] in ("error", *SOURCES)]


def check(name: str, store: Store) -> None:
    """Counts, class ids and parts as the manifest and Meta-Dataset have them."""
    facts = FEW[name]
    assert store.class_names == facts.class_names
    assert set(store.class_sizes) == {1}
    found = [store.split_classes(f"meta-dataset.{part}") for part in manifest.PARTS]
    assert tuple(map(len, found)) == PARTS[name]
    if name not in ("imagenet", "omniglot", "aircraft", "cub"):
        # Of the new datasets, Meta-Dataset's ids are the store's.
        assert np.concatenate(found).tolist() == list(range(len(facts.class_names)))


@pytest.mark.slow
@pytest.mark.parametrize("container", ["hdf5", "webdataset"])
def test_all_thirteen_sources_in_both_formats(
    home: Path, archives: Path, run: Callable[..., Result], container: str
) -> None:
    result = run("--from", archives, "--format", container, "--threads", 1, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told["missing"] == []
    assert [entry["dataset"] for entry in told["sources"]] == list(SOURCES)
    for entry in told["sources"]:
        store = Store(Path(entry["store"]["path"]))
        assert (store.info.container, store.image_shape[:2]) == (container, (84, 84))
        check(entry["dataset"], store)


def test_all_thirteen_sources_at_once(
    home: Path, archives: Path, run: Callable[..., Result]
) -> None:
    result = run("--from", archives, "--size", 12, "--threads", 1)
    assert (result.exit_code, without_progress(result.stderr)) == (0, [])
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(SOURCES)
    assert lines[0].startswith(
        "imagenet: imagenet-12px-no-twins, 1,000 classes, 1,000 images of 12x12x3, in /"
    )
    assert lines[2].startswith("aircraft: aircraft-12px-box, 100 classes")
    assert lines[5].startswith("quickdraw: quickdraw, 345 classes, 345 images of 28x28x1, in /")
    stores = meta_dataset.open_sources(size=12)
    assert {store.image_shape for store in stores} == {(12, 12, 3)}
    for name, store in zip(SOURCES, stores, strict=True):
        check(name, store)
        assert store.images(np.array([0, store.info.rows - 1])).shape == (2, 12, 12, 3)
    assert stores[5].info.container == "npy"
    names = np.repeat(stores[0].class_names, stores[0].class_sizes)
    ids = dict(zip(names, stores[0].ids(np.arange(1000)), strict=True))
    assert ids[SKIPPED[:9]] != SKIPPED


def test_what_is_not_there_is_told_and_the_others_are_made(
    home: Path, archives: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("quickdraw", "mnist", "cifar10"):
        (folder / name).symlink_to(archives / name)
    (folder / "traffic-sign").mkdir()
    (folder / "traffic-sign" / "GTSRB_Final_Training_Images.zip").write_bytes(b"PK, but no more")
    chosen = ("--sources", "cifar10,fungi,mnist", "--sources", "ilsvrc_2012,quickdraw,traffic-sign")
    result = run("--from", folder, *chosen, "--size", 20)
    assert result.exit_code == 1
    made = [line.partition(",")[0] for line in result.stdout.splitlines()]
    assert made == ["quickdraw: quickdraw", "mnist: mnist-20px", "cifar-10: cifar-10-20px"]
    *missing, last = without_progress(result.stderr)
    assert last == (
        "error: 3 of 6 sources of Meta-Dataset are not prepared: imagenet, fungi, traffic-sign"
    )
    assert [line.partition(":")[0] for line in missing] == ["imagenet", "fungi", "traffic-sign"]
    assert "needs ILSVRC2012_img_train.tar (147.9 GB, https://image-net.org/" in missing[0]
    for line, name in zip(missing[:2], ("imagenet", "fungi"), strict=True):
        assert line.endswith(f"type: episodes prepare meta-dataset --sources {name} --from FOLDER")
    assert "GTSRB_Final_Training_Images.zip" in missing[2]

    again = run("--sources", "mnist,quickdraw", "--size", 20)
    assert again.exit_code == 0, "what is there is neither fetched nor made again"


def test_json_tells_the_same(home: Path, archives: Path, run: Callable[..., Result]) -> None:
    result = run("--from", archives / "mnist", "--sources", "mnist,imagenet", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    absent, there = told["sources"]
    assert (absent["dataset"], there["dataset"], told["missing"]) == (
        "imagenet",
        "mnist",
        ["imagenet"],
    )
    assert absent["problem"].startswith("offline (EPISODES_OFFLINE), and imagenet needs ILSVRC")
    assert (there["store"]["name"], there["store"]["image_shape"]) == ("mnist-84px", [84, 84, 1])
    assert result.stderr.startswith("error: 1 of 2 sources of Meta-Dataset are not prepared")


def test_originals_are_kept_as_they_are(
    home: Path, archives: Path, run: Callable[..., Result]
) -> None:
    result = run("--from", archives, "--sources", "dtd,mnist", "--encoding", "original")
    assert result.exit_code == 0, result.stderr
    names = [line.split(",")[0] for line in result.stdout.splitlines()]
    assert names == ["dtd: dtd-original", "mnist: mnist-original"]


def test_a_finished_conversion_is_taken(
    home: Path, archives: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    assert run("--from", archives, "--sources", "aircraft,dtd", "--size", 12).exit_code == 0
    for store in meta_dataset.open_sources(["aircraft", "dtd"], size=12):
        export_records(store, tmp_path / "records" / store.info.dataset)
    result = run("--from", tmp_path / "records", "--sources", "dtd,aircraft", "--json")
    assert result.exit_code == 0, result.stderr
    for entry in json.loads(result.stdout)["sources"]:
        assert entry["store"]["name"].endswith("-records")
        check(entry["dataset"], Store(Path(entry["store"]["path"])))


def test_a_box_is_cut_where_meta_dataset_cuts_it() -> None:
    cut = {
        name
        for name, facts in SHIPPED.items()
        if facts.meta_dataset and facts.meta_dataset.crop != "none"
    }
    dropped = {
        name
        for name, facts in SHIPPED.items()
        if facts.meta_dataset and facts.meta_dataset.drop_twins
    }
    assert (cut, dropped) == ({"aircraft"}, {"imagenet"})
    assert [facts.name for facts in meta_dataset.sources()] == list(SOURCES)
    assert [
        facts.meta_dataset.name for facts in meta_dataset.sources() if facts.meta_dataset
    ] == list(meta_dataset.ORDER)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--sources", "vgg_flowers"],
            "unknown source of Meta-Dataset 'vgg_flowers': did you mean",
        ),
        (
            ["--rotations"],
            "--rotations is for shipped datasets, folder, csv, hf:REPO: leave it out",
        ),
        (["--crop", "box"], "--crop is for shipped datasets: leave it out"),
        (["--out", "here"], "--out is for shipped datasets, folder"),
        (["somewhere"], "takes no PATH: type `episodes prepare meta-dataset --from somewhere`"),
        (["--sources", "mnist", "--from", "nowhere"], "nowhere is not a folder; expected the one"),
        (["--sources", "mnist", "--size", "0"], "size is 0; expected 1 to 4096 pixels"),
        (["--sources", "mnist", "--format", "zip"], "unknown format 'zip'"),
    ],
)
def test_bad_usage_is_one_line(
    home: Path, run: Callable[..., Result], arguments: list[str], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (home / "stores").exists()


def test_sources_are_for_meta_dataset_alone(home: Path) -> None:
    result = CliRunner().invoke(main, ["prepare", "mnist", "--sources", "cub"])
    assert result.exit_code == 2
    assert result.stderr == "error: --sources is for meta-dataset: leave it out\n"


def test_a_source_that_is_not_prepared_cannot_be_opened(home: Path) -> None:
    with pytest.raises(
        UsageError, match="mnist is not prepared at 84 pixels .*--sources mnist --size 84"
    ):
        meta_dataset.open_sources(["mnist"])
