"""Exact draws from k-determinantal point processes: sets that are likelier, the more they differ.

Source: Kulesza and Taskar 2012, "Determinantal point processes for machine learning", section 5.2.
"""

import numpy as np

from episodes.errors import UsageError
from episodes.sampling.rng import fractions


def k_dpp(features: np.ndarray, k: int, words: np.ndarray) -> np.ndarray:
    """int64 [k]: distinct rows of `features` with odds det(L_S), L = features features^T.

    `features` is [C, d], `words` uint64 [min(C, d) + k]. Every order of a set is as likely, because
    its odds in the last step, one row after another, are the same determinant. Raises UsageError
    where the rank of L is under k. Source: Kulesza and Taskar 2012, algorithm 8.
    """
    return KDPP(features, k).draw(words)


class KDPP:
    """The k-DPP of the rows of `features` [C, d], decomposed once for many draws.

    Raises UsageError where features are not finite numbers [C, d], or of a rank under k.
    """

    def __init__(self, features: np.ndarray, k: int) -> None:
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or not np.isfinite(features).all():
            raise UsageError(f"features {list(features.shape)}; expected finite numbers [C, d]")
        self.k, self.words = k, words_needed(features.shape, k)
        self._values, self._vectors = _decomposed(features)
        if not 1 <= k <= len(self._values):
            raise UsageError(
                f"a set of {k} of {len(features)} classes whose features have rank "
                f"{len(self._values)}; expected 1 to {len(self._values)}"
            )
        self._polynomials = log_elementary_polynomials(self._values, k)

    def draw(self, words: np.ndarray) -> np.ndarray:
        """int64 [k] from uint64 [words]."""
        uniform = fractions(words[: self.words])
        basis = self._vectors[:, self._eigenvectors(uniform[: -self.k])]
        return _rows_of_projection(basis, uniform[-self.k :])

    def _eigenvectors(self, uniform: np.ndarray) -> list[int]:
        """k positions: a set with odds of the product of its eigenvalues."""
        chosen: list[int] = []
        log_values, table = np.log(self._values), self._polynomials
        for last in range(len(self._values), 0, -1):
            left = self.k - len(chosen)
            if left == 0:
                break
            log_odds = log_values[last - 1] + table[left - 1, last - 1] - table[left, last]
            if left == last or uniform[last - 1] < np.exp(log_odds):
                chosen.append(last - 1)
        return chosen


def words_needed(shape: tuple[int, ...], k: int) -> int:
    """The words of a draw from features of this shape, [C, d]."""
    return min(shape) + k


def log_elementary_polynomials(values: np.ndarray, k: int) -> np.ndarray:
    """float64 [k + 1, n + 1]: the logarithm of e_l of the first m of n positive values, at [l, m].

    Logarithms, because products of many eigenvalues leave the range of floating point. Source:
    Kulesza and Taskar 2012, algorithm 7.
    """
    table = np.full((k + 1, len(values) + 1), -np.inf)
    table[0] = 0
    for count, log_value in enumerate(np.log(values), 1):
        table[1:, count] = np.logaddexp(table[1:, count - 1], log_value + table[:-1, count - 1])
    return table


def _decomposed(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of L that are not zero, [r], up to a factor; their eigenvectors [C, r].

    From the smaller of L and features^T features, which have the same ones.
    """
    classes, dimensions = features.shape
    largest = np.abs(features).max(initial=0.0) or 1.0
    scaled = features / largest  # so that no square overflows; odds do not hang on the scale
    gram = scaled @ scaled.T if classes <= dimensions else scaled.T @ scaled
    values, vectors = np.linalg.eigh(gram)
    floor = values.max(initial=0.0) * max(features.shape) * np.finfo(np.float64).eps
    kept = values > floor
    values, vectors = values[kept], vectors[:, kept]
    if classes > dimensions:
        vectors = scaled @ vectors / np.sqrt(values)
    return values, vectors


def _rows_of_projection(basis: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """int64 [k]: rows drawn from the DPP of the projection on `basis` [C, k], orthonormal columns.

    A row's odds are its squared distance from the span of the rows drawn, so that the rows are made
    orthogonal to each that is drawn.
    """
    odds = (basis**2).sum(axis=1)
    rows, chosen = basis.copy(), []
    for number in uniform:
        sums = np.cumsum(odds)
        place = np.searchsorted(sums, number * sums[-1], side="right")
        row = min(int(place), int(np.flatnonzero(odds)[-1]))
        direction = rows[row] / np.sqrt(rows[row] @ rows[row])
        rows -= np.outer(rows @ direction, direction)
        odds = (rows**2).sum(axis=1)
        chosen.append(row)
        odds[chosen] = 0
    return np.array(chosen, np.int64)
