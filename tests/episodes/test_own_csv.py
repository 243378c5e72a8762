from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.errors import EpisodesError
from episodes.own.csv_file import images_in_csv
from episodes.own.preparing import prepare_own


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six images of one level each, "0.png" to "5.png", in a folder; the table's folder."""
    (tmp_path / "images").mkdir()
    for level in range(6):
        Image.new("RGB", (5, 4), (level, 2 * level, 3 * level)).save(
            tmp_path / "images" / f"{level}.png"
        )
    return tmp_path


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode())
    return path


def labelled(path: Path, **columns: str) -> list[tuple[str, str]]:
    return [(item.class_name, item.image_id) for item in images_in_csv(path, **columns).items]


EXPECTED = [("cat, wild", "images/0.png"), ("dog \u72ac", "images/1.png"), ("7", "images/2.png")]


@pytest.mark.parametrize(
    "text",
    [
        'path,label\nimages/0.png,"cat, wild"\nimages/1.png,dog \u72ac\nimages/2.png,7\n',
        "\ufeffpath;label\r\nimages/0.png;cat, wild\r\n\r\nimages/1.png; dog \u72ac\r\n"
        "images/2.png;7",
        "label\tset\tpath\ncat, wild\t\t./images/0.png\ndog \u72ac\tx\timages/../images/1.png\n"
        "7\t\tFOLDER/images/2.png\n",
    ],
)
def test_tables_as_people_save_them(pictures: Path, text: str) -> None:
    assert labelled(table(pictures, text.replace("FOLDER", str(pictures)))) == EXPECTED


def test_columns_are_chosen_by_name(pictures: Path) -> None:
    path = table(pictures, "path,file,species\nx,images/3.png,owl\n")
    chosen = labelled(path, path_column="file", label_column="species")
    assert chosen == [("owl", "images/3.png")]


def test_the_rows_become_a_store(pictures: Path, tmp_path: Path) -> None:
    lines = [
        f"images/{level}.png,{'ab'[level % 2]},{('train', 'test')[level % 2]}" for level in range(6)
    ]
    path = table(pictures, "\n".join(["path,label,split", *lines]))
    found = images_in_csv(path, split_column="split")
    store = prepare_own(found, name="mine", home=tmp_path / "home", size=4)
    assert store.class_names == ("a", "b")
    assert store.ids(np.arange(6)) == [f"images/{level}.png" for level in (0, 2, 4, 1, 3, 5)]
    levels = store.images(np.arange(6))
    assert levels.shape == (6, 4, 4, 3)
    assert levels[:, 0, 0].tolist() == [[n, 2 * n, 3 * n] for n in (0, 2, 4, 1, 3, 5)]
    assert store.info.splits == {"own": {"train": (0,), "val": (), "test": (1,)}}
    assert "the column split of labels.csv" in (store.path / "card.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown column 'path'"),
        ("path,label\n", "lists no images"),
        ("path,lable\nimages/0.png,a\n", "unknown column 'label': did you mean 'lable'?"),
        ("images/0.png,a\n", "unknown column 'path'"),
        (
            "path,label\nimages/0.png,a\nimages/9.png,b\nx.png,b\n",
            "line 3: the image 'images/9.png'",
        ),
        ("path,label\nimages/9.png,b\nx.png,b\n", "is not there (nor are 1 more)"),
        ("path,label\nimages,b\n", "line 2: the image 'images' is not there"),
        ("path,label\n,b\n", "line 2: the column path is empty"),
        ("path,label\nimages/0.png, \n", "line 2: the class name is empty"),
        (
            'path,label\nimages/0.png,"a\nb"\nimages/1.png,a\n',
            "line 2: the class name 'a\\nb' holds",
        ),
        ("path,label\nimages/0.png,a\tb\n", "line 2: the class name 'a\\tb' holds control"),
        (
            "path,label\nimages/0.png,a\nimages/0.png,a\n",
            "line 3: 'images/0.png' is in line 2 already",
        ),
        ("path,label\nimages/0.png,a\n./images/0.png,b\n", "line 3: './images/0.png' is in line 2"),
        ("path,label\nimages/0.png,a,b\n", "line 2: 3 cells; expected 2, as in the header"),
        ('path,label\nimages/0.png,a\n"x,b\n', "line 3: unexpected end of data"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(pictures: Path, text: str, message: str) -> None:
    path = table(pictures, text)
    with pytest.raises(EpisodesError) as raised:
        images_in_csv(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ("0.png,a,train", "1.png,a,test"),
            "line 3: the class 'a' is in test here and in train in",
        ),
        (("0.png,a,train", "1.png,a,"), "line 3: the class 'a' is in - here"),
        (("0.png,a,dev",), "line 2: unknown part 'dev'"),
    ],
)
def test_a_split_column_divides_classes(
    pictures: Path, rows: tuple[str, ...], message: str
) -> None:
    lines = ["path,label,split", *(f"images/{row}" for row in rows)]
    with pytest.raises(EpisodesError) as raised:
        images_in_csv(table(pictures, "\n".join(lines)), split_column="split")
    assert message in str(raised.value)


def test_one_column_cannot_be_two(pictures: Path) -> None:
    with pytest.raises(EpisodesError, match="expected different ones"):
        images_in_csv(table(pictures, "path\nimages/0.png\n"), label_column="path")
