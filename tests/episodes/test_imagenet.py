import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pytest
from click.testing import CliRunner

from episodes import images, manifest, readers
from episodes.cli import main
from episodes.errors import EpisodesError
from episodes.manifest import Manifest
from episodes.prepare import prepare
from tests.episodes.layouts import imagenet, small
from tests.episodes.layouts.reading import assert_same, read

WIDE = ("n01739381", "n02105855", "n03126707")  # with a CMYK image, with a PNG, with neither


@pytest.fixture
def few() -> Manifest:
    """Three classes of ILSVRC's, two images each."""
    facts = small(manifest.load("imagenet"), "ilsvrc-train")
    return replace(facts, class_names=WIDE, class_images=(2, 2, 2), images=6)


def test_every_image_of_the_outer_tar_is_read(tmp_path: Path) -> None:
    facts = small(manifest.load("imagenet"), "ilsvrc-train")
    expected = imagenet.write_all(tmp_path, facts)
    assert len(expected) == facts.images
    assert_same(read(facts, tmp_path), expected)


def unpack_outer(folder: Path, to: Path) -> None:
    with tarfile.open(folder / imagenet.OUTER) as outer:
        outer.extractall(to, filter="data")
    (folder / imagenet.OUTER).unlink()


def unpack_inner(folder: Path) -> None:
    for path in folder.glob("*.tar"):
        if path.name != "n99999999.tar":
            with tarfile.open(path) as inner:
                inner.extractall(folder / path.stem, filter="data")
        path.unlink()


@pytest.mark.parametrize("name", [".", "train", "ILSVRC2012_img_train"])
@pytest.mark.parametrize("deep", [False, True])
def test_extracted_folders_give_the_same_images(
    few: Manifest, tmp_path: Path, name: str, deep: bool
) -> None:
    expected = imagenet.write_all(tmp_path, few)
    unpack_outer(tmp_path, tmp_path / name)
    if deep:
        unpack_inner(tmp_path / name)
        (tmp_path / name / "n01739381" / "list.txt").write_text("stray")
        (tmp_path / name / "n01440764").mkdir()
    assert_same(read(few, tmp_path), expected)


def test_images_of_every_kind_decode_to_rgb(few: Manifest, tmp_path: Path) -> None:
    imagenet.write_all(tmp_path, few)
    found = read(few, tmp_path)
    kinds = {"n01739381_1309.JPEG": b"\xff\xd8", "n02105855_2933.JPEG": b"\x89PNG"}
    for name, magic in kinds.items():
        encoded = found[name[:9], name]
        assert isinstance(encoded, bytes) and encoded.startswith(magic)
    assert {images.decode(image, "it").shape for image in found.values()} == {(6, 8, 3)}


def test_a_folder_of_other_class_folders_is_not_taken_for_it(few: Manifest, tmp_path: Path) -> None:
    (tmp_path / "train" / "n01532829").mkdir(parents=True)
    (tmp_path / "train" / "n01532829" / "n0153282900000005.jpg").write_bytes(b"a Ravi-named JPEG")
    assert not readers.is_there(few.sources[0], tmp_path)
    (tmp_path / "train" / "n01532829" / "n01532829_28.JPEG").write_bytes(b"one of ILSVRC's")
    assert readers.is_there(few.sources[0], tmp_path)


def test_a_damaged_inner_tar_is_named(few: Manifest, tmp_path: Path) -> None:
    inner = imagenet.tar_of([("n01739381_1309.JPEG", bytes(2000))])
    outer = imagenet.tar_of([("n02105855.tar", inner), ("n01739381.tar", inner[:1500])])
    (tmp_path / imagenet.OUTER).write_bytes(outer)
    with pytest.raises(EpisodesError, match=r"ILSVRC2012_img_train.tar: n01739381.tar.*again"):
        read(few, tmp_path)


def test_a_truncated_outer_tar_is_named(few: Manifest, tmp_path: Path) -> None:
    imagenet.write_all(tmp_path, few)
    path = tmp_path / imagenet.OUTER
    path.write_bytes(path.read_bytes()[:-15000])
    with pytest.raises(EpisodesError, match=r"ILSVRC2012_img_train.tar.*fetch .* again"):
        read(few, tmp_path)


def test_a_tar_of_the_classes_files_without_inner_tars_gives_nothing(
    few: Manifest, tmp_path: Path
) -> None:
    (tmp_path / imagenet.OUTER).write_bytes(imagenet.tar_of([("n01739381_1309.JPEG", b"image")]))
    assert read(few, tmp_path) == {}


