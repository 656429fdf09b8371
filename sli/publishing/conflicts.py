"""Rows that lost to another of the same id that says otherwise: many of them mean that the ids are not ids.

Two models that score the same requests under one id, or a feedback log that answers twice at the same time, lose half
of their rows and bias what is left. Limit: told day by day, of the days a run touched, where it found more than before.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from sli.config.model import Config
from sli.engine.connection import scratch
from sli.engine.sql import literal
from sli.matching.spec import SAMPLES


@dataclass(frozen=True)
class Conflicts:
    """Of one log the rows in conflict, on the local days on which they are more than the config allows."""

    log: str
    days: tuple[str, ...]
    rows: int
    """All rows of these days: those that count and those that lost."""
    conflicts: int
    samples: tuple[str, ...]

    @property
    def share(self) -> float:
        """Rows in conflict, of all."""
        return self.conflicts / self.rows


def conflicting(config: Config, before: pa.Table, days: pa.Table, touched: Collection[str]) -> tuple[Conflicts, ...]:
    """Too many rows in conflict on days that a run touched, where there are more than in the day tiles `before`.

    Rows of predictions are those that count and the duplicates; of feedback those of labels, withdrawals and what they
    superseded, each on the day of its prediction.
    """
    con = scratch()
    con.register("now_days", days)
    con.register("before_days", before)
    by = literal(",".join(config.slice_sets[0]))
    found = con.execute(
        f"WITH now AS ({_counted('now_days', by)}), before AS ({_counted('before_days', by)}) "
        "SELECT now.log, list(now.day ORDER BY now.day), sum(now.rows)::BIGINT, sum(now.conflicts)::BIGINT, "
        f"list_slice(list_sort(list_distinct(flatten(list(now.samples)))), 1, {SAMPLES}) "
        "FROM now LEFT JOIN before USING (log, day) WHERE now.conflicts > coalesce(before.conflicts, 0) "
        "AND now.conflicts > $limit * now.rows AND list_contains($touched, now.day) GROUP BY now.log ORDER BY ALL DESC",
        {"limit": config.max_conflicts, "touched": sorted(touched)},
    ).fetchall()
    return tuple(Conflicts(log, tuple(named), rows, n, tuple(samples)) for log, named, rows, n, samples in found)


def _counted(table: str, by: str) -> str:
    """SQL of log, day, rows, conflicts and samples from the day tiles; each set of slices holds every prediction."""
    marked = f"(SELECT day, unnest(marks) AS m FROM {table} WHERE span = 'pairs')"
    return (
        "SELECT log, day, sum(rows)::BIGINT AS rows, sum(conflicts)::BIGINT AS conflicts, "
        "flatten(list(samples)) AS samples FROM ("
        f"SELECT 'predictions' AS log, day, predictions AS rows, 0 AS conflicts, []::VARCHAR[] AS samples FROM {table} "
        f"WHERE span = 'tile' AND slice_by = {by} UNION ALL SELECT 'feedback', day, labelled, 0, [] FROM {table} "
        f"WHERE span = 'tile' AND slice_by = {by} UNION ALL SELECT m.log, day, "
        "CASE WHEN m.\"check\" IN ('duplicate', 'superseded', 'withdrawn') THEN m.\"count\" ELSE 0 END, "
        'CASE WHEN m."check" = \'conflict\' THEN m."count" ELSE 0 END, '
        f"CASE WHEN m.\"check\" = 'conflict' THEN m.samples ELSE [] END FROM {marked}) GROUP BY log, day"
    )
