"""The rounding of values in large histograms, and small integers in place of rounded values.

Limit: values that are not finite, subnormal or beyond ROUNDABLE do not round.
"""

from __future__ import annotations

import numpy as np

from sli.slis.states import Floats, Integers, Spread

BITS = 10
"""Significant bits of a rounded value: its relative error is at most 2**-BITS."""
SPLIT = float(2 ** (53 - BITS) + 1)
ROUNDABLE = 1e290
UNUSED = 53 - BITS
"""How many of the 64 bits of a rounded value are always 0."""


def rounded(values: Floats, spread: Spread = "real") -> Floats:
    """Values rounded to BITS significant bits (Veltkamp's splitting; Dekker 1971)."""
    with np.errstate(over="ignore", invalid="ignore"):
        if spread == "probability":
            return np.where(values < 0.5, _significant(values), 1.0 - _significant(1.0 - values))
        return np.where(np.abs(values) > ROUNDABLE, values, _significant(values))


def _significant(values: Floats) -> Floats:
    scaled = values * SPLIT
    return scaled - (scaled - values)


def codes_of(values: Floats, spread: Spread) -> Integers | None:
    """For each rounded value a small integer in the same order; None if a value keeps more bits than rounding leaves.

    That happens for values that do not round: NaN, subnormal ones, and those beyond ROUNDABLE.
    """
    if spread == "real":
        bits = _ordered_bits(values)
        codes = bits >> UNUSED
        whole = bits
    else:
        low = values < 0.5
        whole = _ordered_bits(np.where(low, values, 1.0 - values))
        # The distance to 1 falls as the value grows.
        half = int(_ordered_bits(np.array([0.5]))[0]) >> UNUSED
        codes = np.where(low, whole >> UNUSED, 2 * half - (whole >> UNUSED))
    lost = np.where(whole < 0, ~whole, whole) & ((1 << UNUSED) - 1)
    return None if lost.any() or np.isnan(values).any() else codes


def _ordered_bits(values: Floats) -> Integers:
    """The bits of floats as integers in the same order."""
    bits = values.view(np.int64)
    return bits ^ ((bits >> 63) & np.iinfo(np.int64).max)


def numbered(values: Integers) -> tuple[Integers, Integers]:
    """The different values, ascending, and the position of each value among them. They are small, and not negative."""
    occurs = np.zeros(int(values.max()) + 1, dtype=bool)
    occurs[values] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[values]
