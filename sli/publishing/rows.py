"""Publication: what changed, by comparing what was rolled up with what is believed, and the audit beside it.

A row is rewritten only if something in it changed, so a rerun changes nothing and `revisions` holds exactly the
beliefs there were. Rows are compared grain by grain, and spelt out only as they are written. Limit: rows are compared
to the bit; states are exact, so equal inputs give equal bits.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.interval import meets_any
from sli.config.model import Config
from sli.engine.connection import connect, prepare_cursor
from sli.engine.sql import literal
from sli.logs.files import Files, LogFile
from sli.planning.affected import compared_with
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.publishing.store import Transaction
from sli.rollup.days import added_up
from sli.rollup.evaluate import too_few
from sli.rollup.results import NOTHING, ROLLED, TEXT, Pass, encoded
from sli.slices import parse_slice
from sli.slis.custom.sql import INFINITE, NULL
from sli.slis.formula import NO_LABELS, NO_REFERENCE

KEY = ("sli", "definition", "grain", "window_start", "window_end", "slice_by", "slice")
COMPARED = tuple(name for name in ROLLED if name not in (*KEY, "day"))
PIECE = 1 << 16
"""Rows spelt out at a time."""
Read = Callable[[], pa.Table]


@dataclass(frozen=True)
class Difference:
    """`rows`: all rows of the partitions touched, as they shall be; `revised`: what was added, changed, removed.

    Both are plain, their texts dictionaries; `stored` gives them the form of the tables.
    """

    rows: pa.Table
    revised: pa.Table
    partitions: dict[str, list[str]]
    """For each grain the days to replace."""

    def counts(self, column: str) -> Counter[str]:
        """How often each text of a column occurs in `revised`; nulls are left out."""
        return counted(self.revised.column(column))


def unchanged() -> Difference:
    """No row, and none revised."""
    stamp = {"as_of": pa.int64(), "run_id": TEXT, "change": TEXT, "cause": TEXT, "old_value": pa.float64()}
    more = [pa.field(name, kind) for name, kind in {**stamp, "old_verdict": TEXT}.items()]
    nothing = pa.Table.from_batches([], pa.schema([pa.field("model", TEXT), *NOTHING.schema, *more]))
    return Difference(nothing, nothing, {})


def counted(column: pa.ChunkedArray) -> Counter[str]:
    """How often each text occurs; nulls are left out."""
    found: Counter[str] = Counter()
    # Chunk by chunk: Arrow counts by the places in their dictionaries, which are not the same.
    for chunk in column.chunks:
        found.update({each["values"]: each["counts"] for each in chunk.value_counts().to_pylist()})
    del found[None]
    return found


@functools.cache
def _engine() -> duckdb.DuckDBPyConnection:
    """A database that is kept open: to open one takes longer than to rewrite the rows of an hour."""
    return duckdb.connect()


def plain(beliefs: pa.Table) -> pa.Table:
    """Published rows in the form of rolled-up ones: instants as integers, slices as text."""
    with _engine().cursor() as con:
        con.execute("SET TimeZone='UTC'")
        con.register("beliefs", beliefs)
        return con.sql(
            "SELECT * REPLACE (epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end, "
            "epoch_us(as_of) AS as_of, "
            "array_to_string(slice_by, ',') AS slice_by, to_json(slice)::VARCHAR AS slice) FROM beliefs"
        ).to_arrow_table()


def difference(old: Mapping[str, Read], new: Mapping[str, pa.Table], in_scope: Scope, first: bool) -> Difference:
    """Compare `new` rows with the `old` (plain) ones in scope, by grain; old rows out of scope stay as they are."""
    parts, config = [], in_scope.config
    with connect(config.parallel, config.task_memory) if old or not first else nullcontext() as con:
        for grain in sorted({*old, *new}):
            before, now = old[grain]() if grain in old else None, new.get(grain, NOTHING)
            if con is None:
                parts.append(all_new(now, in_scope))
                continue
            with con.cursor() as own:
                prepare_cursor(own)
                parts.append(compared(own, before, now, in_scope, first))
    days = {grain: days for each in parts for grain, days in each.partitions.items()}
    if not parts:
        parts = [all_new(NOTHING, in_scope)]
    rows, revised = (
        pa.concat_tables([getattr(each, name) for each in parts], promote_options="permissive")
        for name in ("rows", "revised")
    )
    return Difference(rows, revised, days)


def same(value: Any, kind: pa.DataType, rows: int) -> pa.ChunkedArray:
    """A column of one value, which is held once for every PIECE rows."""
    n = min(rows, PIECE)
    if value is None:
        piece = pa.nulls(n, kind)
    elif pa.types.is_dictionary(kind):
        piece = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), [value])
    else:
        piece = pa.repeat(pa.scalar(value, kind), n)
    whole, rest = divmod(rows, PIECE)
    return pa.chunked_array([piece] * whole + [piece.slice(0, rest)], kind)


def all_new(new: pa.Table, in_scope: Scope) -> Difference:
    """What `compared` finds where nothing was published: the same rows, in the order they come."""
    n, plan = len(new), in_scope.plan
    rows = new.select(list(ROLLED)).add_column(0, "model", same(in_scope.config.model, TEXT, n))
    rows = rows.append_column("as_of", same(plan.as_of, pa.int64(), n))
    rows = rows.append_column("run_id", same(plan.run_id, TEXT, n))
    revised = rows
    for name, value, kind in (
        ("change", "added", TEXT),
        ("cause", "first run", TEXT),
        ("old_value", None, pa.float64()),
        ("old_verdict", None, TEXT),
    ):
        revised = revised.append_column(name, same(value, kind, n))
    grains = sorted(counted(new.column("grain")))
    return Difference(rows, revised, {grain: sorted(counted(new.column("day"))) for grain in grains})


def compared(
    con: duckdb.DuckDBPyConnection, old: pa.Table | None, new: pa.Table, in_scope: Scope, first: bool
) -> Difference:
    """The rows of a grain added, changed and removed, and all rows of the partitions these lie in."""
    plan, config = in_scope.plan, in_scope.config
    model = config.model.replace("'", "''")
    old = plain(schemas.RESULTS.empty_table()) if old is None else old
    scope = in_scope(old) if len(old) else np.array([], dtype=bool)
    con.register("old_arrow", old.append_column("in_scope", pa.array(scope, pa.bool_())))
    con.register("new_arrow", _resting(in_scope.config, plan, new))
    con.register("current_arrow", in_scope.current())
    key = " AND ".join(f"o.{name} = n.{name}" for name in KEY)
    changed = " OR ".join(f"o.{name} IS DISTINCT FROM n.{name}" for name in COMPARED)
    stamp = f"{plan.as_of}::BIGINT AS as_of, '{plan.run_id}' AS run_id"
    names = ", ".join(f"n.{name}" for name in ROLLED)
    con.execute(
        f"CREATE TEMP TABLE revised AS SELECT '{model}' AS model, {names}, {stamp}, "
        f"CASE WHEN o.sli IS NULL THEN 'added' ELSE 'changed' END AS change, "
        f"{_cause(config, plan, first)} AS cause, o.value AS old_value, o.verdict AS old_verdict "
        f"FROM new_arrow n LEFT JOIN old_arrow o ON {key} WHERE o.sli IS NULL OR {changed}"
    )
    olds = ", ".join(f"o.{name}" for name in ROLLED)
    con.execute(
        f"INSERT INTO revised SELECT '{model}', {olds}, {stamp}, 'removed', CASE WHEN s.definition IS NULL "
        f"THEN 'no longer declared' ELSE 'no predictions left' END, o.value, o.verdict FROM old_arrow o "
        "LEFT JOIN current_arrow s USING (sli, definition, grain, slice_by) "
        f"WHERE o.in_scope AND NOT EXISTS (FROM new_arrow n WHERE {key})"
    )
    partitions: dict[str, list[str]] = {}
    for grain, day in con.execute("SELECT DISTINCT grain, day FROM revised ORDER BY ALL").fetchall():
        partitions.setdefault(grain, []).append(day)
    kept = ", ".join(f"o.{name}" for name in ROLLED)
    con.execute(
        f"CREATE TEMP TABLE final AS SELECT model, {', '.join(ROLLED)}, as_of, run_id FROM revised "
        f"WHERE change <> 'removed' UNION ALL SELECT o.model, {kept}, o.as_of, o.run_id FROM old_arrow o "
        f"JOIN (SELECT DISTINCT grain, day FROM revised) d USING (grain, day) "
        f"WHERE NOT EXISTS (FROM revised n WHERE {key})"
    )
    order = "grain, day, sli, slice_by, slice, window_end, window_start"
    rows = con.sql(f"FROM final ORDER BY {order}").to_arrow_table()
    revised = con.sql(f"FROM revised ORDER BY {order}").to_arrow_table()
    return Difference(encoded_texts(rows), encoded_texts(revised), partitions)


def encoded_texts(rows: pa.Table) -> pa.Table:
    """Rows whose texts are dictionaries: most of them occur many times."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            rows = rows.set_column(i, field.name, encoded(rows.column(i)))
    return rows


