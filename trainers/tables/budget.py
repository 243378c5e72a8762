"""A budget: as many iterations for each chosen cell, given as such or as time in all."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from episodes.errors import UsageError
from trainers.config import Settings
from trainers.settings import Value

WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h|iterations?)")
SECONDS = {"s": 1, "min": 60, "h": 3600}
PACE_ITERATIONS = 20


@dataclass(frozen=True)
class Budget:
    """So many iterations a run, or so many seconds of training in all; one of the two is None."""

    text: str
    iterations: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, text: str) -> "Budget":
        """What `2000 iterations`, `90s`, `30min` or `1.5h` means; raises UsageError for others."""
        found = WRITTEN.fullmatch(text.strip())
        if found is None or float(found[1]) == 0:
            raise UsageError(
                f"--budget {text}: expected such as '30min', '2h', '90s' or '2000 iterations'"
            )
        number, unit = found.groups()
        if not unit.startswith("iteration"):
            return cls(text, seconds=float(number) * SECONDS[unit])
        if "." in number:
            raise UsageError(f"--budget {text}: expected a whole number of iterations")
        return cls(text, iterations=int(number))

    def iterations_at(self, paces: Mapping[str, float], seeds: int, jobs: int) -> int:
        """The iterations of each run, where an iteration of a run takes `paces` seconds, each is
        run from so many seeds, and `jobs` at a time."""
        if self.iterations is not None:
            return self.iterations
        assert self.seconds is not None
        all_seconds = seeds * sum(paces.values()) / jobs
        return max(1, int(self.seconds / all_seconds)) if all_seconds else 1


def reduced(settings: Mapping[str, Value], iterations: int) -> Settings:
    """The settings with so many iterations, where they have more; an epoch they give shrinks alike.

    Where that leaves one validation, after the last iteration, there is none: it would choose
    between one checkpoint.
    """
    own = int(settings["iterations"])
    if iterations >= own:
        return dict(settings)
    found = {**settings, "iterations": iterations}
    if iterations <= int(settings.get("validate_every", 0)):
        found["val_episodes"] = 0
    if "epoch" in settings:
        found["epoch"] = max(1, round(int(settings["epoch"]) * iterations / own))
    return found


def pacing(settings: Mapping[str, Value]) -> Settings:
    """The settings of a run that only shows how fast the iterations are."""
    short = {"iterations": PACE_ITERATIONS, "validate_every": PACE_ITERATIONS}
    return {**settings, **short, "val_episodes": 0, "episodes": 1}
