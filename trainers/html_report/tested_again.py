"""The parts of a run's page that its best checkpoint fills: classes, hardest and easiest tasks."""

from collections.abc import Sequence

import numpy as np

from episodes.episode_stream import EpisodeStream
from episodes.errors import EpisodesError
from trainers.html_report.answers import Answers, answers, confusion
from trainers.html_report.class_sections import by_class
from trainers.html_report.elements import Html, element, joined, note, picture, section
from trainers.html_report.episode_sheets import contact_sheet, legend
from trainers.html_report.function_pictures import tasks_picture
from trainers.html_report.run_files import RunFiles
from trainers.model import Model
from trainers.model_files import model_of_run
from trainers.progress import Progress
from trainers.recorded import check_source
from trainers.sources import TaskStream, open_source

SHEETS, CURVES = 2, 3
"""The hardest and easiest tasks that are shown: episodes, functions."""


def tested_again(run: RunFiles, episodes: int, progress: Progress) -> Html:
    """The best checkpoint on its first `episodes` test episodes, the hardest and the easiest.

    Where the store or the checkpoint is not there any more, the reason why it is left out.
    """
    if run.results is None or run.figures is None or episodes == 0:
        return Html("")
    try:
        source = open_source(
            run.config.dataset, run.config.sampler, run.tables["store"].get("channels")
        )
        check_source(source, run.tables["store"], run.directory.config)
        model = model_of_run(run.directory.path)
        stream = source.stream(
            run.results["test"]["split"], run.config.shape, run.config.episode_seed
        )
    except EpisodesError as error:
        left_out = "What needs the test episodes or the checkpoint is left out: "
        return section("Test episodes", note(f"{left_out}{error}"))
    if isinstance(stream, EpisodeStream):
        return _classes_and_episodes(run, model, stream, episodes, progress)
    return _functions(run, model, stream)


def hardest_first(run: RunFiles) -> list[int]:
    """The numbers of all test episodes, the worst figure first; one that is no number is worst."""
    assert run.figures is not None
    sign = 1 if run.figures.metric.is_higher_better else -1
    ranked = np.where(np.isnan(run.figures.figures), -np.inf, sign * run.figures.figures)
    return np.argsort(ranked, kind="stable").tolist()


def _classes_and_episodes(
    run: RunFiles, model: Model, stream: EpisodeStream, episodes: int, progress: Progress
) -> Html:
    assert run.figures is not None
    order = hardest_first(run)
    hardest, easiest = _ends(order, SHEETS)
    first = range(min(episodes, len(order)))
    indices = sorted({*first, *hardest, *easiest})
    found: dict[int, Answers] = {}
    with progress.phase("report", "episode", len(indices)) as phase:
        for index in indices:
            found[index] = answers(model, stream, index)
            phase.update(len(found))
    recorded = run.figures.figures[list(first)]
    again = np.array([found[index].accuracy for index in first])
    measured_on = (
        f"The best checkpoint was evaluated again on the first {len(first)} of {len(order)} test "
        f"episodes: accuracy {run.metric.text(float(again.mean()))}, and the run recorded "
        f"{run.metric.text(float(recorded.mean()))} for them. The largest difference on one "
        f"episode is {run.metric.text(float(np.abs(again - recorded).max()))}."
    )
    return joined(
        [
            by_class(confusion([found[index] for index in first]), measured_on),
            section(
                "Hardest and easiest episodes",
                legend(),
                element("h3", "Hardest"),
                *(contact_sheet(stream, found[index]) for index in hardest),
                element("h3", "Easiest"),
                *(contact_sheet(stream, found[index]) for index in easiest),
            ),
        ]
    )


def _functions(run: RunFiles, model: Model, stream: TaskStream) -> Html:
    parts = []
    for said, indices in zip(
        ("Hardest", "Easiest"), _ends(hardest_first(run), CURVES), strict=True
    ):
        alt = f"Predicted and true values of the test tasks {', '.join(map(str, indices))}"
        drawn = tasks_picture(model, stream, indices)
        parts += [element("h3", said), picture(drawn, alt)]
    return section("Hardest and easiest tasks", *parts)


def _ends(order: Sequence[int], count: int) -> tuple[list[int], list[int]]:
    """The first and the last few, the last one first."""
    return list(order[:count]), list(order[::-1][:count])
