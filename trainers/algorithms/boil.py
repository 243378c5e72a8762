"""BOIL: the body alone adapts."""

from dataclasses import dataclass

from trainers.algorithms.base import Algorithm
from trainers.types import Role


@dataclass(frozen=True)
class BOIL(Algorithm):
    """Body only update in the inner loop: the head learns in the outer loop (Oh et al. 2021).

    `adapt_bn` tells whether the scale and offset of batch normalisation adapt with the body.
    """

    adapt_bn: bool = True

    def adapts(self, role: Role) -> bool:
        """All but the head, `norm` where `adapt_bn`."""
        return role != "head" and (role != "norm" or self.adapt_bn)
