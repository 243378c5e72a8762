"""RunConfig: every setting of a run in one flat, validating dataclass, and its TOML file."""

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from episodes.errors import EpisodesError, UsageError, unknown_name
from trainers import catalog
from trainers.catalog import Value

Settings = dict[str, Value]

CHOICES = {
    "bn": catalog.NORMALISATIONS,
    "downsample": catalog.DOWNSAMPLINGS,
    "device": catalog.DEVICES,
}

DEFAULTS: Settings = {
    "dataset": "glyphs",
    "algo": "anil",
    "lr": "personalized",
    "backbone": "conv4",
    "way": 5,
    "shot": 1,
    "query": 15,
    "steps": 5,
    "eval_steps": 10,
    "outer_lr": 1e-3,
    "meta_batch_size": 4,
    "iterations": 30000,
    "validate_every": 500,
    "val_episodes": 600,
    "episodes": 600,
    "keep_top": 10,
    "bn": "batch",
    "seed": 1,
    "episode_seed": 0,
    "device": "cpu",
}
"""The protocol of MLPLR's experiments; settings of catalog entries have their defaults there."""

LARGEST_SEED = 2**63 - 1
LARGEST = {
    "threads": 1024,
    "filters": 4096,
    "steps": 10_000,
    "eval_steps": 10_000,
    "meta_batch_size": 100_000,
    "outer_lr": 1e6,
}
RECORDED_TABLES = {
    "store": {"name", "digest", "image_size", "channels"},
    "versions": {"python", "torch", "numpy"},
}
AT_LEAST_ZERO = {"iterations", "seed", "episode_seed", "inner_lr"}
AT_LEAST_TWO = {"way", "train_way"}
BELOW_ONE = {"smoothing", "clamp"}
NEGATIVE_FLAGS = {
    "adapt_bn": "--no-adapt-bn",
    "detach_rate": "--attach-rate",
    "clip_rate": "--no-clip-rate",
}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of one run, complete: the same settings over the same store are the same run.

    `way`, `shot` and `query` (per class) shape validation and test episodes, `train_*` the training
    episodes. A setting that belongs to a catalog entry is None where that entry is not in use, and
    `grad_clip` is None where the outer gradient is not clipped. Raises UsageError for a value that
    is out of range, unknown, or without a use.
    """

    dataset: str
    split: str
    algo: str
    lr: str
    backbone: str
    way: int
    shot: int
    query: int
    train_way: int
    train_shot: int
    train_query: int
    steps: int
    eval_steps: int
    outer_lr: float
    meta_batch_size: int
    iterations: int
    validate_every: int
    val_episodes: int
    episodes: int
    keep_top: int
    bn: str
    seed: int
    episode_seed: int
    device: str
    threads: int
    grad_clip: float | None = None
    adapt_bn: bool | None = None
    inner_lr: float | None = None
    lr_min: float | None = None
    lr_max: float | None = None
    divergence: str | None = None
    detach_rate: bool | None = None
    clip_rate: bool | None = None
    smoothing: float | None = None
    clamp: float | None = None
    filters: int | None = None
    downsample: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _check_type(name, value)
            if value is not None:
                _check_value(name, value)
        self._check_ownership()
        if self.lr_min is not None and self.lr_max is not None and self.lr_min > self.lr_max:
            raise UsageError(f"--lr-min {self.lr_min} is above --lr-max {self.lr_max}")
        if self.train_way != self.way:
            raise UsageError(
                f"--train-way {self.train_way} differs from --way {self.way}: under {self.algo} "
                f"the head has one output a class, in training and test alike"
            )

    def _check_ownership(self) -> None:
        settings = self.settings()
        used = owned_settings(settings)
        for name in sorted(_OWNED):
            if name in used and name not in settings:
                raise UsageError(f"setting {name!r} is missing")
            if name not in used and name in settings:
                raise UsageError(f"{flag(name, settings[name])} has no use here: {_reason(name)}")

    def settings(self) -> Settings:
        """The settings that have a value, in the order of the fields."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def digest(self) -> str:
        """Hex SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()


TYPES: dict[str, tuple[type, ...]] = {
    name: get_args(hint) or (hint,) for name, hint in get_type_hints(RunConfig).items()
}
"""Setting -> its type, and None's where it may be absent."""

_OWNED = {
    name for table in catalog.TABLES.values() for entry in table.values() for name in entry.settings
}


def complete(given: Mapping[str, Value], defaults: Mapping[str, Value]) -> RunConfig:
    """The run that the `given` settings mean: what they leave open is taken from `defaults` (the
    dataset's own and the machine's), then from the protocol's.

    Raises UsageError for settings that are unknown, out of range, or without a use.
    """
    check_names({**defaults, **given})
    settings: Settings = {**DEFAULTS, **defaults, **given}
    for setting in catalog.TABLES:
        if setting in settings:
            own = catalog.find(setting, str(settings[setting])).settings
            settings = {**own, **settings}
    for name in ("way", "shot", "query"):
        settings.setdefault(f"train_{name}", settings[name])
    if missing := [name for name in ("split", "threads") if name not in settings]:
        raise UsageError(f"setting {missing[0]!r} is missing")
    used = owned_settings(settings)
    for name in (set(defaults) & _OWNED) - used - set(given):
        del settings[name]
    return RunConfig(**{name: _as_declared(name, value) for name, value in settings.items()})


