"""`trainers report`: the page of a run or of several, written whole."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers import catalog
from trainers.files import write_whole, writing
from trainers.html_report import many_runs, run_sections
from trainers.html_report.elements import Html, paragraph
from trainers.html_report.page import page
from trainers.html_report.run_files import RunFiles, find_runs, read_run
from trainers.html_report.tested_again import tested_again
from trainers.progress import Progress

FILE = "report.html"


def write_report(
    paths: Sequence[Path], out: Path | None, episodes: int, progress: Progress
) -> dict[str, Any]:
    """Write the page of these runs, or of all under these folders; what it says, as plain data.

    The file is `out`, or report.html in the one path that is given, else in the working directory.
    Of one run its first `episodes` test episodes are evaluated again.

    Raises UsageError for a folder without a run, EpisodesError for a damaged one.
    """
    runs = [read_run(directory) for path in paths for directory in find_runs(path)]
    target = out or (paths[0] if len(paths) == 1 else Path()) / FILE
    is_one = len(runs) == 1
    text = run_page(runs[0], episodes, progress) if is_one else runs_page(paths, runs)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    write_whole(target, content)
    return {"page": str(target), "bytes": len(content), "runs": [_figures(run) for run in runs]}


def run_page(run: RunFiles, episodes: int, progress: Progress) -> Html:
    """The page of one run."""
    config = run.config
    method = catalog.title(config.algo, config.lr)
    title = f"{method} on {run.tables['store']['name']} {config.split}"
    return page(
        title,
        paragraph(f"{config.shape}, seed {config.seed} · {run.name}", kind="note"),
        run_sections.headline(run),
        run_sections.curves(run),
        run_sections.rates(run),
        tested_again(run, episodes, progress),
        run_sections.further_pictures(run),
        run_sections.evaluations(run),
        run_sections.settings(run),
        run_sections.provenance(run),
    )


def runs_page(paths: Sequence[Path], runs: Sequence[RunFiles]) -> Html:
    """The page of several runs."""
    names = _names(runs)
    where = paths[0].resolve().name if len(paths) == 1 else "side by side"
    return page(
        f"{len(runs)} runs: {where}",
        many_runs.overview(names, runs),
        many_runs.curves(names, runs),
        many_runs.each(names, runs),
    )


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """The runs' directories, without what all their paths begin with."""
    paths = [run.directory.path.resolve() for run in runs]
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def _figures(run: RunFiles) -> dict[str, Any]:
    return {
        "run": str(run.directory.path),
        "iterations": run.done,
        "of_iterations": run.config.iterations,
        "test": None if run.results is None else run.results["test"],
    }
