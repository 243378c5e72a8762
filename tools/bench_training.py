"""Measure training steps: this library's trainers beside learn2learn, higher and TorchOpt.

Every implementation takes the same tasks and initial weights, has a process of its own for each
memory allocator, and is timed in turn with the others of its algorithm, in rounds of shuffled
order. Meta-gradients are compared in float64 on a small problem. Lists have commas.

\b
Example:
  python tools/bench_training.py --algo maml,anil --peers-python peers/bin/python --json run.json
  python tools/bench_training.py --variant task_batching=batched --precision fp32,bf16
  python tools/bench_training.py --from run.json --table run.md --plot run.png
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from training_bench.rows import ALLOCATORS, PEER_ALGORITHMS, PEERS, Choice, variant
from training_bench.setting import Setting

from episodes.errors import EpisodesError, UsageError

FILE = click.Path(path_type=Path, dir_okay=False)


class Names(click.ParamType):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, parameter: Any, context: Any) -> tuple[str, ...]:
        """The names."""
        return value if isinstance(value, tuple) else tuple(filter(None, value.split(",")))


def _names(flag: str, default: tuple[str, ...], help: str) -> Any:
    return click.option(flag, type=Names(), default=",".join(default), show_default=True, help=help)


def _number(flag: str, default: float, help: str) -> Any:
    least = click.IntRange(0) if isinstance(default, int) else click.FloatRange(0)
    return click.option(flag, type=least, default=default, show_default=True, help=help)


@click.command(help=__doc__)
@_names("--algo", PEER_ALGORITHMS, "Algorithms of the catalog.")
@_names("--lr", ("fixed",), "Rate schemes, for the trainers' rows.")
@_names("--precision", ("fp32",), "fp32, tf32, bf16, for the trainers' rows; on a GPU peers too.")
@_names("--allocator", ALLOCATORS, "The system's, and as the trainers' command line sets it up.")
@_names("--peers", PEERS, "Other libraries.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    help="More rows of the trainers, under SETTING=VALUE[,SETTING=VALUE...]; repeatable.",
)
@click.option("--only", multiple=True, help="Only rows with this in their names; repeatable.")
@click.option("--dataset", help="A prepared dataset (default: random images).")
@_number("--way", 5, "Classes a task.")
@_number("--shot", 5, "Support images a class.")
@_number("--query", 15, "Query images a class.")
@_number("--image-size", 84, "Their side; that of the dataset where there is one.")
@_number("--channels", 3, "Their channels, likewise.")
@_number("--filters", 64, "Conv4's filters.")
@_number("--steps", 5, "Inner steps.")
@_number("--meta-batch-size", 4, "Tasks an iteration.")
@_number("--inner-lr", 0.01, "The inner rate of fixed rates.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: torch's own).")
@_number("--rounds", 5, "How often each row is timed.")
@_number("--iterations", 1, "Over how many iterations each time.")
@_number("--warm-up", 1, "Iterations before the first time, which do not count.")
@_number("--steady", 0, "Then so many iterations on end, of the trainers' rows.")
@_number("--evaluate", 0, "Then an evaluation of so many tasks, of the trainers' rows.")
@click.option(
    "--peers-python",
    default=sys.executable,
    help="The Python that has the peers (default: this one).",
)
@click.option("--from", "found", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "to_json", type=FILE)
@click.option("--table", "to_table", type=FILE)
@click.option("--plot", "to_plot", type=FILE)
def main(
    found: Path | None,
    to_json: Path | None,
    to_table: Path | None,
    to_plot: Path | None,
    **given: Any,
) -> None:
    """Measure, or read an earlier run's JSON with --from; write JSON, table and plot."""
    try:
        results = _measured(given) if found is None else json.loads(found.read_text())
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    except EpisodesError as error:
        raise click.ClickException(str(error)) from None
    from training_bench import picture, report

    if to_json is not None:
        to_json.write_text(json.dumps(results, indent=1) + "\n")
    text = report.table(results)
    if to_table is not None:
        shown = "" if to_plot is None else f"![Seconds a meta-iteration]({to_plot.name})\n\n"
        to_table.write_text(f"# Training steps\n\n{shown}{text}\n")
    if to_plot is not None:
        picture.plot(results, to_plot)
    click.echo(text)


def _measured(given: Mapping[str, Any]) -> dict[str, Any]:
    choice = Choice(
        given["algo"],
        given["lr"],
        tuple(map(variant, given["variants"])),
        given["precision"],
        given["allocator"],
        given["peers"],
        given["only"],
    )
    import torch
    from training_bench import report
    from training_bench.ours import opened
    from training_bench.running import Rounds, run

    own = {name: given[name] for name in Setting.__dataclass_fields__ if given.get(name)}
    setting = Setting(**own | {"threads": given["threads"] or torch.get_num_threads()})
    channels, size, _ = opened(setting).input_shape
    setting = replace(setting, channels=channels, image_size=size)
    rounds = Rounds(
        given["rounds"], given["iterations"], given["warm_up"], given["steady"], given["evaluate"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        peaks, groups = run(
            setting,
            choice,
            rounds,
            given["peers_python"],
            Path(scratch),
            lambda line: click.echo(line, err=True),
        )
    return report.as_json(setting, rounds, peaks, groups)


if __name__ == "__main__":
    main()
