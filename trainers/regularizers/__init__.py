"""What is added to the outer loss."""

from trainers.regularizers.relation import (
    consistency,
    mixed,
    peer_weights,
    relation_matrix,
)
from trainers.regularizers.trlearner import Consistency, TRLearner, crossed

__all__ = [
    "Consistency",
    "TRLearner",
    "consistency",
    "crossed",
    "mixed",
    "peer_weights",
    "relation_matrix",
]
