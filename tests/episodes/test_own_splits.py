import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.errors import EpisodesError, UsageError
from episodes.own.collection import Collection, Item
from episodes.own.splits import Request, Split, split_by_fractions, split_classes

TEN = [f"class{number}" for number in range(10)]
FLOWERS = ("anemone", "aster, blue", "lily", "rose", "tulip")

# What these seeds gave when the rule was made. It must never change.
GOLDEN = {
    1: {
        "train": {"class0", "class2", "class3", "class4", "class8", "class9"},
        "val": {"class6", "class7"},
        "test": {"class1", "class5"},
    },
    2: {
        "train": {"class0", "class1", "class2", "class5", "class8", "class9"},
        "val": {"class3", "class6"},
        "test": {"class4", "class7"},
    },
}

percentages = st.lists(st.integers(0, 100), min_size=2, max_size=2).map(
    lambda cuts: (min(cuts), max(cuts) - min(cuts), 100 - max(cuts))
)


def collection(
    *class_names: str, parts: Mapping[str, str] | None = None, divided_by: str = ""
) -> Collection:
    items = tuple(Item(name, "0", name, "1") for name in class_names)
    return Collection("folder", "the folder x", items, str.encode, parts, divided_by)


def split(**asked: object) -> dict[str, set[str]]:
    lists = {part: asked.pop(part) for part in ("train", "val", "test") if part in asked}
    found = split_classes(Request(lists, **asked), collection(*FLOWERS))  # type: ignore[arg-type]
    return sets_of(found)


def sets_of(found: Split) -> dict[str, set[str]]:
    return {part: set(names) for part, names in found.classes.items() if names}


@pytest.mark.parametrize("seed", GOLDEN)
def test_fractions_cut_the_classes_as_they_always_did(seed: int) -> None:
    assert split_by_fractions(TEN, (0.64, 0.16, 0.2), seed) == GOLDEN[seed]
    assert split_by_fractions(TEN[::-1], ("0.64", "0.16", "0.2"), seed) == GOLDEN[seed]


@given(
    names=st.sets(st.text(), max_size=40), percent=percentages, seed=st.integers(), data=st.data()
)
def test_fractions_part_the_classes(
    names: set[str], percent: tuple[int, int, int], seed: int, data: st.DataObject
) -> None:
    fractions = [f"{share / 100}" for share in percent]
    parts = split_by_fractions(names, fractions, seed)
    sizes = [len(part) for part in parts.values()]
    assert set().union(*parts.values()) == names
    assert sum(sizes) == len(names)
    shuffled = data.draw(st.permutations(sorted(names)))
    assert split_by_fractions(shuffled, fractions, seed) == parts
    asked = [size for size, share in zip(sizes, percent, strict=True) if share]
    assert sum(sizes) == sum(asked)
    if len(names) >= len(asked):
        assert all(asked)
    for size, share in zip(sizes, percent, strict=True):
        assert abs(size - len(names) * share / 100) <= 2


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (100, (0.64, 0.16, 0.2), [64, 16, 20]),
        (1, (0.64, 0.16, 0.2), [1, 0, 0]),
        (3, (0.64, 0.16, 0.2), [1, 1, 1]),
        (4, (0.1, 0.1, 0.1), [1, 1, 1]),
        (10, (0.3, 0, 0.2), [3, 0, 2]),
        (0, (0.5, 0, 0.5), [0, 0, 0]),
    ],
)
def test_sizes_of_the_parts(count: int, fractions: tuple[float, ...], sizes: list[int]) -> None:
    names = [str(number) for number in range(count)]
    assert [len(part) for part in split_by_fractions(names, fractions, 1).values()] == sizes


@pytest.mark.parametrize("fractions", ["0.5,0.5", "1,2,3", "0.9,0.2,-0.1", "a,b,c", "0,0,0", ",,"])
def test_fractions_that_cannot_be_are_refused(fractions: str) -> None:
    with pytest.raises(UsageError, match="expected three for train, val and test"):
        Request({}, fractions.split(","))


