"""Meta-Dataset conversions read and written, against plain writers and the published facts."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

import episodes
from episodes import manifest
from episodes.cli import main
from episodes.errors import EpisodesError, UsageError
from episodes.export.tfrecord import export_records
from episodes.manifest import PARTS, Manifest
from episodes.meta_dataset import write_specification
from episodes.meta_dataset.describing import departures, specification_of
from episodes.prepare import prepare
from episodes.store import Store
from tests.episodes.made_stores import make_store
from tests.episodes.plain_records import (
    as_jpeg,
    example,
    frame,
    read_class,
    write_class,
)
from tests.episodes.plain_records import write_specification as write_json

# Name there, and some class ids, as Meta-Dataset's own specifications have them.
IDS = {
    "imagenet": ("ilsvrc_2012", {0: "n01440764", 985: "n04371774", 999: "n06359193"}),
    "omniglot": (
        "omniglot",
        {
            0: "images_background/Anglo-Saxon_Futhorc/character01",
            883: "images_background/Blackfoot_(Canadian_Aboriginal_Syllabics)/character01",
            963: "images_background/Alphabet_of_the_Magi/character20",
            1622: "images_evaluation/ULOG/character26",
        },
    ),
    "aircraft": ("aircraft", {0: "A340-300", 3: "F-16A/B", 85: "737-400", 99: "Spitfire"}),
    "cub": ("cu_birds", {0: "190.Red_cockaded_Woodpecker", 199: "194.Cactus_Wren"}),
}


@pytest.mark.parametrize("dataset", IDS)
def test_class_ids_are_meta_datasets(dataset: str) -> None:
    facts = manifest.load(dataset)
    name, some = IDS[dataset]
    order = facts.meta_dataset.class_order
    assert facts.meta_dataset.name == name
    assert sorted(order) == list(range(len(facts.class_names)))
    assert {class_id: facts.class_names[order[class_id]] for class_id in some} == some


TOYS = """
name = "toys"
title = "Toys of two kinds"
version = "1"
homepage = "https://example.org/toys"
licence = "MIT"
redistribution = true
citation = "none"
[counts]
classes = 5
images = 24
[image]
size = 12
channels = 3
resize = "bilinear"
[[sources]]
name = "archives"
reader = "omniglot"
[[sources.files]]
name = "toys.zip"
access = "open"
urls = ["https://example.org/toys.zip"]
[splits.meta-dataset]
default = true
train = 3
val = 0
test = 2
source = "by kind"
[meta_dataset]
name = "toy_box"
order = "toys.order.tsv"
levels = "([^/]+)/(.+)"
"""
CLASSES = """class\timages\tmeta-dataset
boat/dinghy\t3\ttest
boat/raft\t4\ttest
car/bus\t5\ttrain
car/cab\t6\ttrain
car/van\t6\ttrain
"""
ORDER = ["car/van", "car/bus", "car/cab", "boat/raft", "boat/dinghy"]
SIZES = dict(zip(ORDER, (6, 5, 6, 4, 3), strict=True))
TOY_BOX = {
    "name": "toy_box",
    "superclasses_per_split": {"TRAIN": 1, "VALID": 0, "TEST": 1},
    "classes_per_superclass": {"0": 3, "1": 2},
    "images_per_class": {str(number): SIZES[name] for number, name in enumerate(ORDER)},
    "superclass_names": {"0": "car", "1": "boat"},
    "class_names": {str(number): name.replace("/", "-") for number, name in enumerate(ORDER)},
    "path": "",
    "file_pattern": "{}.tfrecords",
    "__class__": "BiLevelDatasetSpecification",
}


def write_toys(folder: Path, **changes: str) -> Path:
    texts = {"toys.toml": TOYS, "toys.classes.tsv": CLASSES}
    texts["toys.order.tsv"] = "\n".join(["class", *ORDER, ""])
    for old, new in changes.items():
        texts["toys.toml"] = texts["toys.toml"].replace(old, new)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder / "toys.toml"


def picture(number: int, width: int = 14) -> Image.Image:
    generator = np.random.default_rng(number)
    return Image.fromarray(generator.integers(0, 256, (10, width, 3), np.uint8))


@dataclass(frozen=True)
class Toys:
    facts: Manifest
    records: Path
    images: dict[str, list[bytes]]


@pytest.fixture
def toys(tmp_path: Path) -> Toys:
    """A conversion of toys, as Meta-Dataset's code writes it, below the folder of all of them."""
    facts = manifest.parse(write_toys(tmp_path))
    records = tmp_path / "records" / "toy_box"
    records.mkdir(parents=True)
    images = {
        name: [as_jpeg(picture(100 * class_id + place)) for place in range(SIZES[name])]
        for class_id, name in enumerate(ORDER)
    }
    write_json(records, TOY_BOX)
    for class_id, name in enumerate(ORDER):
        write_class(records, class_id, images[name])
    return Toys(facts, records, images)


