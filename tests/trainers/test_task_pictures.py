"""The pictures of relations and weights, and which episodes they show."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from trainers import task_pictures

PICTURES = ("relations", "sampled_tasks", "task_weights", "heaviest_episodes", "lightest_episodes")


def test_a_run_with_both_draws_what_they_did(train: Callable[..., Result]) -> None:
    flags = ("--sampler", "adaptive", "--regularizer", "trlearner", "--meta-batch-size", 3)
    result = train(*flags, "--way", 3, "--iterations", 5, "--out", "run")
    assert result.exit_code == 0, result.output
    for name in PICTURES:
        picture = Image.open(Path("run") / f"{name}.png")
        assert picture.size[0] > 300 and picture.size[1] > 300
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    first = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[0])
    assert {"consistency", "relation_mean", "relation_deviation", "task_weights"} <= set(first)


def test_a_plain_run_draws_none_of_them(train: Callable[..., Result]) -> None:
    assert train("--iterations", 1, "--out", "run").exit_code == 0
    assert not any(Path(f"run/{name}.png").exists() for name in PICTURES)


@pytest.mark.parametrize(("size", "remark"), [(2, "of two the relation cancels"), (3, "")])
def test_few_related_tasks_are_remarked_on(
    size: int, remark: str, train: Callable[..., Result]
) -> None:
    flags = ("--regularizer", "trlearner", "--meta-batch-size", size, "--iterations", 1)
    result = train(*flags, "--out", "run")
    assert result.exit_code == 0, result.output
    assert remark in result.output
    assert bool(remark) == ("no peers" in result.output)


def test_the_episodes_shown_are_the_extremes_of_the_last_quarter() -> None:
    records = [{"iteration": 1 + i, "task_weights": [5.0 - i, 1.0]} for i in range(8)]
    records[7]["task_weights"] = [0.5, 1.5]
    records[6]["task_weights"] = [0.7, 1.3]
    heaviest, lightest = task_pictures.extreme_episodes(records, 2)
    assert heaviest == [7 * 2 + 1, 6 * 2 + 1]
    assert lightest == [7 * 2, 6 * 2]


def test_a_relation_map_of_many_classes_and_of_equal_relations_is_drawn() -> None:
    tasks = [[f"alphabet/{task}/character{n}" for n in range(20)] for task in range(3)]
    picture = task_pictures.relation_map(np.ones((3, 3)), tasks)
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_what_training_met_is_counted_without_regard_to_labels() -> None:
    tasks = np.array([(0, 3, 5), (0, 5, 3), (1, 3, 5), (0, 3, 6)])
    sets, classes = task_pictures.met(tasks)
    assert sets.tolist() == [1, 1, 2, 3]
    assert classes.tolist() == [2, 2, 4, 5]
    (functions,) = task_pictures.met(np.array([[7], [7], [2]]))
    assert functions.tolist() == [1, 1, 2]
