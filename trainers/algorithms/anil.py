"""ANIL: the head alone adapts."""

from dataclasses import dataclass

from trainers.algorithms.base import Algorithm
from trainers.types import Role


@dataclass(frozen=True)
class ANIL(Algorithm):
    """Almost no inner loop: the head adapts, the body learns in the outer loop (Raghu et al. 2020).

    Features are computed once a task. Support and query images pass through the body apart, because
    batch moments belong to the set that is classified.
    """

    def adapts(self, role: Role) -> bool:
        """The head alone."""
        return role == "head"
