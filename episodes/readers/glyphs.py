"""The generated dataset `glyphs`: characters of invented alphabets, each drawn by many virtual hands.

Pixels must be the same on every machine and NumPy release. So random numbers come from Philox's raw
words alone, and arithmetic keeps to + - * / and the square root, which IEEE 754 rounds exactly.
Coordinates are (x, y) in units of the image side, y downwards.
"""

import hashlib
import math
import re
from dataclasses import dataclass

import numpy as np

from episodes.errors import EpisodesError

CLASS_NAME = re.compile(r"alphabet\d\d/character\d\d")

GRID_COLUMNS, GRID_ROWS = 3, 4
ANCHORS = 8
FEWEST_STROKES, MOST_STROKES = 2, 4
SEGMENTS = 10  # straight pieces that a stroke is drawn with

WARP = 0.22  # of the slant, turn and stretch; no unit
SHIFT = 0.06
WOBBLE = 0.035  # of every control point
OVERSHOOT = 0.12  # at either end of a stroke, as a share of its length
FINEST_PEN, BROADEST_PEN = 0.025, 0.055  # radius
EDGE = 0.036  # width over which ink fades


@dataclass(frozen=True)
class Style:
    """What the characters of one alphabet share.

    anchors: float64 [ANCHORS, 2], where strokes begin and end.
    bend: how far strokes bow at most, as a share of their length.
    joined: probability that a stroke begins where the last one ended.
    strokes: the fewest and the most strokes of a character.
    """

    anchors: np.ndarray
    bend: float
    joined: float
    strokes: tuple[int, int]


def draw_class(class_name: str, seed: int = 1, drawers: int = 20, size: int = 28) -> np.ndarray:
    """Draw one character once by each of `drawers` hands, bright ink on a dark ground.

    Returns uint8 [drawers, size, size, 1], a pure function of the arguments; its first rows do not
    depend on `drawers`. Raises EpisodesError where the name is not `alphabetNN/characterNN`.
    """
    if not CLASS_NAME.fullmatch(class_name):
        raise EpisodesError(
            f"glyphs has no class {class_name!r}: expected a name like 'alphabet01/character01'"
        )
    alphabet = class_name.split("/")[0]
    strokes = draw_character(alphabet_style(seed, alphabet), f"{seed}/{class_name}")
    curves = draw_by_hands(strokes, f"{seed}/{alphabet}", f"{seed}/{class_name}", drawers)
    pens = uniforms(f"{seed}/{alphabet}/pens", drawers)
    radii = FINEST_PEN + (BROADEST_PEN - FINEST_PEN) * pens
    return render(curves, radii, size)


