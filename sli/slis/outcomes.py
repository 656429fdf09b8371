"""The state of outcomes, which every tile keeps besides the states of its SLIs: what became of its predictions.

It counts pairs by their prediction (in bins), their label and the label's age, and so tells how soon labels arrive, how
predictions are distributed, and how well they are calibrated. Limit: of a label that was corrected it has the time and
the value that count, not the first ones.

The key of a group is a whole number: 1000 times the bin, plus
0 without a label; else 1 plus the age, or 501 plus the age for a positive (binary) or right (multiclass) one.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sli.engine.sql import tile_sql
from sli.slis.formula import groups
from sli.slis.states import Flags, Floats, Integers, Objects, State

NO_VALUE = -10_000
"""The bin of predictions without a value."""
STRIDE, POSITIVE = 1000, 500
"""How far the keys of two bins, and of two labels, lie apart."""

SCORE_UNITS = 1 << 20
"""Scores are summed in units of 1 / SCORE_UNITS: whole numbers take little room and add up fast."""
BELOW_NINE = math.nextafter(0.9, 0)
ONE = 5000
"""The bin of the numbers from 1 on. There are four bins for each doubling; those of negative numbers mirror them."""
LARGEST = 1023
"""The greatest power of two that a double can have."""
EXACT_AGES = 8
"""Ages below this many tiles have a step of their own; above there are four steps for each doubling."""


class KeyFields(NamedTuple):
    """What the keys of groups say: arrays with one element a key."""

    bin: Integers
    labelled: Flags
    positive: Flags
    """Whether the label is positive (binary) or equals the prediction (multiclass); else whether there is a label."""
    age: Integers
    """The step of the label's age, -1 without a label."""


@dataclass(frozen=True)
class Outcomes:
    """The state of outcomes of a model, and what its keys mean. `tile` is the length of a tile in microseconds."""

    task: str
    threshold: float
    classes: tuple[str, ...]
    tile: int

    @functools.cached_property
    def state(self) -> State:
        """Its amount is the score in units of `unit` (binary), or the error as in `bias` (regression).

        >>> state = Outcomes("regression", 0.5, (), 3_600_000_000).state
        >>> state.amount
        'prediction - label'
        """
        label = {"binary": "truth = 1", "multiclass": "truth = value"}.get(self.task, "true")
        # Steps count tiles, so a label is known at the end of a tile if its tile lies before that.
        age = f"greatest({tile_sql('f_t', self.tile)} - tile, 0)"
        known = f"CASE WHEN {label} THEN {POSITIVE + 1} ELSE 1 END + {_age_step_sql(age)}"
        key = (
            f"((CASE WHEN value IS NULL THEN {NO_VALUE} ELSE {self._bin_sql} END) * {STRIDE} "
            f"+ CASE WHEN labelled THEN {known} ELSE 0 END)::INTEGER"
        )
        return groups(
            key,
            amount={"binary": f"round(value * {SCORE_UNITS})::INTEGER", "regression": "prediction - label"}.get(
                self.task, ""
            ),
        )

    @property
    def unit(self) -> float:
        """What a sum of amounts is counted in."""
        return 1 / SCORE_UNITS if self.task == "binary" else 1.0

    @functools.cached_property
    def score_edges(self) -> tuple[float, ...]:
        """The edges between bins of scores: tenths, and the threshold, since it decides.

        >>> Outcomes("binary", 0.25, (), 3_600_000_000).score_edges
        (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        """
        return tuple(sorted({*(i / 10 for i in range(1, 10)), *([self.threshold] if self.threshold > 0 else [])}))

    @property
    def _bin_sql(self) -> str:
        """SQL of the bin of a prediction that has a value."""
        if self.task == "binary":
            # BELOW_NINE * 10 is 9.0, though it lies below the edge.
            extra = f" + (value >= {self.threshold!r}::DOUBLE)::TINYINT" if len(self.score_edges) > 9 else ""
            return f"least(floor(value * 10)::TINYINT, 9) - (value = {BELOW_NINE!r}::DOUBLE)::TINYINT{extra}"
        if self.task == "multiclass":
            return "value::INTEGER"
        size = f"least(floor(log2(abs(value)))::INTEGER, {LARGEST})"
        step = f"4 * {size} + floor(abs(value) / pow(2, {size}) * 4)::INTEGER - 4 + {ONE}"
        return f"CASE WHEN value = 0 THEN 0 WHEN value > 0 THEN {step} ELSE -({step}) END"

    def bins(self, predictions: Floats) -> Integers:
        """The bin of each prediction: a score, the number of a class, or any number; NaN has none."""
        known = ~np.isnan(predictions)
        values = np.where(known, predictions, 1.0)
        if self.task == "binary":
            bins = np.searchsorted(np.array(self.score_edges), values, side="right")
        elif self.task == "multiclass":
            bins = values.astype(np.int64)
        else:
            # frexp gives a fraction in [1/2, 1) and the power of two above it.
            fraction, power = np.frexp(np.abs(values))
            steps = 4 * (power.astype(np.int64) - 1) + np.floor(fraction * 8).astype(np.int64) - 4 + ONE
            bins = np.where(values == 0, 0, np.sign(values).astype(np.int64) * steps)
        return np.where(known, bins, NO_VALUE)

    def edges(self, bin: int) -> tuple[float, float] | None:
        """The least and the greatest prediction of a bin of numbers, one of which belongs to the next bin; else None.

        >>> numbers = Outcomes("regression", 0.5, (), 3_600_000_000)
        >>> [numbers.edges(int(bin)) for bin in numbers.bins(np.array([0.0, 1.3, -3.0]))]
        [(0.0, 0.0), (1.25, 1.5), (-3.5, -3.0)]
        """
        if bin == NO_VALUE or self.task == "multiclass":
            return None
        if self.task == "binary":
            all_edges = (0.0, *self.score_edges, 1.0)
            return all_edges[bin], all_edges[bin + 1]
        if bin == 0:
            return 0.0, 0.0
        low, high = (_least_of(step) for step in (abs(bin) - ONE, abs(bin) - ONE + 1))
        return (low, high) if bin > 0 else (-high, -low)

    def text(self, bin: int) -> str:
        """The name of a bin.

        >>> scores = Outcomes("binary", 0.25, (), 3_600_000_000)
        >>> [scores.text(bin) for bin in scores.bins(np.array([0.2, 0.25, 1.0, np.nan]))]
        ['0.2 to 0.25', '0.25 to 0.3', '0.9 to 1', 'no value']
        """
        if bin == NO_VALUE:
            return "no value"
        if self.task == "multiclass":
            return self.classes[bin] if bin < len(self.classes) else f"class {bin}"
        edges = self.edges(bin)
        assert edges is not None
        low, high = (f"{edge:.4g}" for edge in edges)
        return low if low == high else f"{low} to {high}"


