"""Classes whose names begin with the number that their archive knows them by, "012.colt's foot"."""

from collections.abc import Iterable, Mapping

from episodes.errors import EpisodesError


def by_number(class_names: Iterable[str]) -> dict[int, str]:
    """The class names "NNN.name" by their numbers."""
    return {int(name.partition(".")[0]): name for name in class_names}


def named(classes: Mapping[int, str], number: int, where: str) -> str:
    """The class of that number; raises EpisodesError naming `where` for one that there is not."""
    if number not in classes:
        raise EpisodesError(
            f"{where}: its class is {number}; expected {min(classes)} to {max(classes)}: "
            "the archive is damaged or another one, fetch it again"
        )
    return classes[number]
