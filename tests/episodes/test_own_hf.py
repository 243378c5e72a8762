import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.errors import EpisodesError, UsageError
from episodes.own import from_hf
from episodes.own.collection import mark_of_bytes
from episodes.own.hugging_face import images_in_dataset, images_in_hub
from episodes.own.preparing import prepare_own

datasets = pytest.importorskip("datasets")

LEVELS = [5, 10, 15, 20, 25, 30]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 6), (level, 0, 255)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Six images with labels of several kinds, in memory; the cache is under `tmp_path`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("EPISODES_OFFLINE", "1")
    columns = {
        "image": [{"bytes": png(level), "path": None} for level in LEVELS],
        "label": [0, 1, 0, 1, 2, 2],
        "breed": ["b", "a", "b", "a", "c", "c"],
        "year": [2001, 2002, 2001, 2002, 99, 99],
        "weight": [0.5] * 6,
        "file": [png(level) for level in LEVELS],
        "unsure": [0, 1, -1, 1, 2, 2],
    }
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog", "owl"]),
        "breed": datasets.Value("string"),
        "year": datasets.Value("int16"),
        "weight": datasets.Value("float32"),
        "file": datasets.Value("binary"),
        "unsure": datasets.ClassLabel(names=["cat", "dog", "owl"]),
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def labels_of(found) -> list[str]:
    return [item.class_name for item in found.items]


def test_a_dataset_in_memory(pets, tmp_path: Path) -> None:
    store = from_hf(pets, name="pets", home=tmp_path, size=6, test=["owl"], train="cat,dog")
    assert store.class_names == ("cat", "dog", "owl")
    assert store.ids(np.arange(6)) == ["0", "2", "1", "3", "4", "5"]
    assert store.images(np.arange(6))[:, 0, 0, 0].tolist() == [5, 15, 10, 20, 25, 30]
    named = images_in_dataset(pets.with_format("numpy"), "file", "breed")
    assert labels_of(named) == ["b", "a", "b", "a", "c", "c"]
    assert [record.image for record in named.records()] == [png(level) for level in LEVELS]
    assert labels_of(images_in_dataset(pets, "image", "year"))[:2] == ["2001", "2002"]
    chosen = images_in_dataset(pets.select([5, 0]), "image", "label")
    assert labels_of(chosen) == ["owl", "cat"]
    assert next(chosen.records()).image == png(30)


@pytest.mark.parametrize(
    ("image_column", "label_column", "message"),
    [
        ("img", "label", "unknown column 'img': did you mean 'image'?"),
        ("image", "labels", "unknown column 'labels': did you mean 'label'?"),
        ("label", "label", "the column 'label' is ClassLabel; expected images"),
        ("weight", "label", "the column 'weight' is float32; expected images"),
        ("image", "image", "the column 'image' is Image; expected class labels"),
        ("image", "weight", "the column 'weight' is float32; expected class labels"),
        ("image", "unsure", "row 2 has the label -1 in 'unsure'"),
    ],
)
def test_columns_that_do_not_serve(
    pets, image_column: str, label_column: str, message: str
) -> None:
    with pytest.raises(EpisodesError) as raised:
        images_in_dataset(pets, image_column, label_column)
    assert message in str(raised.value)


def test_a_dictionary_of_splits_is_not_a_dataset(pets) -> None:
    with pytest.raises(UsageError, match="is a DatasetDict; expected a datasets.Dataset"):
        images_in_dataset(datasets.DatasetDict(train=pets), "image", "label")


def test_local_files_need_no_network(pets, tmp_path: Path) -> None:
    parquet = tmp_path / "pets.parquet"
    pets.to_parquet(parquet)
    both = datasets.DatasetDict(train=pets.select(range(4)), test=pets.select(range(4, 6)))
    both.save_to_disk(tmp_path / "saved")
    found = images_in_hub(str(parquet))
    assert found.origin == "the dataset pets.parquet"
    store = prepare_own(found, name="pets", home=tmp_path / "home", encoding="original")
    assert store.encoded(0) == png(5)
    assert len(images_in_hub(str(tmp_path / "saved")).items) == 4
    whole = images_in_hub(str(tmp_path / "saved"), split="train+test")
    assert labels_of(whole) == labels_of(found)
    with pytest.raises(UsageError, match="unknown split .* 'tset': did you mean 'test'"):
        images_in_hub(str(tmp_path / "saved"), split="tset")
    with pytest.raises(EpisodesError, match='cannot be loaded as a dataset: Unknown split "tset"'):
        images_in_hub(str(parquet), split="tset")


def test_class_folders_as_the_library_reads_them(pets, tmp_path: Path) -> None:
    for name, level in (("cat", 5), ("dog", 10)):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "0.png").write_bytes(png(level))
    found = images_in_hub(str(tmp_path / "in"))
    assert [(record.class_name, record.image) for record in found.records()] == [
        ("cat", png(5)),
        ("dog", png(10)),
    ]
    assert [item.mark for item in found.items] == [mark_of_bytes(png(5)), mark_of_bytes(png(10))]


def test_a_row_without_an_image_is_a_corrupt_one(pets, tmp_path: Path) -> None:
    holes = pets.to_dict()
    holes["image"][3] = None
    found = images_in_dataset(
        datasets.Dataset.from_dict(holes, features=pets.features), "image", "label"
    )
    with pytest.raises(EpisodesError, match="the image dog/3 does not decode"):
        prepare_own(found, name="holes", home=tmp_path)
    store = prepare_own(found, name="holes", home=tmp_path, skip_corrupt=True)
    assert store.info.rows == 5 and store.info.skipped[0]["id"] == "3"


def test_without_the_network_the_hub_is_not_asked(pets, tmp_path: Path) -> None:
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(EpisodesError, match="offline, and hf:nobody/nothing is not in the cache"):
        images_in_hub("nobody/nothing")
    assert before == datasets.config.HF_HUB_OFFLINE
    for path, message in (("./nowhere", "is not there"), (__file__, "is no .parquet file")):
        with pytest.raises(UsageError, match=message):
            images_in_hub(path)