def overridden(recorded: Settings, given: Settings) -> Settings:
    """The `recorded` settings with those `given` instead.

    A recorded setting goes where it only followed another that is given now: a training shape that
    equalled the evaluation's, and what belonged to an entry of the catalog that is replaced.
    """
    settings = {**recorded, **given}
    for name in ("way", "shot", "query"):
        follower = f"train_{name}"
        if follower not in given and recorded.get(follower) == recorded.get(name):
            settings.pop(follower, None)
    for name in owned_settings(recorded) - owned_settings(settings) - set(given):
        settings.pop(name, None)
    return settings


def owned_settings(settings: Mapping[str, Value]) -> set[str]:
    """The settings that the catalog entries chosen in `settings` bring with them."""
    return {
        name
        for setting in catalog.TABLES
        if setting in settings
        for name in catalog.find(setting, str(settings[setting])).settings
    }


def check_names(settings: Iterable[str]) -> None:
    """Raises UsageError, with the nearest match, for a setting that a run does not have."""
    for name in settings:
        if name not in TYPES:
            raise unknown_name("setting", name, TYPES)


def flag(name: str, value: Value) -> str:
    """A setting as one types it: `--inner-lr 0.01`, `--no-adapt-bn`."""
    if value is False:
        return NEGATIVE_FLAGS[name]
    spelled = f"--{name.replace('_', '-')}"
    return spelled if value is True else f"{spelled} {value}"


def differences(recorded: RunConfig, given: Mapping[str, Value]) -> list[str]:
    """One phrase for each given setting that is not the recorded one, with flag and values."""
    settings = recorded.settings()
    return [
        f"{flag(name, value)} "
        + (f"(recorded: {flag(name, settings[name])})" if name in settings else "(not in this run)")
        for name, value in given.items()
        if settings.get(name) != value
    ]


def to_toml(config: RunConfig, tables: Mapping[str, Mapping[str, Value]]) -> str:
    """The text of a config.toml: the settings, then `tables` of what they were used with."""
    lines = [f"{name} = {_toml_value(value)}" for name, value in config.settings().items()]
    for table, entries in tables.items():
        lines += ["", f"[{table}]"]
        lines += [f"{name} = {_toml_value(value)}" for name, value in entries.items()]
    return "\n".join(lines) + "\n"


def read_toml(path: Path) -> tuple[Settings, dict[str, dict[str, Any]]]:
    """Settings and tables of a config.toml; raises EpisodesError for what is not one."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EpisodesError(f"{path}: no such config file") from None
    except OSError as error:
        raise EpisodesError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EpisodesError(f"{path}: not valid TOML: {error}") from None
    tables = {name: value for name, value in content.items() if name in RECORDED_TABLES}
    for name, keys in RECORDED_TABLES.items():
        found = tables.get(name, {})
        if not isinstance(found, dict) or (found and not keys <= found.keys()):
            raise EpisodesError(f"{path}: [{name}] must hold {', '.join(sorted(keys))}")
        if strange := sorted(found.keys() & TYPES.keys()):
            raise EpisodesError(f"{path}: {strange[0]} belongs above the tables, not in [{name}]")
    settings = {name: value for name, value in content.items() if name not in tables}
    try:
        check_names(settings)
    except UsageError as error:
        raise EpisodesError(f"{path}: {error}") from None
    return settings, tables


def _toml_value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _as_declared(name: str, value: Value) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and float in TYPES[name]:
        return float(value) if abs(value) <= LARGEST_SEED else math.inf
    return value


def _check_type(name: str, value: object) -> None:
    if type(value) not in TYPES[name]:
        expected = TYPES[name][0].__name__
        raise UsageError(f"setting {name!r} is {value!r}, expected a value of type {expected}")


def _check_value(name: str, value: Value) -> None:
    if name in catalog.TABLES:
        catalog.find(name, str(value))
    elif name in CHOICES and value not in CHOICES[name]:
        raise unknown_name(f"value of --{name}", str(value), CHOICES[name])
    elif isinstance(value, str):
        if not value or not value.isprintable():
            raise UsageError(f"setting {name!r} is {value!r}, expected printable text")
    elif not isinstance(value, bool):
        _check_range(name, value)


def _check_range(name: str, value: int | float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{flag(name, value)}: expected a finite number")
    lowest = 0 if name in AT_LEAST_ZERO else 2 if name in AT_LEAST_TWO else 1
    if isinstance(value, float) and name not in AT_LEAST_ZERO:
        if value <= 0:
            raise UsageError(f"{flag(name, value)}: expected more than 0")
    elif value < lowest:
        raise UsageError(f"{flag(name, value)}: expected at least {lowest}")
    if name in BELOW_ONE and value >= 1:
        raise UsageError(f"{flag(name, value)}: expected less than 1")
    largest = LARGEST.get(name, LARGEST_SEED if isinstance(value, int) else math.inf)
    if value > largest:
        raise UsageError(f"{flag(name, value)}: expected at most {largest:g}")


def _reason(name: str) -> str:
    owners = [
        (setting, entry.name)
        for setting, table in catalog.TABLES.items()
        for entry in table.values()
        if name in entry.settings
    ]
    setting = owners[0][0]
    return f"only {flag(setting, ' or '.join(entry for _, entry in owners))} reads it"
