import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes import manifest
from episodes.errors import EpisodesError, UsageError
from episodes.manifest import Normalisation
from episodes.store import Store
from tests.episodes.conftest import MANIFEST, Tiny


def write(folder: Path, toml: str, tsv: str) -> Path:
    (folder / "tiny.toml").write_text(toml)
    (folder / "tiny.classes.tsv").write_text(tsv)
    return folder / "tiny.toml"


def classes_of(tiny: Tiny) -> str:
    return (tiny.source / "tiny.classes.tsv").read_text()


def test_every_shipped_manifest_parses_and_counts_add_up() -> None:
    for name in manifest.names():
        facts = manifest.load(name)
        for scheme in facts.schemes.values():
            chosen = [index for part in scheme.classes.values() for index in part]
            assert len(chosen) == len(set(chosen))


def test_omniglot_has_the_published_splits() -> None:
    facts = manifest.load("omniglot")
    sizes = {
        name: tuple(len(scheme.classes[part]) for part in manifest.PARTS)
        for name, scheme in facts.schemes.items()
    }
    assert sizes == {
        "vinyals": (1028, 172, 423),
        "lake": (964, 0, 659),
        "meta-dataset": (883, 81, 659),
    }
    assert facts.default_scheme == "vinyals"
    lake_train = [facts.class_names[index] for index in facts.schemes["lake"].classes["train"]]
    assert all(name.startswith("images_background/") for name in lake_train)


PUBLISHED = {
    ("aircraft", "frn"): "aircraft.frn",
    ("aircraft", "meta-dataset"): "aircraft.meta-dataset",
    ("cifar-10", "meta-dataset"): "cifar10.meta-dataset-extra",
    ("cifar-100", "meta-dataset"): "cifar100.meta-dataset-extra",
    ("cifar-fs", "bertinetto"): "cifar-fs.bertinetto",
    ("cub", "bi-frn"): "cub.bi-frn",
    ("cub", "closerlook"): "cub.closerlook",
    ("cub", "dn4"): "cub.dn4",
    ("cub", "feat"): "cub.feat",
    ("cub", "frn"): "cub.frn",
    ("cub", "meta-dataset"): "cu_birds.meta-dataset",
    ("dogs", "dn4"): "stanford-dogs.dn4",
    ("dtd", "meta-dataset"): "dtd.meta-dataset",
    ("fc100", "tadam"): "fc100.tadam",
    ("fungi", "meta-dataset"): "fungi.meta-dataset",
    ("imagenet", "meta-dataset"): "ilsvrc_2012.meta-dataset",
    ("imagenet", "meta-dataset-v2"): "ilsvrc_2012.meta-dataset-v2",
    ("miniimagenet", "ravi-larochelle"): "miniimagenet.ravi-larochelle",
    ("miniimagenet-vinyals", "vinyals"): "miniimagenet.vinyals",
    ("mnist", "meta-dataset"): "mnist.meta-dataset-extra",
    ("mscoco", "meta-dataset"): "mscoco.meta-dataset",
    ("omniglot", "lake"): "omniglot.lake",
    ("omniglot", "meta-dataset"): "omniglot.meta-dataset",
    ("omniglot", "vinyals"): "omniglot.vinyals",
    ("quickdraw", "meta-dataset"): "quickdraw.meta-dataset",
    ("tieredimagenet", "ren2018"): "tieredimagenet.ren2018",
    ("traffic-sign", "meta-dataset"): "traffic_sign.meta-dataset",
    ("vgg-flower", "meta-dataset"): "vgg_flower.meta-dataset",
}
BY_RULE = {("dogs", "episodes-60-30-30"): "stanford-dogs.closerlook-rule-inferred"}


