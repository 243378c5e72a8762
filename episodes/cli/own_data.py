"""The part of `episodes prepare` that is for a user's own data: options and where they apply."""

import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from episodes.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from episodes.own.collection import Collection

HUB = "hf:"
SHIPPED, META, FOLDER, CSV, HF = "shipped", "meta-dataset", "folder", "csv", "hf"
OWN = (FOLDER, CSV, HF)
IN_WORDS = {
    SHIPPED: "shipped datasets",
    META: META,
    FOLDER: "folder",
    CSV: "csv",
    HF: "hf:REPO",
}


class OptionFor(click.Option):
    """An option that only some kinds of input take."""

    def __init__(self, *arguments: Any, takers: tuple[str, ...], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.takers = takers

    @property
    def section(self) -> str:
        """Where `--help` shows it."""
        if SHIPPED in self.takers:
            return "Options" if set(OWN) <= set(self.takers) else "Options for shipped datasets"
        return "Options for own data" if META not in self.takers else f"Options for {META}"


class PrepareCommand(click.Command):
    """A command whose help has a section for each kind of input."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                section = getattr(parameter, "section", "Options")
                sections.setdefault(section, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def own_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for own data."""
    every = partial(click.option, cls=OptionFor, takers=OWN)
    table = partial(click.option, cls=OptionFor, takers=(CSV,))
    hub = partial(click.option, cls=OptionFor, takers=(HF,))
    labelled = partial(click.option, cls=OptionFor, takers=(CSV, HF))
    for option in reversed(
        (
            every("--name", "own_name", help="Its name (hf: default the repository's)."),
            every("--train", multiple=True, help="Classes, with commas between; may be repeated."),
            every("--val", multiple=True, help="Likewise."),
            every("--test", multiple=True, help="Likewise."),
            every("--fractions", help="Classes in train,val,test (default: 0.64,0.16,0.2)."),
            every("--split-seed", type=int, help="Which classes these are (default: 1)."),
            every(
                "--split-file",
                type=click.Path(path_type=Path),
                help="JSON of lists train, val, test, or table of class and part.",
            ),
            every("--grey", is_flag=True, help="Keep one channel."),
            every("--licence", default="not stated", show_default=True, help="Told by info."),
            table("--path-column", default="path", show_default=True, help="csv: the images."),
            labelled("--label-column", default="label", show_default=True, help="csv, hf."),
            table("--split-column", help="csv: train, val, test or - for every class."),
            hub("--image-column", default="image", show_default=True, help="hf."),
            hub("--hf-split", default="train", show_default=True, help="hf: or train+test."),
            hub("--hf-config", help="hf: the dataset's configuration."),
            hub("--revision", help="hf: branch, tag or commit."),
        )
    ):
        command = option(command)
    return command


def kind_of(name: str) -> str:
    """What `episodes prepare NAME` is to read: a shipped dataset, or a kind of own data.

    Raises UsageError, with the nearest match, for what is none of them.
    """
    from episodes import manifest

    if name in (META, FOLDER, CSV) or name.startswith(HUB):
        return name.partition(":")[0]
    if name in manifest.names():
        return SHIPPED
    if name == HF:
        raise UsageError("hf and the repository are one word: type `episodes prepare hf:REPO`")
    if (path := Path(name)).exists():
        kind = FOLDER if path.is_dir() else CSV
        raise UsageError(
            f"{name} is no dataset's name: for data of your own, type "
            f"`episodes prepare {kind} {shlex.quote(name)} --name NAME`"
        )
    raise unknown_name("dataset", name, [*manifest.names(), META, FOLDER, CSV, "hf:REPO"])


def refuse_options_of_others(context: click.Context, kind: str) -> None:
    """Raises UsageError for an option that was given and that `kind` does not take."""
    for option in context.command.params:
        takers = getattr(option, "takers", (kind,))
        given = context.get_parameter_source(str(option.name))
        if kind not in takers and given is not click.core.ParameterSource.DEFAULT:
            words = ", ".join(IN_WORDS[taker] for taker in takers)
            raise UsageError(f"{option.opts[0]} is for {words}: leave it out")


def collection_of(
    name: str, path: Path | None, chosen: Mapping[str, Any], offline: bool
) -> "Collection":
    """The images that `episodes prepare NAME PATH` is about, found but not read."""
    kind = kind_of(name)
    if kind == HF:
        from episodes.own.hugging_face import images_in_hub

        if path is not None:
            raise UsageError(f"{name} takes no PATH: leave {path} out")
        return images_in_hub(
            name.removeprefix(HUB),
            chosen["image_column"],
            chosen["label_column"],
            split=chosen["hf_split"],
            config=chosen["hf_config"],
            revision=chosen["revision"],
            offline=offline,
        )
    if path is None:
        raise UsageError(f"{kind} needs a path: type `episodes prepare {kind} PATH --name NAME`")
    if kind == CSV:
        from episodes.own.csv_file import images_in_csv

        return images_in_csv(
            path, chosen["path_column"], chosen["label_column"], chosen["split_column"]
        )
    from episodes.own.folder import images_in_folder

    return images_in_folder(path)


def name_for(name: str, given: str | None) -> str:
    """The name of the own dataset: the one given, or for hf:REPO the repository's last part."""
    from episodes.own.facts import check_name

    if given is None and not name.startswith(HUB):
        raise UsageError(
            f"the dataset needs a name: type `episodes prepare {name} PATH --name NAME`"
        )
    repository = Path(name.removeprefix(HUB))
    return check_name(given if given is not None else repository.name.removesuffix(".parquet"))


def split_options(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen of every own dataset, as `prepare_own` takes it."""
    taken = ("train", "val", "test", "split_seed", "split_file", "grey", "licence")
    fractions = chosen["fractions"]
    return {option: chosen[option] for option in taken} | {
        "fractions": fractions.split(",") if fractions is not None else None
    }
