"""Episodes as contact sheets: of each class some support images, and query images as predicted."""

import io
from collections.abc import Sequence

import numpy as np

from episodes.episode_stream import EpisodeStream
from trainers.html_report.answers import Answers
from trainers.html_report.elements import Html, data_url, element, note

MOST_SUPPORT, MOST_QUERY = 5, 9
LARGEST_EDGE, SHOWN_EDGE = 84, 56


def contact_sheet(stream: EpisodeStream, answers: Answers) -> Html:
    """One episode, a row a class; wrong answers come first and say what they were taken for."""
    episode = stream[answers.index]
    rows = []
    for label, name in enumerate(answers.classes):
        own = answers.labels == label
        wrong = own & (answers.predicted != answers.labels)
        support = episode.support_images[episode.support_labels == label]
        asked = [*np.flatnonzero(wrong), *np.flatnonzero(own & ~wrong)]
        said = f"{own.sum() - wrong.sum()} of {own.sum()} right"
        shown = [
            _query(episode.query_images[place], answers.classes, label, answers.predicted[place])
            for place in asked[:MOST_QUERY]
        ]
        labelled = [_image(image, f"support: {name}") for image in support[:MOST_SUPPORT]]
        rows.append(
            element(
                "div",
                element("p", element("strong", f"{1 + label} {name}"), Html("<br>"), said),
                element("div", *labelled, class_="images support"),
                element("div", *shown, class_="images query"),
                class_="class",
            )
        )
    heading = f"Episode {answers.index}: {100 * answers.accuracy:.1f} % right"
    return element("div", element("h3", heading), *rows, class_="episode")


def legend() -> Html:
    """What the frames mean."""
    return note(
        "Grey frames: support images. Green: query images classified rightly; red: wrongly, with "
        f"the number of the predicted class. At most {MOST_SUPPORT} support and {MOST_QUERY} "
        "query images of a class are shown, wrong ones first."
    )


def _query(image: np.ndarray, classes: Sequence[str], true: int, predicted: int) -> Html:
    if predicted == true:
        return _image(image, f"query: {classes[true]}, right", "right")
    alt = f"query: {classes[true]}, taken for {classes[predicted]}"
    return _image(image, alt, "wrong", f"→ {1 + predicted}")


def _image(image: np.ndarray, alt: str, kind: str = "given", caption: str = "") -> Html:
    size = {"class_": "small"} if image.shape[0] < SHOWN_EDGE else {}
    shown = element("img", src=data_url(_encoded(image)), alt=alt, **size)
    under = [element("figcaption", caption)] if caption else []
    return element("figure", shown, *under, class_=kind)


def _encoded(image: np.ndarray) -> bytes:
    """PNG of a grey image, JPEG of a coloured one, with edges of 84 pixels at most."""
    from PIL import Image

    is_grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if is_grey else image)
    picture.thumbnail((LARGEST_EDGE, LARGEST_EDGE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if is_grey else "JPEG", **({} if is_grey else {"quality": 85}))
    return buffer.getvalue()
