"""Samplers: from (class table, spec, seed, i) to an episode plan of row numbers; no pixels."""

from episodes.sampling.sampler import (
    FEEDBACK,
    MEASURES,
    Arrays,
    Proposal,
    Sampler,
    Selection,
    TaskSpace,
)
from episodes.sampling.samplers import SAMPLERS, build
from episodes.sampling.spec import ClassTable, EpisodePlan, EpisodeSpec, PlanBatch
from episodes.sampling.variable import VariablePlans
from episodes.sampling.variable_spec import VariableSpec

__all__ = [
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
