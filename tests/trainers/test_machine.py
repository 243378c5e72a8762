import os
import subprocess
import sys

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


FAULTS = """
import resource, torch
from trainers import machine
kept = machine.keep_freed_memory()
torch.set_num_threads(1)
for _ in range(3):
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(16 << 20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_OF_FIVE = 5 * (64 << 20) // 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has these settings")
@pytest.mark.parametrize(("allocator", "kept"), [("", True), ("default", False)])
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(
    allocator: str, kept: bool
) -> None:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), machine.ALLOCATOR: allocator}
    said = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True
    )
    told, faults = said.stdout.split()
    assert told == str(kept)
    assert (int(faults) < 0.01 * PAGES_OF_FIVE) == kept


def test_an_allocator_that_was_chosen_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not machine.keep_freed_memory()
