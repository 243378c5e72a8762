"""Ranks by hand."""

import pytest

from trainers.ranks import Measured, ranks


def measured(*pairs: tuple[float, float]) -> list[Measured]:
    return [Measured(*pair) for pair in pairs]


def test_clear_differences_are_counted_through() -> None:
    assert ranks(measured((0.5, 0.01), (0.7, 0.01), (0.6, 0.01))) == [3, 1, 2]


def test_those_that_tie_with_the_best_share_their_ranks() -> None:
    # 0.70 and 0.69 tie (0.01 <= 0.0141), 0.60 is alone: ranks 1 and 2 shared, then 3.
    assert ranks(measured((0.69, 0.01), (0.6, 0.01), (0.7, 0.01))) == [1.5, 3, 1.5]


def test_only_the_best_decides_who_ties() -> None:
    # 0.66 is within 0.0283 of 0.68, but not of 0.70, which is the best; 0.68 ties with 0.70.
    found = ranks(measured((0.70, 0.02), (0.68, 0.02), (0.66, 0.02)))
    assert found == [1.5, 1.5, 3]


def test_the_interval_of_the_difference_is_that_of_both() -> None:
    # sqrt(0.03^2 + 0.04^2) = 0.05.
    assert ranks(measured((0.7, 0.03), (0.651, 0.04))) == [1.5, 1.5]
    assert ranks(measured((0.7, 0.03), (0.649, 0.04))) == [1, 2]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_ranks_sum_to_those_without_ties(count: int) -> None:
    found = ranks(measured(*[(0.5 + 0.013 * i, 0.01) for i in range(count)]))
    assert sum(found) == count * (count + 1) / 2
