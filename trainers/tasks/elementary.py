"""Sine, logarithm and random numbers, to the last bit the same on every machine.

Those of NumPy and of C libraries differ in the last bit between processors and releases. These use
only +, -, *, /, square root and rounding, which IEEE 754 defines exactly, on float64.
"""

import math

import numpy as np

PI_HIGH = float.fromhex("0x1.921fb544p+1")
"""The first 33 bits of pi: its product with a whole number below 2**20 is exact."""
PI_LOW = float.fromhex("0x1.0b4611a626331p-33")
SINE_TERMS = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(11))
LOG_TERMS = tuple(1 / (2 * n + 1) for n in range(11))
LN_2 = float.fromhex("0x1.62e42fefa39efp-1")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
WORDS_PER_NORMAL = 2


def sine(x: np.ndarray) -> np.ndarray:
    """sin(x) of float64 |x| < 10**6, to 1e-15: a Taylor series after reduction modulo pi."""
    turns = np.rint(x / math.pi)
    rest = (x - turns * PI_HIGH) - turns * PI_LOW
    is_odd = turns - 2 * np.floor(turns / 2)
    return (1 - 2 * is_odd) * rest * _polynomial(SINE_TERMS, rest * rest)


def logarithm(x: np.ndarray) -> np.ndarray:
    """ln(x) of float64 x > 0, to 1e-15 of its size: ln m = 2 artanh((m - 1) / (m + 1))."""
    fraction, exponent = np.frexp(x)
    is_small = fraction < SQRT_HALF
    fraction = np.where(is_small, 2 * fraction, fraction)
    ratio = (fraction - 1) / (fraction + 1)
    return 2 * ratio * _polynomial(LOG_TERMS, ratio * ratio) + (exponent - is_small) * LN_2


def uniforms(words: np.ndarray) -> np.ndarray:
    """float64 in [0, 1): the top 53 bits of each uint64 word, times 2**-53."""
    return (words >> np.uint64(11)) * 2.0**-53


def normals(draws: np.ndarray) -> np.ndarray:
    """Standard normal numbers [...] of uniform ones [..., 2] in [0, 1), by Box and Muller (1958).

    The second one of each pair is not used, so that a number takes two words whatever its place.
    """
    radius = np.sqrt(-2 * logarithm(1 - draws[..., 0]))
    return radius * sine(2 * math.pi * draws[..., 1])


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """sum_n coefficients[n] * x**n, by Horner's rule."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total
