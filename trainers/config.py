"""RunConfig: every setting of a run in one flat, validating dataclass, and its TOML file."""

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from episodes.errors import EpisodesError, UsageError, unknown_name
from trainers import catalog, combinations
from trainers.settings import LARGEST_SEED, SETTINGS, Value, flag

Settings = dict[str, Value]

DEFAULTS: Settings = {
    "dataset": "glyphs",
    "algo": "anil",
    "lr": "personalized",
    "backbone": "conv4",
    "sampler": "uniform",
    "regularizer": "none",
    "way": 5,
    "shot": 1,
    "query": 15,
    "random_shots": False,
    "steps": 5,
    "eval_steps": 10,
    "outer": "adam",
    "outer_lr": 1e-3,
    "outer_schedule": "constant",
    "meta_batch_size": 4,
    "iterations": 30000,
    "epoch": 500,
    "validate_every": 500,
    "val_episodes": 600,
    "episodes": 600,
    "metric": "accuracy",
    "keep_top": 10,
    "skip_diverged": 0,
    "first_order": False,
    "first_order_epochs": 0,
    "multi_step_epochs": 0,
    "multi_step": False,
    "bn": "batch",
    "head_init": "learned",
    "head_rates": "per-class",
    "l2f": False,
    "task_batching": "auto",
    "blocks": "auto",
    "precision": "fp32",
    "inner_graph": "auto",
    "compile": False,
    "cuda_graph": "auto",
    "seed": 1,
    "episode_seed": 0,
    "device": "cpu",
}
"""The protocol of MLPLR's experiments; settings of catalog entries have their defaults there."""

SHAPE = ("way", "shot", "query", "train_way", "train_shot", "train_query")

RECORDED_TABLES = {
    "store": {"name", "digest"},
    "versions": {"python", "torch", "numpy"},
}


class Shape(NamedTuple):
    """The classes, support and query images (or points) of tasks; None where there are none, or
    where each task draws its own."""

    way: int | None
    shot: int | None
    query: int | None

    def __str__(self) -> str:
        """`5-way 1-shot`."""
        if self.shot is None:
            return "variable way and shot" if self.way is None else f"{self.way}-way, variable shot"
        return f"{self.shot}-shot" if self.way is None else f"{self.way}-way {self.shot}-shot"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of one run, complete: the same settings over the same store are the same run.

    `way`, `shot` and `query` (per class) shape validation and test episodes, `train_*` the training
    episodes; in regression `way` and `train_way` are None, under `sampler` meta-dataset all that is
    drawn. `own` holds the settings of the catalog entries in use, which others do not have;
    `grad_clip` is None where the outer gradient is not clipped.

    Raises UsageError for a value that is out of range, unknown, or without a use.
    """

    dataset: str
    split: str
    algo: str
    lr: str
    backbone: str
    sampler: str
    regularizer: str
    way: int | None
    shot: int | None
    query: int | None
    train_way: int | None
    train_shot: int | None
    train_query: int | None
    random_shots: bool
    steps: int
    eval_steps: int
    outer: str
    outer_lr: float
    outer_schedule: str
    meta_batch_size: int
    iterations: int
    epoch: int
    validate_every: int
    val_episodes: int
    episodes: int
    metric: str
    keep_top: int
    skip_diverged: int
    first_order: bool
    first_order_epochs: int
    multi_step_epochs: int
    multi_step: bool
    bn: str
    head_init: str
    head_rates: str
    l2f: bool
    task_batching: str
    blocks: str
    precision: str
    inner_graph: str
    compile: bool
    cuda_graph: str
    seed: int
    episode_seed: int
    device: str
    threads: int
    grad_clip: float | None = None
    own: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.settings()
        for name, value in settings.items():
            SETTINGS[name].check(name, value)
            if name in catalog.TABLES:
                catalog.find(name, str(value))
        self._check_ownership(settings)
        combinations.check(self)

    def _check_ownership(self, settings: Settings) -> None:
        used = owned_settings(settings)
        for name in sorted(_OWNED):
            if name in used and name not in settings:
                raise UsageError(f"setting {name!r} is missing")
            if name not in used and name in settings:
                raise UsageError(f"{flag(name, settings[name])} has no use here: {_reason(name)}")

    @property
    def shape(self) -> Shape:
        """That of validation and test tasks."""
        return Shape(self.way, self.shot, self.query)

    @property
    def training_shape(self) -> Shape:
        """That of training tasks."""
        return Shape(self.train_way, self.train_shot, self.train_query)

    def settings(self) -> Settings:
        """The settings that have a value: the fields in their order, then the entries' own."""
        shared = {name: value for name, value in asdict(self).items() if name != "own"}
        given = {name: value for name, value in shared.items() if value is not None}
        return given | {name: self.own[name] for name in SETTINGS if name in self.own}

    def digest(self) -> str:
        """Hex SHA-256 of the settings that are not the defaults, so that a setting which a later
        version adds leaves runs as they are."""
        settings = self.settings()
        defaults = {**DEFAULTS, **_defaults_of_entries(settings)}
        chosen = {n: value for n, value in settings.items() if defaults.get(n) != value}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


_SHARED = {item.name for item in fields(RunConfig)} - {"own"}
_OWNED = {
    name for table in catalog.TABLES.values() for entry in table.values() for name in entry.settings
}


