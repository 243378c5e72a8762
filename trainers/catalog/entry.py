"""What a catalog says of one name of the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainers.settings import Value

MAML_PAPER = "Finn et al. 2017, Model-Agnostic Meta-Learning"
MLPLR_PAPER = "Meta-Learning with Personalized Learning Rates (MLPLR), eqs. 4-6"


@dataclass(frozen=True)
class Entry:
    """A name of the command line: one line about it, and its source.

    `settings` maps each run setting that belongs to this entry alone to its default, `fields` maps
    those settings to the entry's own field names where the two differ. `branches` names the two
    branches of a rate scheme that has them, first the one that it reports as 1. `changes` are the
    defaults that the entry puts in the place of the protocol's. An algorithm lists the rate schemes
    that it works with under `rates` if not all do; `any_way` says that test episodes may have
    another way than training's;
    `elsewhere` lists settings that are not fields of what the entry names. A rate scheme that
    learns something of each row of the head has `of_head_rows`. `title` is an algorithm's name as
    papers write it.
    """

    name: str
    summary: str
    source: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    branches: tuple[str, str] | None = None
    changes: Mapping[str, Value] = field(default_factory=dict)
    rates: tuple[str, ...] = ()
    any_way: bool = False
    elsewhere: tuple[str, ...] = ()
    of_head_rows: bool = False
    title: str = ""


def table(*entries: Entry) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}
