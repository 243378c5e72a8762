"""The generated dataset: fixed pixels, fixed classes, and drawings that look like ink on paper."""

import hashlib
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import measure_glyphs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes import manifest
from episodes.errors import EpisodesError, UsageError
from episodes.prepare import prepare
from episodes.readers import glyphs

FIRST = "alphabet01/character01"
CLASS_TABLE = manifest.folder() / "glyphs.classes.tsv"

words = st.integers(0, 2**64 - 1)
coordinates = st.floats(-0.5, 0.5, width=32)
points = st.tuples(coordinates, coordinates)


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def class_table() -> list[tuple[str, str]]:
    header, *rows = CLASS_TABLE.read_text(encoding="utf-8").splitlines()
    assert header == "class\talphabets"
    return [(name, part) for name, part in (row.split("\t") for row in rows)]


@pytest.fixture(scope="module")
def drawings() -> dict[str, np.ndarray]:
    return {name: glyphs.draw_class(name) for name, _ in class_table()}


def test_pixels_of_the_first_class_never_change() -> None:
    assert sha256(glyphs.draw_class(FIRST)) == (
        "105c50af15f39663a1d28f3b4b09836202050f4b56ebee917011efad23ccc6fb"
    )


def test_pixels_of_all_classes_never_change(drawings: dict[str, np.ndarray]) -> None:
    assert sha256(np.stack(list(drawings.values()))) == (
        "faf4f817149d43a9a4baaedc81a584f00daa824d362e0549e68d066aeffdb977"
    )


def test_a_class_depends_neither_on_others_nor_on_the_order(
    drawings: dict[str, np.ndarray],
) -> None:
    for name in reversed(list(drawings)[::37]):
        np.testing.assert_array_equal(glyphs.draw_class(name), drawings[name])


def test_fewer_drawers_are_the_first_of_more() -> None:
    np.testing.assert_array_equal(
        glyphs.draw_class(FIRST, drawers=3), glyphs.draw_class(FIRST, drawers=50)[:3]
    )


def test_another_seed_is_another_dataset(drawings: dict[str, np.ndarray]) -> None:
    assert not np.array_equal(glyphs.draw_class(FIRST, seed=2), drawings[FIRST])


def test_another_size_is_the_same_drawing_at_another_resolution() -> None:
    large = glyphs.draw_class(FIRST, size=112)[..., 0]
    assert large.shape == (20, 112, 112)
    averaged = large.reshape(20, 28, 4, 28, 4).mean((2, 4))
    small = glyphs.draw_class(FIRST)[..., 0]
    for at_once, from_large in zip(small, averaged, strict=True):
        assert np.corrcoef(at_once.ravel(), from_large.ravel())[0, 1] > 0.98


def test_drawings_are_bright_ink_on_a_dark_ground(drawings: dict[str, np.ndarray]) -> None:
    pixels = np.stack(list(drawings.values()))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (300, 20, 28, 28, 1)
    assert (pixels.max((2, 3, 4)) == 255).all()
    inked = (pixels > 127).mean((2, 3, 4))
    assert inked.min() > 0.02
    assert inked.max() < 0.4
    border = np.concatenate([pixels[:, :, [0, -1]].ravel(), pixels[:, :, :, [0, -1]].ravel()])
    assert (border == 0).mean() > 0.9


def test_no_two_drawings_are_equal(drawings: dict[str, np.ndarray]) -> None:
    every = np.concatenate(list(drawings.values()))
    assert len({image.tobytes() for image in every}) == len(every)


def test_the_class_table_splits_whole_alphabets() -> None:
    rows = class_table()
    alphabets = {
        part: {name.split("/")[0] for name, p in rows if p == part}
        for part in ("train", "val", "test")
    }
    assert {part: len(names) for part, names in alphabets.items()} == {
        "train": 12,
        "val": 3,
        "test": 5,
    }
    assert len(set.union(*alphabets.values())) == 20
    assert len({name for name, _ in rows}) == len(rows) == 300
    assert all(glyphs.CLASS_NAME.fullmatch(name) for name, _ in rows)


