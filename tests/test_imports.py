"""The public names, and what importing the packages and asking for help do not load."""

import subprocess
import sys

import pytest

import episodes
import trainers
from episodes import sampling

FRAMEWORKS = ["torch", "jax", "tensorflow", "keras", "mxnet"]
HEAVY = [*FRAMEWORKS, "torchvision", "matplotlib", "datasets", "webdataset", "pyarrow", "pandas"]
READING = ["h5py", "PIL"]


def loaded_after(code: str, names: list[str]) -> set[str]:
    """Run `code` in a fresh interpreter and return those of `names` that it has imported."""
    report = f"\nimport sys; print(*set({names!r}) & set(sys.modules), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.split())


def help_of(command: str) -> str:
    return f"from {command}.cli import main\nmain(['--help'], standalone_mode=False)"


def test_the_probe_sees_what_a_module_loads() -> None:
    assert loaded_after("import json", ["json", "torch"]) == {"json"}


@pytest.mark.parametrize("package", ["episodes", "trainers"])
def test_importing_a_package_loads_no_framework_and_nothing_heavy(package: str) -> None:
    assert loaded_after(f"import {package}", HEAVY) == set()


@pytest.mark.parametrize("command", ["episodes", "trainers"])
def test_asking_for_help_loads_no_framework_and_nothing_heavy(command: str) -> None:
    assert loaded_after(help_of(command), HEAVY + READING) == set()


def test_public_names_of_episodes() -> None:
    assert sorted(episodes.__all__) == [
        "Episode",
        "EpisodeBatch",
        "EpisodePlan",
        "EpisodeSpec",
        "EpisodesError",
        "Store",
        "Stream",
        "UsageError",
        "VariableSpec",
        "VariableStream",
        "from_arrays",
        "open",
        "stream",
    ]
    assert all(hasattr(episodes, name) for name in episodes.__all__)


def test_public_names_of_the_samplers() -> None:
    assert sampling.__all__ == [
        "FEEDBACK",
        "MEASURES",
        "SAMPLERS",
        "Arrays",
        "ClassTable",
        "EpisodePlan",
        "EpisodeSpec",
        "PlanBatch",
        "Proposal",
        "Sampler",
        "Selection",
        "TaskSpace",
        "VariablePlans",
        "VariableSpec",
        "build",
    ]
    assert all(hasattr(sampling, name) for name in sampling.__all__)


def test_samplers_load_no_framework_and_nothing_heavy() -> None:
    assert loaded_after("import episodes.sampling", HEAVY) == set()


def test_public_names_of_trainers() -> None:
    assert trainers.__all__ == [
        "ANIL",
        "BOIL",
        "IMAML",
        "MAML",
        "MetaLearner",
        "ProtoNet",
        "R2D2",
        "Reptile",
        "RunConfig",
        "TNet",
        "Task",
        "adapt",
        "load",
        "rates",
        "tasks_from_batch",
    ]
    assert all(hasattr(trainers, name) for name in trainers.__all__)
