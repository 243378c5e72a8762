"""Regression tasks as deterministic streams: families of functions, and a user's own file.

NumPy only. Task i of a stream is a pure function of (family, split, shot, query, seed, i), by
algorithm `tasks/1` of `trainers.tasks.stream`.
"""

from trainers.tasks.batch import RegressionBatch, RegressionTask
from trainers.tasks.families import FAMILIES, Family, Harmonic, Sinusoid, SinusoidLine
from trainers.tasks.file import FileStream, TaskFile
from trainers.tasks.stream import FamilyStream, RegressionStream, stream

__all__ = [
    "FAMILIES",
    "Family",
    "FamilyStream",
    "FileStream",
    "Harmonic",
    "RegressionBatch",
    "RegressionStream",
    "RegressionTask",
    "Sinusoid",
    "SinusoidLine",
    "TaskFile",
    "stream",
]