def unit_floats(words: np.ndarray) -> np.ndarray:
    """Map uint64 words to float64 in [0, 1), by their upper 53 bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms(name: str, *shape: int) -> np.ndarray:
    """Uniform float64 in [0, 1) of the given shape, a pure function of the name."""
    digest = hashlib.sha256(f"glyphs/1/{name}".encode()).digest()
    generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return unit_floats(generator.random_raw(math.prod(shape))).reshape(shape)


def bells(name: str, *shape: int) -> np.ndarray:
    """Bell-shaped noise of mean 0 and variance 1 within -3..3: the centred sum of three uniforms."""
    thirds = uniforms(name, *shape, 3)
    return 2.0 * (thirds[..., 0] + thirds[..., 1] + thirds[..., 2]) - 3.0


def alphabet_style(seed: int, alphabet: str) -> Style:
    """The style of an alphabet, a pure function of the arguments."""
    cells = np.argsort(uniforms(f"{seed}/{alphabet}/cells", GRID_COLUMNS * GRID_ROWS))[:ANCHORS]
    corners = np.stack([cells % GRID_COLUMNS / GRID_COLUMNS, cells // GRID_COLUMNS / GRID_ROWS], 1)
    within = uniforms(f"{seed}/{alphabet}/within", ANCHORS, 2)
    cell_sides = np.array([1 / GRID_COLUMNS, 1 / GRID_ROWS])
    anchors = 0.15 + 0.7 * (corners + cell_sides * (0.2 + 0.6 * within))
    bend, joined = uniforms(f"{seed}/{alphabet}/habits", 2)
    return Style(anchors, bend=1.2 * bend, joined=0.3 + 0.6 * joined, strokes=(2, 4))


def draw_character(style: Style, name: str) -> np.ndarray:
    """The ideal form of a character: control points of cubic Bezier curves, float64 [strokes, 4, 2]."""
    fewest, most = style.strokes
    strokes = fewest + int(uniforms(f"{name}/strokes", 1)[0] * (most + 1 - fewest))
    curves = np.empty((strokes, 4, 2))
    last = 0
    for curve, (lift, start, end, *bows) in zip(curves, uniforms(f"{name}/curves", strokes, 5)):
        first = last if lift < style.joined else int(start * ANCHORS)
        last = (first + 1 + int(end * (ANCHORS - 1))) % ANCHORS
        a, b = style.anchors[[first, last]]
        along = (b - a) / 3.0
        across = np.array([-along[1], along[0]]) * 3.0 * style.bend
        curve[:] = a, a + along + across * (2 * bows[0] - 1), b - along + across * (2 * bows[1] - 1), b
    return curves


def draw_by_hands(strokes: np.ndarray, alphabet: str, name: str, drawers: int) -> np.ndarray:
    n = len(strokes)
    warp = WARP * (0.8 * bells(f"{alphabet}/warp", drawers, 2, 2) + 0.6 * bells(f"{name}/warp", drawers, 2, 2))
    warp = warp[:, None, None]
    shift = SHIFT * bells(f"{name}/shift", drawers, 1, 1, 2)
    p = strokes[None] - 0.5 + WOBBLE * bells(f"{name}/wobble", drawers, n, 4, 2)
    x, y = p[..., 0], p[..., 1]
    warped = np.stack([x * warp[..., 0, 0] + y * warp[..., 0, 1], x * warp[..., 1, 0] + y * warp[..., 1, 1]], -1)
    p = 0.5 + p + warped + shift
    begin, finish = np.moveaxis(OVERSHOOT * bells(f"{name}/ends", drawers, n, 2), -1, 0)
    t = np.arange(SEGMENTS + 1) / SEGMENTS
    t = (begin[..., None] + (1.0 + finish - begin)[..., None] * t)[..., None]
    return bezier(p, t)


def bezier(p, t):
    p = p[..., None, :]
    levels = [p[:, :, k] for k in range(4)]
    while len(levels) > 1:
        levels = [a + (b - a) * t for a, b in zip(levels, levels[1:])]
    return levels[0]


def render(curves: np.ndarray, radii: np.ndarray, size: int) -> np.ndarray:
    """[drawers, strokes, points, 2]"""
    drawers = len(curves)
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    px, py = centres[None, None, :], centres[None, :, None]
    nearest = np.full((drawers, size, size), 4.0, np.float32)
    starts = curves[:, :, :-1].reshape(drawers, -1, 2).astype(np.float32)
    ends = curves[:, :, 1:].reshape(drawers, -1, 2).astype(np.float32)
    for k in range(starts.shape[1]):
        a = starts[:, k]
        d = ends[:, k] - a
        length2 = d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + np.float32(1e-12)
        ax, ay = a[:, 0, None, None], a[:, 1, None, None]
        dx, dy = d[:, 0, None, None], d[:, 1, None, None]
        ux, uy = (dx / length2[:, None, None]), dy / length2[:, None, None]
        x, y = px - ax, py - ay
        t = np.minimum(np.maximum(x * ux + y * uy, 0), 1)
        ex, ey = x - t * dx, y - t * dy
        np.minimum(nearest, ex * ex + ey * ey, out=nearest)
    distance = np.sqrt(nearest)
    ink = (radii[:, None, None].astype(np.float32) - distance) / np.float32(EDGE) + np.float32(0.5)
    return (np.minimum(np.maximum(ink, 0), 1) * 255 + 0.5).astype(np.uint8)[..., None]
