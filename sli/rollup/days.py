"""Day tiles: the merged states of whole local days, so that a long window reads few rows.

They are computed from the hour tiles and written with them, and the audit is summed up from them. Limit: one row per
day and slice holds the whole state, even a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.config.model import Config
from sli.engine.arrow import rows_in_order
from sli.engine.connection import connected, scratch
from sli.matching.spec import SAMPLES
from sli.rollup.merge import TileTables, TileTree
from sli.schemas import DAYS, UTC
from sli.slis import State
from sli.slis.states import integers, with_states


def days_schema(config: Config) -> pa.Schema:
    """The columns of day tiles: those of `schemas.DAYS`, and one for each state that merges."""
    return pa.schema([*DAYS, *((id, state.type) for id, state in _merging(config).items())])


def updated_days(
    config: Config, kept: Callable[[list[str]], pa.Table], parts: Iterable[tuple[Collection[str], pa.Table]]
) -> Iterator[pa.Table]:
    """All rows of the months of some days: those of these days are merged again from their hour tiles.

    `parts` have the days in order, some at a time, with all of their hour tiles. The rows come in the same parts, with
    the columns of `days_schema`; `kept` gives the stored rows of other days in some months. Raises
    duckdb.OutOfMemoryException.
    """
    schema, begun = days_schema(config), set[str]()
    for days, tiles in parts:
        months = sorted({day[:7] for day in days} - begun)
        begun.update(months)
        rows = [
            kept(months) if months else DAYS.empty_table(),
            merge_days(config, tiles),
            day_checks(tiles),
        ]
        of_months = with_states(pa.concat_tables(rows, promote_options="permissive"), _merging(config))
        yield of_months.select(schema.names).cast(schema)


def merge_days(config: Config, tiles: pa.Table) -> pa.Table:
    """One row of `schemas.DAYS` for each slice and each local day of some hour tiles."""
    mergeable = pc.equal(tiles.column("span"), pa.scalar("tile"))
    tiles = rows_in_order(tiles, np.flatnonzero(mergeable.to_numpy()))
    # A day that has only feedback has no tile, and in the year 1 not even a midnight.
    filled = sorted(str(day) for day in pc.unique(tiles.column("day")).to_pylist())
    dates = [date.fromisoformat(day) for day in filled]
    starts, ends = (
        np.array([config.zone.midnight(day + timedelta(days=i)) for day in dates], dtype=np.int64) for i in (0, 1)
    )
    with connected(config.parallel, config.task_memory) as con:
        tree = TileTree(con, TileTables(tiles), _merging(config), config.tile, {})
        packed = tree.as_tiles(tree.merge(starts, ends))
    at = integers(packed.column("w"))
    day = np.array(filled, dtype=object)[at]
    return (
        packed.drop_columns(["w"])
        .append_column("span", pa.array(["tile"] * len(packed), pa.string()))
        .append_column("start", pa.array(starts[at], pa.int64()).cast(UTC))
        .append_column("day", pa.array(day, pa.string()))
        .append_column("month", pa.array([text[:7] for text in day], pa.string()))
    )


def _merging(config: Config) -> dict[str, State]:
    return {id: state for id, state in config.states.items() if state.merges}


def day_checks(tiles: pa.Table) -> pa.Table:
    """The counts of checks of some hour tiles, one row per day and span, with unmatched feedback counted by reason."""
    con = scratch()
    con.register("tiles_arrow", tiles.select(["day", "span", "marks", "strays"]))
    unmatched = "{'log': 'feedback', 'check': s.reason, 'file': NULL::VARCHAR, 'count': 1::BIGINT, 'samples': [s.id]}"
    con.execute(
        "CREATE TEMP TABLE checks AS SELECT day, span, unnest(marks) AS m FROM tiles_arrow UNION ALL "
        f"SELECT day, span, {unmatched} FROM (SELECT day, span, unnest(strays) AS s FROM tiles_arrow)"
    )
    rows: pa.Table = con.sql(
        "SELECT day[1:7] AS month, day, span, '' AS slice_by, '' AS slice, 0::BIGINT AS predictions, "
        "0::BIGINT AS labelled, list({'log': log, 'check': \"check\", 'file': file, 'count': \"count\", "
        "'samples': samples} ORDER BY log, \"check\", file) AS marks "
        f"FROM ({sum_checks_sql('checks', 'day, span, ')}) GROUP BY day, span ORDER BY day, span"
    ).to_arrow_table()
    return rows


def sum_checks_sql(checks: str, by: str = "") -> str:
    """SQL that sums up column `m` of `checks`, counts of checks: one row per log, check and file (and columns `by`)."""
    return (
        f'SELECT {by}m.log AS log, m."check" AS "check", m.file AS file, sum(m."count")::BIGINT AS "count", '
        f"list_slice(list_sort(list_distinct(flatten(list(m.samples)))), 1, {SAMPLES}) AS samples "
        f"FROM {checks} GROUP BY ALL"
    )
