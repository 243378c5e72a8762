"""Write the generated parts of the pages on algorithms, rate schemes and additions."""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any, NamedTuple

from trainers import catalog, cli
from trainers.catalog import Entry
from trainers.config import DEFAULTS, RunConfig, complete
from trainers.options import given_settings
from trainers.settings import LARGEST_SEED, SETTINGS, Setting, Value, dashed, flag
from trainers.tables.quantities import QUANTITIES

DOCS = Path(__file__).parent.parent / "docs"
FOLDERS = {"algorithms": "algo", "rates": "lr"}
"""Folder of docs/ -> the setting that names what its pages are about."""
OPEN: Mapping[str, Value] = {"split": "any", "threads": 1}
"""Settings of dataset and machine, which a command may leave open."""


@dataclass(frozen=True)
class Page:
    """A page of docs/: the catalog's entry that it is about, the settings that its table shows,
    with their defaults, and whether a run uses the entry."""

    path: str
    entry: Entry
    settings: Mapping[str, Value]
    is_used: Callable[[RunConfig], bool]


class Measured(NamedTuple):
    """A measured cell of a table of docs/results/tables: its line on a page, and the settings of
    its first run."""

    line: str
    config: RunConfig


def pages() -> list[Page]:
    """Those of each algorithm, of each rate scheme, and of what is added to either."""
    relations, others = catalog.REGULARIZERS["trlearner"], catalog.OTHER_REGULARIZERS
    relates = having("regularizer", relations.name)
    steps = {name: DEFAULTS[name] for name in ("multi_step", "multi_step_epochs")}
    l2f = {"l2f": DEFAULTS["l2f"]}
    return [
        *(named(folder, entry) for folder, names in FOLDERS.items() for entry in entries(names)),
        Page("additions/trlearner.md", relations, relations.settings, relates),
        Page("additions/multi-step-loss.md", others["multi-step"], steps, counts_every_step),
        Page("additions/l2f.md", others["l2f"], l2f, having("l2f", True)),
    ]


def entries(setting: str) -> list[Entry]:
    """What a setting may name, but for `none`."""
    return [entry for name, entry in catalog.TABLES[setting].items() if name != "none"]


def named(folder: str, entry: Entry) -> Page:
    """The page of an algorithm or a rate scheme."""
    is_used = having(FOLDERS[folder], entry.name)
    return Page(f"{folder}/{entry.name}.md", entry, with_nested(entry.settings), is_used)


def having(setting: str, value: Value) -> Callable[[RunConfig], bool]:
    """Whether a run has this value of a setting."""
    return lambda config: getattr(config, setting) == value


def counts_every_step(config: RunConfig) -> bool:
    """Whether a run has a multi-step loss."""
    return config.multi_step or config.multi_step_epochs > 0


def with_nested(settings: Mapping[str, Value]) -> dict[str, Value]:
    """The settings, and those of the entries that some of them name."""
    named = [table.values() for name, table in catalog.TABLES.items() if name in settings]
    nested = [entry.settings for table in named for entry in table]
    return {**settings, **{name: value for each in nested for name, value in each.items()}}


def settings_lines(page: Page) -> list[str]:
    """A page's settings: a table, defaults of others that change, and rate schemes allowed."""
    rows = [settings_row(name, value) for name, value in page.settings.items()]
    head = ["| flag | default | range | what it does |", "|---|---|---|---|"]
    lines = [*head, *rows] if rows else ["It has no settings of its own."]
    entry = page.entry
    if entry.changes:
        changed = " ".join(flag(name, value) for name, value in entry.changes.items())
        lines += ["", f"It changes defaults of others: `{changed}`."]
    if entry.rates and entry.rates != ("none",):
        lines += ["", f"It takes these rate schemes: {coded(entry.rates)}."]
    return lines


def settings_row(name: str, default: Value) -> str:
    """A setting's line: flag, default, range, what it does."""
    setting, is_switch = SETTINGS[name], isinstance(default, bool)
    flags = [f"--{dashed(name)}", *([setting.negative] if is_switch else [])]
    spelled = flag(name, default) if is_switch else str(default)
    return f"| {coded(flags)} | `{spelled}` | {range_of(name, setting)} | {setting.help} |"


