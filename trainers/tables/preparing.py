"""The datasets that a table's cells need: whether they are there, and what to type where not."""

from collections.abc import Sequence
from dataclasses import replace

import episodes
from episodes import manifest
from episodes.errors import UsageError
from episodes.own.facts import USUAL_SIZE
from trainers import catalog
from trainers.tables.table import TableCell

TURNED = "-rotations"
"""The end of the names of stores that have each class turned, too."""


def with_own_images(cells: Sequence[TableCell]) -> list[TableCell]:
    """The cells; those that are tested on images which only the user can bring, and has not
    prepared, say what to type in `why_not`."""
    return [
        cell if (why := _why_no_images(cell)) is None else replace(cell, why_not=why)
        for cell in cells
    ]


def check_prepared(table: str, cells: Sequence[TableCell]) -> None:
    """Raises UsageError, in one line for all of them, for datasets that are not prepared."""
    wanted = {
        dataset
        for cell in cells
        for dataset in (str(cell.settings["dataset"]), cell.tested_on)
        if dataset is not None
    }
    if missing := sorted(dataset for dataset in wanted if not _is_there(dataset)):
        commands = ", ".join(f"`episodes prepare {_asked_of_prepare(name)}`" for name in missing)
        raise UsageError(
            f"{table} needs {', '.join(missing)}, not prepared: type {commands}, or "
            "choose cells without by --cells"
        )


def _asked_of_prepare(dataset: str) -> str:
    """`omniglot --rotations`: the store's name says how it was prepared."""
    plain = dataset.removesuffix(TURNED)
    return plain if plain == dataset else f"{plain} --rotations"


def _why_no_images(cell: TableCell) -> str | None:
    own = cell.tested_on
    if own is None or cell.why_not is not None or own in manifest.names() or _is_there(own):
        return None
    return (
        f"{own} are images of your own: `episodes prepare folder PATH --name {own} "
        f"--size {USUAL_SIZE} --fractions 0,0,1`, and it is run"
    )


def _is_there(dataset: str) -> bool:
    if catalog.is_regression(dataset):
        return True
    try:
        episodes.open(dataset)
    except UsageError:
        return False
    return True
