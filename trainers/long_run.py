"""What to say of a run that will take long: what a first look is, and what is faster."""

from trainers.config import RunConfig
from trainers.progress import clock

LONG = 3600.0
SMALL_IMAGES = FEW_FILTERS = 32


def hint(seconds_left: float, config: RunConfig, image_size: int | None) -> str | None:
    """One line on a run that has so many seconds left; None where they are an hour at most.

    `image_size` is the edge of its images in pixels, None where it has no images.
    """
    if seconds_left <= LONG:
        return None
    faster = []
    if image_size is not None and image_size > SMALL_IMAGES:
        faster.append(f"images of `episodes prepare DATASET --size {SMALL_IMAGES}`")
    if int(config.own.get("filters", 0)) > FEW_FILTERS:
        faster.append(f"`--filters {FEW_FILTERS}`")
    return (
        f"about {clock(seconds_left)} left: {config.iterations:,} iterations are the protocol's, "
        "unless you gave them; `--iterations 100` is a first look"
        + (f"; faster: {', or '.join(faster)}" if faster else "")
    )
