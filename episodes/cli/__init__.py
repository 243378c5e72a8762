"""The `episodes` command line: one module a family of commands."""

from episodes.cli import describing, exchanging, exporting, preparing
from episodes.cli.common import ErrorLineGroup, json_option, main

__all__ = ["ErrorLineGroup", "json_option", "main"]

for command in (
    describing.list_datasets,
    preparing.prepare,
    describing.info,
    describing.verify,
    describing.show,
    exporting.stream,
    exporting.export,
    exchanging.push,
    exchanging.pull,
):
    main.add_command(command)
