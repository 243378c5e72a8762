"""What samplers and TRLearner cost: seconds an iteration and peak memory, relative to the base.

    python tools/bench_samplers.py --dataset omniglot --algo anil

Each arm runs in a process of its own, the arms in turn, several rounds; ratios are those of the
medians. Writes nothing but what it prints, or JSON with --json.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import click

ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "ndt": {"sampler": "ndt"},
    "ndb": {"sampler": "ndb"},
    "ndtb": {"sampler": "ndtb"},
    "ohtm": {"sampler": "ohtm"},
    "owhtm": {"sampler": "owhtm"},
    "d-dpp": {"sampler": "d-dpp"},
    "adaptive, weighting": {"sampler": "adaptive"},
    "adaptive, choosing": {"sampler": "adaptive", "sampler_mode": "sampling"},
    "adaptive, trl4": {"sampler": "adaptive", "sampler_criteria": "trl4"},
    "TRLearner": {"regularizer": "trlearner"},
    "TRLearner, relations 1": {"regularizer": "trlearner", "trlearner_relation": "uniform"},
    "TRLearner + adaptive": {"regularizer": "trlearner", "sampler": "adaptive"},
}
WARM_UP = 2


def measure(arm: str, dataset: str, algo: str, iterations: int) -> dict[str, float]:
    """Median seconds an outer gradient, data included, and the process's peak memory in MB."""
    from trainers import config
    from trainers.outer_gradient import outer_gradient
    from trainers.run import Run
    from trainers.sources import open_source

    source = open_source(dataset)
    given: dict[str, Any] = {"dataset": dataset, "algo": algo, "query": 5, "filters": 32} | ARMS[
        arm
    ]
    run = Run.over(
        source,
        config.complete(given, {"split": source.default_scheme, "threads": 1}),
    )
    params, meta = run.learner.initial(1)
    how, size, seconds = run.learner.training, run.config.meta_batch_size, []
    for iteration in range(WARM_UP + iterations):
        began = time.perf_counter()
        if run.sampling is not None:
            run.sampling.outer_gradient(how, params, meta, iteration, 1e-3)
        else:
            batch = run.streams.training.batch(iteration * size, size)
            outer_gradient(run.learner, how, params, meta, run.learner.tasks(batch, 1))
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[WARM_UP:]), "megabytes": peak}


@click.command()
@click.option("--dataset", default="glyphs", show_default=True, help="A prepared dataset.")
@click.option("--algo", default="anil", show_default=True, help="The base learner.")
@click.option("--iterations", default=20, show_default=True, help="Measured iterations a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds over the arms.")
@click.option("--arm", type=click.Choice(list(ARMS)), hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    dataset: str, algo: str, iterations: int, rounds: int, arm: str | None, as_json: bool
) -> None:
    """Print each arm's cost beside the base learner's."""
    if arm is not None:
        click.echo(json.dumps(measure(arm, dataset, algo, iterations)))
        return
    common = ("--dataset", dataset, "--algo", algo, "--iterations", str(iterations))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for _ in range(rounds):
        for name, measured in found.items():
            command = [sys.executable, __file__, *common, "--arm", name]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured.append(json.loads(said.splitlines()[-1]))
    rows = {
        name: {
            key: statistics.median(round_[key] for round_ in measured)
            for key in ("seconds", "megabytes")
        }
        for name, measured in found.items()
    }
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    base = rows["base"]
    click.echo(f"| {algo} on {dataset} | ms an iteration | times the base | MB at most |")
    click.echo("|---|---|---|---|")
    for name, row in rows.items():
        ratio = row["seconds"] / base["seconds"]
        click.echo(
            f"| {name} | {1000 * row['seconds']:.0f} | {ratio:.2f} | {row['megabytes']:.0f} |"
        )


if __name__ == "__main__":
    main()
