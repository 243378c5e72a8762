"""Refusals of settings out of range, in the words of all rate schemes."""

from math import isfinite

from episodes.errors import UsageError


def at_least_zero(scheme: str, **settings: float) -> None:
    """Raises UsageError where a setting of the scheme is negative or not finite."""
    for name, value in settings.items():
        if not (isfinite(value) and value >= 0):
            raise UsageError(
                f"{scheme} rate: {name} is {value}, expected a finite number of at least 0"
            )


def above_zero(scheme: str, **settings: float) -> None:
    """Raises UsageError where a setting of the scheme is not positive or not finite."""
    for name, value in settings.items():
        if not (isfinite(value) and value > 0):
            raise UsageError(f"{scheme} rate: {name} is {value}, expected a finite number above 0")


def one_or_more(scheme: str, **counts: int) -> None:
    """Raises UsageError where a count of the scheme is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{scheme} rate: {name} is {count}, expected at least 1")


def in_order(scheme: str, **bounds: float) -> None:
    """Raises UsageError where the first of two bounds of the scheme exceeds the second."""
    (low_name, low), (high_name, high) = bounds.items()
    if low > high:
        raise UsageError(
            f"{scheme} rate: {low_name} is {low} and {high_name} is {high}, "
            f"expected {low_name} to be at most {high_name}"
        )
