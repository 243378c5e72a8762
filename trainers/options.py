"""The options of the command line that set a run's settings, one flag a setting."""

from collections.abc import Callable
from typing import Any

import click

from episodes.errors import unknown_name
from trainers import catalog
from trainers.config import CHOICES, DEFAULTS, NEGATIVE_FLAGS, TYPES, Settings, flag

Command = Callable[..., Any]

HELP = {
    "dataset": "A dataset's name, or the path of a store.",
    "split": "The split scheme.",
    "algo": "What adapts, and how the outer gradient is formed.",
    "lr": "The rate scheme of the inner loop.",
    "inner_lr": "The rate of --lr fixed.",
    "lr_min": "The rate of --lr personalized where the divergence is above --lr-max.",
    "lr_max": "Its largest rate, and the divergence under which it is used.",
    "divergence": "How it measures the divergence of predictions and labels.",
    "detach_rate": "Whether the outer gradient takes the rate for a constant.",
    "clip_rate": "Whether the rate is kept at --lr-min or above.",
    "smoothing": "The label smoothing of --divergence kl_smoothed.",
    "clamp": "The smallest label of --divergence kl_clamped.",
    "way": "Classes an episode.",
    "shot": "Support images a class.",
    "query": "Query images a class.",
    "train_way": "Classes a training episode.",
    "train_shot": "Support images a class in training.",
    "train_query": "Query images a class in training.",
    "steps": "Inner steps in training.",
    "eval_steps": "Inner steps in validation and test.",
    "outer_lr": "The rate of Adam in the outer loop.",
    "meta_batch_size": "Training episodes an iteration.",
    "iterations": "Outer iterations; 0 tests the initial weights.",
    "validate_every": "Iterations between validations.",
    "val_episodes": "Episodes a validation.",
    "episodes": "Test episodes.",
    "keep_top": "How many checkpoints to keep, the best by validation accuracy.",
    "backbone": "The network.",
    "filters": "Its filters in each layer.",
    "downsample": "How each of its blocks halves the image.",
    "bn": "What normalises query images: their own batch, or the support set's moments.",
    "adapt_bn": "Whether the scale and offset of batch norm adapt in the inner loop.",
    "grad_clip": "Clip the outer gradient, element by element, to this size.",
    "seed": "The training seed: initial weights and training episodes.",
    "episode_seed": "The seed of the fixed validation and test episodes.",
    "device": "Where to compute.",
    "threads": "CPU threads.",
}

DEFAULT_TEXTS = {
    "split": "the dataset's own",
    "iterations": f"the dataset's own, else {DEFAULTS['iterations']}",
    "validate_every": f"the dataset's own, else {DEFAULTS['validate_every']}",
    "val_episodes": f"the dataset's own, else {DEFAULTS['val_episodes']}",
    "train_way": "as --way",
    "train_shot": "as --shot",
    "train_query": "as --query",
    "grad_clip": "no clipping",
    "adapt_bn": "--adapt-bn, where the body adapts",
    "threads": "torch's own: the cores, or OMP_NUM_THREADS",
}

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


class KnownName(click.ParamType):
    """A name out of a known few; an unknown one fails with the nearest match."""

    name = "name"

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The names that work."""
        if self.setting in CHOICES:
            return f"[{'|'.join(CHOICES[self.setting])}]"
        entries = catalog.TABLES[self.setting].values()
        return f"[{'|'.join(entry.name for entry in entries if entry.state == 'works')}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        if self.setting in catalog.TABLES:
            return catalog.find(self.setting, value).name
        if value not in CHOICES[self.setting]:
            raise unknown_name(f"value of --{self.setting}", value, CHOICES[self.setting])
        return value


def run_settings(command: Command) -> Command:
    """Adds a flag for each setting of a run; those that were not given are None."""
    for name in reversed(HELP):
        command = _option(name)(command)
    return command


def evaluation_settings(command: Command) -> Command:
    """Adds the flags of the settings that an evaluation may change; absent ones are None."""
    for name in reversed(EVALUATION_SETTINGS):
        command = click.option(
            f"--{name.replace('_', '-')}", name, type=_kind(name), default=None, help=HELP[name]
        )(command)
    return command


def given_settings(parameters: dict[str, Any]) -> Settings:
    """The settings among the parsed parameters that were given."""
    return {name: value for name, value in parameters.items() if name in HELP and value is not None}


def _option(name: str) -> Callable[[Command], Command]:
    flags = f"--{name.replace('_', '-')}"
    if name in NEGATIVE_FLAGS:
        flags += f"/{NEGATIVE_FLAGS[name]}"
    text = f"{HELP[name]}  [default: {_default_text(name)}]"
    return click.option(flags, name, type=_kind(name), default=None, help=text)


def _kind(name: str) -> Any:
    return KnownName(name) if name in catalog.TABLES or name in CHOICES else TYPES[name][0]


def _default_text(name: str) -> str:
    if name in DEFAULT_TEXTS:
        return DEFAULT_TEXTS[name]
    defaults = dict(DEFAULTS)
    for table in catalog.TABLES.values():
        for entry in table.values():
            defaults |= entry.settings
    value = defaults[name]
    return flag(name, value) if isinstance(value, bool) else str(value)
