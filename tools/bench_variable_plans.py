"""Measure how many plans of variable way and shot a second one core makes, rows included.

Every source of Meta-Dataset is sampled from the counts of its manifest alone, without images. Time
is the processor's, not the clock's, so that other work on the machine counts little.

Example:

    python tools/bench_variable_plans.py --plans 20000 --at-once 256
"""

import time
from collections.abc import Iterator

import click
import numpy as np

from episodes import manifest
from episodes.manifest import PARTS, Manifest
from episodes.sampling import ClassTable, VariableSpec
from episodes.sampling.pooled_classes import pooled_classes
from episodes.sampling.pools import pools_of
from episodes.sampling.rng import plan_key
from episodes.sampling.variable import variable_plans

SCHEME = "meta-dataset"


def sources() -> Iterator[Manifest]:
    """The datasets that are sources of Meta-Dataset and whose classes are counted."""
    for name in manifest.names():
        facts = manifest.load(name)
        if facts.meta_dataset is not None and None not in facts.class_images:
            yield facts


def class_table(facts: Manifest, classes: tuple[int, ...]) -> ClassTable:
    """`classes` as a store of the whole dataset lays them out."""
    sizes = np.array(facts.class_images, np.int64)
    starts = np.cumsum(sizes) - sizes
    ids = np.array(classes, np.int64)
    return ClassTable(ids, starts[ids], sizes[ids])


def line(facts: Manifest, part: str, plans: int, at_once: int) -> str:
    """A row of the table: what `plans` plans of a part of the dataset took."""
    ids = facts.schemes[SCHEME].classes[part]
    spec = VariableSpec()
    key = plan_key(1, f"{SCHEME}.{part}", spec.canonical())
    pools = pools_of(facts, SCHEME, part, [facts.class_names[index] for index in ids])
    classes = pooled_classes([class_table(facts, ids)], [pools], spec)
    variable_plans(classes, spec, key, 0, 1)
    ways = rows = 0
    began = time.process_time()
    for start in range(0, plans, at_once):
        made = variable_plans(classes, spec, key, start, min(at_once, plans - start))
        ways += int(made.ways.sum())
        rows += len(made.support_rows) + len(made.query_rows)
    seconds = time.process_time() - began
    return (
        f"| {facts.name} {part} | {ways / plans:.1f} | {rows / plans:.0f} | "
        f"{plans / seconds:,.0f} | {rows / seconds / 1e6:.1f} |"
    )


@click.command()
@click.option("--plans", default=20_000, show_default=True, help="Plans of each source and split.")
@click.option("--at-once", default=256, show_default=True, help="Plans a call.")
def main(plans: int, at_once: int) -> None:
    """Print a table of the plans a second of every source and split."""
    click.echo("| | ways | images | plans/s | million rows/s |\n|---|---|---|---|---|")
    for facts in sources():
        for part in PARTS:
            if facts.schemes[SCHEME].classes[part]:
                click.echo(line(facts, part, plans, at_once))


if __name__ == "__main__":
    main()
