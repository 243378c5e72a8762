"""One mirror's delivery of one file: received, resumed, checked, put in its place."""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path

from episodes.disk import sync_file
from episodes.download import drive
from episodes.download.checks import misfit
from episodes.download.faults import (
    Interrupted,
    MirrorFailed,
    NoSuchRange,
    faults_of_the_mirror,
    one_line,
)
from episodes.download.pages import is_page, looks_like_a_page, page_in
from episodes.manifest import SourceFile
from episodes.progress import Progress, silent

CHUNK_BYTES = 1 << 16
SECONDS_TO_ANSWER = 60.0
MOST_SECONDS_BETWEEN_ATTEMPTS = 60.0
ATTEMPTS_OUT_OF_REACH = 2
PARTIAL_CONTENT = 206


@dataclass(frozen=True)
class Retries:
    """How often a mirror is asked without getting any further, and the first wait in seconds.

    The wait doubles each time, to a minute at most, unless the server says how long to wait.
    """

    attempts: int = 6
    first_wait: float = 1.0


@dataclass(frozen=True)
class Origin:
    """Where what is in NAME.part came from: the mirror, its validator for If-Range, its length."""

    url: str
    validator: str | None = None
    total: int | None = None


class Transfer:
    """The attempts at one mirror, from NAME.part and its NAME.part.json (an `Origin`) to NAME."""

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
        self.note = folder / f"{file.name}.part.json"
        self.progress = progress or silent
        # Made here, not shared: it reads proxies and certificates from the environment as it is.
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.resumed = False
        self.begun_again = False
        self.answered = False
        self.furthest = self._size()

    def complete(self) -> None:
        """Bring the whole file to its place; raises MirrorFailed, and OSError where the disk fails.

        Attempts that get further than all before them do not count; a mirror is begun from scratch
        once at most, and left after two attempts where it was never reached. So it ends, whatever
        the mirror does.
        """
        fruitless, wait = 0, self.retries.first_wait
        while True:
            try:
                self._receive()
                self._check()
                break
            except Interrupted as interruption:
                if self._size() > self.furthest:
                    self.furthest = self._size()
                    fruitless, wait = 0, self.retries.first_wait
                fruitless += 1
                attempts = self.retries.attempts
                if interruption.out_of_reach and not self.answered:
                    attempts = min(attempts, ATTEMPTS_OUT_OF_REACH)
                if fruitless >= attempts:
                    raise MirrorFailed(f"{interruption}, {fruitless} times") from None
                self.progress(f"asking again for {self.file.name}", fruitless, attempts)
                time.sleep(min(interruption.wait or wait, MOST_SECONDS_BETWEEN_ATTEMPTS))
                wait *= 2
        sync_file(self.part)
        self.part.replace(self.path)
        self.note.unlink(missing_ok=True)

    def _receive(self) -> None:
        have, origin = self._size(), self._noted_origin()
        expected = self.file.bytes or origin.total
        # Halves of two files must not be joined where no checksum would tell.
        joinable = self.file.sha256 or self.file.md5 or origin.validator
        self.resumed = bool(have and joinable and (expected is None or have <= expected))
        if self.resumed and have == expected:
            return
        try:
            answer = self._ask(have, origin.validator)
        except NoSuchRange as refusal:
            raise self._begin_again(str(refusal)) from None
        self.answered = True
        with answer:
            if answer.status != PARTIAL_CONTENT:
                self.resumed, have = False, 0
            elif _start_of(answer) not in (None, have):
                raise self._begin_again("answers with other bytes than were asked for")
            total = self._total(answer, have)
            if self.resumed and None not in (total, expected) and total != expected:
                raise self._begin_again("tells another size each time")
            expected = self.file.bytes or total
            with self.part.open("ab" if self.resumed else "wb") as part:
                # Only now: a part that it does not belong to is gone.
                self._note_origin(answer, total)
                for chunk in _chunks(answer):
                    part.write(chunk)
                    self._tell(part.tell(), expected)
                    if expected is not None and part.tell() > expected:
                        break
        if expected is not None and self._size() < expected:
            raise Interrupted(f"ended after {self._size():,} of {expected:,} bytes")

    def _ask(self, have: int, validator: str | None) -> HTTPResponse:
        headers = {"User-Agent": "fewshot-episodes", "Accept-Encoding": "identity"}
        if self.resumed:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        with faults_of_the_mirror():
            answer = self._open(headers)
            if is_page(answer.headers):
                with answer:
                    raise MirrorFailed(page_in(answer).told())
            return answer

    def _open(self, headers: dict[str, str]) -> HTTPResponse:
        try:
            if self.url.startswith(drive.SCHEME):
                return drive.ask(self.url, headers, self.opener, self.cookies, SECONDS_TO_ANSWER)
            request = urllib.request.Request(self.url, headers=headers)
            answer: HTTPResponse = self.opener.open(request, timeout=SECONDS_TO_ANSWER)
            return answer
        except ValueError as error:
            raise MirrorFailed(f"leads to what is no address ({one_line(str(error))})") from None

    def _total(self, answer: HTTPResponse, have: int) -> int | None:
        """The size that the server tells, if it does; refuses what cannot be the file."""
        announced = _number(answer.headers.get("Content-Length", ""))
        chunked = answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if chunked or announced is None:
            known = self.file.bytes or self.file.sha256 or self.file.md5
            if not chunked and not known:
                raise MirrorFailed("does not tell how long the file is, and nothing else does")
            return None
        total = have + announced
        if self.file.bytes not in (None, total):
            with faults_of_the_mirror():
                page = looks_like_a_page(answer.read(CHUNK_BYTES))
            raise MirrorFailed(
                f"sent {'a web page' if page else 'another file'}: {total:,} bytes; "
                f"expected {self.file.bytes:,}"
            )
        return total

    def _check(self) -> None:
        difference = misfit(self.part, self.file)
        if difference is None:
            return
        if self.resumed:
            # Its beginning may stem from another file: only a transfer from scratch can tell.
            raise self._begin_again(f"sent {difference}")
        self._discard()
        raise MirrorFailed(f"sent {difference}")

    def _begin_again(self, reason: str) -> Exception:
        self._discard()
        if self.begun_again:
            return MirrorFailed(reason)
        self.begun_again, self.furthest = True, 0
        return Interrupted("did not fit what was there already")

    def _noted_origin(self) -> Origin:
        try:
            origin = Origin(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Origin(self.url)
        return origin if origin.url == self.url else Origin(self.url)

    def _note_origin(self, answer: HTTPResponse, total: int | None) -> None:
        etag = answer.headers["ETag"]
        strong = etag if etag and not etag.startswith("W/") else None
        origin = Origin(self.url, strong or answer.headers["Last-Modified"], total)
        self.note.write_text(json.dumps(asdict(origin)), encoding="utf-8")

    def _tell(self, done: int, total: int | None) -> None:
        self.progress(f"fetching {self.file.name}", done, total or 0, "bytes")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    # Only what reads is guarded: what becomes of the bytes is no fault of the mirror's.
    while True:
        with faults_of_the_mirror():
            chunk = answer.read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def _start_of(answer: HTTPResponse) -> int | None:
    """The first byte's place in the file, as Content-Range tells it: "bytes 500-999/1000"."""
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    return _number(span.partition("-")[0]) if unit == "bytes" else None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None