def range_of(name: str, setting: Setting) -> str:
    """What a setting may be, in words."""
    if setting.kind is bool:
        return "on or off"
    if choices := setting.choices or tuple(catalog.TABLES.get(name, ())):
        return coded(choices)
    most = inf if setting.most == LARGEST_SEED else setting.most
    if setting.is_open:
        return f"above {setting.least:g}" + (f", below {most:g}" if isfinite(most) else "")
    if isfinite(most):
        return f"{setting.least:g} to {most:g}"
    return f"{setting.least:g} or more" if isfinite(setting.least) else "any number"


def coded(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def read_tables(folder: Path) -> list[Measured]:
    """The measured cells of a folder's tables, whose JSON `trainers table` wrote, in order."""
    found = []
    for path in sorted(folder.glob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        link = f"[{table['table']}](../results/tables/{path.stem}.md)"
        cells = [cell for cell in table["cells"] if cell["seeds"] and cell["ours"] is not None]
        found += [measured(link, cell) for cell in cells]
    return found


def measured(table: str, cell: Mapping[str, Any]) -> Measured:
    """A cell of a table's JSON: table, cell, iterations, our figure and the paper's."""
    quantity = QUANTITIES[cell["quantity"]]
    iterations = f"{cell['iterations']:,}"
    if cell["is_limited"]:
        iterations += f" of {cell['iterations_of_protocol']:,} (budget)"
    ours = f"{quantity.text(cell['ours'], cell['interval'])} {quantity.unit}".rstrip()
    line = f"| {table} | {cell['cell']} | {iterations} | {ours} | {cell['paper_prints'] or '-'} |"
    arguments = shlex.split(cell["seeds"][0]["command"])[2:]  # After `trainers run`.
    parsed = cli.run.make_context("run", arguments).params
    return Measured(line, complete(given_settings(parsed), OPEN))


def results_lines(page: Page, cells: Iterable[Measured]) -> list[str]:
    """A page's results: a table of the cells that its entry was used in."""
    rows = [cell.line for cell in cells if page.is_used(cell.config)]
    head = ["| table | cell | iterations | ours | the paper |", "|---|---|---|---|---|"]
    return [*head, *rows] if rows else ["Not measured yet."]


def names_lines(setting: str) -> list[str]:
    """The table of an index: name with link, what it is, source."""
    rows = [f"| [`{e.name}`]({e.name}.md) | {e.summary} | {e.source} |" for e in entries(setting)]
    return ["| name | what it is | source |", "|---|---|---|", *rows]


def with_part(text: str, name: str, lines: Sequence[str]) -> str:
    """A page's text with these lines between `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises LookupError unless both stand in it once, in this order.
    """
    parts = re.split(rf"(<!-- /?{name} -->\n)", text)
    if parts[1::2] != [f"<!-- {name} -->\n", f"<!-- /{name} -->\n"]:
        raise LookupError(f"expected <!-- {name} --> and <!-- /{name} --> once, on their own lines")
    return "".join([*parts[:2], "\n", *(f"{line}\n" for line in lines), "\n", *parts[3:]])


def written(docs: Path) -> dict[Path, str]:
    """Every page's file, and its text with the generated parts as they should be."""
    cells = read_tables(docs / "results" / "tables")
    parts = [
        *((page.path, "settings", settings_lines(page)) for page in pages()),
        *((page.path, "results", results_lines(page, cells)) for page in pages()),
        *((f"{folder}/index.md", "names", names_lines(s)) for folder, s in FOLDERS.items()),
    ]
    found: dict[Path, str] = {}
    for name, part, lines in parts:
        path = docs / name
        text = found.get(path) or path.read_text(encoding="utf-8")
        found[path] = with_part(text, part, lines)
    return found


if __name__ == "__main__":
    for path, text in written(DOCS).items():
        path.write_text(text, encoding="utf-8")