def spelt(rows: pa.Table) -> pa.Table:
    """The same, the texts as they are."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(i, field.name, rows.column(i).cast(pa.string()))
    return rows


def written(rows: pa.Table, stamp: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Plain rows in the form of the tables, PIECE rows at a time, with further columns of one value each."""
    for batch in rows.to_batches(max_chunksize=PIECE):
        piece = stored(pa.Table.from_batches([batch]))
        for name, value in stamp.items():
            piece = piece.append_column(
                name, pa.repeat(pa.scalar(value, schemas.REVISIONS.field(name).type), len(piece))
            )
        yield piece


def _cause(config: Config, plan: Plan, first: bool) -> str:
    """SQL for the cause of a change, told from what differs, and from `own` and `compared` of `_resting`."""
    # Built-in ones that compare look at no label.
    found = [each.name for each in config.declared if each.reference is not None and "python" not in each.declaration]
    compared = ", ".join(map(literal, [*found, ""]))
    fresh = ", ".join(map(literal, [*plan.fresh_series, *plan.filled, ""]))
    grains = ", ".join(map(literal, [*plan.fresh_grains, ""]))
    return (
        f"CASE WHEN {first} THEN 'first run' "
        f"WHEN o.sli IS NULL AND (n.sli IN ({fresh}) OR n.grain IN ({grains})) THEN 'new definition' "
        "WHEN o.sli IS NULL THEN 'new predictions' "
        "WHEN o.predictions < n.predictions THEN 'new predictions' "
        "WHEN o.predictions > n.predictions THEN 'removed predictions' "
        "WHEN o.labelled < n.labelled THEN 'late feedback' WHEN o.labelled > n.labelled THEN 'withdrawn feedback' "
        "WHEN o.value IS DISTINCT FROM n.value OR o.reason IS DISTINCT FROM n.reason THEN CASE "
        f"WHEN n.compared AND (n.sli IN ({compared}) OR NOT n.own) THEN 'changed reference' "
        f"WHEN n.sli IN ({compared}) THEN 'changed predictions' ELSE 'corrected feedback' END "
        "WHEN o.maturity <> n.maturity THEN 'matured' "
        "WHEN o.objective IS DISTINCT FROM n.objective THEN 'new objective' ELSE 'corrected feedback' END"
    )


