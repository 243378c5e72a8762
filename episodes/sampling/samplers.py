"""The samplers by the names that the command line has for them."""

import inspect

from episodes.errors import unknown_name
from episodes.sampling.adaptive import Adaptive
from episodes.sampling.diversity import (
    FixedPool,
    NoDiversityBatch,
    NoDiversityTask,
    NoDiversityTasksPerBatch,
)
from episodes.sampling.dpp import DynamicDPP, StaticDPP
from episodes.sampling.hard_tasks import HardTasks, WeightedHardTasks
from episodes.sampling.sampler import Sampler, TaskSpace, Uniform

KINDS: tuple[type[Sampler], ...] = (
    Uniform,
    NoDiversityTask,
    NoDiversityBatch,
    NoDiversityTasksPerBatch,
    FixedPool,
    HardTasks,
    WeightedHardTasks,
    StaticDPP,
    DynamicDPP,
    Adaptive,
)
SAMPLERS: dict[str, type[Sampler]] = {kind.name: kind for kind in KINDS}


def build(name: str, space: TaskSpace, batch_size: int, seed: int, **settings: object) -> Sampler:
    """The sampler `name` with its own settings; raises UsageError for names there are not."""
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    known = [*inspect.signature(SAMPLERS[name]).parameters][3:]
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of the sampler {name}", setting, known)
    return SAMPLERS[name](space, batch_size, seed, **settings)
