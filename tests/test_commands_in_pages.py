"""Every command line of README.md and docs/ names commands, flags and choices that there are.

Blocks of language bash are run by test_readme.py too; those of language text or console, which need
a GPU, a download or days, are checked by this alone.
"""

import re
import shlex

import click
import pytest
from readme_block import README, fenced_blocks

import episodes.cli
import trainers.cli
from episodes.errors import UsageError

ROOT = README.parent
PROGRAMS: dict[str, click.Command] = {"episodes": episodes.cli.main, "trainers": trainers.cli.main}
CALL = re.compile(
    r"(?:\$ +)?(?:\w+=\S* +)*(?:\.venv/bin/)?(?P<call>(?:episodes|trainers) +[a-z-].*)"
)


def calls(code: str) -> list[list[str]]:
    """The words of each call of the programs: lines, or parts of lines, that begin with one."""
    parts = re.split(r"\n| && | \| | ; ", re.sub(r"\\\n\s*", "", code))
    found = [CALL.fullmatch(part.strip()) for part in parts]
    return [
        shlex.split(re.split(r"\s\d?[<>]", match["call"])[0], comments=True)
        for match in found
        if match
    ]


def parse(command: click.Command, words: list[str]) -> None:
    """Raise UsageError for a command, flag or value that there is not; nothing runs."""
    context = click.Context(command)
    values, rest, given = command.make_parser(context).parse_args(list(words))
    for parameter in set(given):
        value = values[parameter.name]
        is_told = isinstance(value, str | list | tuple) and not isinstance(
            parameter.type, click.Path
        )
        # Words in capitals stand for what the reader has.
        if is_told and not str(value).isupper():
            parameter.type_cast_value(context, value)
    if isinstance(command, click.Group):
        _, below, rest = command.resolve_command(context, rest)
        if below is not None:
            parse(below, rest)
    elif rest:
        raise click.UsageError(f"too many arguments: {rest}")


COMMAND_LINES = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}:{block.line}: {' '.join(words)[:60]}")
    for page in [README, *sorted((ROOT / "docs").rglob("*.md"))]
    for block in fenced_blocks(page.read_text(encoding="utf-8"))
    if block.language in ("bash", "console", "text")
    for words in calls(block.code)
]


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_command_line_is_one_that_there_is(words: list[str]) -> None:
    parse(PROGRAMS[words[0]], words[1:])


def test_calls_are_found_behind_paths_settings_and_continuations() -> None:
    code = (
        "$ A=1 .venv/bin/trainers run --algo \\\n  maml > log  # why\n"
        "python x.py && episodes info 'my store' | head\n"
    )
    assert calls(code) == [["trainers", "run", "--algo", "maml"], ["episodes", "info", "my store"]]


def test_what_a_program_says_is_no_call() -> None:
    assert calls("episodes   600\nepisodes: 600\ntest: trainers run\ntrainers, fixed | 3\n") == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("trainers rnu", "unknown command"),
        ("trainers run --algorithm maml", "No such option"),
        ("trainers run --algo mmal", "mmal"),
        ("trainers run --way five", "not a valid integer"),
        ("trainers run --out", "requires an argument"),
        ("trainers run stray", "too many arguments"),
        ("episodes info omniglot --jsn", "No such option"),
    ],
)
def test_what_there_is_not_is_refused(line: str, error: str) -> None:
    words = line.split()
    with pytest.raises((click.UsageError, UsageError), match=error):
        parse(PROGRAMS[words[0]], words[1:])


def test_placeholders_are_taken() -> None:
    parse(trainers.cli.main, ["run", "--algo", "NAME", "--resume", "RUN"])
