"""Few-shot datasets as deterministic, random-access streams of episodes."""

from episodes.errors import EpisodesError, UsageError
from episodes.own import from_arrays
from episodes.sampling import EpisodePlan, EpisodeSpec, VariableSpec
from episodes.store import Store, open
from episodes.stream import Episode, EpisodeBatch, Stream, stream
from episodes.variable_stream import VariableStream

__all__ = [
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
