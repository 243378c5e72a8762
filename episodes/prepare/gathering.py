"""From a source's records to a whole spool: what is there already is not made again."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

from episodes.errors import EpisodesError
from episodes.manifest import Manifest
from episodes.prepare.decoding import Corrupt, fingerprint, made_rows
from episodes.prepare.spool import Spool
from episodes.progress import Progress
from episodes.readers import Record
from episodes.recipe import Recipe

NAMED_CORRUPT = 5
RECORDS_BETWEEN_SIGNS = 256


def gather(
    records: Iterable[Record],
    spool: Spool,
    facts: Manifest,
    recipe: Recipe,
    *,
    encoding: str,
    threads: int,
    skip_corrupt: bool,
    left_out: Collection[str] = (),
    progress: Progress | None = None,
) -> list[Corrupt]:
    """Bring every record into `spool`, and return the images that do not decode.

    `left_out` names images, CLASS/ID, that are passed over. Raises EpisodesError for a class that
    is not one of the manifest's, for an image that comes twice, and, once all is read, for images
    that do not decode unless `skip_corrupt`; SpoolIsStale where the spool does not fit the records.
    """
    class_names = frozenset(facts.class_names)
    corrupt: list[Corrupt] = []

    def new_ones() -> Iterator[tuple[Record, str]]:
        for count, record in enumerate(records, start=1):
            if progress and (count % RECORDS_BETWEEN_SIGNS == 0 or count == facts.images):
                progress("reading images", count, facts.images)
            if f"{record.class_name}/{record.image_id}" in left_out:
                continue
            _refuse_stranger(record, class_names)
            mark = fingerprint(record)
            if not spool.visit(record.class_name, record.image_id, mark):
                yield record, mark

    rows = made_rows(new_ones(), recipe, facts.image.channels, encoding, threads)
    with closing(rows):
        for made in rows:
            if isinstance(made, Corrupt):
                corrupt.append(made)
            else:
                spool.add(made)
    spool.flush()
    if corrupt and not skip_corrupt:
        raise EpisodesError(_corrupt_line(corrupt))
    return corrupt


def _refuse_stranger(record: Record, class_names: Collection[str]) -> None:
    if record.class_name not in class_names:
        raise EpisodesError(
            f"the image {record.class_name}/{record.image_id} belongs to the class "
            f"{record.class_name!r}, which is not in the dataset's class table"
        )


def _corrupt_line(corrupt: list[Corrupt]) -> str:
    reasons = "; ".join(image.reason for image in corrupt[:NAMED_CORRUPT])
    more = f" and {len(corrupt) - NAMED_CORRUPT} more" if len(corrupt) > NAMED_CORRUPT else ""
    return f"{reasons}{more}: get the files again, or add --skip-corrupt to leave such images out"
