import os

import pytest
import torch

from episodes.errors import EpisodesError, UsageError
from trainers import machine


def test_what_no_machine_can_hold_is_told_in_one_line() -> None:
    told = pytest.raises(EpisodesError, match="out of memory: choose fewer")
    with told, machine.out_of_memory_told():
        torch.empty(2**50)


def test_other_errors_stay_what_they_are() -> None:
    untouched = pytest.raises(RuntimeError, match="shapes cannot be multiplied")
    with untouched, machine.out_of_memory_told():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_waiting_threads_sleep_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    machine.let_waiting_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    machine.let_waiting_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    machine.let_waiting_threads_sleep()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="--device cuda is not available here"):
        machine.use("cuda", 1)
