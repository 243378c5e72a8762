"""What goes wrong with a mirror, and whether another attempt at it may help."""

import errno
import ssl
import time
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.error import HTTPError, URLError

WORTH_ANOTHER_ATTEMPT = (408, 425, 429, 500, 502, 503, 504)
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


class MirrorFailed(Exception):
    """This mirror does not have the file; the next one may."""


class Interrupted(Exception):
    """The transfer stopped; another attempt at the same mirror may go on, after `wait` seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fault_of(error: Exception) -> Exception:
    """What an exception of `urllib` or of the socket means: `error` itself if the disk's fault."""
    if isinstance(error, HTTPError):
        answer = one_line(f"answered {error.code} {error.reason}")
        if error.code in WORTH_ANOTHER_ATTEMPT:
            return Interrupted(answer, _retry_after(error.headers))
        return MirrorFailed(answer)
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return MirrorFailed(
            f"its certificate is not trusted ({cause.verify_message}): "
            "SSL_CERT_FILE names the certificates that are"
        )
    if isinstance(error, OSError) and error.errno in FAULTS_OF_THE_DISK:
        return error
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