def from_settings(settings: Mapping[str, Value]) -> RunConfig:
    """The run of complete settings; raises UsageError as `RunConfig`."""
    shared: dict[str, Any] = dict.fromkeys(SHAPE)
    shared |= {n: value for n, value in settings.items() if n in _SHARED}
    return RunConfig(**shared, own={n: v for n, v in settings.items() if n not in _SHARED})


def complete(given: Mapping[str, Value], defaults: Mapping[str, Value]) -> RunConfig:
    """The run that the `given` settings mean: what they leave open is taken from `defaults` (the
    dataset's own and the machine's), then from the protocol's.

    Raises UsageError for settings that are unknown, out of range, or without a use.
    """
    check_names({**defaults, **given})
    settings = _resolved(given, defaults)
    if missing := [name for name in ("split", "threads") if name not in settings]:
        raise UsageError(f"setting {missing[0]!r} is missing")
    used = owned_settings(settings)
    for name in (set(defaults) & _OWNED) - used - set(given):
        del settings[name]
    return from_settings({name: _as_declared(name, value) for name, value in settings.items()})


def usual(config: RunConfig) -> Settings:
    """The settings of a run of the same dataset, algorithm, scheme and so on with nothing else
    given; a dataset's own are not among them."""
    settings = config.settings()
    return _resolved({n: settings[n] for n in ("dataset", *catalog.TABLES) if n in settings}, {})


def overridden(recorded: Settings, given: Settings) -> Settings:
    """The `recorded` settings with those `given` instead.

    A recorded setting goes where it only followed another that is given now: a training shape that
    equalled the evaluation's, what belongs to another dataset, what an entry of the catalog that is
    replaced brought with it, and what the entry in its place changes.
    """
    settings = {**recorded, **given}
    for name in ("way", "shot", "query"):
        follower = f"train_{name}"
        if follower not in given and recorded.get(follower) == recorded.get(name):
            settings.pop(follower, None)
    if "dataset" in given and given["dataset"] != recorded.get("dataset"):
        gone = {"split", "way", "train_way"}
        if len({catalog.is_regression(str(s.get("dataset"))) for s in (recorded, given)}) == 2:
            gone.add("metric")
        for name in gone - set(given):
            settings.pop(name, None)
    for table in catalog.TABLES:
        if table in recorded and table in settings and recorded[table] != settings[table]:
            replaced = catalog.find(table, str(recorded[table]))
            chosen = catalog.find(table, str(settings[table]))
            brought = {**replaced.settings, **replaced.changes}
            gone = {name for name, value in brought.items() if recorded.get(name) == value}
            for name in (gone | chosen.changes.keys()) - given.keys():
                settings.pop(name, None)
    return _without_useless(settings, given)


def owned_settings(settings: Mapping[str, Value]) -> set[str]:
    """The settings that the catalog entries chosen in `settings` bring with them."""
    return set(_defaults_of_entries(settings))


def _defaults_of_entries(settings: Mapping[str, Value]) -> Settings:
    """What the catalog entries chosen in `settings` say of the settings that they bring."""
    found: Settings = {}
    for setting in catalog.TABLES:
        if setting in settings:
            found |= catalog.find(setting, str(settings[setting])).settings
    return found


def check_names(settings: Iterable[str]) -> None:
    """Raises UsageError, with the nearest match, for a setting that a run does not have."""
    for name in settings:
        if name not in SETTINGS:
            raise unknown_name("setting", name, SETTINGS)


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
        if strange := sorted(found.keys() & SETTINGS.keys()):
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


def _resolved(given: Mapping[str, Value], defaults: Mapping[str, Value]) -> Settings:
    """All settings, with those that the chosen catalog entries bring and change."""
    settings: Settings = {**DEFAULTS, **defaults, **given}
    dataset = str(settings["dataset"])
    if catalog.is_regression(dataset):
        settings = {**settings, **catalog.changes_of_dataset(dataset), **given}
        if "way" not in given:
            del settings["way"]
    for setting in catalog.TABLES:
        entry = catalog.find(setting, str(settings[setting])) if setting in settings else None
        if entry is not None:
            settings = {**entry.settings, **settings, **entry.changes, **given}
    if settings["sampler"] == "meta-dataset":
        drawn = set(SHAPE) - given.keys()
        settings = {name: value for name, value in settings.items() if name not in drawn}
    for name in ("way", "shot", "query"):
        if name in settings:
            settings.setdefault(f"train_{name}", settings[name])
    return settings


def _without_useless(settings: Settings, given: Settings) -> Settings:
    """The settings but for those, not given, of catalog entries that are not chosen in the end."""
    useless = _OWNED - owned_settings(_resolved(settings, {})) - set(given)
    return {name: value for name, value in settings.items() if name not in useless}


def _as_declared(name: str, value: Value) -> Value:
    if isinstance(value, int) and not isinstance(value, bool) and SETTINGS[name].kind is float:
        return float(value) if abs(value) <= LARGEST_SEED else math.inf
    return value


def _reason(name: str) -> str:
    owners = [
        (setting, entry.name)
        for setting, table in catalog.TABLES.items()
        for entry in table.values()
        if name in entry.settings
    ]
    setting = owners[0][0]
    return f"only {flag(setting, ' or '.join(entry for _, entry in owners))} reads it"