def test_the_class_table() -> None:
    facts = manifest.load("imagenet")
    sizes = [size for size in facts.class_images if size is not None]
    assert (len(sizes), sum(sizes), min(sizes), max(sizes)) == (1000, 1_281_167, 732, 1300)
    assert list(facts.class_names) == sorted(facts.class_names)
    parts = {name: len(classes) for name, classes in facts.schemes["meta-dataset"].classes.items()}
    assert parts == {"train": 712, "val": 158, "test": 130}
    assert len(facts.schemes["meta-dataset-v2"].classes["train"]) == 1000


def test_what_meta_dataset_skips_is_listed_and_left_out_on_demand(tmp_path: Path) -> None:
    facts = manifest.load("imagenet")
    assert facts.twins is not None
    skipped = [image.split("/") for image in facts.twins.images]
    assert len(skipped) == 403
    assert all(imagenet_name.startswith(f"{wnid}_") for wnid, imagenet_name in skipped)
    left = Counter(dict(zip(facts.class_names, facts.class_images, strict=True)))
    left.subtract(wnid for wnid, _ in skipped)
    assert (left.total(), min(left.values()), max(left.values())) == (1_280_764, 732, 1300)
    scheme = facts.schemes["meta-dataset"]
    assert {
        part: sum(left[facts.class_names[index]] for index in classes)
        for part, classes in scheme.classes.items()
    } == {"train": 915_249, "val": 199_833, "test": 165_682}


def test_the_skipped_that_are_cubs_are_the_twins_that_cub_lists() -> None:
    ours, cubs = manifest.load("imagenet").twins, manifest.load("cub").twins
    assert ours is not None and cubs is not None
    found = {image: twin for image, twin in ours.images.items() if twin.startswith("cub/")}
    assert found == {there: f"cub/{PurePath(here).name}" for here, there in cubs.images.items()}
    others = Counter(twin.split("/")[0] for twin in ours.images.values())
    assert others.keys() == {"cub", "caltech101", "caltech256"} and others["cub"] == 43


def test_skipped_files_are_left_out(tmp_path: Path) -> None:
    shipped = manifest.load("imagenet")
    assert shipped.twins is not None
    name = "n01531178_12730.JPEG"
    twins = replace(
        shipped.twins, images={f"n01531178/{name}": shipped.twins.images[f"n01531178/{name}"]}
    )
    classes = {"train": (0, 1), "val": (), "test": ()}
    few = replace(
        small(shipped, "ilsvrc-train"),
        class_names=("n01531178", "n01532829"),
        class_images=(3, 2),
        images=5,
        twins=twins,
        schemes={
            name: replace(scheme, classes=classes) for name, scheme in shipped.schemes.items()
        },
    )
    files = {"n01531178": ["n01531178_9.JPEG", name, "n01531178_7.JPEG"]}
    files["n01532829"] = imagenet.file_names("n01532829", 2)
    imagenet.write_tar(tmp_path, files)
    kept = prepare(few, tmp_path, home=tmp_path, threads=1)
    left = prepare(few, tmp_path, home=tmp_path, drop_twins=True, threads=1)
    assert (kept.name, kept.info.rows) == ("imagenet", 5)
    assert (left.name, tuple(left.class_sizes)) == ("imagenet-no-twins", (2, 2))
    assert left.ids(np.arange(2)) == ["n01531178_7.JPEG", "n01531178_9.JPEG"]


def test_it_can_only_be_had_with_an_account() -> None:
    source = manifest.load("imagenet").fetched_source
    assert source.access == "login"
    assert source.files[0].bytes == 147_897_477_120
    assert "image-net.org" in source.instructions and source.files[0].name in source.instructions


def test_prepare_says_what_to_get_where_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EPISODES_OFFLINE", raising=False)
    result = CliRunner().invoke(main, ["prepare", "imagenet"])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: imagenet needs ILSVRC2012_img_train.tar (147.9 GB), ")
    assert "make an account at image-net.org" in line
    assert "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php" in line
    assert "Academic Torrents a306397ccf9c2ead27155983c254227c0fd938e2" in line
    assert "Kaggle imagenet-object-localization-challenge" in line
    assert line.endswith("then type: episodes prepare imagenet --from FOLDER")
    assert not (tmp_path / "home").exists()