def test_lists_name_classes_with_commas_between_or_one_by_one() -> None:
    expected = {"train": {"anemone", "aster, blue", "lily"}, "test": {"rose"}}
    assert split(train=["anemone, lily", "aster, blue"], test=["rose"]) == expected
    assert split(train=("anemone", "aster, blue", "lily"), test="rose") == expected


def test_a_decomposed_name_is_the_same_class() -> None:
    roses = collection("ros\u00e9", "lily")
    found = split_classes(Request({"train": ["rose\u0301"], "test": ["lily"]}), roses)
    assert found.classes["train"] == {"ros\u00e9"}


def test_nothing_asked_for_takes_what_the_data_came_with_or_else_the_default() -> None:
    names = collection(*TEN)
    default = split_classes(Request({}), names)
    assert default == Split(GOLDEN[1], "fractions 0.64, 0.16, 0.2 of the classes, seed 1")
    came = collection(*FLOWERS, parts={"rose": "test", "lily": "-"}, divided_by="the column s")
    assert sets_of(split_classes(Request({}), came)) == {"test": {"rose"}}
    assert sets_of(split_classes(Request({}, seed=1), came)).keys() == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("split.json", json.dumps({"train": ["lily", "aster, blue"], "test": ["rose"]})),
        ("split.json", '{"train": ["lily"], "test": ["rose"], "train": ["aster, blue"]}'),
        ("split.csv", 'class,part\nlily,train\n"aster, blue",train\nrose,test\ntulip,-\n'),
        (
            "split.tsv",
            "\ufeffpart\tclass\r\ntrain\tlily\r\ntrain\taster, blue\r\ntest\trose\r\n\r\n",
        ),
        ("split.csv", "class;part;why\nlily;train;\naster, blue;train;x\nrose;test;\ntulip;;\n"),
    ],
)
def test_split_files(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert split(file=path) == {"train": {"lily", "aster, blue"}, "test": {"rose"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"train": ["lilly"]}',
            "names the class 'lilly', which is not there: did you mean 'lily'?",
        ),
        (
            '{"train": ["lily"], "test": ["lily"]}',
            "names the class 'lily', which train has already",
        ),
        ('{"train": ["lily", "lily"]}', "names the class 'lily', which train has already"),
        ('{"valid": ["lily"]}', "unknown part 'valid': did you mean 'val'?"),
        ('{"train": "lily"}', "'train' must be a list of class names"),
        ('{"train": [["lily", 1]]}', "'train' must be a list of class names"),
        ('{"train": ["lily"', "is not valid JSON"),
        ("{}", "the split names no class"),
        ("class,part\n", "the split names no class"),
        ("", "unknown column 'class'"),
        ("class,parts\nlily,train\n", "unknown column 'part': did you mean 'parts'?"),
        ("class,part\nlily,train\nrose,tests\n", "line 3: unknown part 'tests'"),
        ("class,part\nlily\n", "line 2: 1 cells; expected 2"),
        ('class,part\n"lily,train\n', "line 2: unexpected end of data"),
        ("class,part,class\nlily,train,x\n", "has the column 'class' twice"),
    ],
)
def test_a_bad_split_file_is_told_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split"
    path.write_text(text)
    with pytest.raises(EpisodesError) as raised:
        split(file=path)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_split_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("class,part\nros\u00e9,train\n".encode("latin-1"))
    for name, message in (
        ("latin", "is not UTF-8 text"),
        ("nowhere", "is not there"),
        (".", "is a folder"),
    ):
        with pytest.raises(EpisodesError, match=message):
            split(file=tmp_path / name)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Request({"train": ["rose"]}, seed=2)
    with pytest.raises(UsageError, match="exclude each other"):
        Request({}, file=Path("x"), fractions=(1, 0, 0))
    with pytest.raises(UsageError, match="--test names the class 'rose', which train has already"):
        split(train=["rose"], test=["rose"])
    with pytest.raises(UsageError, match="--val names the class 'Tulip'.*did you mean 'tulip'"):
        split(train=["rose"], val=["Tulip"])
