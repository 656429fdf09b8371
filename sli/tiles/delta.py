"""Update stored tiles in place: subtract the old contribution of the changed pairs, add the new one.

Counts, sums and histograms are exact integers, so subtracting is exact. An extreme, a sample or a set of distinct
values cannot be subtracted, unless the new contribution has the same values. Limit: where a state cannot be subtracted,
`CannotAmend` is raised, and the tile must be recomputed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import duckdb
import numpy as np
import pyarrow as pa

from sli.config.model import Config
from sli.engine.arrow import list_column
from sli.engine.connection import connected, scratch
from sli.schemas import UTC, state_type
from sli.slis import State
from sli.slis.states import DISTINCT, EXACT_ROWS, SAMPLE_ROWS, SUM_PARTS, integers, rounded_sql, smallest_sql, sum_sql
from sli.tiles.amend import CannotAmend
from sli.tiles.audit_delta import RowKey

SIGNS = {"stored": 1, "before": -1, "after": 1}
"""The tables of an update, and whether it adds or subtracts them."""
KEY = "start, slice_by, slice"
ON = " AND ".join(f"{{0}}.{name} = {{1}}.{name}" for name in ("start", "slice_by", "slice"))


def changed_tiles(before: pa.Table, after: pa.Table, states: Iterable[str]) -> pa.Table:
    """The keys (`day`, `start`, `slice_by`, `slice`) of the tiles that differ between two tables of tiles."""
    con = scratch()
    names = ", ".join(["day", "start", "slice_by", "slice", "predictions", "labelled", *states])
    con.register("before_arrow", before)
    con.register("after_arrow", after)
    old, new = (f"SELECT {names} FROM {side}_arrow WHERE span = 'tile'" for side in ("before", "after"))
    keys: pa.Table = con.sql(
        f"SELECT DISTINCT day, {KEY} FROM (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old})) ORDER BY ALL"
    ).to_arrow_table()
    return keys


class _Update:
    """The tiles named by `keys`: `stored` minus the contribution `before` plus the contribution `after`."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        states: Mapping[str, State],
        stored: pa.Table,
        before: pa.Table,
        after: pa.Table,
        keys: pa.Table,
    ) -> None:
        self.con, self.rows, self.states = con, len(keys), states
        self.con.register("keys_arrow", keys.append_column("row", pa.array(np.arange(len(keys)), pa.int64())))
        self.con.execute("CREATE TEMP TABLE changed AS FROM keys_arrow")
        for side, table in (("stored", stored), ("before", before), ("after", after)):
            self.con.register(f"{side}_arrow", table)
            self.con.execute(
                f"CREATE TEMP TABLE {side} AS SELECT row, s.* FROM {side}_arrow s JOIN changed c "
                f"ON {ON.format('s', 'c')} WHERE s.span = 'tile'"
            )

    def tiles(self) -> pa.Table:
        """The updated tiles that still have predictions, in the form of `schemas.TILES`. Raises CannotAmend."""
        self._check_extremes()
        tiles: pa.Table = self.con.sql(self._plain()).to_arrow_table()
        for state in self.states.values():
            if state.kind in _LISTS:
                tiles = tiles.append_column(state.id, self._list(state))
        counts = integers(tiles.column("predictions"))
        if len(counts) and counts.min() < 0:
            raise CannotAmend
        return tiles.filter(pa.array(counts > 0)).drop_columns(["row"])

    def _check_none(self, sql: str) -> None:
        """Raise CannotAmend if a query finds a row."""
        if self.con.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0]:
            raise CannotAmend

    def _check_extremes(self) -> None:
        """Raise CannotAmend if a stored extreme goes and none as extreme comes, because the next extreme is unknown."""
        for state in self.states.values():
            if state.kind in ("min", "max"):
                beyond, within = ("<", ">") if state.kind == "min" else (">", "<")
                self._check_none(
                    f"SELECT 1 FROM before b JOIN stored s USING (row) LEFT JOIN after a USING (row) "
                    f"WHERE b.{state.id} IS NOT NULL AND NOT b.{state.id} {within} s.{state.id} "
                    f"AND (a.{state.id} IS NULL OR b.{state.id} {beyond} a.{state.id})"
                )

    def _plain(self) -> str:
        """SQL of the updated tiles with their counts, sums and extremes."""

        def total(name: str, part: str = "") -> str:
            terms = (f"coalesce({side}.{name}{part}, 0)" for side in SIGNS)
            return "{} - {} + {}".format(*terms)

        values = ""
        for state in self.states.values():
            if state.kind == "count":
                values += f", ({total(state.id)})::BIGINT AS {state.id}"
            elif state.kind == "sum":
                parts = {name: total(state.id, f".{name}") for name in SUM_PARTS}
                values += f", {sum_sql(parts.__getitem__)} AS {state.id}"
            elif state.kind in ("min", "max"):
                best = "least" if state.kind == "min" else "greatest"
                values += f", {best}(stored.{state.id}, after.{state.id}) AS {state.id}"
        counts = "".join(f", ({total(name)})::BIGINT AS {name}" for name in ("predictions", "labelled"))
        keys = "day, span, start, slice_by, slice"
        joins = (f"LEFT JOIN (SELECT * EXCLUDE ({keys}) FROM {side}) {side} USING (row)" for side in SIGNS)
        return (
            f"SELECT row, day, 'tile' AS span, {KEY}{counts}{values} "
            f"FROM (SELECT row, day, {KEY} FROM changed) {' '.join(joins)} ORDER BY row"
        )

    def _list(self, state: State) -> pa.Array[pa.ListScalar[pa.DataType]]:
        """The updated lists of a state, one a tile. Raises CannotAmend."""
        flat = self.con.sql(_LISTS[state.kind](self, state)).to_arrow_table()
        row = integers(flat.column("row"))
        return list_column(flat.drop_columns(["row"]), row, self.rows, state_type(state.kind))

    def _elements(self, state: State, columns: str) -> str:
        """SQL of the elements of the three lists (SIGNS) of each tile, each with its sign."""
        return " UNION ALL ".join(
            f"SELECT row, {sign} AS sign, {columns} FROM (SELECT row, unnest({state.id}) AS x FROM {side})"
            for side, sign in SIGNS.items()
        )

    def _histogram(self, state: State) -> str:
        """SQL of histograms. Raises CannotAmend if a rounded one shrinks so much that it needs its exact values."""
        elements = self._elements(state, "x.value AS value, x.count AS n, x.marked AS marked")
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE elements AS {elements}")
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE totals AS SELECT row, sum(sign * n) AS total FROM elements GROUP BY row"
        )
        stored = f"SELECT row, sum(x.count) AS n FROM (SELECT row, unnest({state.id}) AS x FROM stored) GROUP BY row"
        self._check_none(
            f"SELECT 1 FROM totals JOIN ({stored}) USING (row) WHERE n > {EXACT_ROWS} AND total <= {EXACT_ROWS}"
        )
        value = f"CASE WHEN total > {EXACT_ROWS} THEN {rounded_sql('value', state.spread)} + 0.0::DOUBLE ELSE value END"
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE summed AS SELECT row, {value} AS value, sum(sign * n)::BIGINT AS count, "
            "sum(sign * marked)::BIGINT AS marked FROM elements JOIN totals USING (row) GROUP BY row, 2"
        )
        self._check_none("SELECT 1 FROM summed WHERE count < 0 OR marked < 0 OR (count = 0 AND marked > 0)")
        return "SELECT row, value, count, marked FROM summed WHERE count > 0 ORDER BY row, value"

    def _groups(self, state: State) -> str:
        """SQL of groups: their counts and sums can always be subtracted."""
        parts = {name: SUM_PARTS[name] for name in ("whole", "fraction", "undefined")}
        columns = "x.key AS key, x.count AS n" + "".join(f", x.{name}::HUGEINT AS {name}" for name in parts)
        sums = "".join(f", sum(sign * {name})::{kind} AS {name}" for name, kind in parts.items())
        return (
            f"SELECT row, key, sum(sign * n)::BIGINT AS count{sums} FROM ({self._elements(state, columns)}) "
            "GROUP BY row, key HAVING sum(sign * n) > 0 ORDER BY row, key"
        )

    def _distinct(self, state: State) -> str:
        """SQL of the smallest hashes. Raises CannotAmend if one goes, because other pairs may still have its value."""
        elements = "(SELECT row, unnest({id}) AS x FROM {side})"
        before, after, stored = (elements.format(id=state.id, side=side) for side in ("before", "after", "stored"))
        self._check_none(f"SELECT * FROM {before} EXCEPT SELECT * FROM {after}")
        return (
            f"SELECT row, unnest({smallest_sql('x', DISTINCT)}) AS hash "
            f"FROM (SELECT * FROM {stored} UNION SELECT * FROM {after}) GROUP BY row ORDER BY row, hash"
        )

    def _sample(self, state: State) -> str:
        """SQL of samples. Raises CannotAmend if a full one loses a pair: which pair would take its place is unknown."""
        columns = "x.key AS key, x.truth AS truth, x.prediction AS prediction, x.columns AS columns"
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE elements AS {self._elements(state, columns)}")
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE summed AS SELECT row, key, truth, prediction, columns, sum(sign) AS n "
            "FROM elements GROUP BY ALL"
        )
        full = f"SELECT row FROM (SELECT row, len({state.id}) AS n FROM stored) WHERE n >= {SAMPLE_ROWS}"
        keys = "SELECT row, x.key AS key FROM (SELECT row, unnest({id}) AS x FROM {side})"
        gone = f"{keys.format(id=state.id, side='before')} EXCEPT ALL {keys.format(id=state.id, side='after')}"
        self._check_none(f"SELECT 1 FROM ({gone}) WHERE row IN ({full})")
        self._check_none(f"SELECT 1 FROM summed WHERE n < 0 AND row NOT IN ({full})")
        return (
            "SELECT row, key, truth, prediction, columns "
            "FROM (SELECT *, unnest(range(n::BIGINT)) FROM summed WHERE n > 0) "
            f"QUALIFY row_number() OVER (PARTITION BY row ORDER BY key, truth, prediction) <= {SAMPLE_ROWS} "
            "ORDER BY row, key, truth, prediction"
        )


