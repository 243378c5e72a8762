"""Glyphs, generated: characters of invented alphabets, each drawn by many virtual hands.

Pixels must be the same on every machine and NumPy release: random numbers come from the raw words
of Philox alone, and arithmetic keeps to + - * / and the square root, which IEEE 754 rounds exactly.
Coordinates are (x, y), in units of the image's side, from its centre.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from episodes.errors import EpisodesError
from episodes.manifest import Manifest, Source
from episodes.readers import Record

Number = TypeVar("Number", float, np.ndarray)

CLASS_NAME = re.compile(r"(?P<alphabet>alphabet[0-9]{2})/character[0-9]{2}")

ANCHORS = 8
COLUMNS, ROWS = 3, 4  # of the grid that anchors are taken from
CELL_PLACE = 0.2, 0.8  # of an anchor in its cell
REACH = 3  # anchors that a stroke can lead to: few enough that none goes back the way it came
MOST_STROKES = 4
BEND = 0.1, 1.2  # an alphabet's, as a share of a stroke's length
JOINING = 0.3, 0.9
EXTENT = 0.64  # longer side of a character's ideal form

WARP = 0.13  # slant, turn and stretch: standard deviation of the matrix entries
HABIT, WHIM = 0.8, 0.6  # how much of a warp is the hand's own, and how much this drawing's
SHIFT = 0.08
WOBBLE = 0.018  # of each control point
OVERRUN = 0.05  # of a stroke's two ends, as a share of its length
PEN = 0.03, 0.045  # radius

SEGMENTS = 10  # straight pieces that stand for a curve
TIMES = np.arange(SEGMENTS + 1) / SEGMENTS
FADE = 0.036  # width of the edge where ink turns to ground


@dataclass(frozen=True)
class Style:
    """What the characters of one alphabet share.

    anchors: float64 [ANCHORS, 2], where strokes begin and end.
    bend: how far strokes bow at most, as a share of their length.
    joining: probability that a stroke begins where the last one ended.
    fewest: least number of strokes.
    """

    anchors: np.ndarray
    bend: float
    joining: float
    fewest: int


def records(manifest: Manifest, source: Source, folder: Path, boxes: bool) -> Iterator[Record]:
    """Every drawing of the manifest's classes, in its order, with ids `hand01`, `hand02`, ...

    The manifest's parameters `seed` and `drawers` say which dataset to make; nothing is read.
    """
    seed, drawers = manifest.parameters["seed"], manifest.parameters["drawers"]
    for class_name in manifest.class_names:
        drawings = draw_class(class_name, seed, drawers, manifest.image.size)
        for hand, drawing in enumerate(drawings, start=1):
            yield Record(class_name, f"hand{hand:02d}", drawing[..., 0])


def draw_class(class_name: str, seed: int = 1, drawers: int = 20, size: int = 28) -> np.ndarray:
    """Draw one character once with each of `drawers` hands, bright ink on a dark ground.

    Returns uint8 [drawers, size, size, 1], a pure function of the arguments; its first rows do not
    depend on `drawers`. Raises EpisodesError where the name is not `alphabetNN/characterNN`.
    """
    match = CLASS_NAME.fullmatch(class_name)
    if not match:
        raise EpisodesError(
            f"glyphs has no class {class_name!r}: expected a name like 'alphabet01/character01'"
        )
    alphabet, character = f"{seed}/{match['alphabet']}", f"{seed}/{class_name}"
    strokes = ideal_form(alphabet_style(alphabet), character)
    curves = drawn_by_hands(strokes, alphabet, character, drawers)
    pens = between(*PEN, uniforms(f"{alphabet}/pens", drawers))
    return inked(curves, pens, size)


def unit_floats(words: np.ndarray) -> np.ndarray:
    """The upper 53 bits of uint64 words as float64 in [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms(name: str, *shape: int) -> np.ndarray:
    """Uniform float64 in [0, 1) of the given shape, a pure function of the name."""
    digest = hashlib.sha256(f"glyphs/1/{name}".encode()).digest()
    philox = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return unit_floats(philox.random_raw(math.prod(shape))).reshape(shape)


def between(low: float, high: float, share: Number) -> Number:
    """The value that lies a share of the way from low to high."""
    return low + (high - low) * share


def bells(name: str, *shape: int) -> np.ndarray:
    """Bell-shaped noise of mean 0 and variance 1 within -3..3: three uniforms, summed, centred."""
    parts = uniforms(name, *shape, 3)
    return 2.0 * (parts[..., 0] + parts[..., 1] + parts[..., 2]) - 3.0


def alphabet_style(alphabet: str) -> Style:
    """The style of the alphabet of that name."""
    cells = np.argsort(uniforms(f"{alphabet}/cells", COLUMNS * ROWS))[:ANCHORS]
    places = between(*CELL_PLACE, uniforms(f"{alphabet}/places", ANCHORS, 2))
    anchors = np.stack([cells % COLUMNS, cells // COLUMNS], axis=1) + places
    bend, joining, fewest = uniforms(f"{alphabet}/habits", 3).tolist()
    return Style(
        anchors / np.array([COLUMNS, ROWS]) - 0.5,
        bend=between(*BEND, bend),
        joining=between(*JOINING, joining),
        fewest=2 + int(2 * fewest),
    )


def ideal_form(style: Style, character: str) -> np.ndarray:
    """The strokes of a character before any hand draws it, centred and scaled to EXTENT.

    Returns control points of cubic Bezier curves, float64 [strokes, 4, 2].
    """
    length, first = uniforms(f"{character}/length", 2).tolist()
    strokes = style.fewest + int(length * (MOST_STROKES + 1 - style.fewest))
    end = int(first * ANCHORS)
    curves = []
    for lift, origin, reach, *bows in uniforms(f"{character}/strokes", strokes, 5).tolist():
        start = end if lift < style.joining else int(origin * ANCHORS)
        end = (start + 1 + int(reach * REACH)) % ANCHORS
        near, far = (style.bend * (2.0 * bow - 1.0) for bow in bows)
        curves.append(bowed(style.anchors[start], style.anchors[end], near, far))
    return centred(np.stack(curves))


def bowed(start: np.ndarray, end: np.ndarray, near: float, far: float) -> np.ndarray:
    """Control points [4, 2] of a curve whose inner two leave the line by shares of its length."""
    along = end - start
    across = np.array([-along[1], along[0]])
    return np.stack(
        [start, start + along / 3.0 + near * across, end - along / 3.0 + far * across, end]
    )


def centred(curves: np.ndarray) -> np.ndarray:
    """The curves [strokes, 4, 2] moved and scaled so that their longer side is EXTENT."""
    points = bezier(curves, TIMES).reshape(-1, 2)
    low, high = np.minimum.reduce(points), np.maximum.reduce(points)
    return (curves - (low + high) / 2.0) * (EXTENT / np.maximum.reduce(high - low))


def drawn_by_hands(strokes: np.ndarray, alphabet: str, character: str, drawers: int) -> np.ndarray:
    """The strokes [strokes, 4, 2] as each hand draws them: points [drawers, strokes, points, 2].

    A hand has a habit, the same for a whole alphabet, and a whim for each drawing.
    """
    habit = bells(f"{alphabet}/habit", drawers, 2, 1, 1, 2)
    whim = bells(f"{character}/whim", drawers, 2, 1, 1, 2)
    warp = WARP * (HABIT * habit + WHIM * whim)
    shift = SHIFT * bells(f"{character}/shift", drawers, 1, 1, 2)
    wobble = WOBBLE * bells(f"{character}/wobble", drawers, *strokes.shape)
    overrun = OVERRUN * bells(f"{character}/overrun", drawers, len(strokes), 2, 1)
    begin, end = overrun[:, :, 0], 1.0 + overrun[:, :, 1]

    controls = strokes + wobble
    warped = controls + controls[..., :1] * warp[:, 0] + controls[..., 1:] * warp[:, 1]
    return bezier(warped + shift, begin + (end - begin) * TIMES)


def bezier(controls: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Points [..., times, 2] at `times` of the curves with control points [..., 4, 2].

    De Casteljau's algorithm; times outside 0..1 run past the ends.
    """
    levels = [controls[..., k, None, :] for k in range(controls.shape[-2])]
    while len(levels) > 1:
        levels = [a + (b - a) * times[..., None] for a, b in pairwise(levels)]
    return levels[0]


def inked(curves: np.ndarray, pens: np.ndarray, size: int) -> np.ndarray:
    """Curves [drawers, strokes, points, 2] drawn with pens of radius [drawers].

    Returns uint8 [drawers, size, size, 1]: 255 where there is ink, 0 where there is none, and an
    edge of width FADE between.
    """
    starts = curves[:, :, :-1].reshape(len(curves), -1, 2)
    ends = curves[:, :, 1:].reshape(len(curves), -1, 2)
    nearest = np.full((len(curves), size, size), np.inf, np.float32)
    for start, end in zip(np.moveaxis(starts, 1, 0), np.moveaxis(ends, 1, 0), strict=True):
        np.minimum(nearest, squared_distances(start, end, size), out=nearest)
    depth = pens[:, None, None] - np.sqrt(nearest)
    ink = np.minimum(np.maximum(depth / FADE + 0.5, 0.0), 1.0)
    return (255.0 * ink + 0.5).astype(np.uint8)[..., None]


def squared_distances(start: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """Squared distance from pixel centres to the segments start..end, both [drawers, 2].

    Returns float32 [drawers, size, size], rows (y) before columns (x).
    """
    centres = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x0, y0 = start.astype(np.float32).T[:, :, None, None]
    dx, dy = (end - start).astype(np.float32).T[:, :, None, None]
    x, y = centres - x0, centres[:, None] - y0
    squared_length = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    along = np.minimum(np.maximum((x * dx + y * dy) / squared_length, 0), 1)
    x, y = x - along * dx, y - along * dy
    return x * x + y * y