def test_every_scheme_was_published_or_says_that_it_is_ours() -> None:
    for name in manifest.names():
        for scheme in manifest.load(name).schemes.values():
            ours = scheme.source.startswith(("ours:", "episodes' own:"))
            assert ours != ((name, scheme.name) in PUBLISHED)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("dataset", "scheme", "file"),
    [(*key, file) for key, file in (PUBLISHED | BY_RULE).items()],
    ids=[*PUBLISHED.values(), *BY_RULE.values()],
)
def test_splits_equal_the_published_lists(
    archives: Path, dataset: str, scheme: str, file: str
) -> None:
    lists = archives.parent / "specs" / "splits"
    if not lists.is_dir():
        pytest.skip("the published lists are not beside the archives")
    published = json.loads((lists / f"{file}.json").read_text())
    facts = manifest.load(dataset)
    assert set(published) == set(manifest.PARTS)
    for part, classes in facts.schemes[scheme].classes.items():
        assert sorted(facts.class_names[index] for index in classes) == sorted(published[part])


MINI_LEVELS = ((120.39586422, 115.59361427, 104.54012653), (70.68188272, 68.27635443, 72.54505529))
CIFAR_LEVELS = (
    (129.37731888, 124.10583864, 112.47758569),
    (68.20947949, 65.43124043, 70.45866994),
)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TO_MINUS_ONE = ((0.5,) * 3, (0.5,) * 3)
NORMALISATIONS = {
    "aircraft": TO_MINUS_ONE,
    "cifar-10": TO_MINUS_ONE,
    "cifar-100": TO_MINUS_ONE,
    "cifar-fs": CIFAR_LEVELS,
    "cub": IMAGENET,
    "dogs": TO_MINUS_ONE,
    "dtd": TO_MINUS_ONE,
    "fc100": CIFAR_LEVELS,
    "fungi": TO_MINUS_ONE,
    "imagenet": IMAGENET,
    "miniimagenet": MINI_LEVELS,
    "mnist": ((0.5,), (0.5,)),
    "mscoco": TO_MINUS_ONE,
    "omniglot": ((0.5,), (0.5,)),
    "quickdraw": ((0.5,), (0.5,)),
    "tieredimagenet": MINI_LEVELS,
    "traffic-sign": TO_MINUS_ONE,
    "vgg-flower": TO_MINUS_ONE,
}


def test_normalisation_constants_are_the_published_ones_in_units_of_images_to_1() -> None:
    found = {name: manifest.load(name).normalisation for name in manifest.names()}
    assert {name for name, entry in found.items() if entry is not None} == set(NORMALISATIONS)
    for name, published in NORMALISATIONS.items():
        entry = found[name]
        assert entry is not None and entry.source
        white = 255 if published in (MINI_LEVELS, CIFAR_LEVELS) else 1
        for numbers, levels in zip((entry.mean, entry.std), published, strict=True):
            assert numbers == tuple(level / white for level in levels)


def test_a_store_knows_its_datasets_constants_or_says_that_there_are_none(
    tiny_store: Store,
) -> None:
    info = replace(tiny_store.info, dataset="cub")
    tiny_store.info, kept = info, tiny_store.info
    try:
        assert tiny_store.normalisation == manifest.load("cub").normalisation
    finally:
        tiny_store.info = kept
    with pytest.raises(UsageError, match="^nobody published normalisation constants of tiny: give"):
        tiny_store.normalisation  # noqa: B018


def normalised(white: str = "255", mean: str = "[127.5]", std: str = "[64]") -> str:
    return f'[normalisation]\nwhite = {white}\nmean = {mean}\nstd = {std}\nsource = "us"\n'


