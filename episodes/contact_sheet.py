"""A picture of one episode: a row for each class, support images left, query images right."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.episode_stream import EpisodeStream

if TYPE_CHECKING:
    from PIL import Image

LEAST_EDGE = 56
MARGIN = 12
GAP = 4
TEXT_HEIGHT = 18
LABEL_WIDTH = 190
MOST_LINES = 3
MOST_SHOWN = 20
MORE_WIDTH = 40
BACKGROUND, INK, SUPPORT_FRAME, QUERY_FRAME = "#ffffff", "#202020", "#c05020", "#3060a0"


def contact_sheet(stream: EpisodeStream[Any, Any], index: int) -> "Image.Image":
    """The RGB picture of episode `index`, labelled with class names, split, shape and seed.

    Of a class with more than 20 support images the first 20 are shown, and how many more there are.
    """
    from PIL import Image, ImageDraw, ImageFont

    episode = stream[index]
    way = len(episode.class_ids)
    shots, queries = (
        np.bincount(labels, minlength=way)
        for labels in (episode.support_labels, episode.query_labels)
    )
    store = stream.stores[episode.source]
    scale = -(-LEAST_EDGE // store.image_shape[0])
    edge = store.image_shape[0] * scale
    support_width = min(int(shots.max()), MOST_SHOWN) * (edge + GAP)
    support_width += MORE_WIDTH if shots.max() > MOST_SHOWN else 0
    query_left = MARGIN + LABEL_WIDTH + support_width + MARGIN
    width = query_left + int(queries.max()) * (edge + GAP) + MARGIN
    top = MARGIN + 3 * TEXT_HEIGHT
    row_height = edge + 2 * GAP
    sheet = Image.new("RGB", (width, top + way * row_height + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)

    title = (
        f"{store.name} {stream.split}: episode {index} of seed "
        f"{stream.seed}, {way}-way {_range(shots)}-shot"
    )
    draw.text((MARGIN, MARGIN), title, INK, font)
    draw.text((MARGIN + LABEL_WIDTH, MARGIN + 2 * TEXT_HEIGHT - 4), "support", SUPPORT_FRAME, font)
    draw.text((query_left, MARGIN + 2 * TEXT_HEIGHT - 4), "query", QUERY_FRAME, font)

    for label, class_id in enumerate(episode.class_ids):
        row_top = top + label * row_height
        name = store.class_names[class_id]
        for line, text in enumerate(_wrapped(f"{label}: {name}")):
            draw.text((MARGIN, row_top + line * TEXT_HEIGHT), text, INK, font)
        for images, left, frame in (
            (
                episode.support_images[episode.support_labels == label],
                MARGIN + LABEL_WIDTH,
                SUPPORT_FRAME,
            ),
            (episode.query_images[episode.query_labels == label], query_left, QUERY_FRAME),
        ):
            if len(images) > MOST_SHOWN:
                more = (left + MOST_SHOWN * (edge + GAP), row_top)
                draw.text(more, f"+{len(images) - MOST_SHOWN}", INK, font)
            for column, image in enumerate(images[:MOST_SHOWN]):
                corner = (left + column * (edge + GAP), row_top)
                sheet.paste(_picture(image, scale), corner)
                box = (corner[0] - 1, corner[1] - 1, corner[0] + edge, corner[1] + edge)
                draw.rectangle(box, outline=frame)
    return sheet


def _range(counts: np.ndarray) -> str:
    least, most = int(counts.min()), int(counts.max())
    return str(least) if least == most else f"{least} to {most}"


def _picture(image: np.ndarray, scale: int) -> "Image.Image":
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    return Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).convert("RGB")


def _wrapped(text: str, width: int = 27) -> list[str]:
    """`text` broken after slashes and underscores into lines of at most `width` characters."""
    pieces = re.findall(rf"[^/_]{{1,{width - 1}}}[/_]?|[/_]", text)
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "… " + lines[-1]]
