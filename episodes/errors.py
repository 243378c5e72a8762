"""What a user can mend arrives as one of these: one line, no traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class EpisodesError(Exception):
    """A failure: what was found, where, what was expected, and what to type next, in one line."""

    exit_code = 1


class UsageError(EpisodesError):
    """A request that cannot be met as it was made."""

    exit_code = 2


def some_of(names: Iterable[str], most: int = 5, between: str = ", ") -> str:
    """The names with `between` between, of more than `most` the first and how many others."""
    every = list(names)
    if len(every) <= most:
        return between.join(every)
    return f"{', '.join(every[: most - 2])} and {len(every) - most + 2} more"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is none of `known`, with the nearest match where there is one."""
    names = list(known)
    return UsageError(
        f"unknown {kind} {name!r}{did_you_mean(name, names)} (known: {', '.join(names) or 'none'})"
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean 'NEAREST'?`, or nothing where none of `known` is near to `name`."""
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {nearest[0]!r}?" if nearest else ""
