"""The rows of `tiles` or `days` as a run sees them: stored ones, and in their place those that it wrote.

A worker can read them, too: only addresses are sent to it. Limit: rows that a run wrote are in files that no commit
names yet, and go with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sli.publishing.delta_tables import Table, Within, table_errors
from sli.publishing.parquet_files import Written
from sli.publishing.store import LAYOUT, Store
from sli.slis import State
from sli.slis.states import with_states

KEYS = ("day", "span", "start", "slice_by", "slice", "predictions", "labelled")
"""The columns that windows are merged by."""
MERGED = ("tile", "hour", "day")
"""The spans of rows with states, or with values of Python functions."""


def of_pairs() -> pc.Expression:
    """That a row has states, or values of Python functions; the others are for the audit."""
    return pc.field("span").isin(MERGED)


class Slices(NamedTuple):
    """The slices from one up to another one, in the order of `slice_by` and `slice`; None: from the first, to the last.

    >>> rows = pa.table({"slice_by": ["", "a", "b"], "slice": ["{}", '{"a":"1"}', '{"b":"1"}']})
    >>> rows.filter(Slices(("a", ""), None).condition).column("slice_by").to_pylist()
    ['a', 'b']
    """

    first: tuple[str, str] | None = None
    end: tuple[str, str] | None = None

    @property
    def condition(self) -> pc.Expression:
        """That a row is of one of them."""
        condition = pc.scalar(True)
        for edge, above in ((self.first, True), (self.end, False)):
            if edge is not None:
                by, text = pc.field("slice_by"), pc.field("slice")
                at_least = (by > edge[0]) | ((by == edge[0]) & (text >= edge[1]))
                condition = condition & (at_least if above else ~at_least)
        return condition


EVERY_SLICE = Slices()


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """What a run uses of a stored table: states and slices that are still declared, and the audit."""

    store: Store
    name: str
    table: Table | None
    """None: nothing is stored, or nothing of it is used."""
    states: frozenset[str] = frozenset()
    slice_sets: tuple[str, ...] = ()

    def rows(
        self, within: Within = (), columns: Collection[str] | None = None, only: pc.Expression | None = None
    ) -> pa.Table:
        """Rows of the files chosen. Raises StoreError."""
        for_audit = pc.field("span").isin(["pairs", "feedback"])
        used = for_audit | pc.field("slice_by").isin(pa.array(self.slice_sets, pa.string()))
        known = {*LAYOUT[self.name][0].names, *self.states}
        names = known if columns is None else known & {*columns}
        return self.store.table_rows(self.name, self.table, names, used if only is None else used & only, within)


@dataclass(frozen=True, kw_only=True)
class TileRows:
    """The rows of all partitions: written ones of those that a run replaces, stored ones of the others."""

    stored: StoredRows
    written: Written | None
    replaced: frozenset[str]
    """The days or months that the run wrote anew."""

    def rows(self, partitions: Collection[str], states: Mapping[str, State], slices: Slices) -> pa.Table:
        """The columns KEYS and these states of the rows of some days or months. Raises StoreError."""
        name = LAYOUT[self.stored.name][1][0]
        only = of_pairs() & slices.condition
        columns = [*KEYS, *states]
        parts: list[pa.Table] = []
        kept = sorted({*partitions} - self.replaced)
        if kept:
            parts.append(self.stored.rows([(name, "in", kept)], columns, only))
        if self.written is not None:
            with table_errors(self.written.place.folder, "read"):
                parts.append(self.written.rows(partitions, columns, only))
        nothing = LAYOUT[self.stored.name][0].empty_table().select(KEYS)
        rows = pa.concat_tables([nothing, *parts], promote_options="permissive")
        return with_states(rows, states)