_LISTS: Mapping[str, Callable[[_Update, State], str]] = {
    "histogram": _Update._histogram,
    "groups": _Update._groups,
    "distinct": _Update._distinct,
    "sample": _Update._sample,
}


def update_tiles(
    config: Config,
    stored: pa.Table,
    before: pa.Table,
    after: pa.Table,
    keys: pa.Table,
    audit: pa.Table,
    audited: Iterable[RowKey],
) -> pa.Table:
    """The `stored` tiles after an update: tiles named by `keys` lose the contribution `before` and gain `after`.

    The rows of `audit` replace the stored rows with the spans and starts in `audited`. Raises CannotAmend.
    """
    with connected(config.parallel, config.task_memory) as con:
        updated = _Update(con, config.states, stored, before, after, keys).tiles()
    con = scratch()
    names = ["span", "start", "slice_by", "slice"]
    con.register(
        "stored_arrow", stored.select(names).append_column("place", pa.array(np.arange(len(stored)), pa.int64()))
    )
    con.register("replaced", pa.concat_tables([_tile_keys(keys), _audit_keys(audited)]))
    kept = con.sql(f"SELECT place FROM stored_arrow ANTI JOIN replaced USING ({', '.join(names)}) ORDER BY place")
    parts = [stored.take(kept.to_arrow_table().column("place")), updated, audit]
    return pa.concat_tables(parts, promote_options="permissive")


def _tile_keys(keys: pa.Table) -> pa.Table:
    return keys.select(["start", "slice_by", "slice"]).add_column(0, "span", pa.repeat("tile", len(keys)))


def _audit_keys(audited: Iterable[RowKey]) -> pa.Table:
    spans, starts = zip(*keys, strict=True) if (keys := list(audited)) else ((), ())
    return pa.table(
        {
            "span": pa.array(spans, pa.string()),
            "start": pa.array(starts, UTC),
            "slice_by": pa.repeat("", len(spans)),
            "slice": pa.repeat("", len(spans)),
        }
    )
