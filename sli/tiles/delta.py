"""Exchange: stored tiles with what some pairs gave taken away and what they give now added.

Counts, sums and histograms are exact, so taking away is exact; an extreme, a sample or a set of distinct values can
only lose what it gains again. Limit: where a tile cannot tell what is left, `NotTold` says so, and it is made anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Interval, meets_any
from sli.config.model import Config
from sli.engine.arrow import list_column
from sli.engine.connection import connect, scratch
from sli.matching.spec import SAMPLES
from sli.schemas import MARK, SHADOW, STRAY, UTC, state_type
from sli.slis import State
from sli.slis.states import DISTINCT, EXACT_ROWS, SAMPLE_ROWS, SUM_PARTS, integers, rounded_sql, smallest_sql, sum_sql

SIDES = {"stored": 1, "before": -1, "after": 1}
KEY = "start, slice_by, slice"
ON = " AND ".join(f"{{0}}.{name} = {{1}}.{name}" for name in ("start", "slice_by", "slice"))


class NotTold(Exception):
    """Raised where tiles cannot be amended: a state cannot be subtracted, for example a minimum, or memory is short."""


def changed(before: pa.Table, after: pa.Table, states: Iterable[str]) -> pa.Table:
    """The tiles (`day`, `start`, `slice_by`, `slice`) to which some pairs gave something else than they give now."""
    con = scratch()
    names = ", ".join(["day", "start", "slice_by", "slice", "predictions", "labelled", *states])
    con.register("before_arrow", before)
    con.register("after_arrow", after)
    old, new = (f"SELECT {names} FROM {side}_arrow WHERE span = 'tile'" for side in ("before", "after"))
    return con.sql(
        f"SELECT DISTINCT day, {KEY} FROM (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old})) ORDER BY ALL"
    ).to_arrow_table()


class Exchange:
    """The changed tiles of a run; `rows` names them (`day`, `start`, `slice_by`, `slice`)."""

    def __init__(self, config: Config, stored: pa.Table, before: pa.Table, after: pa.Table, rows: pa.Table) -> None:
        self.rows, self.states = rows, config.states
        self.con = connect(config.parallel, config.task_memory)
        self.con.register("rows_arrow", rows.append_column("row", pa.array(np.arange(len(rows)), pa.int64())))
        self.con.execute("CREATE TEMP TABLE changed AS FROM rows_arrow")
        for side, table in (("stored", stored), ("before", before), ("after", after)):
            self.con.register(f"{side}_arrow", table)
            self.con.execute(
                f"CREATE TEMP TABLE {side} AS SELECT row, s.* FROM {side}_arrow s JOIN changed c "
                f"ON {ON.format('s', 'c')} WHERE s.span = 'tile'"
            )

    def tiles(self) -> pa.Table:
        """The changed tiles that still hold predictions, in the form of `schemas.TILES`. Raises NotTold."""
        try:
            self._check_extremes()
            made = self.con.sql(self._plain()).to_arrow_table()
            for state in self.states.values():
                if state.kind in _LISTS:
                    made = made.append_column(state.id, self._list(state, len(self.rows)))
        finally:
            self.con.close()
        counts = integers(made.column("predictions"))
        if len(counts) and counts.min() < 0:
            raise NotTold
        return made.filter(pa.array(counts > 0)).drop_columns(["row"])

    def _none(self, sql: str) -> None:
        """Raise NotTold where a query finds a row."""
        if self.con.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0]:
            raise NotTold

    def _check_extremes(self) -> None:
        """An extreme that goes leaves no other, unless what comes reaches as far."""
        for state in self.states.values():
            if state.kind in ("min", "max"):
                beyond, within = ("<", ">") if state.kind == "min" else (">", "<")
                self._none(
                    f"SELECT 1 FROM before b JOIN stored s USING (row) LEFT JOIN after a USING (row) "
                    f"WHERE b.{state.id} IS NOT NULL AND NOT b.{state.id} {within} s.{state.id} "
                    f"AND (a.{state.id} IS NULL OR b.{state.id} {beyond} a.{state.id})"
                )

    def _plain(self) -> str:
        """SQL of the tiles with their counts, sums and extremes."""

        def total(name: str, part: str = "") -> str:
            terms = (f"coalesce({side}.{name}{part}, 0)" for side in SIDES)
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
        joins = (f"LEFT JOIN (SELECT * EXCLUDE ({keys}) FROM {side}) {side} USING (row)" for side in SIDES)
        return (
            f"SELECT row, day, 'tile' AS span, {KEY}{counts}{values} "
            f"FROM (SELECT row, day, {KEY} FROM changed) {' '.join(joins)} ORDER BY row"
        )

    def _list(self, state: State, rows: int) -> pa.Array:
        flat = self.con.sql(_LISTS[state.kind](self, state)).to_arrow_table()
        owner = integers(flat.column("row"))
        return list_column(flat.drop_columns(["row"]), owner, rows, state_type(state.kind))

    def _elements(self, state: State, columns: str) -> str:
        """SQL of the elements of the three lists of each row, with the sign they count by."""
        return " UNION ALL ".join(
            f"SELECT row, {sign} AS sign, {columns} FROM (SELECT row, unnest({state.id}) AS x FROM {side})"
            for side, sign in SIDES.items()
        )

    def _histogram(self, state: State) -> str:
        """Values beyond EXACT_ROWS are rounded; of a rounded histogram that shrinks the very values are gone."""
        elements = self._elements(state, "x.value AS value, x.count AS n, x.marked AS marked")
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE elements AS {elements}")
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE totals AS SELECT row, sum(sign * n) AS total FROM elements GROUP BY row"
        )
        stored = f"SELECT row, sum(x.count) AS n FROM (SELECT row, unnest({state.id}) AS x FROM stored) GROUP BY row"
        self._none(f"SELECT 1 FROM totals JOIN ({stored}) USING (row) WHERE n > {EXACT_ROWS} AND total <= {EXACT_ROWS}")
        value = f"CASE WHEN total > {EXACT_ROWS} THEN {rounded_sql('value', state.spread)} + 0.0::DOUBLE ELSE value END"
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE summed AS SELECT row, {value} AS value, sum(sign * n)::BIGINT AS count, "
            "sum(sign * marked)::BIGINT AS marked FROM elements JOIN totals USING (row) GROUP BY row, 2"
        )
        self._none("SELECT 1 FROM summed WHERE count < 0 OR marked < 0 OR (count = 0 AND marked > 0)")
        return "SELECT row, value, count, marked FROM summed WHERE count > 0 ORDER BY row, value"

    def _groups(self, state: State) -> str:
        parts = {name: SUM_PARTS[name] for name in ("whole", "fraction", "undefined")}
        columns = "x.key AS key, x.count AS n" + "".join(f", x.{name}::HUGEINT AS {name}" for name in parts)
        sums = "".join(f", sum(sign * {name})::{kind} AS {name}" for name, kind in parts.items())
        return (
            f"SELECT row, key, sum(sign * n)::BIGINT AS count{sums} FROM ({self._elements(state, columns)}) "
            "GROUP BY row, key HAVING sum(sign * n) > 0 ORDER BY row, key"
        )

    def _distinct(self, state: State) -> str:
        """The smallest hashes; one that is taken away may be that of other pairs, too."""
        side = "(SELECT row, unnest({id}) AS x FROM {side})"
        before, after, stored = (side.format(id=state.id, side=each) for each in ("before", "after", "stored"))
        self._none(f"SELECT * FROM {before} EXCEPT SELECT * FROM {after}")
        return (
            f"SELECT row, unnest({smallest_sql('x', DISTINCT)}) AS hash "
            f"FROM (SELECT * FROM {stored} UNION SELECT * FROM {after}) GROUP BY row ORDER BY row, hash"
        )

    def _sample(self, state: State) -> str:
        """The pairs with the smallest keys; a full sample does not know which would follow one that goes."""
        columns = "x.key AS key, x.truth AS truth, x.prediction AS prediction, x.columns AS columns"
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE elements AS {self._elements(state, columns)}")
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE summed AS SELECT row, key, truth, prediction, columns, sum(sign) AS n "
            "FROM elements GROUP BY ALL"
        )
        full = f"SELECT row FROM (SELECT row, len({state.id}) AS n FROM stored) WHERE n >= {SAMPLE_ROWS}"
        keys = "SELECT row, x.key AS key FROM (SELECT row, unnest({id}) AS x FROM {side})"
        gone = f"{keys.format(id=state.id, side='before')} EXCEPT ALL {keys.format(id=state.id, side='after')}"
        self._none(f"SELECT 1 FROM ({gone}) WHERE row IN ({full})")
        self._none(f"SELECT 1 FROM summed WHERE n < 0 AND row NOT IN ({full})")
        return (
            "SELECT row, key, truth, prediction, columns "
            "FROM (SELECT *, unnest(range(n::BIGINT)) FROM summed WHERE n > 0) "
            f"QUALIFY row_number() OVER (PARTITION BY row ORDER BY key, truth, prediction) <= {SAMPLE_ROWS} "
            "ORDER BY row, key, truth, prediction"
        )


_LISTS = {
    "histogram": Exchange._histogram,
    "groups": Exchange._groups,
    "distinct": Exchange._distinct,
    "sample": Exchange._sample,
}

Side = Mapping[tuple[str, Any], Mapping[str, Any]]
"""Rows of spans `pairs` and `feedback` by span and start."""


def exchanged(
    config: Config,
    stored: pa.Table,
    before: pa.Table,
    after: pa.Table,
    rows: pa.Table,
    marks: pa.Table,
    marked: Iterable[tuple[str, Any]],
) -> pa.Table:
    """`stored` with the tiles that `rows` names, and with `marks` for the rows of spans and starts `marked`."""
    made = Exchange(config, stored, before, after, rows).tiles()
    con = scratch()
    names = ["span", "start", "slice_by", "slice"]
    con.register(
        "stored_arrow", stored.select(names).append_column("place", pa.array(np.arange(len(stored)), pa.int64()))
    )
    con.register("gone", pa.concat_tables([_named(rows), _of_marks(marked)]))
    kept = con.sql(f"SELECT place FROM stored_arrow ANTI JOIN gone USING ({', '.join(names)}) ORDER BY place")
    parts = [stored.take(kept.to_arrow_table().column("place")), made, marks]
    return pa.concat_tables(parts, promote_options="permissive")


def _named(rows: pa.Table) -> pa.Table:
    return pa.table(
        {"span": pa.repeat("tile", len(rows)), **{n: rows.column(n) for n in ("start", "slice_by", "slice")}}
    )


def _of_marks(marked: Iterable[tuple[str, Any]]) -> pa.Table:
    keys = list(marked)
    return pa.table(
        {
            "span": pa.array([span for span, _ in keys], pa.string()),
            "start": pa.array([start for _, start in keys], UTC),
            "slice_by": pa.repeat("", len(keys)),
            "slice": pa.repeat("", len(keys)),
        }
    )


def sides(tiles: pa.Table, held: Iterable[Interval]) -> dict[tuple[str, Any], dict[str, Any]]:
    """The rows of a tile table that hold marks, ids that lost and strays, but for those of predictions held back."""
    mine = tiles.filter(pc.is_in(tiles.column("span"), pa.array(["pairs", "feedback"])))
    rows = mine.select(
        [name for name in ("day", "span", "start", "marks", "shadowed", "strays") if name in mine.schema.names]
    )
    starts = mine.column("start").cast(pa.int64()).to_numpy()
    out = meets_any(starts, starts + 1, held) & np.array(
        [each == "pairs" for each in mine.column("span").to_pylist()], dtype=bool
    )
    return {(row["span"], row["start"]): row for row in rows.filter(pa.array(~out)).to_pylist()}


def differing(before: Side, after: Side) -> dict[tuple[str, Any], str]:
    """The rows that are not the same, with their day."""
    return {
        key: (after.get(key) or before[key])["day"] for key in {*before, *after} if before.get(key) != after.get(key)
    }


def side_rows(stored: Side, before: Side, after: Side, keys: Mapping[tuple[str, Any], str]) -> pa.Table:
    """The rows named by `keys` with what was taken away and what is added. Raises NotTold."""
    rows = []
    for (span, start), day in sorted(keys.items(), key=lambda each: (each[0][0], each[0][1])):
        was, old, new = ((each.get((span, start)) or {}) for each in (stored, before, after))
        row = {
            "marks": _marks(was, old, new) or None,
            "shadowed": _listed("shadowed", ("id", "winner"), was, old, new) or None,
            "strays": _listed("strays", ("id", "time", "reason"), was, old, new) or None,
        }
        if any(row.values()):
            rows.append({"day": day, "span": span, "start": start, **row})
    kinds = {"marks": pa.list_(MARK), "shadowed": pa.list_(SHADOW), "strays": pa.list_(STRAY)}
    schema = pa.schema([("day", pa.string()), ("span", pa.string()), ("start", UTC), *kinds.items()])
    made = pa.Table.from_pylist(rows, schema=schema)
    for name, value in {"slice_by": "", "slice": "", "predictions": 0, "labelled": 0}.items():
        made = made.append_column(name, pa.repeat(value, len(made)))
    return made


def _listed(name: str, fields: tuple[str, ...], was: Any, old: Any, new: Any) -> list[dict[str, Any]]:
    """A list that is complete. Raises NotTold."""
    held = Counter(tuple(each[field] for field in fields) for each in was.get(name) or ())
    lost, gained = (Counter(tuple(e[field] for field in fields) for e in side.get(name) or ()) for side in (old, new))
    if lost - held:
        raise NotTold
    left = sorted((held - lost + gained).elements(), key=lambda each: tuple((v is not None, v) for v in each))
    return [dict(zip(fields, each, strict=True)) for each in left]


def _marks(was: Any, old: Any, new: Any) -> list[dict[str, Any]]:
    """Marks with their counts and the first ids of each. Raises NotTold."""

    def by_check(side: Any) -> dict[tuple[Any, ...], Any]:
        return {(m["log"], m["check"], m["file"]): m for m in side.get("marks") or ()}

    held, lost, gained = by_check(was), by_check(old), by_check(new)
    none: dict[str, Any] = {"count": 0, "samples": []}
    marks = []
    for key in sorted({*held, *lost, *gained}, key=lambda each: tuple((v is not None, v) for v in each)):
        a, b, c = held.get(key, none), lost.get(key, none), gained.get(key, none)
        count = a["count"] - b["count"] + c["count"]
        more, less = (Counter(x["samples"]) - Counter(y["samples"]) for x, y in ((c, b), (b, c)))
        known = Counter(a["samples"])
        if count < 0 or (less and (len(a["samples"]) >= SAMPLES or less - known)):
            raise NotTold
        samples = sorted((known - less + more).elements())[:SAMPLES]
        if count:
            marks.append({"log": key[0], "check": key[1], "file": key[2], "count": count, "samples": samples})
    return marks
