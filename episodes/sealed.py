"""JSON documents of a known format, under a SHA-256 of their own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.errors import EpisodesError

SEAL = "sha256"


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with their SHA-256 beside them."""
    return {**values, SEAL: _sha256(values)}


def read_sealed(
    path: Path, kind: str, known_format: str, again: str, *, absent: str = "", other: str = ""
) -> dict[str, Any]:
    """The values of the document `path` in the folder of a `kind`, without their SHA-256.

    Raises EpisodesError where there is none (ending in `absent`), where its format is another
    (ending in `other`), and where it is damaged (ending in `again`, which says what to do).
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        article = "an" if kind[0] in "aeiou" else "a"
        raise EpisodesError(
            f"{path.parent} is not {article} {kind}: it has no {path.name}{absent}"
        ) from None
    except OSError as error:
        raise EpisodesError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise EpisodesError(f"{path} is damaged: {again}") from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != known_format:
        raise EpisodesError(
            f"{path.parent} has the {kind} format {found!r}; "
            f"this version reads {known_format!r}{other}"
        )
    if values.pop(SEAL, None) != _sha256(values):
        raise EpisodesError(f"{path} is damaged (its SHA-256 differs): {again}")
    return dict(values)


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
