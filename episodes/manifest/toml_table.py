"""A TOML table that names its file and key in every error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.errors import EpisodesError


def read_text(path: Path) -> str:
    """The UTF-8 text of one of a manifest's files; raises EpisodesError naming it."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EpisodesError(f"{path.name} is missing from {path.parent}") from None
    except UnicodeDecodeError:
        raise EpisodesError(f"{path.name}: not UTF-8 text") from None


class Table:
    """The table `prefix` of the TOML file `path`."""

    def __init__(self, path: Path, prefix: str, values: Mapping[str, Any]) -> None:
        self.path, self.prefix, self.values = path, prefix, values

    def get(self, key: str, kind: type, default: Any = ..., must_equal: Any = ...) -> Any:
        """The value of `key`, exactly of type `kind`, whole numbers 0 or more.

        Raises EpisodesError where it is missing (without a default), ill-typed or not `must_equal`.
        """
        if key not in self.values:
            if default is not ...:
                return default
            raise self.error(key, f"is missing; expected {_article(kind)}")
        value = self.values[key]
        if type(value) is not kind:
            raise self.error(key, f"is {value!r}; expected {_article(kind)}")
        if isinstance(value, int) and value < 0:
            raise self.error(key, f"is {value}; expected 0 or more")
        if must_equal is not ... and value != must_equal:
            raise self.error(key, f"is {value!r}; expected {must_equal!r}")
        return value

    def table(self, key: str) -> "Table":
        """The table `key` inside this one."""
        return Table(self.path, f"{self.prefix}{key}.", self.get(key, dict))

    def optional_table(self, key: str) -> "Table":
        """The table `key` inside this one, empty where it is missing."""
        return Table(self.path, f"{self.prefix}{key}.", self.get(key, dict, default={}))

    def tables(self, key: str) -> list["Table"]:
        """The array of tables `key` inside this one, empty where it is missing."""
        entries = self.get(key, list, default=[])
        if not all(isinstance(entry, dict) for entry in entries):
            raise self.error(key, "must be an array of tables: write [[" + key + "]]")
        return [
            Table(self.path, f"{self.prefix}{key}[{i}].", entry) for i, entry in enumerate(entries)
        ]

    def strings(self, key: str) -> tuple[str, ...]:
        """The array of strings `key` inside this one, empty where it is missing."""
        values = self.get(key, list, default=[])
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, f"is {values!r}; expected an array of strings")
        return tuple(values)

    def numbers(self, key: str) -> tuple[float, ...]:
        """The array of numbers `key` inside this one."""
        values = self.get(key, list)
        if not all(type(value) in (int, float) for value in values):
            raise self.error(key, f"is {values!r}; expected an array of numbers")
        return tuple(map(float, values))

    def text_beside(self, key: str) -> str:
        """The text of the file beside the TOML file that `key` names; raises EpisodesError."""
        return read_text(self.path.with_name(self.get(key, str)))

    def error(self, key: str, what: str) -> EpisodesError:
        """The error about `key` of this table."""
        return EpisodesError(f"{self.path.name}: {self.prefix}{key} {what}")


def _article(kind: type) -> str:
    return {str: "a string", int: "an integer", bool: "true or false", dict: "a table"}.get(
        kind, "an array"
    )
