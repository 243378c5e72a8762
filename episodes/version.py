"""The version of this software, as results and stores record it."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The installed version of this distribution; "not installed" when it runs from a folder."""
    try:
        return version("fewshot-episodes")
    except PackageNotFoundError:
        return "not installed"
