"""Reference trainers for gradient-based meta-learning."""

from trainers.config import RunConfig

__all__ = ["RunConfig"]
