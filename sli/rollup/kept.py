"""Values of Python functions that are kept as they are published, because the pairs of their window did not change.

A call has a cost that only the user's code knows, so a function is not called again for them. Limit: values of slices
of a set with a cap, whose "(other)" depends on other slices, and those compared with a table are computed again; also
where a function gave no value, since it may have failed for a reason outside of the pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, Interval, meets_any
from sli.engine.connection import scratch
from sli.engine.sql import literal
from sli.slis import Sli
from sli.slis.formula import Values
from sli.slis.states import Flags, Integers, Merged, integers

if TYPE_CHECKING:
    import duckdb

    from sli.config.model import Config
    from sli.rollup.merge import Rows


@dataclass(frozen=True)
class PairsChanged:
    """Whose pairs changed since the results were published."""

    cells: tuple[pa.Table, ...] = ()
    """Starts of tiles with slices: columns `start`, `slice_by` and `slice`."""
    anywhere: tuple[Interval, ...] = ()
    """Tiles of which any slice may have changed."""

    def also(self, cells: pa.Table, anywhere: Iterable[Interval]) -> PairsChanged:
        """The same with further cells and tiles."""
        return PairsChanged((*self.cells, cells), (*self.anywhere, *anywhere))


@dataclass(frozen=True)
class KeptValues:
    """For each row of a batch whether its published value is kept, and that value."""

    kept: Flags
    values: Values

    def take(self, rows: Integers) -> KeptValues:
        """These rows in this order."""
        return KeptValues(self.kept[rows], self.values.take(rows))

    def or_else(self, sli: Sli, states: Merged) -> Values:
        """The values that are kept, and those of the other rows computed from their states."""
        others = np.flatnonzero(~self.kept)
        if not len(others):
            return self.values
        reference = None if states.reference is None else states.reference.take(others)
        computed = sli.formula.value(replace(states.take(others), reference=reference))
        place = np.arange(len(self.kept))
        place[others] = len(self.kept) + np.arange(len(others))
        return Values.concatenated([self.values, computed]).take(place)


@dataclass(frozen=True)
class Kept:
    """What is published of some windows, in flat rows, and whose pairs changed since."""

    config: Config
    changed: PairsChanged
    published: pa.Table

    def values(
        self, slis: Iterable[Sli], grain: Grain, rows: Rows, starts: Instants, ends: Instants
    ) -> dict[str, KeptValues]:
        """What is kept of each SLI that calls a function, for rows of these windows of a grain, by its name."""
        able = [sli for sli in slis if sli.formula.calls_function]
        able = [sli for sli in able if sli.reference is None or sli.reference.kind != "table"]
        if not able or not len(self.published) or not len(rows):
            return {}
        with scratch() as con:
            con.register("published", self.published)
            con.register("rows", _keys(rows, starts, ends))
            capped = self._capped(con)
            kept = {}
            for sli in able:
                changed = [self._changed(con, rows, *span) for span in self._spans(sli, grain, starts, ends)]
                kept[sli.name] = self._of_sli(con, sli, grain, ~np.logical_or.reduce([capped, *changed]))
        return kept

    def _spans(self, sli: Sli, grain: Grain, starts: Instants, ends: Instants) -> Iterator[tuple[Instants, Instants]]:
        """The beginnings and ends of what the value of each window depends on."""
        if sli.reference is not None and sli.reference.kind == "previous":
            starts = grain.before(self.config.zone, starts, ends)
        yield starts, ends
        if sli.reference is not None and sli.reference.interval is not None:
            fixed = sli.reference.interval
            yield np.full(len(starts), fixed.start), np.full(len(ends), fixed.end)

    def _capped(self, con: duckdb.DuckDBPyConnection) -> Flags:
        """Which rows are slices of a set with a cap."""
        capped = ", ".join(literal(",".join(columns)) for columns in self.config.caps) or "NULL"
        flags = con.execute(f"SELECT coalesce(slice_by IN ({capped}), false) AS capped FROM rows ORDER BY place")
        return np.asarray(flags.fetchnumpy()["capped"], dtype=bool)

    def _changed(self, con: duckdb.DuckDBPyConnection, rows: Rows, starts: Instants, ends: Instants) -> Flags:
        """For which rows pairs changed, or may have, in one of these stretches of time for each window."""
        changed: Flags = meets_any(starts, ends, self.changed.anywhere)[rows.window]
        con.register("spans", _spans_table(starts, ends))
        for cells in self.changed.cells:
            con.register("cells", cells)
            places = con.execute(
                "SELECT DISTINCT place FROM rows JOIN spans USING (w) JOIN cells USING (slice_by, slice) "
                "WHERE cells.start >= spans.first AND cells.start < spans.last"
            )
            changed[integers(places.fetchnumpy()["place"])] = True
        return changed

    def _of_sli(self, con: duckdb.DuckDBPyConnection, sli: Sli, grain: Grain, unchanged: Flags) -> KeptValues:
        """The published values of a series, kept in the rows that are `unchanged`."""
        found = con.sql(
            f"SELECT place, {', '.join(PUBLISHED)} FROM rows JOIN published USING (slice_by, slice, window_start, "
            f"window_end) WHERE sli = {literal(sli.name)} AND definition = {literal(self.config.definition(sli))} "
            f"AND grain = {literal(grain.name)} AND value IS NOT NULL"
        ).to_arrow_table()
        at = integers(found.column("place"))
        numbers = {name: np.full(len(unchanged), np.nan) for name in PUBLISHED if name != "reason"}
        for name, column in numbers.items():
            column[at] = found.column(name).to_numpy()
        reason = np.full(len(unchanged), None, dtype=object)
        reason[at] = found.column("reason").to_pylist()
        known = np.zeros(len(unchanged), dtype=bool)
        known[at] = True
        return KeptValues(
            known & unchanged, Values(reason=reason, **{PUBLISHED[name]: numbers[name] for name in numbers})
        )


PUBLISHED = {
    "value": "value",
    "reason": "reason",
    "ci_low": "low",
    "ci_high": "high",
    "error_bound": "bound",
    "missing_low": "missing_low",
    "missing_high": "missing_high",
}
"""The columns of `results` that are values, with what `Values` calls them."""


def _keys(rows: Rows, starts: Instants, ends: Instants) -> pa.Table:
    """The windows and slices of rows, with their places."""
    table = pa.Table.from_arrays(
        [column.cast(pa.string()) for column in (rows.slice_by, rows.slice)], ["slice_by", "slice"]
    )
    windows = {"w": rows.window, "window_start": starts[rows.window], "window_end": ends[rows.window]}
    for name, column in {"place": np.arange(len(rows)), **windows}.items():
        table = table.append_column(name, pa.array(column, pa.int64()))
    return table


def _spans_table(starts: Instants, ends: Instants) -> pa.Table:
    columns = {"w": np.arange(len(starts)), "first": starts, "last": ends}
    return pa.table([pa.array(column, pa.int64()) for column in columns.values()], list(columns))
