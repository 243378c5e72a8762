"""Several runs beside each other: their figures, paired differences, and learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np

from trainers.comparison import paired
from trainers.html_report import run_sections
from trainers.html_report.elements import (
    Html,
    element,
    folded,
    joined,
    note,
    picture,
    section,
    table,
)
from trainers.html_report.run_files import RunFiles
from trainers.metrics import METRICS
from trainers.pictures import figure_of, png, smoothed
from trainers.settings import dashed
from trainers.wording import plural

SAME_IN_MANY = ("threads", "device")
MOST_CURVES_NAMED = 12


def overview(names: Sequence[str], runs: Sequence[RunFiles]) -> Html:
    """A row a run, with its difference from the first of those on the same test episodes."""
    firsts: dict[tuple[str, str], RunFiles] = {}
    for run in runs:
        if run.figures is not None:
            firsts.setdefault((run.figures.fingerprint, run.figures.metric.name), run)
    varied = varied_settings(runs)
    rows = []
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        link = element("a", name, href=f"#run-{number}")
        values = run.config.settings()
        own = [str(values.get(setting, "–")) for setting in varied]
        rows.append([link, *_measured(run), _difference(run, firsts), *own])
    finished = sum(run.results is not None for run in runs)
    said = (
        f"{finished} of {len(runs)} runs are finished. Intervals are 95 %. Differences are from "
        "the first run that has the same test episodes, as the start of their fingerprint tells, "
        "and taken episode by episode: an interval that holds 0 shows no difference."
    )
    heads = ("run", "figure", "test episodes", "less the first", *map(dashed, varied))
    return section("Results", note(said), table(heads, rows))


def varied_settings(runs: Sequence[RunFiles]) -> list[str]:
    """The settings that differ between the runs, in their order."""
    every = [run.config.settings() for run in runs]
    names = dict.fromkeys(name for settings in every for name in settings)
    return [
        name
        for name in names
        if name not in SAME_IN_MANY and len({settings.get(name) for settings in every}) > 1
    ]


def _measured(run: RunFiles) -> tuple[str, str]:
    if run.results is None:
        total = run.config.iterations
        return f"{run.done} of {total} {plural('iteration', total)}", ""
    test = run.results["test"]
    metric = METRICS[test["metric"]]
    figure = metric.text(test[metric.name], test["interval"])
    return f"{metric.name} {figure}", f"{test['episodes']} ({test['fingerprint'][:8]})"


def _difference(run: RunFiles, firsts: Mapping[tuple[str, str], RunFiles]) -> str:
    if run.figures is None:
        return ""
    first = firsts[run.figures.fingerprint, run.figures.metric.name]
    assert first.figures is not None
    if run is first:
        return "the first"
    found = paired(first.figures, run.figures)
    return f"{run.figures.metric.text(found.mean, found.interval)} ({found.verdict})"


def curves(names: Sequence[str], runs: Sequence[RunFiles]) -> Html:
    """The validations of all runs in one picture, and their training losses."""
    shown = [(name, run) for name, run in zip(names, runs, strict=True) if run.iterations]
    if not shown:
        return Html("")
    alt = f"Training loss and validation of {len(shown)} runs over the outer iterations"
    return section("Learning curves of all runs", picture(_curves(shown), alt))


def _curves(shown: Sequence[tuple[str, RunFiles]]) -> bytes:
    import matplotlib

    metrics = list(dict.fromkeys(run.metric.name for _, run in shown))
    figure = figure_of(2.6 * (1 + len(metrics)) + 0.16 * min(len(shown), MOST_CURVES_NAMED))
    loss, *measured = figure.subplots(1 + len(metrics), 1, sharex=True)
    colours = matplotlib.colormaps["tab20" if len(shown) > 10 else "tab10"]
    for number, (name, run) in enumerate(shown):
        style = {"color": colours(number % colours.N), "linewidth": 1.3, "label": name}
        values = smoothed(np.array([record["loss"] for record in run.iterations]))
        loss.plot([record["iteration"] for record in run.iterations], values, **style)
        metric = run.metric
        measured[metrics.index(metric.name)].plot(
            [record["iteration"] for record in run.validations],
            [metric.scale * record[f"validation_{metric.name}"] for record in run.validations],
            marker="o",
            markersize=3,
            **style,
        )
    loss.set_ylabel("training loss, smoothed")
    for name, axes in zip(metrics, measured, strict=True):
        metric = METRICS[name]
        axes.set_ylabel(f"validation {name}" + (f" ({metric.unit})" if metric.unit else ""))
    measured[-1].set_xlabel("outer iteration")
    handles, labels = loss.get_legend_handles_labels()
    figure.legend(
        handles[:MOST_CURVES_NAMED],
        labels[:MOST_CURVES_NAMED],
        loc="outside lower left",
        frameon=False,
        fontsize=7,
    )
    return png(figure)


def each(names: Sequence[str], runs: Sequence[RunFiles]) -> Html:
    """A section a run: its headline, curves, rates, settings and provenance, folded."""
    pairs = zip(names, runs, strict=True)
    return joined(_one(number, name, run) for number, (name, run) in enumerate(pairs))


def _one(number: int, name: str, run: RunFiles) -> Html:
    where = str(run.directory.path)
    return element(
        "section",
        element("h2", name, id=f"run-{number}"),
        run_sections.headline(run),
        note(f"Its own page, with classes and episodes: trainers report {where}"),
        folded(
            "Curves, rates, settings and provenance",
            run_sections.curves(run),
            run_sections.rates(run),
            run_sections.evaluations(run),
            run_sections.settings(run),
            run_sections.provenance(run),
        ),
    )
