"""Rows that did not count, in one window and in another: from the counts of checks that tiles keep.

Limit: rows of the feedback log are counted in the window in which they became known; a file that cannot be read at all
has no time, so it is told of beside the counts.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.dataset as ds

from sli.calendar.interval import Interval
from sli.engine.connection import scratch
from sli.publishing.audit import BAD, EXPLANATIONS, current_audit
from sli.reading.figures import counted
from sli.reading.publication import Publication
from sli.slis.states import integers

MATERIAL = 0.01
"""Rows beyond those of the window before can be bad data if they are at least this share of its predictions."""
CHANCE = 0.001
"""... and if chance makes so many more less often than this."""
KEPT = ("superseded", "conflict", "duplicate")
"""Checks of feedback whose rows leave no label missing: other feedback for the prediction counts."""
SPANS = ("pairs", "feedback")
Check = tuple[str, str]
"""A log and the name of a check."""
Checks = Counter[Check]


@dataclass(frozen=True, kw_only=True)
class Excess:
    """A check with more rows than before, beyond chance; `before` is scaled to as many predictions as there are now."""

    log: str
    check: str
    count: int
    before: int

    @property
    def extra(self) -> int:
        return self.count - self.before

    @property
    def name(self) -> str:
        """The check without its detail: `invalid`."""
        return self.check.split(":")[0]

    @property
    def text(self) -> str:
        """`1,200 rows of predictions invalid: no number`."""
        return f"{counted(self.count, 'row')} of {self.log} {_meaning(self.check)}"


@dataclass(frozen=True, kw_only=True)
class BadData:
    """Rows of a window that did not count, beyond those of the window before; and files that are set aside."""

    more: tuple[Excess, ...]
    """Each check with more rows than chance makes, the one with most rows first."""
    rows: int
    """All rows of the window that did not count."""
    before: int
    """All rows of the window before that did not count, scaled to as many predictions."""
    files: tuple[str, ...]
    """A text for each problem of files."""

    @property
    def text(self) -> str:
        """All that is more: `12 rows of feedback invalid: no number (3 per as many predictions before)`."""
        texts = [f"{one.text} ({one.before:,} before)" for one in self.more]
        texts[:1] = [f"{one.text} ({one.before:,} per as many predictions before)" for one in self.more[:1]]
        return "; ".join(texts)


def bad_data(publication: Publication, now: Interval, before: Interval, predictions: tuple[int, int]) -> BadData:
    """What did not count; `predictions` is how many there are now and before. Raises StoreError."""
    found, usual = (_checks(publication, window) for window in (now, before))
    scale = predictions[0] / predictions[1] if predictions[1] else 0.0
    more = [
        Excess(log=log, check=check, count=count, before=round(usual[log, check] * scale))
        for (log, check), count in found.most_common()
        if beyond_chance(count, usual[log, check], predictions)
    ]
    return BadData(
        more=tuple(more),
        rows=found.total(),
        before=round(usual.total() * scale),
        files=tuple(_file_problems(publication)),
    )


def bad_data_problems(bad: BadData, predictions: int, period: str) -> list[str]:
    """A line for each check that sets aside many more rows than before, which no SLI need show."""
    return [
        f"{one.text} in the {period} ({one.before:,} before): sli show CONFIG --table audit"
        for one in bad.more
        if one.name not in KEPT and one.extra >= MATERIAL * predictions
    ]


def beyond_chance(count: int, before: int, predictions: tuple[int, int]) -> bool:
    """Whether `count` rows are more than chance makes, if there were `before`, with so many predictions now and before.

    The conditional test of two counts (Przyborowski and Wilenski 1940, Biometrika 31: 313): of all rows together, those
    of now are binomial with the share of the predictions that are made now.

    >>> beyond_chance(4, 0, (80, 80)), beyond_chance(40, 10, (80, 80)), beyond_chance(40, 10, (80, 0))
    (False, True, False)
    """
    if not count or not all(predictions):
        return False
    rows, share = count + before, predictions[0] / sum(predictions)
    if count <= rows * share:
        return False
    # The upper tail, term by term, which shrink fast beyond the mean. SciPy takes a third of a second to import.
    ways = math.lgamma(rows + 1) - math.lgamma(count + 1) - math.lgamma(before + 1)
    term, tail = math.exp(ways + count * math.log(share) + before * math.log1p(-share)), 0.0
    for more in range(count, rows + 1):
        tail += term
        if tail >= CHANCE or term <= tail * 1e-15:
            break
        term *= (rows - more) / (more + 1) * share / (1 - share)
    return tail < CHANCE


def _meaning(check: str) -> str:
    """A check in words: `invalid: no number`, or `orphan: no prediction near it in time has this id`."""
    name = check.split(":")[0]
    return check if check != name or name not in EXPLANATIONS else f"{name}: {EXPLANATIONS[name]}"


def _checks(publication: Publication, window: Interval) -> Checks:
    """How many rows each check counts in a window: of whole days, and of tiles at the edges."""
    zone = publication.config.zone
    first, last = zone.date(window.start), zone.date(window.end - 1)
    dates = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    whole = [
        day
        for day in dates
        if zone.midnight(day) >= window.start and zone.midnight(day + timedelta(days=1)) <= window.end
    ]
    edges = [day.isoformat() for day in dates if day not in whole]
    days = [day.isoformat() for day in whole]
    only = ds.field("span").isin(list(SPANS))
    checks: Checks = Counter()
    if days:
        months = sorted({day[:7] for day in days})
        of_days = only & ds.field("day").isin(days)
        _count(checks, publication.rows("days", ["marks"], of_days, [("month", "in", months)]))
    if edges:
        tiles = publication.rows("tiles", ["start", "marks", "strays"], only, [("day", "in", edges)])
        starts = integers(tiles.column("start").cast(pa.int64()))
        _count(checks, tiles.filter(pa.array((starts >= window.start) & (starts < window.end))))
    return checks


def _count(checks: Checks, rows: pa.Table) -> None:
    """Add the counts of the rows, of unmatched feedback by its reason."""
    con = scratch()
    con.register("rows_arrow", rows)
    parts = ['SELECT m.log, m."check", m."count" FROM (SELECT unnest(marks) AS m FROM rows_arrow)']
    if "strays" in rows.schema.names:
        parts.append("SELECT 'feedback', s.reason, 1 FROM (SELECT unnest(strays) AS s FROM rows_arrow)")
    for log, check, count in con.execute(
        f'SELECT log, "check", sum("count")::BIGINT FROM ({" UNION ALL ".join(parts)}) t(log, "check", "count") '
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        checks[log, check] += count


def _file_problems(publication: Publication) -> list[str]:
    """The files of the current audit that are set aside: `2 files of feedback unreadable, for example a.parquet`."""
    audit = publication.rows("audit", ["log", "check", "file"], current_audit(publication.published))
    bad = [row for row in audit.to_pylist() if row["file"] and row["check"].startswith(BAD)]
    problems: dict[Check, list[str]] = {}
    for row in bad:
        if not row["check"].startswith("invalid"):
            problems.setdefault((row["log"], row["check"]), []).append(row["file"].rpartition("/")[2])
    return [
        f"{counted(len(files), 'file')} of {log} {check}, for example {min(files)}"
        for (log, check), files in sorted(problems.items())
    ]
