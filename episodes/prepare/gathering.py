"""From a source's records to a whole spool: what is there already is not made again."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from episodes.errors import EpisodesError
from episodes.prepare.decoding import Corrupt, fingerprint, made_rows
from episodes.prepare.spool import Spool
from episodes.progress import Progress
from episodes.readers import Record
from episodes.recipe import Recipe

NAMED_CORRUPT = 5

Found = dict[str, list[str]]


class SpoolIsStale(Exception):
    """An image of the spool is no longer what the source has under that name."""


@dataclass
class Gathered:
    """What a source has: image ids by class, and the images that do not decode."""

    found: Found = field(default_factory=dict)
    corrupt: list[Corrupt] = field(default_factory=list)


def gather(
    records: Iterable[Record],
    spool: Spool,
    recipe: Recipe,
    *,
    class_names: Collection[str],
    channels: int,
    encoding: str,
    threads: int,
    skip_corrupt: bool,
    left_out: Collection[str] = (),
    expected: int = 0,
    progress: Progress | None = None,
) -> Gathered:
    """Bring every record into `spool`, and say what there is.

    `left_out` names images, CLASS/ID, that are passed over. Raises EpisodesError for a class that
    is not one of `class_names`, for an image that comes twice, and, once all is read, for images
    that do not decode unless `skip_corrupt`; SpoolIsStale where the spool does not fit the records.
    """
    gathered = Gathered()

    def new_ones() -> Iterator[tuple[Record, str]]:
        seen: set[tuple[str, str]] = set()
        for count, record in enumerate(records, start=1):
            if progress and (count % 256 == 0 or count == expected):
                progress("reading images", count, expected)
            key = record.class_name, record.image_id
            if "/".join(key) in left_out:
                continue
            _refuse_stranger(record, class_names)
            if key in seen:
                raise EpisodesError(
                    f"the image {'/'.join(key)} is there twice: remove one of the two"
                )
            seen.add(key)
            mark = fingerprint(record)
            if (entry := spool.entries.get(key)) is None:
                yield record, mark
            elif entry.fingerprint == mark:
                gathered.found.setdefault(key[0], []).append(key[1])
            else:
                raise SpoolIsStale

    for made in made_rows(new_ones(), recipe, channels, encoding, threads):
        if isinstance(made, Corrupt):
            gathered.corrupt.append(made)
        else:
            spool.add(made)
            gathered.found.setdefault(made.class_name, []).append(made.image_id)
    spool.flush()
    if gathered.corrupt and not skip_corrupt:
        raise EpisodesError(_corrupt_line(gathered.corrupt))
    return gathered


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