def _resting(config: Config, plan: Plan, rows: pa.Table) -> pa.Table:
    """Rows with `own` and `compared`: whether their window, and that it is compared with, hold a tile that changed."""
    starts, ends = (rows.column(name).to_numpy() for name in ("window_start", "window_end"))
    own, compared = (np.full(len(rows), plan.from_scratch) for _ in range(2))
    comparing = [] if plan.from_scratch else [each for each in config.declared if each.reference is not None]
    for each in comparing:
        changed = [*plan.renewed, *plan.filled.get(each.name, ())]
        mine = np.flatnonzero(_among(rows, "sli", [each.name]))
        of_mine = rows.select(["grain"]).take(pa.array(mine))
        for grain in config.all_grains:
            at = mine[_among(of_mine, "grain", [grain.name])]
            own[at] = meets_any(starts[at], ends[at], changed)
            compared[at] = compared_with(config.zone, grain, starts[at], ends[at], changed, each.reference)
    return rows.append_column("own", pa.array(own)).append_column("compared", pa.array(compared))


def stored(rows: pa.Table) -> pa.Table:
    """Plain rows in the form of the tables: instants as timestamps, slices as lists and maps."""
    for name in {"window_start", "window_end", "as_of"} & set(rows.schema.names):
        rows = rows.set_column(
            rows.schema.get_field_index(name), name, rows.column(name).cast(pa.int64()).cast(schemas.UTC)
        )
    for name, kind, read in (
        ("slice_by", pa.list_(pa.string()), lambda text: text.split(",") if text else []),
        ("slice", schemas.SLICE, lambda text: list(parse_slice(text).items())),
    ):
        column = encoded(rows.column(name))
        distinct = pa.array([read(text) for text in column.dictionary.to_pylist()], kind)
        rows = rows.set_column(rows.schema.get_field_index(name), name, distinct.take(column.indices))
    return spelt(rows)


