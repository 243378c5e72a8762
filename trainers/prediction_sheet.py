"""A picture of a user's task: the support images of each class, then query images as predicted."""

import io
from typing import TYPE_CHECKING

import numpy as np

from episodes.contact_sheet import BACKGROUND, INK, SUPPORT_FRAME
from trainers.own_images import OwnTask

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

EDGE, GAP, MARGIN = 112, 12, 16
FRAME, TEXT_SIZE, LINE = 4, 13, 17
COLUMNS = 9
MOST_SUPPORT, MOST_QUERY = 6, 54
LABEL_WIDTH = 2 * (EDGE + GAP)
RIGHT, WRONG, UNKNOWN = "#2f8f3a", "#c62828", "#3060a0"


def prediction_sheet(task: OwnTask, probabilities: np.ndarray) -> tuple[bytes, int]:
    """The PNG, and how many query images it shows; probabilities are float64 `[n, classes]`.

    Of each class at most 6 support images are shown; of the query at most 54 images, the wrong and
    then the least certain ones first. Images are shown as the model sees them.
    """
    from PIL import Image, ImageDraw, ImageFont

    predicted, labels = probabilities.argmax(1), task.query.labels
    order = shown_order(probabilities, labels)[:MOST_QUERY]
    rows = -(-len(order) // COLUMNS)
    query_top = MARGIN + 2 * LINE + len(task.classes) * (EDGE + GAP) + GAP
    cell_height = EDGE + 2 * LINE + GAP
    width = 2 * MARGIN + COLUMNS * (EDGE + GAP) - GAP
    height = query_top + 2 * LINE + rows * cell_height + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT_SIZE)

    def put(image: np.ndarray, left: int, top: int, colour: str) -> None:
        box = (left - FRAME, top - FRAME, left + EDGE + FRAME - 1, top + EDGE + FRAME - 1)
        draw.rectangle(box, fill=colour)
        sheet.paste(_picture(image), (left, top))

    draw.text((MARGIN, MARGIN), "Support: labelled images of each class", SUPPORT_FRAME, font)
    for number, name in enumerate(task.classes):
        top = MARGIN + 2 * LINE + number * (EDGE + GAP)
        own = task.support.pixels[task.support.labels == number]
        draw.text((MARGIN, top), _fitting(draw, name, LABEL_WIDTH - GAP, font), INK, font)
        draw.text((MARGIN, top + LINE), f"{len(own)} image{'s' * (len(own) > 1)}", INK, font)
        for column, image in enumerate(own[:MOST_SUPPORT]):
            put(image, MARGIN + LABEL_WIDTH + column * (EDGE + GAP), top, SUPPORT_FRAME)
        if len(own) > MOST_SUPPORT:
            left = MARGIN + LABEL_WIDTH + MOST_SUPPORT * (EDGE + GAP)
            draw.text((left, top), f"+{len(own) - MOST_SUPPORT}", INK, font)
    draw.text((MARGIN, query_top), _title(len(order), predicted, labels), INK, font)
    for place, row in enumerate(order):
        left = MARGIN + place % COLUMNS * (EDGE + GAP)
        top = query_top + 2 * LINE + place // COLUMNS * cell_height
        colour = UNKNOWN
        if labels is not None:
            colour = RIGHT if predicted[row] == labels[row] else WRONG
        put(task.query.pixels[row], left, top, colour)
        certainty = f" {100 * probabilities[row].max():.0f} %"
        room = EDGE - draw.textlength(certainty, font)
        said = _fitting(draw, task.classes[predicted[row]], room, font) + certainty
        draw.text((left, top + EDGE + FRAME), said, colour, font)
        if colour == WRONG and labels is not None:
            truth = _fitting(draw, f"is {task.classes[labels[row]]}", EDGE, font)
            draw.text((left, top + EDGE + FRAME + LINE), truth, INK, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue(), len(order)


def shown_order(probabilities: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Rows: the wrong ones first, where labels are known, and then the least certain ones."""
    is_right = np.zeros(len(probabilities), bool)
    if labels is not None:
        is_right = probabilities.argmax(1) == labels
    return np.lexsort((probabilities.max(1), is_right))


def _title(shown: int, predicted: np.ndarray, labels: np.ndarray | None) -> str:
    count = len(predicted)
    some = f"Query: {count}" if shown == count else f"Query: {shown} of {count}"
    title = f"{some} images with predicted class and probability, "
    if labels is None:
        return title + "the least certain first"
    right = int((predicted == labels).sum())
    return title + f"wrong ones and the least certain first; {right} of {count} right"


def _picture(image: np.ndarray) -> "Image.Image":
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    return Image.fromarray(pixels).convert("RGB").resize((EDGE, EDGE), Image.Resampling.BICUBIC)


def _fitting(
    draw: "ImageDraw.ImageDraw",
    text: str,
    width: float,
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
) -> str:
    """The text, cut where it is wider."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"
