"""Fetching a dataset's files: ordered mirrors, resumed after interruptions, checked before use.

Proxies and certificates come from the environment, as `urllib` reads them.
"""

import errno
import hashlib
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path

from episodes.errors import EpisodesError, UsageError
from episodes.manifest import SourceFile

CHUNK_BYTES = 1 << 16
SECONDS_TO_ANSWER = 60.0
MOST_SECONDS_BETWEEN_ATTEMPTS = 60.0
PARTIAL_CONTENT = 206
RANGE_NOT_SATISFIABLE = 416
FAULTS_OF_THE_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.EIO,
)
WORTH_ANOTHER_ATTEMPT = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Retries:
    """How often a mirror is asked without getting any further, and the first wait in seconds.

    The wait doubles each time, to a minute at most, unless the server says how long to wait.
    """

    attempts: int = 6
    first_wait: float = 1.0


class _MirrorFailed(Exception):
    """This mirror does not have the file; the next one may."""


class _Interrupted(Exception):
    """The transfer stopped; another attempt at the same mirror may go on."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def is_offline() -> bool:
    """Whether EPISODES_OFFLINE forbids the network."""
    return os.environ.get("EPISODES_OFFLINE", "").lower() not in ("", "0", "false", "no")


def fetch(
    file: SourceFile,
    folder: Path,
    progress: Progress | None = None,
    retries: Retries | None = None,
) -> Path:
    """The path of `file` in `folder`, fetched unless it is there already.

    What arrives is kept in NAME.part and goes on from there after an interruption, in this call or
    in a later one; it becomes NAME only when size and SHA-256 are the manifest's. Raises
    UsageError offline and where the file is not openly available, EpisodesError naming what each
    mirror answered where none has it.
    """
    from filelock import FileLock

    path = folder / file.name

    def is_there() -> bool:
        return path.is_file() and path.stat().st_size == file.bytes

    if is_there():
        return path
    by_hand = f"fetch {file.urls[0]} ({file.bytes:,} bytes) by hand, then --from FOLDER"
    if is_offline():
        raise UsageError(f"offline, and {path} is not there: unset EPISODES_OFFLINE, or {by_hand}")
    if file.access != "open":
        raise UsageError(f"{file.name} cannot be fetched without an account: {by_hand}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{file.name}.lock"):
        if is_there():
            return path
        failures = []
        for url in file.urls:
            try:
                _Transfer(url, file, folder, progress, retries or Retries()).complete()
                return path
            except _MirrorFailed as failure:
                failures.append(f"{url}: {failure}")
    raise EpisodesError(f"no mirror has {file.name}: {'; '.join(failures)}; {by_hand}")


class _Transfer:
    """One mirror's delivery of one file."""

    def __init__(
        self,
        url: str,
        file: SourceFile,
        folder: Path,
        progress: Progress | None,
        retries: Retries,
    ) -> None:
        self.url, self.file, self.retries = url, file, retries
        self.path = folder / file.name
        self.part = folder / f"{file.name}.part"
        self.origin = folder / f"{file.name}.part.json"
        self.progress = progress or (lambda done, total: None)
        self.resumed = False

    def complete(self) -> None:
        """Bring the whole file to its place; raises _MirrorFailed."""
        fruitless, wait = 0, self.retries.first_wait
        while True:
            before = self._size()
            try:
                self._receive()
                self._check()
                break
            except _Interrupted as interruption:
                if self._size() > before:
                    fruitless, wait = 0, self.retries.first_wait
                fruitless += 1
                if fruitless >= self.retries.attempts:
                    raise _MirrorFailed(f"{interruption}, {fruitless} times") from None
                time.sleep(min(interruption.wait or wait, MOST_SECONDS_BETWEEN_ATTEMPTS))
                wait *= 2
        self.part.replace(self.path)
        self.origin.unlink(missing_ok=True)

    def _receive(self) -> None:
        have = self._size()
        if have == self.file.bytes:
            self.resumed = True
            return
        headers = {"User-Agent": "fewshot-episodes", "Accept-Encoding": "identity"}
        if 0 < have < self.file.bytes:
            self.resumed = True
            headers["Range"] = f"bytes={have}-"
            if validator := self._validator():
                headers["If-Range"] = validator
        request = urllib.request.Request(self.url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
                self._refuse_page(answer.headers)
                if answer.status != PARTIAL_CONTENT:
                    self.resumed, have = False, 0
                self._refuse_other_size(answer, have)
                self._note_origin(answer.headers)
                with self.part.open("ab" if self.resumed else "wb") as part:
                    while part.tell() <= self.file.bytes and (chunk := answer.read(CHUNK_BYTES)):
                        part.write(chunk)
                        self.progress(part.tell(), self.file.bytes)
        except urllib.error.HTTPError as error:
            answer_line = f"answered {error.code} {error.reason}"
            if error.code == RANGE_NOT_SATISFIABLE:
                self._discard()
            elif error.code not in WORTH_ANOTHER_ATTEMPT:
                raise _MirrorFailed(answer_line) from None
            raise _Interrupted(answer_line, _retry_after(error.headers)) from None
        except ssl.SSLError as error:
            raise _MirrorFailed(f"no secure connection: {error.reason}") from None
        except (urllib.error.URLError, HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in FAULTS_OF_THE_DISK:
                raise EpisodesError(
                    f"cannot write {self.part}: {error.strerror}: "
                    "make room, or choose another place (EPISODES_HOME)"
                ) from None
            raise _Interrupted(f"broke off ({_reason(error)})") from None
        if self._size() < self.file.bytes:
            raise _Interrupted(f"ended after {self._size():,} of {self.file.bytes:,} bytes")

    def _check(self) -> None:
        size = self._size()
        with self.part.open("rb") as part:
            found = hashlib.file_digest(part, "sha256").hexdigest()
        if (size, found) == (self.file.bytes, self.file.sha256):
            return
        with self.part.open("rb") as part:
            what = "a web page" if _is_page(part.read(CHUNK_BYTES)) else "another file"
        self._discard()
        if self.resumed:
            # Its beginning may stem from another file: only a transfer from scratch can tell.
            raise _Interrupted("did not fit what was there already")
        raise _MirrorFailed(
            f"sent {what}: {size:,} bytes with SHA-256 {found[:12]}…; "
            f"expected {self.file.bytes:,} bytes with {self.file.sha256[:12]}…"
        )

    def _refuse_page(self, headers: HTTPMessage) -> None:
        if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise _MirrorFailed("sent a web page, not the file (a login, quota or error page?)")

    def _refuse_other_size(self, answer: HTTPResponse, have: int) -> None:
        announced = answer.headers.get("Content-Length", "")
        if announced.isdecimal() and have + int(announced) != self.file.bytes:
            what = "a web page" if _is_page(answer.read(CHUNK_BYTES)) else "another file"
            raise _MirrorFailed(
                f"sent {what}: {have + int(announced):,} bytes; expected {self.file.bytes:,}"
            )

    def _validator(self) -> str | None:
        try:
            origin = json.loads(self.origin.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return origin.get("validator") if origin.get("url") == self.url else None

    def _note_origin(self, headers: HTTPMessage) -> None:
        strong = headers["ETag"] if not (headers["ETag"] or "W/").startswith("W/") else None
        origin = {"url": self.url, "validator": strong or headers["Last-Modified"]}
        self.origin.write_text(json.dumps(origin), encoding="utf-8")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)


def _is_page(start: bytes) -> bool:
    return start.lstrip().startswith(b"<")


def _retry_after(headers: Message) -> float | None:
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(cause).split()) or type(cause).__name__
