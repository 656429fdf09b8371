"""Conflicts: rows that lost to another row of the same id with another value. If there are many, ids are not unique.

Example: two models score the same requests under the same ids. Half of the rows lose, and the rest is biased. Limit:
a run reports conflicts by day, only for days that it touched and on which it found more than before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.connection import scratch
from sli.engine.sql import literal
from sli.matching.spec import SAMPLES
from sli.slices import SliceBy


@dataclass(frozen=True)
class Conflicts:
    """Conflicts in a log, on the local days on which there are more than the config allows."""

    log: str
    days: tuple[str, ...]
    rows: int
    """All rows of these days: rows that count, and rows that lost to them."""
    conflicts: int
    samples: tuple[str, ...]

    @property
    def share(self) -> float:
        """The rows in conflict as a share of all rows."""
        return self.conflicts / self.rows


def new_conflicts(
    max_conflicts: float, slice_sets: Sequence[SliceBy], before: pa.Table, days: pa.Table, touched: Collection[str]
) -> tuple[Conflicts, ...]:
    """The conflicts on touched days with more than `max_conflicts` allows, and more than in the day tiles `before`.

    Rows of the predictions log are the predictions that count and their duplicates. Rows of the feedback log are
    labels, withdrawals and superseded feedback, on the day of their prediction.
    """
    checks = pc.struct_field(pc.list_flatten(days.column("marks")), "check")
    if not pc.any(pc.equal(checks, pa.scalar("conflict"))).as_py():
        return ()
    con = scratch()
    con.register("now_days", days)
    con.register("before_days", before)
    by = literal(",".join(slice_sets[0]))
    logs = con.execute(
        f"WITH now AS ({_counts_sql('now_days', by)}), before AS ({_counts_sql('before_days', by)}) "
        "SELECT now.log, list(now.day ORDER BY now.day), sum(now.rows)::BIGINT, sum(now.conflicts)::BIGINT, "
        f"list_slice(list_sort(list_distinct(flatten(list(now.samples)))), 1, {SAMPLES}) "
        "FROM now LEFT JOIN before USING (log, day) WHERE now.conflicts > coalesce(before.conflicts, 0) "
        "AND now.conflicts > $limit * now.rows AND list_contains($touched, now.day) GROUP BY now.log ORDER BY ALL DESC",
        {"limit": max_conflicts, "touched": sorted(touched)},
    ).fetchall()
    return tuple(Conflicts(log, tuple(days), rows, n, tuple(samples)) for log, days, rows, n, samples in logs)


def _counts_sql(table: str, by: str) -> str:
    """SQL of log, day, rows, conflicts and samples from day tiles.

    `by` is any one entry of `slice_by`: its slices together hold every prediction.
    """
    checks = f"(SELECT day, unnest(marks) AS m FROM {table} WHERE span = 'pairs')"
    return (
        "SELECT log, day, sum(rows)::BIGINT AS rows, sum(conflicts)::BIGINT AS conflicts, "
        "flatten(list(samples)) AS samples FROM ("
        f"SELECT 'predictions' AS log, day, predictions AS rows, 0 AS conflicts, []::VARCHAR[] AS samples FROM {table} "
        f"WHERE span = 'tile' AND slice_by = {by} UNION ALL SELECT 'feedback', day, labelled, 0, [] FROM {table} "
        f"WHERE span = 'tile' AND slice_by = {by} UNION ALL SELECT m.log, day, "
        "CASE WHEN m.\"check\" IN ('duplicate', 'superseded', 'withdrawn') THEN m.\"count\" ELSE 0 END, "
        'CASE WHEN m."check" = \'conflict\' THEN m."count" ELSE 0 END, '
        f"CASE WHEN m.\"check\" = 'conflict' THEN m.samples ELSE [] END FROM {checks}) GROUP BY log, day"
    )
