"""The difference of an SLI between two sides that scored the same requests, with its interval.

An SLI that is a share of the requests, such as accuracy, is compared by the requests on which the sides differ; any
other one by a bootstrap: the requests are drawn again and again, each with what both sides made of it. Limit: requests
are independent of each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sli.slis.custom.function import UserFunction
from sli.slis.custom.sampled import resamples
from sli.slis.formula import Formula, Values
from sli.slis.kinds.terms import Drawn, Reader
from sli.slis.maths.differences import mcnemar, of_paired_shares, of_resamples
from sli.slis.states import Floats, Integers
from sli.slis.terms import Terms, drawn_alone, drawn_at_random, drawn_once, states_of_pairs

RESAMPLES = 999
"""How often requests are drawn again: 25 resamples lie beyond either end of a 95 % interval."""
MOST_DRAWN = 1 << 26
"""Very many requests are drawn less often, so that at most so many are drawn in all; but at least `resamples` times."""
DRAWN = 1 << 20
"""How many requests are drawn at a time."""
FEW = 8
"""If requests have fewer different contents than 1 / FEW of their number, the contents are drawn at once."""
SIDES = ("first", "second")


class Table(NamedTuple):
    """How many requests count on both sides, on one side, on neither."""

    both: int
    only_first: int
    only_second: int
    neither: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The values of both sides, one row each, and their difference, second minus first, with its interval.

    `table` and `p`, the p value of McNemar's test, exist for a share of the requests. NaN: there is none.
    """

    first: Values
    second: Values
    value: float
    low: float
    high: float
    table: Table | None = None
    p: float = np.nan
    resamples: int = 0
    """How often the requests were drawn again; 0 for a share of the requests."""


@dataclass(frozen=True)
class Requests:
    """Requests that both sides scored, for one SLI.

    `table` has what a request adds on either side, in columns that begin with `first:` and `second:`, each different
    content once and in order; `times` says how many requests have it.
    """

    formula: Formula
    table: pa.Table
    times: Integers
    functions: Mapping[str, UserFunction]
    end: int
    level: float

    def _terms(self, rounds: bool) -> tuple[Terms, Terms]:
        states = states_of_pairs(self.formula)
        first, second = (
            Terms.of(Reader(self.table, f"{side}:", self.functions, rounds), states, self.end, self.level)
            for side in SIDES
        )
        return first, second

    def difference(self) -> PairedDifference:
        """The difference of the two sides. Undefined values have their reason."""
        terms, once = self._terms(rounds=False), drawn_once(self.times)
        first, second = (self.formula.value(side.merged(once)) for side in terms)
        value = float(second.value[0] - first.value[0])
        if np.isnan(value):
            return PairedDifference(first=first, second=second, value=value, low=np.nan, high=np.nan)
        table = None if self.functions else self._shares(terms, first, second)
        if table is None:
            return self._bootstrap(first, second)
        low, high = (float(end) for end in of_paired_shares(*table, self.level)[1:])
        p = float(mcnemar(table.only_first, table.only_second))
        return PairedDifference(first=first, second=second, value=value, low=low, high=high, table=table, p=p)

    def _shares(self, terms: tuple[Terms, Terms], first: Values, second: Values) -> Table | None:
        """How often both sides count, if the SLI is a share of the requests: the same ones on both sides.

        That is so if the value of each request alone is 0, 1 or undefined, undefined on both sides or none, and the
        mean of these values is the value of all.
        """
        alone: list[Floats] = []
        for side, whole in zip(terms, (first, second), strict=True):
            parts = []
            for begin in range(0, len(side), DRAWN):
                matrix = drawn_alone(begin, min(begin + DRAWN, len(side)), len(side))
                parts.append(self.formula.value(side.merged(matrix)).value)
                if not np.isin(parts[-1][~np.isnan(parts[-1])], (0.0, 1.0)).all():
                    return None
            values = np.concatenate(parts)
            given = ~np.isnan(values)
            counted = int(self.times[given].sum())
            if not counted or not np.isclose(values[given] @ self.times[given] / counted, whole.value[0], 1e-12, 0):
                return None
            alone.append(values)
        if (np.isnan(alone[0]) != np.isnan(alone[1])).any():
            return None
        cells = ((1, 1), (1, 0), (0, 1), (0, 0))
        return Table(*(int(self.times[(alone[0] == a) & (alone[1] == b)].sum()) for a, b in cells))

    def _bootstrap(self, first: Values, second: Values) -> PairedDifference:
        """The interval of the difference, and of each value without one of its own, from resamples of the requests."""
        terms, once, number = self._terms(rounds=True), drawn_once(self.times), int(self.times.sum())
        # Each resample of a Python function is a call on all requests.
        often = 0 if self.functions else min(RESAMPLES, MOST_DRAWN // number)
        count = max(often, resamples(self.level))
        drawn: list[list[Floats]] = [[], []]
        for matrix in self._resampled(count):
            for values, side in zip(drawn, terms, strict=True):
                values.append(self.formula.value(side.merged(matrix)).value)
        resampled = [np.concatenate(values) for values in drawn]
        # Where many values are rounded, only the resamples are: their interval moves by what rounding changed.
        moved = [
            float(whole.value[0] - self.formula.value(side.merged(once)).value[0])
            for whole, side in zip((first, second), terms, strict=True)
        ]
        low, high = of_resamples(resampled[1] - resampled[0] + (moved[1] - moved[0]), number, self.level)
        first, second = (
            whole
            if not np.isnan(whole.low[0])
            else whole.within(*(np.array([end]) for end in of_resamples(values + move, number, self.level)))
            for whole, values, move in zip((first, second), resampled, moved, strict=True)
        )
        value = float(second.value[0] - first.value[0])
        return PairedDifference(first=first, second=second, value=value, low=low, high=high, resamples=count)

    def _resampled(self, count: int) -> Iterator[Drawn]:
        """So many resamples, some at a time. The requests are the seed, so the same ones give the same resamples."""
        random = np.random.default_rng(np.frombuffer(self._content(), dtype=np.uint32))
        number, different = int(self.times.sum()), len(self.times)
        owner = np.repeat(np.arange(different), self.times)
        at_once = max(1, DRAWN // different)
        for begin in range(0, count, at_once):
            size = min(at_once, count - begin)
            if different * FEW < number:
                yield drawn_at_random([*random.multinomial(number, self.times / number, size)])
            else:
                requests = (owner[random.integers(0, number, number)] for _ in range(size))
                yield drawn_at_random([np.bincount(rows, minlength=different) for rows in requests])

    def _content(self) -> bytes:
        """A hash of what the requests add, on both sides."""
        digest = hashlib.sha256(self.times.tobytes())
        for name in self.table.column_names:
            column = self.table.column(name)
            if pa.types.is_string(column.type):
                digest.update("\x1f".join(str(text) for text in column.to_pylist()).encode())
            else:
                digest.update(np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64).tobytes())
        return digest.digest()
