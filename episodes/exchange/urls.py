"""The folders that URLs name: on the web, or in the file systems that fsspec knows."""

from typing import Any
from urllib.parse import quote, urlsplit

from episodes.download import is_offline
from episodes.download.faults import one_line
from episodes.errors import EpisodesError, UsageError

WEB = ("http", "https")
HERE = ("", "file", "local", "memory")


def protocol(url: str) -> str:
    """The protocol of `url`; "" for a plain path."""
    before, separator, _ = url.partition("://")
    return before.rpartition("::")[2].lower() if separator else ""


def without_slash(url: str) -> str:
    """`url` without slashes at its end, unless they are all that follows its protocol.

    Raises UsageError for a path that names no folder of its own.
    """
    stripped = url.rstrip("/")
    if not stripped:
        raise UsageError(f"{url!r} names no folder of its own: expected one below it")
    return url if stripped.endswith(":") else stripped


def web_address(url: str, name: str) -> str:
    """The address of the file `name` in the folder of the http or https `url`, its query kept."""
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}").geturl()


def refuse_offline(url: str) -> None:
    """Raises UsageError where `url` needs the network and EPISODES_OFFLINE forbids it."""
    if is_offline() and protocol(url) not in HERE:
        raise UsageError(f"offline (EPISODES_OFFLINE), and {url} needs the network: go online")


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url`, and the path of its folder there.

    Raises UsageError for a protocol that there is not, or whose package is not installed, and
    EpisodesError where the file system refuses.
    """
    import fsspec

    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        module = getattr(error.__cause__ or error, "name", None)
        install = f"type `pip install {module}`" if module else "install it"
        raise UsageError(
            f"{protocol(url)}:// needs a package that is not installed "
            f"({one_line(str(error))}): {install}"
        ) from None
    except ValueError as error:
        raise UsageError(
            f"{url}: {one_line(str(error))}; "
            "expected a URL such as file:///PATH, https://HOST/PATH or s3://BUCKET/PATH"
        ) from None
    except Exception as error:  # file systems raise what they like
        raise refused(url, error) from None
    if not path.strip("/"):
        raise UsageError(f"{url} names no folder of its own: expected one below it")
    file_system.invalidate_cache()
    return file_system, path.rstrip("/")


def refused(where: str, error: Exception) -> EpisodesError:
    """The error for what a file system raised about `where`."""
    return EpisodesError(f"{where}: {told(error)}: check the URL, and your access to it")


def told(error: Exception) -> str:
    """What a file system raised, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return one_line(text) or type(error).__name__
