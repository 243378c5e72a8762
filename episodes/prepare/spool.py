"""The spool: rows in the order in which they were read, kept so that a kill loses no work.

Archives are not in class order, so rows wait here until all are known. `rows` holds their bytes
one after the other; `journal` holds a line a batch, written once the batch's bytes are on the disk.
What lies behind the last whole line is cut off at the next opening.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from episodes.prepare.decoding import Row

FORMAT = "episodes-spool/1"
BATCH_BYTES = 16 << 20
BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a row lies in the spool, and what is known of it."""

    offset: int
    length: int
    shape: tuple[int, int, int]
    sha256: bytes
    fingerprint: str


class Spool:
    """The rows of a preparation that was begun, by class name and image id.

    `identity` says what is being prepared: a spool of anything else is begun again.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        self._folder, self._identity = folder, identity
        self._rows_path, self._journal_path = folder / "rows", folder / "journal"
        self.entries: dict[tuple[str, str], Entry] = {}
        self._pending: list[list[Any]] = []
        self._end = 0
        folder.mkdir(parents=True, exist_ok=True)
        journaled = self._read_journal()
        self._rows = self._rows_path.open("r+b" if journaled else "w+b")
        self._journal = self._journal_path.open("r+b" if journaled else "w+b")
        self._rows.truncate(self._end)
        self._rows.seek(self._end)
        self._journal.truncate(journaled)
        self._journal.seek(journaled)
        self._journaled_end = self._end
        if not journaled:
            self._write_line({"format": FORMAT, "identity": identity})

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
        """Journal what was added, and close the files."""
        if self._rows.closed:
            return
        self.flush()
        self._rows.close()
        self._journal.close()

    def add(self, row: Row) -> None:
        """Append a row; it counts once its batch is journaled."""
        data = row.data if isinstance(row.data, bytes) else row.data.tobytes()
        self._rows.write(data)
        entry = Entry(self._end, len(data), row.shape, row.sha256, row.fingerprint)
        self._end += len(data)
        self.entries[row.class_name, row.image_id] = entry
        self._pending.append(
            [row.class_name, row.image_id, len(data), row.shape, row.sha256.hex(), row.fingerprint]
        )
        if len(self._pending) >= BATCH_ROWS or self._end - self._journaled_end >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Journal what was added."""
        if not self._pending:
            return
        self._rows.flush()
        os.fsync(self._rows.fileno())
        self._write_line({"rows": self._pending})
        self._pending, self._journaled_end = [], self._end

    def data_of(self, entry: Entry) -> bytes:
        """The bytes of a row; nothing can be added afterwards."""
        self._rows.seek(entry.offset)
        return self._rows.read(entry.length)

    def pixels_of(self, entries: Sequence[Entry]) -> np.ndarray:
        """The pixels of raw rows of one shape, uint8 [n, H, W, C]."""
        pixels = np.empty((len(entries), *entries[0].shape), np.uint8)
        for position, entry in enumerate(entries):
            pixels[position] = np.frombuffer(self.data_of(entry), np.uint8).reshape(entry.shape)
        return pixels

    def discard(self) -> None:
        """Close and delete the spool."""
        self._pending = []
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_line(self, values: Any) -> None:
        self._journal.write(json.dumps(values, separators=(",", ":")).encode() + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def _read_journal(self) -> int:
        """Take over what was journaled; the bytes of the journal that are whole and of use."""
        if not (self._journal_path.is_file() and self._rows_path.is_file()):
            return 0
        there, whole = self._rows_path.stat().st_size, 0
        with self._journal_path.open("rb") as journal:
            for number, line in enumerate(journal):
                if not line.endswith(b"\n"):
                    break
                try:
                    values = json.loads(line)
                    if number == 0 and values != {"format": FORMAT, "identity": self._identity}:
                        return 0
                    taken = self._take_over(values["rows"], there) if number else True
                except (ValueError, KeyError, TypeError):
                    break
                if not taken:
                    break
                whole += len(line)
        return whole

    def _take_over(self, rows: list[list[Any]], there: int) -> bool:
        entries, end = {}, self._end
        for class_name, image_id, length, shape, sha256, fingerprint in rows:
            entries[class_name, image_id] = Entry(
                end, length, tuple(shape), bytes.fromhex(sha256), fingerprint
            )
            end += length
        if end > there:
            return False
        self.entries |= entries
        self._end = end
        return True
