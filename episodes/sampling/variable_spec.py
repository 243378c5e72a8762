"""What an episode of variable way and shot is made of: Meta-Dataset's rules and their constants."""

import json
import math
from dataclasses import asdict, dataclass

from episodes.errors import UsageError

LN_2 = 0.6931471805599453
MOST = 2047  # ways and support images: with this bound the shots are exact in 64-bit integers
WIDEST_LOG_WEIGHTS = 10.0
HEAD_WORDS = 5


@dataclass(frozen=True)
class VariableSpec:
    """How way, shot and query are drawn; the defaults are those of all published results.

    Fixed numbers take the place of what is drawn: `way` classes, `shot` support images of each (or
    a number from `shot` = (least, most), the same for all), `query` query images of each. The
    constants have Meta-Dataset's names; `source_weights` are the odds of the sources (default:
    equal), and `source_batch` episodes in a row come from one source (default: each draws its own).
    Raises UsageError for numbers that make no sense, alone or together.
    Source: Triantafillou et al. 2020, section 3.2 and appendix; its code's num_ways, num_support
    and num_query.
    """

    way: int | None = None
    shot: int | tuple[int, int] | None = None
    query: int | None = None
    min_ways: int = 5
    max_ways_upper_bound: int = 50
    max_num_query: int = 10
    max_support_set_size: int = 500
    max_support_size_contrib_per_class: int = 100
    min_log_weight: float = -LN_2
    max_log_weight: float = LN_2
    min_examples_in_class: int = 0
    ignore_hierarchy_probability: float = 0.0
    source_weights: tuple[float, ...] | None = None
    source_batch: int | None = None

    def __post_init__(self) -> None:
        self._check_whole("way", 2, MOST, optional=True)
        self._check_shot()
        self._check_whole("query", 1, optional=True)
        self._check_whole("min_ways", 2, MOST)
        self._check_whole("max_ways_upper_bound", self.min_ways, MOST)
        self._check_whole("max_num_query", 1)
        self._check_whole("max_support_set_size", self.most_ways, MOST)
        self._check_whole("max_support_size_contrib_per_class", 1)
        self._check_whole("min_examples_in_class", 0)
        self._check_whole("source_batch", 1, optional=True)
        self._check_number("ignore_hierarchy_probability", 0, 1)
        self._check_number("min_log_weight", -math.inf, math.inf)
        highest = self.min_log_weight + WIDEST_LOG_WEIGHTS
        self._check_number("max_log_weight", self.min_log_weight, highest)
        self._check_source_weights()

    def canonical(self) -> str:
        """The spec as one unambiguous line, which enters the random key."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @property
    def most_ways(self) -> int:
        """The most classes that an episode can have."""
        return self.max_ways_upper_bound if self.way is None else self.way

    @property
    def shot_range(self) -> tuple[int, int] | None:
        """The least and the most support images of a class; None where the sizes decide."""
        return (self.shot, self.shot) if isinstance(self.shot, int) else self.shot

    @property
    def most_support(self) -> int:
        """The most support images that an episode can have."""
        shots = self.shot_range
        return self.max_support_set_size if shots is None else self.most_ways * shots[1]

    @property
    def most_query(self) -> int:
        """The most query images that an episode can have."""
        return self.most_ways * (self.max_num_query if self.query is None else self.query)

    @property
    def most_rows(self) -> int:
        """The most images that an episode can have."""
        return self.most_support + self.most_query

    @property
    def is_fixed(self) -> bool:
        """Whether every episode has one shape."""
        return self.way is not None and isinstance(self.shot, int) and self.query is not None

    @property
    def least_images(self) -> int:
        """The images that every class must have, because any class can be drawn."""
        shots = self.shot_range
        return (1 if shots is None else shots[1]) + (1 if self.query is None else self.query)

    @property
    def words(self) -> int:
        """The random words of an episode: its own, two a class, and one an image."""
        return HEAD_WORDS + 2 * self.most_ways + self.most_rows

    def _check_whole(
        self, name: str, least: int, most: int | None = None, optional: bool = False
    ) -> None:
        value = getattr(self, name)
        if optional and value is None:
            return
        if not _is_whole(value) or value < least or (most is not None and value > most):
            bounds = f"{least} or more" if most is None else f"{least} to {most}"
            none = ", or None to draw it" if name in ("way", "query") else ""
            raise UsageError(f"{name} is {value!r}; expected a whole number, {bounds}{none}")

    def _check_shot(self) -> None:
        if self.shot is None:
            return
        bounds = self.shot if isinstance(self.shot, (tuple, list)) else (self.shot, self.shot)
        if len(bounds) != 2 or not all(map(_is_whole, bounds)) or not 1 <= bounds[0] <= bounds[1]:
            raise UsageError(
                f"shot is {self.shot!r}; expected a whole number of 1 or more, two of them (the "
                "least and the most), or None to draw each class's own"
            )
        least, most = bounds
        object.__setattr__(self, "shot", least if least == most else (least, most))

    def _check_number(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not _is_finite(value) or not least <= value <= most:
            bounds = "" if math.isinf(most) else f" from {least:g} to {most:g}"
            raise UsageError(f"{name} is {value!r}; expected a number{bounds}")
        object.__setattr__(self, name, float(value))

    def _check_source_weights(self) -> None:
        weights = self.source_weights
        if weights is None:
            return
        if not isinstance(weights, (tuple, list)) or not weights:
            raise UsageError(f"source_weights is {weights!r}; expected one number for each source")
        if wrong := [weight for weight in weights if not _is_finite(weight) or weight <= 0]:
            raise UsageError(f"source_weights has {wrong[0]!r}; expected numbers above 0")
        object.__setattr__(self, "source_weights", tuple(map(float, weights)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
