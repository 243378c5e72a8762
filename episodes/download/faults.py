"""What goes wrong with a mirror, and whether another attempt at it may help."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import HTTPError, URLError

WORTH_ANOTHER_ATTEMPT = (408, 425, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416
# Where there is no network, or no server, waiting longer seldom helps.
OUT_OF_REACH = (socket.gaierror, ConnectionRefusedError)


class MirrorFailed(Exception):
    """This mirror does not have the file; the next one may."""


class NoSuchRange(MirrorFailed):
    """The file at this mirror is shorter than what came of it before."""


class Interrupted(Exception):
    """The transfer stopped; another attempt at the same mirror may go on, after `wait` seconds.

    `out_of_reach`: it was not even answered.
    """

    def __init__(self, reason: str, wait: float | None = None, out_of_reach: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.out_of_reach = wait, out_of_reach


@contextmanager
def faults_of_the_mirror() -> Iterator[None]:
    """Turns what `urllib` and the socket raise inside into MirrorFailed or Interrupted."""
    try:
        yield
    except (HTTPException, OSError) as error:
        raise fault_of(error) from None


def fault_of(error: Exception) -> MirrorFailed | Interrupted:
    """What an exception of `urllib` or of the socket means."""
    if isinstance(error, HTTPError):
        answer = one_line(f"answered {error.code} {error.reason}")
        if error.code in WORTH_ANOTHER_ATTEMPT:
            return Interrupted(answer, _retry_after(error.headers))
        return (NoSuchRange if error.code == RANGE_NOT_SATISFIABLE else MirrorFailed)(answer)
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return MirrorFailed(
            f"its certificate is not trusted ({cause.verify_message}): "
            "SSL_CERT_FILE names the certificates that are"
        )
    if isinstance(cause, OUT_OF_REACH):
        reason = one_line(cause.strerror or str(cause))
        return Interrupted(f"cannot be reached ({reason})", out_of_reach=True)
    return Interrupted(f"broke off ({one_line(str(cause)) or type(cause).__name__})")


def one_line(text: str, longest: int = 160) -> str:
    """`text` from a server, fit for a line of ours."""
    words = " ".join(text.split())
    printable = "".join(letter for letter in words if letter.isprintable())
    return printable if len(printable) <= longest else f"{printable[: longest - 1]}…"


def _retry_after(headers: Message) -> float | None:
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
