"""What the commands share: the group, errors as lines, and options that return."""

import errno
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from episodes.errors import EpisodesError


class ErrorLineGroup(click.Group):
    """A command group that prints what users can mend as one line and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EpisodesError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(EpisodesError.exit_code)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from episodes.errors import unknown_name

        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


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
