"""What can be named on the command line: algorithms, rate schemes and so on, without torch."""

from collections.abc import Mapping

from episodes.errors import unknown_name
from trainers.catalog.algorithms import ALGORITHMS
from trainers.catalog.backbones import BACKBONES
from trainers.catalog.entry import Entry
from trainers.catalog.families import FAMILIES, SINE_PROTOCOL
from trainers.catalog.outer import OTHER_REGULARIZERS, OUTER_SCHEDULES, REGULARIZERS
from trainers.catalog.rate_schemes import DIVERGENCES, RATE_SCHEMES
from trainers.catalog.samplers import SAMPLERS, STATELESS
from trainers.settings import Value

__all__ = [
    "ALGORITHMS",
    "BACKBONES",
    "DIVERGENCES",
    "FAMILIES",
    "KINDS",
    "OTHER_REGULARIZERS",
    "OUTER_SCHEDULES",
    "RATE_SCHEMES",
    "REGULARIZERS",
    "SAMPLERS",
    "STATELESS",
    "TABLES",
    "Entry",
    "changes_of_dataset",
    "find",
    "is_regression",
    "title",
]

TABLES = {
    "algo": ALGORITHMS,
    "lr": RATE_SCHEMES,
    "backbone": BACKBONES,
    "divergence": DIVERGENCES,
    "outer_schedule": OUTER_SCHEDULES,
    "sampler": SAMPLERS,
    "regularizer": REGULARIZERS,
}
"""Run setting -> the table that its value names an entry of."""

KINDS = {
    "algo": "algorithm",
    "lr": "rate scheme",
    "backbone": "backbone",
    "divergence": "divergence",
    "outer_schedule": "outer schedule",
    "sampler": "sampler",
    "regularizer": "regularizer",
}


def is_regression(dataset: str) -> bool:
    """Whether a dataset's name means regression tasks: a family's, or a file of tasks."""
    return dataset in FAMILIES or dataset.endswith((".npz", ".parquet"))


def changes_of_dataset(dataset: str) -> Mapping[str, Value]:
    """The defaults that a dataset puts in the place of the protocol's: those of regression."""
    if not is_regression(dataset):
        return {}
    return FAMILIES[dataset].changes if dataset in FAMILIES else SINE_PROTOCOL


def find(setting: str, name: str) -> Entry:
    """The entry that `name` means as the value of `setting`.

    Raises UsageError when it is unknown, with the nearest match.
    """
    kind, table = KINDS[setting], TABLES[setting]
    if name not in table:
        raise unknown_name(kind, name, table)
    return table[name]


def title(algo: str, lr: str) -> str:
    """`ANIL with personalized rates`, `Prototypical networks`: what heads a page about a run."""
    rates = "" if lr == "none" else f" with {lr} rates"
    return f"{find('algo', algo).title}{rates}"
