"""The options of the command line that set a run's settings, one flag a setting."""

from collections.abc import Callable
from typing import Any

import click
from click.types import convert_type

from episodes.errors import UsageError, unknown_name
from trainers import catalog
from trainers.config import DEFAULTS, Settings
from trainers.presets import PRESETS
from trainers.settings import SETTINGS, Value, dashed, flag

Command = Callable[..., Any]

DATASETS_OWN = ("iterations", "validate_every", "val_episodes")

EVALUATION_SETTINGS = (
    "way",
    "shot",
    "query",
    "eval_steps",
    "episodes",
    "episode_seed",
    "device",
    "threads",
)

MACHINE_SETTINGS = ("device", "threads", "compile")

allow_overlap_option = click.option(
    "--allow-overlap", is_flag=True, help="Test on classes that were trained on, and say so."
)


class KnownName(click.ParamType):
    """A name out of a known few; an unknown one fails with the nearest match."""

    name = "name"

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The names that work."""
        return f"[{'|'.join(_names(self.setting))}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        if self.setting in catalog.TABLES:
            return catalog.find(self.setting, value).name
        if value not in _names(self.setting):
            raise unknown_name(f"value of --{dashed(self.setting)}", value, _names(self.setting))
        return value


class PresetName(KnownName):
    """The name of a preset."""

    def __init__(self) -> None:
        super().__init__("preset")

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """All of them."""
        return f"[{'|'.join(PRESETS)}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        if value not in PRESETS:
            raise unknown_name("preset", value, PRESETS)
        return value


def run_settings(command: Command) -> Command:
    """Adds a flag for each setting of a run; those that were not given are None."""
    for name in reversed(SETTINGS):
        command = _option(name)(command)
    return command


def evaluation_settings(command: Command) -> Command:
    """Adds the flags of the settings that an evaluation may change; absent ones are None."""
    for name in reversed(EVALUATION_SETTINGS):
        command = click.option(
            f"--{dashed(name)}", name, type=_kind(name), default=None, help=SETTINGS[name].help
        )(command)
    return command


def machine_settings(command: Command) -> Command:
    """Adds the flags of how a run computes; absent ones are None."""
    for name in reversed(MACHINE_SETTINGS):
        command = _option(name)(command)
    return command


def given_settings(parameters: dict[str, Any]) -> Settings:
    """The settings among the parsed parameters that were given."""
    return {
        name: value for name, value in parameters.items() if name in SETTINGS and value is not None
    }


def parsed(name: str, text: str) -> Value:
    """A setting's value as its flag reads it; raises UsageError where it cannot be one."""
    try:
        value: Value = convert_type(_kind(name)).convert(text, None, None)
    except click.BadParameter as error:
        raise UsageError(f"--{dashed(name)} {text}: {error.message}") from None
    SETTINGS[name].check(name, value)
    return value


def _names(setting: str) -> tuple[str, ...]:
    if setting not in catalog.TABLES:
        return SETTINGS[setting].choices
    return tuple(catalog.TABLES[setting])


def _option(name: str) -> Callable[[Command], Command]:
    flags = f"--{dashed(name)}"
    if negative := SETTINGS[name].negative:
        flags += f"/{negative}"
    text = f"{SETTINGS[name].help}  [default: {_default_text(name)}]"
    return click.option(flags, name, type=_kind(name), default=None, help=text)


def _kind(name: str) -> Any:
    is_name = name in catalog.TABLES or SETTINGS[name].choices
    return KnownName(name) if is_name else SETTINGS[name].kind


def _default_text(name: str) -> str:
    if said := SETTINGS[name].default:
        return said
    entries = [entry for table in catalog.TABLES.values() for entry in table.values()]
    owners: dict[Value, list[str]] = {DEFAULTS[name]: []} if name in DEFAULTS else {}
    for entry in entries if name not in DEFAULTS else ():
        if name in entry.settings:
            owners.setdefault(entry.settings[name], []).append(entry.name)
    texts = [
        (flag(name, value) if isinstance(value, bool) else str(value))
        + (f" for {' and '.join(names)}" if len(owners) > 1 else "")
        for value, names in owners.items()
    ]
    return ("the dataset's own, else " if name in DATASETS_OWN else "") + "; ".join(texts)