def test_a_manifest_may_have_constants_of_levels(tmp_path: Path, tiny: Tiny) -> None:
    path = write(tmp_path, f"{MANIFEST}\n{normalised()}", classes_of(tiny))
    assert manifest.parse(path).normalisation == Normalisation((0.5,), (64 / 255,), "us")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (normalised(white="256"), "normalisation.white is 256; expected 1 or 255"),
        (normalised(mean="[1, 2, 3]"), r"mean has 3 numbers; image.channels is 1"),
        (normalised(std="[1, 2]"), r"wrong: mean has 1 numbers, std 2; expected one a channel"),
        (normalised(white="1"), r"expected numbers of images in \[0, 1\]"),
        (normalised(std="[0]"), r"expected numbers of images in \[0, 1\]"),
        (normalised(mean="[nan]"), r"expected numbers of images in \[0, 1\]"),
        (normalised(mean='["a"]'), "expected an array of numbers"),
        ("[normalisation]\nwhite = 1\n", "normalisation.mean is missing; expected an array"),
    ],
)
def test_wrong_constants_name_file_and_key(
    tmp_path: Path, tiny: Tiny, table: str, message: str
) -> None:
    path = write(tmp_path, f"{MANIFEST}\n{table}", classes_of(tiny))
    with pytest.raises(EpisodesError, match=f"^tiny.toml: .*{message}") as caught:
        manifest.parse(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_dataset_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown dataset 'omniglto': did you mean 'omniglot'"):
        manifest.load("omniglto")


@pytest.mark.parametrize(
    ("found", "replacement", "message"),
    [
        (
            'reader = "omniglot"\n',
            "",
            r"tiny.toml: sources\[0\].reader is missing; expected a string",
        ),
        ("images = 320", "images = true", "tiny.toml: counts.images is True; expected an integer"),
        ("images = 320", "images = -1", "tiny.toml: counts.images is -1; expected 0 or more"),
        ("classes = 16", "classes = 17", "counts.classes is 17, but tiny.classes.tsv has 16 rows"),
        ("val = 4", "val = 5", "splits.quarters.val is 5, but the class table has 4"),
        ("[splits.quarters]", "[splits.thirds]", r"splits.\* names the schemes"),
        ("default = true", "", "exactly one default = true"),
        ('access = "open"', 'access = "free"', r"files\[0\].access is 'free'; expected one of"),
        ('name = "tiny"', 'name = "other"', "name is 'other'; expected 'tiny'"),
        ("[counts]", "[counts", "not valid TOML"),
    ],
)
def test_a_wrong_manifest_names_file_and_key(
    tmp_path: Path, tiny: Tiny, found: str, replacement: str, message: str
) -> None:
    path = write(tmp_path, MANIFEST.replace(found, replacement, 1), classes_of(tiny))
    with pytest.raises(EpisodesError, match=message) as caught:
        manifest.parse(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "replacement", "message"),
    [
        ("class\t", "klass\t", "tiny.classes.tsv: line 1 must be 'class'"),
        ("\ttrain\ttrain\n", "\ttrain\n", "line 2 has 2 cells; expected 3"),
        ("\ttrain\ttrain\n", "\ttrain\ttraining\n", "line 2, quarters: 'training' is none of"),
        ("character02\t", "character01\t", "is listed more than once"),
    ],
)
def test_a_wrong_class_table_names_file_and_line(
    tmp_path: Path, tiny: Tiny, found: str, replacement: str, message: str
) -> None:
    path = write(tmp_path, MANIFEST, classes_of(tiny).replace(found, replacement, 1))
    with pytest.raises(EpisodesError, match=message):
        manifest.parse(path)


@given(cut=st.integers(0, len(MANIFEST)), junk=st.text(max_size=8))
def test_damage_is_either_read_or_told_in_one_line(tiny: Tiny, cut: int, junk: str) -> None:
    path = tiny.source / f"damaged-{os.getpid()}" / "tiny.toml"
    path.parent.mkdir(exist_ok=True)
    (path.parent / "tiny.classes.tsv").write_text(classes_of(tiny))
    path.write_text(MANIFEST[:cut] + junk + MANIFEST[cut + 3 :], encoding="utf-8")
    try:
        facts = manifest.parse(path)
    except EpisodesError as error:
        assert "\n" not in str(error)
    else:
        assert len(facts.class_names) == 16