def fields_of(keys: Objects) -> KeyFields:
    """What these keys say.

    >>> fields_of(np.array(["3000", "3012", "3507"], dtype=object)).age
    array([-1, 11,  6])
    """
    bin, rest = np.divmod(keys.astype(np.int64), STRIDE)
    positive = rest > POSITIVE
    return KeyFields(bin, rest > 0, positive, np.where(positive, rest - POSITIVE, rest) - 1)


def age_steps(tiles: Integers) -> Integers:
    """The step of each age in tiles.

    >>> age_steps(np.array([0, 7, 8, 9, 10, 15, 16, 24]))
    array([ 0,  7,  8,  8,  9, 11, 12, 14])
    """
    ages = np.maximum(tiles, 0)
    power = np.frexp(np.maximum(ages, EXACT_AGES).astype(np.float64))[1].astype(np.int64) - 1
    return np.where(ages < EXACT_AGES, ages, (ages >> np.maximum(power - 2, 0)) + 4 * power - 8)


def ages_end(steps: Integers) -> Integers:
    """The first age in tiles beyond each step: labels of this step and those before are known by then.

    >>> ages_end(np.array([-1, 0, 7, 8, 11, 12]))
    array([ 0,  1,  8, 10, 16, 20])
    """
    following = steps + 1
    power = np.maximum(following // 4 + 1, 3)
    beyond = (following % 4 + 4) << (power - 2)
    return np.where(following < EXACT_AGES, following, beyond)


def _age_step_sql(age: str) -> str:
    """SQL twin of `age_steps`."""
    power = f"floor(log2({age}))::INTEGER"
    return f"CASE WHEN {age} < {EXACT_AGES} THEN {age} ELSE ({age} >> ({power} - 2)) + 4 * {power} - 8 END"


def _least_of(step: int) -> float:
    """The least number of a step, counted from 1: four for each doubling."""
    return math.ldexp((step % 4 + 4) / 4, step // 4) if step // 4 <= LARGEST else math.inf
