"""MAML: the whole network adapts."""

from dataclasses import dataclass

from trainers.algorithms.base import Algorithm
from trainers.types import Role


@dataclass(frozen=True)
class MAML(Algorithm):
    """Every weight adapts; the fast weights' query loss is the outer loss (Finn et al. 2017).

    In first order it is FOMAML (section 5.2). With a head made of prototypes it is Proto-MAML
    (Triantafillou et al. 2020). `adapt_bn` tells whether the scale and offset of batch
    normalisation adapt too: they do in MLPLR's protocol, they do not in MAML++ and ALFA.
    """

    adapt_bn: bool = True

    def adapts(self, role: Role) -> bool:
        """All roles, `norm` where `adapt_bn`."""
        return role != "norm" or self.adapt_bn
