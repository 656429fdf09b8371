"""Many series of days, simulated or drawn from real ones, and the alarms that `sli.slis.maths.worsening` raises."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sli.slis.maths.confidence import wilson
from sli.slis.maths.worsening import BASELINE, Alarms, Days, alarms, baseline, scores

LEVEL = 0.95
YEAR = 364
LENGTH = BASELINE + YEAR
WEEKDAY = np.arange(LENGTH) % 7


class Series(NamedTuple):
    """Values and both ends of their intervals: a row a series, a column a day."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def alarms(self, better: str = "higher", weekly: bool = True) -> Alarms:
        days = Days.of(*self, WEEKDAY if weekly else np.zeros_like(WEEKDAY), LEVEL, better)
        return alarms(scores(days, baseline(days)))

    def moved(self, by: float, start: int, end: int = LENGTH) -> Series:
        """The same days, from `start` to `end` higher by a constant."""
        step = np.where((np.arange(LENGTH) >= start) & (np.arange(LENGTH) < end), by, 0.0)
        return Series(*(numbers + step for numbers in self))


def shares(
    random: np.random.Generator, runs: int, n: int, share: float, spread: float, drop: float = 0.0, at: int = 0
) -> Series:
    """Shares of n pairs a day; the log odds of a day vary by `spread`, and from day `at` on the share is lower."""
    odds = np.log(share / (1 - share)) + spread * random.normal(size=(runs, LENGTH))
    chance = 1 / (1 + np.exp(-odds)) - np.where(np.arange(LENGTH) >= at, drop, 0.0)
    part = random.binomial(n, np.clip(chance, 0.0, 1.0))
    return Series(part / n, *wilson(part, np.full(part.shape, n), LEVEL))


def in_blocks(random: np.random.Generator, runs: int, days: Series, weeks: int) -> Series:
    """Years of real weeks drawn with replacement, so many that follow each other at a time. `days` starts on a Monday.

    So the days of a week, and how they depend on each other, are real, and nothing changes in the long run.
    """
    whole = len(days.value) // 7
    needed = -(-LENGTH // (7 * weeks))
    drawn = random.integers(0, whole - weeks + 1, (runs, needed))[..., None] + np.arange(weeks)
    drawn = drawn.reshape(runs, -1)
    return Series(*(part[: 7 * whole].reshape(whole, 7)[drawn].reshape(runs, -1)[:, :LENGTH] for part in days))
