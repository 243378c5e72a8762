"""HTML as nested function calls; whatever is not `Html` already is escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

VOID = ("img", "meta")
JPEG_MAGIC = b"\xff\xd8\xff"


class Html(str):
    """Text that is HTML, and is not escaped again."""


def element(name: str, /, *children: str, **attributes: str | int) -> Html:
    """An element; a Python keyword as an attribute has an underscore behind it: `class_`."""
    spelled = "".join(
        f' {key.rstrip("_")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    if name in VOID:
        return Html(f"<{name}{spelled}>")
    return Html(f"<{name}{spelled}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Html:
    """Children one after the other."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in children))


def section(heading: str, *children: str) -> Html:
    """A part of the page under its heading."""
    return element("section", element("h2", heading), *children)


def paragraph(*children: str, kind: str = "") -> Html:
    """A paragraph, of a class if a `kind` is given."""
    return element("p", *children, **({"class_": kind} if kind else {}))


def note(text: str) -> Html:
    """A paragraph in small letters."""
    return paragraph(text, kind="note")


def data_url(image: bytes) -> str:
    """A PNG or JPEG as an address that holds it whole."""
    kind = "jpeg" if image.startswith(JPEG_MAGIC) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def picture(image: bytes, alt: str, caption: str = "") -> Html:
    """A picture as wide as the page at most; `alt` tells what it shows to whoever cannot see it."""
    under = [element("figcaption", caption)] if caption else []
    return element("figure", element("img", src=data_url(image), alt=alt), *under)


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    kinds: Sequence[str] = (),
) -> Html:
    """A table whose first column names its rows; a row's class is in `kinds`, if there are any."""
    body = list(rows)
    of_rows = kinds or [""] * len(body)
    over = [element("caption", caption)] if caption else []
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    lines = [
        element(
            "tr",
            element("th", cells[0], scope="row"),
            *(element("td", cell) for cell in cells[1:]),
            **({"class_": kind} if kind else {}),
        )
        for cells, kind in zip(body, of_rows, strict=True)
    ]
    content = (*over, element("thead", head), element("tbody", *lines))
    return element("div", element("table", *content), class_="wide")


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """A list of names, each with what it is."""
    content = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", *content)


def folded(summary: str, *children: str) -> Html:
    """What is shown once its summary is clicked; no script is needed."""
    return element("details", element("summary", summary), *children)
