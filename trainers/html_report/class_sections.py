"""Accuracy by class, and which classes are taken for which, as parts of a page."""

from collections.abc import Sequence

import numpy as np

from trainers.html_report.answers import Confusion
from trainers.html_report.elements import Html, element, joined, note, section, table

MOST_IN_MATRIX = 24
MOST_LISTED = 12
PAIRS_LISTED = 15
BLUE, RED = "76, 120, 168", "198, 40, 40"
DARKEST_UNDER_INK = 0.6


def by_class(confusion: Confusion, measured_on: str) -> Html:
    """The sections on single classes; `measured_on` says on which episodes."""
    return joined(
        [
            section("Accuracy by class", note(measured_on), *_accuracies(confusion)),
            section("Confusion by class", *_confusions(confusion)),
        ]
    )


def _accuracies(confusion: Confusion) -> list[Html]:
    hardest, easiest = (
        np.lexsort((-confusion.asked, sign * confusion.accuracy)).tolist() for sign in (1, -1)
    )
    count = len(hardest)
    if count <= 2 * MOST_LISTED:
        return [_accuracy_table(confusion, hardest, "All classes, the hardest first")]
    tables = [
        _accuracy_table(confusion, order[:MOST_LISTED], f"The {MOST_LISTED} {which} of {count}")
        for which, order in (("hardest", hardest), ("easiest", easiest))
    ]
    return [element("div", *tables, class_="pair")]


def _accuracy_table(confusion: Confusion, order: Sequence[int], caption: str) -> Html:
    rows = []
    for number in order:
        percent = f"{100 * confusion.accuracy[number]:.1f} %"
        bar = element("span", class_="bar", style=f"width: {100 * confusion.accuracy[number]:.1f}%")
        track = element("span", bar, class_="track")
        rows.append((confusion.classes[number], track, percent, str(confusion.asked[number])))
    return table(("class", "", "accuracy", "query images"), rows, caption)


def _confusions(confusion: Confusion) -> list[Html]:
    said = (
        "A share is that of a class's query images, in episodes that had both classes, which "
        "were taken for the other."
    )
    count = len(confusion.classes)
    if count <= MOST_IN_MATRIX:
        return [note(said), element("div", _matrix(confusion), _pairs(confusion), class_="pair")]
    left_out = f"A matrix of {count} classes would not be readable: it is left out."
    return [note(said), _pairs(confusion), note(left_out)]


def _pairs(confusion: Confusion) -> Html:
    wrong = confusion.said.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS_LISTED]
    pairs = [divmod(int(place), len(wrong)) for place in most]
    rows = [
        (
            confusion.classes[true],
            confusion.classes[taken],
            f"{100 * confusion.shares[true, taken]:.1f} %",
            f"{wrong[true, taken]} of {confusion.met[true, taken]}",
        )
        for true, taken in pairs
        if wrong[true, taken]
    ]
    if not rows:
        return note("No query image was taken for another class.")
    heads = ("true class", "taken for", "share", "images")
    return table(heads, rows, "Most often taken for one another")


def _matrix(confusion: Confusion) -> Html:
    numbers = [str(1 + number) for number in range(len(confusion.classes))]
    head = element(
        "tr",
        element("th", "true class, in %", scope="col"),
        *(element("th", number, scope="col") for number in numbers),
    )
    rows = [
        element(
            "tr",
            element("th", f"{1 + true} {name}", scope="row"),
            *(_cell(confusion, true, taken) for taken in range(len(confusion.classes))),
        )
        for true, name in enumerate(confusion.classes)
    ]
    caption = element("caption", "Rows: true class; columns: predicted class, by the same numbers")
    content = (caption, element("thead", head), element("tbody", *rows))
    return element("div", element("table", *content, class_="matrix"), class_="wide")


def _cell(confusion: Confusion, true: int, taken: int) -> Html:
    share = confusion.shares[true, taken]
    if np.isnan(share):
        return element("td", "·", title="never in one episode")
    ink = "#fff" if share > DARKEST_UNDER_INK else "#1f2933"
    colour = BLUE if true == taken else RED
    style = f"background: rgba({colour}, {share:.2f}); color: {ink}"
    names = f"{confusion.classes[true]} taken for {confusion.classes[taken]}"
    return element("td", f"{100 * share:.0f}", style=style, title=names)
