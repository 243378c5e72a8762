"""The parts of a run's page that its files alone can fill."""

from collections.abc import Iterable, Sequence

from episodes.version import installed_version
from trainers import catalog, pictures, report
from trainers.html_report.elements import (
    Html,
    element,
    facts,
    joined,
    note,
    paragraph,
    picture,
    section,
    table,
)
from trainers.html_report.run_files import RunFiles
from trainers.metrics import METRICS
from trainers.progress import clock
from trainers.report import Figures
from trainers.settings import SETTINGS, dashed
from trainers.wording import plural

GROUPS = {
    "Data and tasks": (
        *("dataset", "split", "sampler", "way", "shot", "query", "train_way", "train_shot"),
        *("train_query", "random_shots"),
    ),
    "Inner loop": (
        *("algo", "lr", "steps", "eval_steps", "first_order", "first_order_epochs", "multi_step"),
        *("multi_step_epochs", "bn", "head_init", "head_rates", "l2f"),
    ),
    "Outer loop": (
        *("outer", "outer_lr", "outer_schedule", "meta_batch_size", "iterations", "epoch"),
        *("grad_clip", "skip_diverged", "regularizer", "seed"),
    ),
    "Validation and test": (
        *("metric", "validate_every", "val_episodes", "episodes", "keep_top", "episode_seed"),
    ),
    "Computation": (
        *("device", "threads", "task_batching", "blocks", "precision", "inner_graph", "compile"),
        *("cuda_graph",),
    ),
}
OWN_SETTINGS = "Of the algorithm, scheme and network"
"""The group of all other settings, which the entries of the catalog bring."""

FURTHER_PICTURES = {
    "task_weights.png": "How the sampler weighted the tasks of training.",
    "sampled_tasks.png": "How many different tasks and classes training met.",
    "relations.png": "TRLearner's relations of the first training tasks.",
    "heaviest_episodes.png": "The training episodes with the largest weights.",
    "lightest_episodes.png": "The training episodes with the smallest weights.",
}


def headline(run: RunFiles) -> Html:
    """What was measured, with its interval, and on what; or how far the run is."""
    if run.results is None:
        return _progress(run)
    test = run.results["test"]
    metric = METRICS[test["metric"]]
    notes = [*report.notes(run.results), *run.results["warnings"]]
    shape = report.Shape(test["way"], test["shot"], test["query"])
    normalised = f", --bn {run.results['bn']}"
    queries = "" if test["query"] is None else f", {test['query']} query images a class"
    if catalog.is_regression(run.config.dataset):
        queries, normalised = f", {test['query']} query points", ""
    parts = [
        paragraph(metric.text(test[metric.name], test["interval"]), kind="headline"),
        paragraph(
            f"Test {metric.name} with its 95 % interval, over {test['episodes']} fixed episodes of "
            f"{test['dataset']} {test['split']}: {shape}{queries}, {test['steps']} inner steps"
            f"{normalised}. Median {metric.text(test['median'])}; "
            f"{test['diverged']} episodes diverged."
        ),
        paragraph(_checkpoint(run.results)),
    ]
    return joined([*parts, *(paragraph(text, kind="warning") for text in notes)])


def _checkpoint(results: Figures) -> str:
    found, iteration = results["validation"], results["checkpoint"]["iteration"]
    if found is None:
        return f"Tested was the last checkpoint, of iteration {iteration}: there was no validation."
    metric = METRICS[results["test"]["metric"]]
    return (
        f"Tested was the checkpoint of iteration {iteration}, the best of validation: "
        f"{metric.name} {metric.text(found[metric.name])} over {found['episodes']} episodes of "
        f"{found['split']}."
    )


def _progress(run: RunFiles) -> Html:
    metric, total = run.metric, run.config.iterations
    parts = [
        paragraph(f"{run.done} of {total} {plural('iteration', total)}", kind="headline"),
        paragraph(
            "This run is not finished, so nothing is tested yet; below is what is there. "
            f"It continues with trainers run --resume {run.directory.path}",
            kind="warning",
        ),
    ]
    if run.validations:
        last = run.validations[-1]
        measured = metric.text(last[f"validation_{metric.name}"], last["validation_interval"])
        parts.append(
            paragraph(
                f"Last validation, at iteration {last['iteration']}: {metric.name} {measured} over "
                f"{run.config.val_episodes} episodes."
            )
        )
    return joined(parts)


def curves(run: RunFiles) -> Html:
    """Loss, metric and validation over the iterations."""
    if not run.iterations and not run.validations:
        return section("Learning curves", note("No iteration was recorded."))
    test = None if run.results is None else run.results["test"]
    drawn = pictures.learning_curve(run.metric, run.iterations, run.validations, test)
    alt = (
        f"Query loss and {run.metric.name} of training over {run.done} "
        f"{plural('iteration', run.done)}, with {len(run.validations)} "
        f"{plural('validation', len(run.validations))}"
    )
    return section("Learning curves", picture(drawn, alt), *_validations(run))


