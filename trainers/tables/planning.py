"""A table's cells checked before anything is trained: what each can be trained and tested on."""

from collections.abc import Sequence

from episodes.errors import UsageError
from trainers import assessment, lifecycle
from trainers.config import RunConfig
from trainers.source_table import split_of
from trainers.sources import Source, open_source
from trainers.streams import open_streams
from trainers.tables.table import TableCell


def check(table: str, cells: Sequence[TableCell], allow_overlap: bool) -> None:
    """Raises UsageError, in one line for all of them, for cells whose datasets cannot give their
    tasks, and, without `allow_overlap`, for those tested on classes that they are trained on."""
    faults: dict[str, list[str]] = {}
    overlaps: dict[str, list[str]] = {}
    for cell in cells:
        try:
            shared = _shared_classes(cell)
        except UsageError as error:
            faults.setdefault(str(error), []).append(cell.name)
        else:
            if shared is not None and not allow_overlap:
                overlaps.setdefault(shared, []).append(cell.name)
    if found := faults | overlaps:
        told = "; ".join(f"{', '.join(names)}: {why}" for why, names in found.items())
        remedy = ", or add --allow-overlap" if overlaps else ""
        raise UsageError(f"{table}: {told}; choose cells without by --cells{remedy}")


def split_of_test(cell: TableCell) -> str:
    """The split of the dataset that a cell is tested on, where that is another than training's."""
    assert cell.tested_on is not None
    is_official = cell.settings.get("sampler") == "meta-dataset"
    return split_of(cell.tested_on) if is_official else "test"


def _shared_classes(cell: TableCell) -> str | None:
    """What to say of the classes of a cell's test that it is trained on; None without any.

    Raises UsageError where the settings do not fit each other or the datasets.
    """
    source, config = lifecycle.settled(dict(cell.settings))
    open_streams(source, config)
    return None if cell.tested_on is None else _shared_elsewhere(cell, source, config)


def _shared_elsewhere(cell: TableCell, source: Source, config: RunConfig) -> str | None:
    assert cell.tested_on is not None
    recorded = source.recorded()
    tested = open_source(cell.tested_on, config.sampler, source.input_shape[0])
    assessment.check_fits("the run", config, recorded, tested, {})
    stream = tested.stream(split_of_test(cell), config.shape, config.episode_seed)
    shared = assessment.what_to_know(config, recorded, tested, stream.split).get("overlap")
    if not shared or not shared["classes"]:
        return None
    return (
        f"{shared['classes']} of the {shared['of_classes']} classes of {tested.name} "
        f"{stream.split} are among the training classes, {shared['trained_on']}"
    )
