"""The spool: rows in the order in which they were read, kept so that a kill loses no work.

Archives are not in class order, so rows wait here until all are known. `rows` holds their bytes one
after the other; `index.sqlite` says where each lies, committed a batch at a time once the batch's
bytes are on the disk. What no commit speaks of is overwritten. Nothing is kept in memory.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from episodes.errors import EpisodesError
from episodes.prepare.decoding import Row

FORMAT = "episodes-spool/2"
BATCH_BYTES = 16 << 20
BATCH_ROWS = 1024
HASH_BYTES = 16
TABLES = """
CREATE TABLE about (identity TEXT);
CREATE TABLE rows (
    class TEXT, id TEXT, offset INTEGER, length INTEGER, height INTEGER, width INTEGER,
    channels INTEGER, sha256 BLOB, stored BLOB, fingerprint BLOB, visited INTEGER,
    PRIMARY KEY (class, id)
) WITHOUT ROWID;
"""


class SpoolIsStale(Exception):
    """The spool is not what its source would give: it has to be begun again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a row lies in the spool, its pixels' shape and SHA-256, and a hash of its bytes."""

    image_id: str
    offset: int
    length: int
    shape: tuple[int, int, int]
    sha256: bytes
    stored: bytes


class Spool:
    """The rows of a preparation that was begun, by class name and image id.

    `identity` says what is being prepared: a spool of anything else, or a damaged one, is begun
    again. A row counts as found once this opening has visited or added it.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        self._folder = folder
        self._identity = json.dumps([FORMAT, identity], sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._rows_path, self._index_path = folder / "rows", folder / "index.sqlite"
        if not self._continues():
            for path in folder.iterdir():
                path.unlink()
            self._index = sqlite3.connect(self._index_path)
            self._index.executescript(TABLES)
            self._index.execute("INSERT INTO about VALUES (?)", (self._identity,))
            self._index.commit()
            self._rows_path.touch()
        [(end,)] = self._index.execute("SELECT COALESCE(MAX(offset + length), 0) FROM rows")
        self._index.execute("UPDATE rows SET visited = 0")
        self._rows = self._rows_path.open("r+b")
        self._rows.seek(end)
        self._end = self._committed_end = end
        self._waiting = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit what was added, and close the files."""
        if not self._rows.closed:
            self.flush()
            self._close()

    def discard(self) -> None:
        """Close and delete the spool."""
        if not self._rows.closed:
            self._close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def visit(self, class_name: str, image_id: str, fingerprint: str) -> bool:
        """Whether the image is there already; then it counts as found.

        Raises SpoolIsStale where it was made from another record, EpisodesError where it was found
        before.
        """
        where = "WHERE class = ? AND id = ?"
        found = self._index.execute(
            f"SELECT fingerprint, visited FROM rows {where}", (class_name, image_id)
        ).fetchone()
        if found is None:
            return False
        if found[1]:
            raise _twice(class_name, image_id)
        if found[0] != fingerprint:
            raise SpoolIsStale
        self._index.execute(f"UPDATE rows SET visited = 1 {where}", (class_name, image_id))
        return True

    def add(self, row: Row) -> None:
        """Append a row, which counts as found; it is kept once its batch is committed."""
        data = row.data if isinstance(row.data, bytes) else row.data.tobytes()
        entry = (self._end, len(data), *row.shape, row.sha256, _hash(data), row.fingerprint, 1)
        try:
            self._index.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row.class_name, row.image_id, *entry),
            )
        except sqlite3.IntegrityError:
            raise _twice(row.class_name, row.image_id) from None
        self._rows.write(data)
        self._end += len(data)
        self._waiting += 1
        if self._waiting >= BATCH_ROWS or self._end - self._committed_end >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Commit what was added."""
        self._rows.flush()
        if self._end > self._committed_end:
            os.fsync(self._rows.fileno())
        self._index.commit()
        self._waiting, self._committed_end = 0, self._end

    def class_sizes(self) -> dict[str, int]:
        """The number of images found of each class that has any."""
        query = "SELECT class, COUNT(*) FROM rows WHERE visited GROUP BY class"
        return dict(self._index.execute(query))

    def names_sha256(self, others: Sequence[str] = ()) -> str:
        """The SHA-256 of all CLASS/ID found, and of `others`, sorted, one a line."""
        query = "SELECT class || '/' || id FROM rows WHERE visited ORDER BY 1"
        names = (name for (name,) in self._index.execute(query))
        running = hashlib.sha256()
        for position, name in enumerate(sorted([*names, *others]) if others else names):
            running.update(f"{chr(10) if position else ''}{name}".encode())
        return running.hexdigest()

    def common_shape(self) -> tuple[int, int, int] | None:
        """The shape of all images found, None where they differ."""
        query = "SELECT DISTINCT height, width, channels FROM rows WHERE visited LIMIT 2"
        shapes = self._index.execute(query).fetchall()
        return shapes[0] if len(shapes) == 1 else None

    def entries(self, class_name: str) -> Iterator[Entry]:
        """The rows found of a class, in no order that means anything."""
        query = (
            "SELECT id, offset, length, height, width, channels, sha256, stored FROM rows "
            "WHERE class = ? AND visited"
        )
        for (
            image_id,
            offset,
            length,
            height,
            width,
            channels,
            sha256,
            stored,
        ) in self._index.execute(query, (class_name,)):
            yield Entry(image_id, offset, length, (height, width, channels), sha256, stored)

    def data_of(self, entry: Entry) -> bytes:
        """The bytes of a row; raises SpoolIsStale where they are not those that were written."""
        self._rows.seek(entry.offset)
        data = self._rows.read(entry.length)
        if _hash(data) != entry.stored:
            raise SpoolIsStale
        return data

    def pixels_of(self, entries: Sequence[Entry]) -> np.ndarray:
        """The pixels of raw rows of one shape, uint8 [n, H, W, C]; as `data_of`."""
        pixels = np.empty((len(entries), *entries[0].shape), np.uint8)
        for position, entry in enumerate(entries):
            pixels[position] = np.frombuffer(self.data_of(entry), np.uint8).reshape(entry.shape)
        return pixels

    def _continues(self) -> bool:
        """Open the index that is there, and whether it is whole and of this preparation."""
        if not (self._index_path.is_file() and self._rows_path.is_file()):
            return False
        self._index = sqlite3.connect(self._index_path)
        try:
            found = self._index.execute("SELECT identity FROM about").fetchall()
            [(check,)] = self._index.execute("PRAGMA quick_check(1)").fetchall()
            if found == [(self._identity,)] and check == "ok":
                return True
        except (sqlite3.Error, ValueError):
            pass
        self._index.close()
        return False

    def _close(self) -> None:
        self._rows.close()
        self._index.close()


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def _twice(class_name: str, image_id: str) -> EpisodesError:
    return EpisodesError(f"the image {class_name}/{image_id} is there twice: remove one of the two")