def _validations(run: RunFiles) -> Iterable[Html]:
    if not run.validations:
        return
    metric = run.metric
    rows = [
        (
            str(record["iteration"]),
            metric.text(record[f"validation_{metric.name}"], record["validation_interval"]),
        )
        for record in run.validations
    ]
    heads = ("iteration", f"validation {metric.name}, 95 % interval")
    yield element("details", element("summary", "All validations"), table(heads, rows))


def rates(run: RunFiles) -> Html:
    """The picture that the test left of the rates, by step and tensor, and the branches' shares."""
    if not run.directory.rates.exists():
        return Html("")
    content = [
        picture(
            run.directory.rates.read_bytes(),
            f"Inner rates of {run.config.lr} at each inner step of the test episodes",
            "Mean and 10th to 90th percentile over the test episodes; a dotted line is the last "
            "step in training.",
        )
    ]
    branches = run.results["rates"]["test"]["branches"] if run.results else None
    if branches:
        shares = ", ".join(f"{name} {100 * b['share']:.1f} %" for name, b in branches.items())
        content.append(paragraph(f"Branches taken by the test steps: {shares}."))
    return section("Inner rates", *content)


def further_pictures(run: RunFiles) -> Html:
    """What samplers and regularizers drew."""
    found = [
        picture(path.read_bytes(), caption, caption)
        for name, caption in FURTHER_PICTURES.items()
        if (path := run.directory.path / name).exists()
    ]
    return section("Tasks of training", *found) if found else Html("")


def evaluations(run: RunFiles) -> Html:
    """What `trainers eval` measured of the run on other episodes."""
    rows = []
    for file, found in run.evaluations.items():
        test = found["test"]
        metric = METRICS[test["metric"]]
        shape = str(report.Shape(test["way"], test["shot"], test["query"]))
        measured = metric.text(test[metric.name], test["interval"])
        where = f"{test['dataset']} {test['split']}"
        said = "; ".join([*report.notes(found), *found["warnings"]])
        told = element("div", said, class_="prose")
        rows.append((where, shape, measured, str(test["episodes"]), told, file))
    if not rows:
        return Html("")
    heads = ("dataset", "tasks", "figure, 95 % interval", "episodes", "to know", "file")
    return section("Other evaluations", table(heads, rows))


def settings(run: RunFiles) -> Html:
    """Every setting, grouped; those that are the usual ones are dimmed."""
    values = run.config.settings()
    grouped = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, OWN_SETTINGS: tuple(name for name in values if name not in grouped)}
    tables = [
        element("div", element("h3", group), _settings_table(run, names))
        for group, names in groups.items()
    ]
    said = "Dimmed: what a run of the same algorithm, scheme and dataset has if nothing is given."
    return section("Settings", note(said), element("div", *tables, class_="groups"))


def _settings_table(run: RunFiles, names: Sequence[str]) -> Html:
    values = run.config.settings()
    lines = []
    for name in filter(values.__contains__, names):
        value = values[name]
        shown = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        kind = {} if name in run.changed else {"class_": "usual"}
        head = element("th", dashed(name), scope="row", title=SETTINGS[name].help)
        lines.append(element("tr", head, element("td", shown), **kind))
    return element("table", element("tbody", *lines))


def provenance(run: RunFiles) -> Html:
    """Versions, machine, seeds, digests and times; the commands that begin it again."""
    config, store = run.config, run.tables["store"]
    pairs = [("Dataset", str(store["name"])), ("Content digest", element("code", store["digest"]))]
    if run.results is not None:
        pairs.append(
            ("Episode fingerprint", element("code", run.results["test"]["fingerprint"])),
        )
    pairs.append(("Seeds", f"training {config.seed}, episodes {config.episode_seed}"))
    pairs.append(("Settings digest", element("code", config.digest())))
    pairs.append(("Versions", _listed(run.tables["versions"].items())))
    if run.results is not None:
        pairs.append(("Hardware", _listed(run.results["hardware"].items())))
        seconds = run.results["seconds"]
        times = f"training {clock(seconds['training'])}, test {clock(seconds['test'])}"
        pairs.append(("Wall time", times))
        if run.results["skipped"]:
            pairs.append(("Outer steps left out", str(run.results["skipped"])))
    pairs.append(("Run directory", str(run.directory.path)))
    again = f"trainers run --config {run.directory.config}"
    return section(
        "Provenance",
        facts(pairs),
        element("h3", "Run it again"),
        element("pre", element("code", again)),
        note("Or, without its config.toml, with what is not the default:"),
        element("pre", element("code", run.command)),
        note(f"This page was written by fewshot-episodes {installed_version()}."),
    )


def _listed(items: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items)
