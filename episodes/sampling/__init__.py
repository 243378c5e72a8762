"""Samplers: from (class table, spec, seed, i) to an episode plan of row numbers; no pixels."""

from episodes.sampling.spec import ClassTable, EpisodePlan, EpisodeSpec, PlanBatch
from episodes.sampling.variable import VariablePlans
from episodes.sampling.variable_spec import VariableSpec

__all__ = [
    "ClassTable",
    "EpisodePlan",
    "EpisodeSpec",
    "PlanBatch",
    "VariablePlans",
    "VariableSpec",
]