def decoded(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def rows_of(store: Store, class_name: str) -> np.ndarray:
    class_id = store.class_names.index(class_name)
    return store.class_starts[class_id] + np.arange(store.class_sizes[class_id])


@pytest.mark.parametrize("container", ["hdf5", "webdataset"])
def test_conversion_becomes_a_store(toys: Toys, tmp_path: Path, container: str) -> None:
    store = prepare(toys.facts, toys.records, home=tmp_path, container=container)
    assert store.name == "toys-records" + ("-webdataset" if container == "webdataset" else "")
    assert store.class_names == toys.facts.class_names
    assert list(store.class_sizes) == [3, 4, 5, 6, 6]
    assert [list(store.split_classes(part)) for part in PARTS] == [[2, 3, 4], [], [0, 1]]
    assert store.info.source == "records" and "counts" in store.info.verified
    for name, files in toys.images.items():
        rows = rows_of(store, name)
        assert store.ids(rows) == [f"{place:06d}" for place in range(len(files))]
        expected = [decoded(file).resize((12, 12), Image.Resampling.BILINEAR) for file in files]
        np.testing.assert_array_equal(store.images(rows), np.stack(list(map(np.asarray, expected))))
    store.verify(deep=True)


def test_files_of_a_conversion_are_kept_as_they_are(toys: Toys, tmp_path: Path) -> None:
    store = prepare(toys.facts, toys.records, home=tmp_path, encoding="original")
    for name, files in toys.images.items():
        assert [store.encoded(row) for row in rows_of(store, name)] == files


def test_records_are_found_from_where_they_may_be_named(toys: Toys, tmp_path: Path) -> None:
    digests = {
        prepare(toys.facts, given, out=tmp_path / f"store{number}").digest
        for number, given in enumerate(
            (toys.records, toys.records.parent, toys.records / "dataset_spec.json")
        )
    }
    assert len(digests) == 1


def test_prepared_conversion_is_taken_as_it_is(toys: Toys, tmp_path: Path) -> None:
    first = prepare(toys.facts, toys.records, home=tmp_path)
    (toys.records / "0.tfrecords").unlink()
    assert prepare(toys.facts, toys.records, home=tmp_path).digest == first.digest
    assert "episodes prepare toys --from RECORDS" in first.info.command_to_replace(first.path)


def test_conversion_is_used_where_it_lies(toys: Toys, tmp_path: Path) -> None:
    copied = prepare(toys.facts, toys.records, home=tmp_path, encoding="original")
    store = prepare(toys.facts, toys.records, home=tmp_path, container="tfrecord", threads=2)
    assert store.digest == copied.digest and store.info.class_sizes == copied.info.class_sizes
    assert store.info.image_shape == (10, 14, 3)
    for name, files in toys.images.items():
        rows = rows_of(store, name)
        assert [store.encoded(row) for row in rows] == files
        assert store.ids(rows) == copied.ids(rows_of(copied, name))
    store.verify(deep=True)
    assert sum(path.lstat().st_size for path in store.path.iterdir()) < 20_000
    assert sorted(path.suffix for path in toys.records.iterdir()) == [".json"] + 5 * [".tfrecords"]
    batch = next(iter(store.at_size(12).stream(way=2, shot=1, query=1)))
    assert batch.support_images.shape == (2, 12, 12, 3)

    assert prepare(toys.facts, toys.records, home=tmp_path, container="tfrecord").path == store.path
    damage_byte(toys)
    with pytest.raises(EpisodesError, match=r"shard-00001\.tfrecords is damaged"):
        store.verify()
    with pytest.raises(EpisodesError, match=r"CRC-32C of its data"):
        prepare(toys.facts, toys.records, home=tmp_path, container="tfrecord", force=True)
    assert (store.path / "store.json").is_file()
    damage_absent(toys)
    with pytest.raises(EpisodesError, match=r"\(a link to .*3\.tfrecords\) cannot be read"):
        episodes.open(store.path)
    part = prepare(toys.facts, toys.records, home=tmp_path, container="tfrecord", partial=True)
    assert (len(part.class_names), part.info.rows) == (4, 20)


def test_what_cannot_be_used_where_it_lies(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a Meta-Dataset conversion: type `episodes prepare"):
        episodes.open(toys.records)
    with pytest.raises(UsageError, match=r"prepare toys --format tfrecord --from RECORDS"):
        prepare(toys.facts, tmp_path, home=tmp_path, container="tfrecord")
    for options in ({"size": 84}, {"rotations": True}, {"skip_corrupt": True}):
        with pytest.raises(UsageError, match=r"leave|leaves"):
            prepare(toys.facts, toys.records, home=tmp_path, container="tfrecord", **options)


def damage_label(toys: Toys) -> None:
    write_class(toys.records, 3, toys.images["boat/raft"], label=4)


def damage_count(toys: Toys) -> None:
    write_class(toys.records, 3, toys.images["boat/raft"][:-1])


def damage_byte(toys: Toys) -> None:
    path = toys.records / "3.tfrecords"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage_message(toys: Toys) -> None:
    (toys.records / "3.tfrecords").write_bytes(frame(example(b"x", 3)[:-1]))


def damage_features(toys: Toys) -> None:
    (toys.records / "3.tfrecords").write_bytes(frame(b""))


def damage_absent(toys: Toys) -> None:
    (toys.records / "3.tfrecords").unlink()


def damage_specification(toys: Toys) -> None:
    values = {**TOY_BOX["images_per_class"], "3": 3}
    write_json(toys.records, TOY_BOX | {"images_per_class": values})


def damage_splits(toys: Toys) -> None:
    write_json(
        toys.records, TOY_BOX | {"superclasses_per_split": {"TRAIN": 1, "VALID": 1, "TEST": 0}}
    )


def damage_names(toys: Toys) -> None:
    values = {**TOY_BOX["class_names"], "3": "boat-ferry"}
    write_json(toys.records, TOY_BOX | {"class_names": values})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (damage_label, r"3\.tfrecords: record 0 at byte 0 has the label \[4\]; expected \[3\]"),
        (damage_count, r"3\.tfrecords has 3 images; dataset_spec\.json says 4"),
        (damage_byte, r"3\.tfrecords: record 3 at byte \d+ is damaged: the CRC-32C of its data"),
        (damage_message, r"3\.tfrecords: record 0 at byte 0 is no tf\.Example"),
        (damage_features, r"3\.tfrecords: record 0 at byte 0 has not one 'image'"),
        (damage_absent, r"cannot read .*3\.tfrecords"),
        (damage_specification, r"23 images of 5 classes; expected 24 .*boat/raft: 3 of 4"),
        (damage_splits, r"splits toys 3/2/0 into train/val/test .* none of meta-dataset"),
        (damage_names, r"its class 3: unknown class of toys 'boat-ferry'"),
    ],
)
def test_what_is_wrong_with_a_conversion_is_told(
    toys: Toys, tmp_path: Path, damage: Callable[[Toys], None], complaint: str
) -> None:
    damage(toys)
    with pytest.raises(EpisodesError, match=complaint) as caught:
        prepare(toys.facts, toys.records, home=tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "stores" / "toys-records").exists()


def test_part_of_a_conversion(toys: Toys, tmp_path: Path) -> None:
    damage_absent(toys)
    store = prepare(toys.facts, toys.records, home=tmp_path, partial=True)
    assert store.name == "toys-records-partial"
    assert store.info.marks == ("partial: 20 of 24 images, 4 of 5 classes",)
    assert "boat/raft" not in store.class_names


@pytest.mark.parametrize(
    "options", [{"crop": "box"}, {"drop_twins": True}, {"variant": "archives"}]
)
def test_choices_made_at_conversion_are_refused(
    toys: Toys, tmp_path: Path, options: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match=r"as Meta-Dataset does it: leave --"):
        prepare(toys.facts, toys.records, home=tmp_path, **options)  # type: ignore[arg-type]


def test_twins_that_a_conversion_leaves_out_are_counted_out(toys: Toys, tmp_path: Path) -> None:
    twins = manifest.Twins("others", {"boat/raft/b.jpg": "x"})
    facts = replace(toys.facts, twins=twins)
    assert prepare(facts, toys.records, out=tmp_path / "all").info.preprocessing["twins"] == "kept"
    damage_specification(toys)
    write_class(toys.records, 3, toys.images["boat/raft"][:-1])
    store = prepare(facts, toys.records, out=tmp_path / "fewer")
    assert store.info.preprocessing["twins"] == "dropped" and not store.info.partial
    assert list(store.class_sizes) == [3, 3, 5, 6, 6]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"[splits.meta-dataset]": "[splits.other]"}, "needs the split scheme meta-dataset|names"),
        ({"toys.order.tsv": "absent.tsv"}, r"absent\.tsv is missing"),
        ({"toys.order.tsv": "toys.classes.tsv"}, r"line 1 is 'class\\timages"),
        ({'levels = "([^/]+)/(.+)"': 'levels = "(.+)"'}, "expected two groups"),
        ({'levels = "([^/]+)/(.+)"': 'levels = "(c[^/]+)/(.+)"'}, "not match 'boat/dinghy'"),
        ({'levels = "([^/]+)/(.+)"': 'levels = "("'}, "which is no pattern"),
        ({'name = "toy_box"': ""}, r"meta_dataset\.name is missing"),
    ],
)
def test_damaged_facts_are_told(tmp_path: Path, changes: dict[str, str], complaint: str) -> None:
    path = write_toys(tmp_path, **changes)
    with pytest.raises(EpisodesError, match=complaint) as caught:
        manifest.parse(path)
    assert "toys.toml" in str(caught.value) or "is missing from" in str(caught.value)


@pytest.mark.parametrize(
    "order",
    [ORDER[::-1], ORDER[:-1], [*ORDER, "car/van"], [*ORDER[:2], ORDER[1], *ORDER[3:]]],
)
def test_an_order_is_of_the_classes_part_after_part(tmp_path: Path, order: list[str]) -> None:
    path = write_toys(tmp_path)
    (tmp_path / "toys.order.tsv").write_text("\n".join(["class", *order, ""]))
    with pytest.raises(EpisodesError, match=r"toys\.toml: meta_dataset\.order names toys\.order"):
        manifest.parse(path)


def made(folder: Path, dataset: str, images: dict, **described: object) -> Store:
    """A store as one of the shipped `dataset`, with few images."""
    facts = manifest.load(dataset)
    splits = {
        name: {
            part: tuple(
                list(images).index(facts.class_names[index])
                for index in scheme.classes[part]
                if facts.class_names[index] in images
            )
            for part in PARTS
        }
        for name, scheme in facts.schemes.items()
    }
    return make_store(
        folder,
        images,
        dataset=dataset,
        splits=splits,
        default_scheme=facts.default_scheme,
        **described,  # type: ignore[arg-type]
    )


def read_json(folder: Path) -> dict:
    return json.loads((folder / "dataset_spec.json").read_text())


def written(folder: Path, store: Store, scheme: str | None = None) -> dict:
    """The specification of `store` as the file has it."""
    folder.mkdir()
    write_specification(folder, specification_of(store, scheme)[0])
    return read_json(folder)


def test_omniglot_has_its_ids_and_alphabets(tmp_path: Path) -> None:
    facts = manifest.load("omniglot")
    images = {name: {"01.png": np.zeros((1, 1, 1), np.uint8)} for name in facts.class_names}
    store = made(tmp_path / "store", "omniglot", images)
    values = written(tmp_path / "spec", store)
    assert values["name"] == "omniglot" and values["__class__"] == "BiLevelDatasetSpecification"
    assert values["superclasses_per_split"] == {"TRAIN": 25, "VALID": 5, "TEST": 20}
    counts = list(values["classes_per_superclass"].values())
    assert counts[:5] == [29, 26, 41, 40, 24] and counts[25:30] == [14, 14, 16, 17, 20]
    assert sum(counts) == len(values["class_names"]) == 1623
    assert values["superclass_names"]["25"] == "Blackfoot_(Canadian_Aboriginal_Syllabics)"
    assert values["class_names"]["883"] == "Blackfoot_(Canadian_Aboriginal_Syllabics)-character01"
    _, classes = specification_of(store)
    for class_id, name in IDS["omniglot"][1].items():
        assert store.class_names[classes[class_id]] == name
    lake = written(tmp_path / "lake", store, "lake")
    assert lake["superclasses_per_split"] == {"TRAIN": 30, "VALID": 0, "TEST": 20}


def test_imagenet_has_its_graphs(tmp_path: Path) -> None:
    facts = manifest.load("imagenet")
    images = {name: {"1.JPEG": np.zeros((1, 1, 3), np.uint8)} for name in facts.class_names}
    store = made(tmp_path / "store", "imagenet", images)
    assert "with the images that it leaves out: prepare it with --drop-twins" in departures(store)
    values = written(tmp_path / "spec", store)
    nodes = {split: len(graph) for split, graph in values["split_subgraphs"].items()}
    assert nodes == {"TRAIN": 1011, "VALID": 200, "TEST": 180}
    root = values["split_subgraphs"]["TRAIN"][0]
    assert root["words"] == "entity" and root["children_ids"] == ["n00001930", "n00002137"]
    assert values["split_subgraphs"]["TRAIN"][1]["parents_ids"] == ["n00001740"]
    counts = values["images_per_class"]
    assert (counts["TRAIN"]["n00001740"], counts["VALID"]["n02075296"]) == (712, 158)
    assert counts["TEST"]["n03183080"] == 130
    assert values["class_names"]["999"] == "n06359193"

    later = written(tmp_path / "later", store, "meta-dataset-v2")
    assert later["name"] == "ilsvrc_2012_v2" and later["split_subgraphs"]["TEST"] == []
    part = {name: images[name] for name in list(images)[:9]}
    with pytest.raises(UsageError, match=r"not all that its class graph is of"):
        specification_of(made(tmp_path / "part", "imagenet", part))


def test_original_files_go_in_byte_for_byte_if_they_are_rgb_jpegs(tmp_path: Path) -> None:
    facts = manifest.load("cub")
    grey = io.BytesIO()
    picture(1).convert("L").save(grey, "JPEG")
    png = io.BytesIO()
    picture(2).save(png, "PNG")
    fine = io.BytesIO()
    picture(3, width=20).save(fine, "JPEG", quality=98)
    files = {"a_10.jpg": grey.getvalue(), "a_9.jpg": png.getvalue(), "a_1.jpg": fine.getvalue()}
    names = (*facts.class_names[:2], "190.Red_cockaded_Woodpecker", "194.Cactus_Wren")
    store = made(tmp_path / "store", "cub", dict.fromkeys(names, files), encoding="original")
    info = export_records(store, tmp_path / "records")
    assert (info.classes, info.images, list(info.departures)) == (4, 12, [])
    # In order of names, as Meta-Dataset's code lists a folder.
    expected = [fine.getvalue(), as_jpeg(decoded(grey.getvalue())), as_jpeg(picture(2))]
    assert read_class(tmp_path / "records" / "0.tfrecords") == [(file, 0) for file in expected]
    assert read_class(tmp_path / "records" / "3.tfrecords") == [(file, 3) for file in expected]
    assert read_json(tmp_path / "records")["class_names"]["0"] == "190.Red_cockaded_Woodpecker"


def test_traffic_signs_are_shuffled_as_in_meta_datasets_code(tmp_path: Path) -> None:
    facts = manifest.load("traffic-sign")
    ids = [f"{track:05d}_{number:05d}.ppm" for track in range(2) for number in range(30)]
    pixels = {name: np.full((4, 4, 3), place, np.uint8) for place, name in enumerate(ids)}
    images = dict.fromkeys(facts.class_names[:2], pixels)
    store = made(tmp_path / "store", "traffic-sign", images)
    export_records(store, tmp_path / "records")
    names = sorted(ids)
    np.random.RandomState(23).shuffle(names)
    expected = [as_jpeg(Image.fromarray(pixels[name])) for name in names]
    found = [image for image, _ in read_class(tmp_path / "records" / "1.tfrecords")]
    assert found == expected and names != sorted(ids)


@pytest.mark.parametrize("encoding", ["raw", "original"])
def test_exported_store_is_prepared_again(toys: Toys, tmp_path: Path, encoding: str) -> None:
    store = prepare(toys.facts, toys.records, home=tmp_path, encoding=encoding)
    info = export_records(store, tmp_path / "exported")
    assert len(info.departures) == (1 if encoding == "raw" else 0)
    # Of an own dataset: its classes in their order inside the parts, and flat.
    values = read_json(tmp_path / "exported")
    assert values["__class__"] == "DatasetSpecification" and values["name"] == "toys"
    assert list(values["class_names"].values()) == [
        "car/bus",
        "car/cab",
        "car/van",
        "boat/dinghy",
        "boat/raft",
    ]
    facts = replace(toys.facts, meta_dataset=None)
    again = prepare(facts, tmp_path / "exported", out=tmp_path / "again", encoding="original")
    for name, files in toys.images.items():
        written = [again.encoded(row) for row in rows_of(again, name)]
        if encoding == "raw":
            images = store.images(rows_of(store, name))
            assert written == [as_jpeg(Image.fromarray(image)) for image in images]
        else:
            assert written == files


def test_export_is_there_whole_or_not_at_all(toys: Toys, tmp_path: Path) -> None:
    store = prepare(toys.facts, toys.records, home=tmp_path)
    target = tmp_path / "exported"
    export_records(store, target)
    with pytest.raises(UsageError, match=r"is there already"):
        export_records(store, target)
    (target / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds notes\.txt"):
        export_records(store, target, force=True)
    (target / "notes.txt").unlink()
    export_records(store, target, force=True)
    assert sorted(path.name for path in target.iterdir()) == [
        *(f"{class_id}.tfrecords" for class_id in range(5)),
        "conversion.json",
        "dataset_spec.json",
    ]
    with pytest.raises(EpisodesError, match=r"has no conversion\.json"):
        export_records(store, toys.records, force=True)
    with pytest.raises(UsageError, match=r"unknown split scheme"):
        export_records(store, tmp_path / "other", scheme="lake")


def test_from_the_command_line(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path))
    prepare(toys.facts, toys.records, home=tmp_path)
    out = str(tmp_path / "exported")
    refused = CliRunner().invoke(
        main, ["export", "toys-records", "--format", "tfrecord", "-o", out, "--way", "5"]
    )
    assert refused.exit_code == 2 and "takes no --way: it writes the whole store" in refused.stderr
    written = CliRunner().invoke(
        main, ["export", "toys-records", "--format", "tfrecord", "-o", out]
    )
    assert written.exit_code == 0, written.output
    assert "24 images in" in written.stdout and "(5 TFRecord files)" in written.stdout
    assert "not as Meta-Dataset converts: resized to 12x12" in written.stdout
    told = CliRunner().invoke(
        main,
        ["export", "toys-records", "--format", "tfrecord", "-o", out, "--force", "--json"],
    )
    assert json.loads(told.stdout)["images"] == 24
    other = CliRunner().invoke(main, ["prepare", "cub", "--from", str(toys.records)])
    assert other.exit_code == 1 and "is not of cub: its class 0" in other.stderr


@pytest.mark.slow
@pytest.mark.real_data
def test_genuine_omniglot_in_the_original_layout(archives: Path, tmp_path: Path) -> None:
    """Converted as Meta-Dataset's code does, by the plain writer: equal pixels and class ids."""
    drawings: dict[str, dict[str, bytes]] = {}
    for archive in ("images_background", "images_evaluation"):
        with ZipFile(archives / "omniglot" / f"{archive}.zip") as zip_file:
            for path in zip_file.namelist():
                if path.endswith(".png"):
                    class_name, _, file = path.rpartition("/")
                    drawings.setdefault(class_name, {})[file] = zip_file.read(path)
    alphabets = {name.split("/")[1]: name.split("/")[0] for name in drawings}
    valid = [
        "Blackfoot_(Canadian_Aboriginal_Syllabics)",
        "Ojibwe_(Canadian_Aboriginal_Syllabics)",
        "Inuktitut_(Canadian_Aboriginal_Syllabics)",
        "Tagalog",
        "Alphabet_of_the_Magi",
    ]
    train = sorted({a for a, of in alphabets.items() if of == "images_background"} - {*valid})
    test = sorted(a for a, of in alphabets.items() if of == "images_evaluation")
    order = [*train, *valid, *test]
    class_names = [
        name for a in order for name in sorted(n for n in drawings if n.split("/")[1] == a)
    ]
    records = tmp_path / "omniglot"
    records.mkdir()
    converted: dict[str, list[bytes]] = {}
    for class_id, name in enumerate(class_names):
        converted[name] = [
            as_jpeg(ImageOps.invert(Image.open(io.BytesIO(drawings[name][file])).convert("RGB")))
            for file in sorted(drawings[name])
        ]
        write_class(records, class_id, converted[name])
    write_json(
        records,
        {
            "name": "omniglot",
            "superclasses_per_split": {"TRAIN": 25, "VALID": 5, "TEST": 20},
            "classes_per_superclass": {
                str(i): sum(name.split("/")[1] == a for name in class_names)
                for i, a in enumerate(order)
            },
            "images_per_class": {str(i): 20 for i in range(1623)},
            "superclass_names": {str(i): a for i, a in enumerate(order)},
            "class_names": {
                str(i): "-".join(name.split("/")[1:]) for i, name in enumerate(class_names)
            },
            "path": "/path/to/records/omniglot",
            "file_pattern": "{}.tfrecords",
            "__class__": "BiLevelDatasetSpecification",
        },
    )
    facts = manifest.load("omniglot")
    assert [facts.class_names[index] for index in facts.meta_dataset.class_order] == class_names

    store = prepare("omniglot", records, home=tmp_path, encoding="original")
    assert store.class_names == facts.class_names
    for name, files in converted.items():
        rows = rows_of(store, name)
        assert [store.encoded(row) for row in rows] == files
    for name in class_names[::97]:
        for row, file in zip(rows_of(store, name), converted[name], strict=True):
            np.testing.assert_array_equal(
                store.image(row)[..., 0], np.asarray(Image.open(io.BytesIO(file)).convert("L"))
            )

    # Ours, from the archives, is the same conversion: file for file.
    original = prepare("omniglot", archives / "omniglot", home=tmp_path, encoding="original")
    export_records(original, tmp_path / "ours", threads=2)
    for class_id in range(1623):
        name = f"{class_id}.tfrecords"
        assert (tmp_path / "ours" / name).read_bytes() == (records / name).read_bytes()
    ours = read_json(tmp_path / "ours")
    assert ours == read_json(records) | {"path": ""}
    assert episodes.open("omniglot-records-original", home=tmp_path).digest == store.digest
