"""A sweep: every combination of varied settings, times seeds, as cells of a grid."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from episodes.errors import UsageError, unknown_name
from trainers.config import DEFAULTS, Settings
from trainers.grids.cell import Cell
from trainers.options import parsed
from trainers.settings import SETTINGS, Value, dashed

NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Sweep:
    """What all runs have in `common`, the values of each `varied` setting, and how many seeds.

    Raises UsageError for a setting that is in both, and for varied seeds.
    """

    common: Settings
    varied: dict[str, tuple[Value, ...]]
    seeds: int = 1

    def __post_init__(self) -> None:
        if "seed" in self.varied:
            raise UsageError("--vary seed: use --seeds N, the number of seeds from --seed on")
        for name in self.varied:
            if name in self.common:
                flag = f"--{dashed(name)}"
                raise UsageError(f"{flag} is given, and varied by --vary: leave one of them out")

    def combinations(self) -> list[Settings]:
        """The varied settings of each combination; the last one varies fastest."""
        return [
            dict(zip(self.varied, values, strict=True)) for values in product(*self.varied.values())
        ]

    def cells(self, combination: Settings) -> list[Cell]:
        """The runs of a combination, one a seed: `lr=alfa,shot=1,seed=1`."""
        first = int(self.common.get("seed", DEFAULTS["seed"]))
        seeds = range(first, first + self.seeds)
        return [
            Cell(_name({**combination, "seed": seed}), {**self.common, **combination, "seed": seed})
            for seed in seeds
        ]


def variations(texts: Iterable[str]) -> dict[str, tuple[Value, ...]]:
    """The values of each setting in texts such as `lr=fixed,alfa` or `hidden=40,40;80,80`.

    Raises UsageError for a setting that there is not, with the nearest match; for one that comes
    twice; and for a value that is out of range, unknown, or there twice.
    """
    found: dict[str, tuple[Value, ...]] = {}
    for text in texts:
        spelled, _, values = text.partition("=")
        name = spelled.strip().replace("-", "_")
        if name not in SETTINGS:
            raise unknown_name("setting", dashed(name), map(dashed, SETTINGS))
        if not values:
            raise UsageError(f"--vary {text}: expected SETTING=VALUE,VALUE,...")
        if name in found:
            raise UsageError(f"--vary {text}: {spelled} is varied twice, give all its values once")
        parts = values.split(";" if ";" in values else ",")
        found[name] = tuple(parsed(name, part.strip()) for part in parts)
        if len(set(found[name])) < len(parts):
            raise UsageError(
                f"--vary {text}: a value is there twice "
                "(between values that have commas put semicolons)"
            )
    return found


def text(value: Value) -> str:
    """A value as one types it after --vary."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(settings: Settings) -> str:
    parts = (
        f"{dashed(name)}={NOT_IN_NAMES.sub('-', text(value)).strip('-')}"
        for name, value in settings.items()
    )
    return ",".join(parts)
