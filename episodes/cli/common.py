"""What the commands share: the group, errors as lines, and options that return."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from episodes.errors import EpisodesError, did_you_mean, unknown_name


class ErrorLineGroup(click.Group):
    """A command group that prints what users can mend as one line and exits with its code."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with errors_as_lines():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with errors_as_lines():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Prints an error that users can mend, also one in how they typed, and exits with its code."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        _exit_saying(_typed_wrongly(error), error.exit_code)
    except EpisodesError as error:
        _exit_saying(str(error), error.exit_code)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        _exit_saying(str(error), EpisodesError.exit_code)


def _exit_saying(text: str, exit_code: int) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    raise click.exceptions.Exit(exit_code)


def _typed_wrongly(error: click.UsageError) -> str:
    """What click says of a flag or an argument, in a line that ends with the help to ask for."""
    told = " ".join(error.format_message().split()).rstrip(".")
    text = told[:1].lower() + told[1:]
    context = error.ctx or click.get_current_context()  # None where a flag lacks its value.
    if isinstance(error, click.NoSuchOption):
        parameters = context.command.get_params(context)
        flags = [flag for each in parameters for flag in (*each.opts, *each.secondary_opts)]
        text = f"unknown option {error.option_name!r}{did_you_mean(error.option_name, flags)}"
    command = " ".join(filter(None, (context.command_path, context.invoked_subcommand)))
    return f"{text} (all options: `{command} --help`)"


@click.group(cls=ErrorLineGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fewshot-episodes", prog_name="episodes")
def main() -> None:
    """Few-shot datasets as deterministic streams of episodes.

    \b
    Example:
      episodes prepare omniglot --from ~/Downloads/omniglot
      episodes show omniglot --split test
    """


def was_given(context: click.Context, name: str) -> bool:
    """Whether a parameter was typed, and is not its default."""
    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def episode_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose a stream of episodes."""
    for option in (
        click.option("--seed", default=1, show_default=True, help="The episode seed."),
        click.option("--query", default=15, show_default=True, help="Query images a class."),
        click.option("--shot", default=1, show_default=True, help="Support images a class."),
        click.option("--way", default=5, show_default=True, help="Classes an episode."),
        click.option(
            "--split",
            default="test",
            show_default=True,
            help="[SCHEME.]PART, such as train or lake.test.",
        ),
    ):
        command = option(command)
    return command


def human_bytes(count: int) -> str:
    """A number of bytes in words: "1.2 GB"."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