def without_slices(columns: Mapping[str, str], predictions: Files) -> list[dict[str, Any]]:
    """Rows of the audit for columns, with their types, by which there can be no slices."""
    count = sum(file.rows for file in predictions if file.usable) if columns else 0
    return [
        {
            "log": "predictions",
            "check": f"wrong type: {name}",
            "file": None,
            "count": count,
            "samples": [],
            "explanation": f"column '{name}' is {kind} in every file: no slices by it, everything else is published",
        }
        for name, kind in columns.items()
    ]


def audited(days: pa.Table, files: Iterable[LogFile], more: Iterable[dict[str, Any]] = ()) -> pa.Table:
    """The standing audit of both logs, from the marks of all days: one row a log, check and file."""
    con = duckdb.connect()
    con.register("days_arrow", days.select(["marks"]))
    marked = "(SELECT unnest(marks) AS m FROM days_arrow)"
    found = con.sql(f"{added_up(marked)} ORDER BY ALL").to_arrow_table().to_pylist()
    for file in files:
        if file.problem:
            found.append(
                {
                    "log": file.log,
                    "check": file.problem,
                    "file": file.path,
                    "count": file.rows,
                    "samples": [],
                    "explanation": file.explanation,
                }
            )
        elif file.null_times:
            found.append(
                {
                    "log": file.log,
                    "check": "invalid: no time",
                    "file": file.path,
                    "count": file.null_times,
                    "samples": [],
                }
            )
    found += more
    for row in found:
        if "explanation" not in row:  # a file set aside brings its own
            row["explanation"] = explain(row["check"])
    found.sort(key=lambda row: (row["log"], row["check"], row["file"] or ""))
    return pa.Table.from_pylist(
        found, schema=pa.schema([f for f in schemas.AUDIT if f.name not in ("run_id", "sequence", "as_of")])
    )


BAD = (
    "invalid",
    "unreadable",
    "damaged",
    "unsupported",
    "missing column",
    "ambiguous column",
    "wrong type",
    "wrong time",
    "wrong id type",
)
EXPLAIN = {
    "duplicate": "another prediction with this id won",
    "superseded": "other feedback for the same prediction won",
    "withdrawn": "the feedback that counts is null: the label was taken back",
    "ignored null": "null feedback, ignored as configured",
    "orphan": "no prediction has this id",
    "late": "known later than the horizon after its prediction: does not count",
    "before prediction": "known before its prediction was made: does not count",
    "before since": "its prediction lies before `since`",
    "invalid": "these rows count nowhere",
}


def explain(check: str) -> str:
    """What a check means, in a few words."""
    if check == "conflict":
        return "lost to a row of equal rank with another value"
    return EXPLAIN[check.split(":")[0]]


def is_bad(check: str) -> bool:
    """Whether a check is bad input, as opposed to what logs do."""
    return check.startswith(BAD)


