"""Evaluations of several checkpoints: the mean of their figures, and the mean of their outputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import Result

from trainers.algorithms import MAML, Adaptation
from trainers.backbones import Conv4
from trainers.evaluation import Evaluation
from trainers.rates import Fixed
from trainers.several_checkpoints import Ensemble, mean_of


def test_the_mean_is_that_of_each_episode_s_figures() -> None:
    first, second = (
        Evaluation(np.array(figures), *(np.zeros((2, 1)) for _ in range(5)))
        for figures in ([0.2, 0.6], [0.4, 0.4])
    )
    assert mean_of([first, second]).figures == pytest.approx([0.3, 0.5])


def test_an_ensemble_averages_what_its_members_say_alone(backbone: Conv4, initial, random_task):
    how = Adaptation(backbone, Fixed(0.1), F.cross_entropy, backbone.way, steps=2)
    task, members = random_task(backbone), [(initial(backbone, seed), {}) for seed in (1, 2, 3)]
    alone = [MAML().run(how, *member, task).outputs for member in members]
    together = Ensemble(MAML(), tuple(members)).run(how, {}, {}, task)
    torch.testing.assert_close(together.outputs, (alone[0] + alone[1] + alone[2]) / 3)
    assert not torch.equal(alone[0], alone[1])


def test_the_choice_is_named_in_the_result(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    train("--iterations", 3, "--validate-every", 1, "--val-episodes", 3, "--out", "run")
    told = command("eval", "run", "--checkpoints", "top5-ensemble").stdout
    assert "; top5-ensemble of 3 checkpoints) -> run/eval-grey-" in told
    mean = json.loads(command("eval", "run", "--checkpoints", "top10-mean", "--json").stdout)
    assert sorted(mean["checkpoint"]["iterations"]) == [1, 2, 3]
    assert len(list(Path("run").glob("eval-*-top5-ensemble.json"))) == 1


def test_a_run_without_validation_has_no_ranked_checkpoints(
    train: Callable[..., Result], command: Callable[..., Result]
) -> None:
    result = train("--iterations", 1, "--val-episodes", 0, "--out", "run")
    assert "--val-episodes 0: the last checkpoint is the one tested" in result.stderr
    refused = command("eval", "run", "--checkpoints", "top10-mean")
    assert refused.exit_code == 2 and "run validated no checkpoint" in refused.stderr