@given(words)
def test_a_word_becomes_its_upper_53_bits_as_a_fraction(word: int) -> None:
    (value,) = glyphs.unit_floats(np.array([word], np.uint64)).tolist()
    assert Fraction(value) == Fraction(word // 2**11, 2**53)


def test_the_words_are_those_of_philox_4x64_in_its_authors_reference() -> None:
    key = int.from_bytes(hashlib.sha256(b"glyphs/1/name").digest()[:16], "little")
    expected = [word // 2**11 / 2**53 for word in philox_4x64_10((1, 0, 0, 0), key)]
    assert glyphs.uniforms("name", 2, 2).ravel().tolist() == expected


def philox_4x64_10(counter: tuple[int, int, int, int], key: int) -> tuple[int, int, int, int]:
    """Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011), section 3.3."""
    mask = 2**64 - 1
    a, b, c, d = counter
    low_key, high_key = key & mask, key >> 64
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (
            (right >> 64) ^ b ^ low_key,
            right & mask,
            (left >> 64) ^ d ^ high_key,
            left & mask,
        )
        low_key = (low_key + 0x9E3779B97F4A7C15) & mask
        high_key = (high_key + 0xBB67AE8584CAA73B) & mask
    return a, b, c, d


def test_bells_have_mean_0_and_variance_1() -> None:
    noise = glyphs.bells("noise", 40_000)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.var() - 1) < 0.02
    assert np.abs(noise).max() < 3


@given(points, points)
def test_distances_are_those_of_a_hand_written_projection(
    start: tuple[float, float], end: tuple[float, float]
) -> None:
    size = 3
    measured = glyphs.squared_distances(np.array([start]), np.array([end]), size)
    for row in range(size):
        for column in range(size):
            pixel = ((column + 0.5) / size - 0.5, (row + 0.5) / size - 0.5)
            assert math.sqrt(measured[0, row, column]) == pytest.approx(
                distance_to_segment(pixel, start, end), abs=1e-5
            )


def distance_to_segment(
    point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]
) -> float:
    """The least of three: to either end, and to the foot of the perpendicular if between them."""
    (px, py), (sx, sy), (ex, ey) = point, start, end
    nearest = min(math.dist(point, start), math.dist(point, end))
    length = math.dist(start, end)
    if length > 1e-5:
        along = ((px - sx) * (ex - sx) + (py - sy) * (ey - sy)) / length
        if 0 < along < length:
            cross = (px - sx) * (ey - sy) - (py - sy) * (ex - sx)
            nearest = min(nearest, abs(cross) / length)
    return nearest


def test_curves_are_bernstein_polynomials() -> None:
    controls = glyphs.uniforms("controls", 5, 4, 2)
    times = np.array([-0.1, 0.0, 0.3, 1.0, 1.2])
    expected = sum(
        math.comb(3, k) * (times**k * (1 - times) ** (3 - k))[:, None] * controls[:, k, None, :]
        for k in range(4)
    )
    np.testing.assert_allclose(glyphs.bezier(controls, times), expected, atol=1e-12)


def test_records_follow_the_manifest() -> None:
    facts = replace(
        manifest.load("glyphs"),
        class_names=("alphabet20/character15", FIRST),
        parameters={"seed": 1, "drawers": 2},
    )
    found = list(glyphs.records(facts, facts.sources[0], Path(), False))
    assert [(record.class_name, record.image_id) for record in found] == [
        ("alphabet20/character15", "hand01"),
        ("alphabet20/character15", "hand02"),
        (FIRST, "hand01"),
        (FIRST, "hand02"),
    ]
    np.testing.assert_array_equal(found[3].image, glyphs.draw_class(FIRST)[1, ..., 0])


def test_a_source_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="generated, not read from .*: leave out --from"):
        prepare("glyphs", tmp_path, home=tmp_path)


@pytest.mark.parametrize("name", ["alphabet1/character01", "character01", FIRST + "\n", ""])
def test_a_name_that_is_no_class_is_one_line(name: str) -> None:
    with pytest.raises(EpisodesError, match="alphabet01/character01") as error:
        glyphs.draw_class(name)
    assert "\n" not in str(error.value)


def test_nearest_and_centroids_are_those_found_by_hand() -> None:
    references = np.array([[0, 0], [3, 4], [250, 250]], np.uint8)
    queries = np.array([[0, 2], [3, 3], [200, 255]], np.uint8)
    assert measure_glyphs.nearest(references, queries).tolist() == [0, 1, 2]
    means = measure_glyphs.centroids(references, np.array([0, 0, 1]))
    assert means.tolist() == [[1.5, 2.0], [250.0, 250.0]]


def test_a_run_is_read_only_if_tested_on_the_same_episodes(tmp_path: Path) -> None:
    test = {"accuracy": 0.9, "interval": 0.005, "fingerprint": "ab"}
    config = {"algo": "anil", "lr": "personalized", "iterations": 400}
    (tmp_path / "results.json").write_text(json.dumps({"test": test, "config": config}))
    run = measure_glyphs.read_run(tmp_path, "ab")
    assert measure_glyphs.markdown([run]).splitlines()[-1] == (
        "| anil, personalized rates, 400 iterations | 90.00 ± 0.50 |"
    )
    with pytest.raises(EpisodesError, match="tested on episodes ab, expected cd"):
        measure_glyphs.read_run(tmp_path, "cd")
    with pytest.raises(EpisodesError, match="expected a finished run"):
        measure_glyphs.read_run(tmp_path / "none", "ab")