class Scope:
    """Which published rows the new ones stand against: those of the windows and series a run rolled up."""

    def __init__(self, config: Config, plan: Plan, passes: Sequence[Pass]) -> None:
        self.config, self.plan, self.passes = config, plan, passes

    def current(self) -> pa.Table:
        """Every SLI with its definition, grain and slice_by the config declares."""
        sets = [",".join(each) for each in self.config.slice_sets]
        rows = [
            {"sli": each.name, "definition": self.config.definition(each), "grain": grain.name, "slice_by": by}
            for each in self.config.declared
            for grain in self.config.all_grains
            for by in sets
        ]
        return pa.Table.from_pylist(rows)

    def __call__(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        starts, ends = rows.column("window_start").to_numpy(), rows.column("window_end").to_numpy()
        sets = [",".join(each) for each in self.config.slice_sets]
        current = np.zeros(len(rows), dtype=bool)
        for sli in self.config.declared:
            # Two names may have one definition, as an SLI has that was called otherwise before.
            current |= _among(rows, "sli", [sli.name]) & _among(rows, "definition", [self.config.definition(sli)])
        current &= _among(rows, "grain", [grain.name for grain in self.config.all_grains]) & _among(
            rows, "slice_by", sets
        )
        rolled = np.zeros(len(rows), dtype=bool)
        for each in self.passes:
            mine = _among(rows, "sli", [one.name for one in each.slis])
            for grain in each.grains:
                at = np.flatnonzero(mine & _among(rows, "grain", [grain.name]))
                rolled[at] |= each.choose(grain, starts[at], ends[at])
        return rolled | ~current


def _among(rows: pa.Table, column: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.is_in(rows.column(column), pa.array(list(values), pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def touched_days(plan: Plan, before: pa.Table, tiles: pa.Table) -> set[str]:
    """Local days whose tiles a run made anew, extended or removed; `before` are the tiles it began with."""
    if plan.from_scratch:
        return set(tiles.column("day").to_pylist())
    touched = [
        *plan.pairs,
        *plan.checked,
        *plan.strays,
        *(i for job in plan.jobs for chunk in job.chunks for i in chunk.pairs),
    ]
    found: set[str] = set()
    for rows in (before, tiles):
        starts = rows.column("start").cast(pa.int64()).to_numpy()
        found.update(rows.column("day").filter(pa.array(meets_any(starts, starts + 1, touched))).to_pylist())
    return found


def standing(published: Published | None) -> pc.Expression:
    """Of `audit` the rows that stand: those of the last run that was not of an older as_of."""
    return pc.field("sequence") == (published.audited if published is not None else 0)


def same_audit(audit: pa.Table, before: pa.Table) -> bool:
    """Whether two audits say the same."""
    names = [name for name in schemas.AUDIT.names if name not in ("run_id", "sequence", "as_of")]
    key = [(name, "ascending") for name in ("log", "check", "file")]
    return bool(audit.select(names).sort_by(key).to_pylist() == before.select(names).sort_by(key).to_pylist())


def newly_bad(audit: pa.Table, before: pa.Table) -> pa.Table:
    """The rows of an audit that are bad input and say more than the one before."""
    known = {(r["log"], r["check"], r["file"]): r["count"] for r in before.to_pylist()}
    rows = audit.to_pylist()
    worse = [is_bad(r["check"]) and r["count"] > known.get((r["log"], r["check"], r["file"]), -1) for r in rows]
    return audit.filter(pa.array(worse, pa.bool_()))


def failing_functions(config: Config, rows: pa.Table) -> tuple[str, ...]:
    """`name: reason (n windows)` for SLIs of the config's own that raised, failed or returned no number."""
    found = []
    for each in config.declared:
        if "sli" not in each.declaration:
            mine = rows.select(["sli", "reason"]).filter(pc.field("sli") == each.name)
            none = (NULL, INFINITE) if "states" in each.declaration else ()
            counts = counted(mine.column("reason"))
            for reason in (NO_LABELS, NO_REFERENCE, too_few(config.min_support), *none):
                counts.pop(reason, None)
            found += [f"{each.name}: {reason} ({n} window{'s' * (n != 1)})" for reason, n in counts.most_common(3)]
    return tuple(found)


def believed(transaction: Transaction, first_day: str | None) -> dict[str, Read]:
    """How to read the published rows from a day on (None: all) by grain, in plain form."""
    later = [] if first_day is None else [("day", ">=", first_day)]

    def read(grain: str) -> pa.Table:
        return plain(transaction.rows("results", schemas.RESULTS.names, within=[("grain", "=", grain), *later]))

    grains = transaction.published.grains if transaction.published else ()
    return {grain: functools.partial(read, grain) for grain in grains}


def by_grain(beliefs: pa.Table) -> dict[str, Read]:
    """How to find the rows of each grain among plain rows."""
    grains = sorted(counted(beliefs.column("grain")))
    return {each: functools.partial(beliefs.filter, pc.field("grain") == each) for each in grains}
