"""A sample of predictions and the feedback near them: how many are joined, and where the feedback of others is.

The sample is recent enough to be interesting and old enough for its feedback to have come. Limit: of very large logs
it reads only some rows, `PREDICTIONS` and `FEEDBACK`; so shares are estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sli.calendar.duration import DAY
from sli.calendar.interval import Interval
from sli.config.model import Config
from sli.engine.connection import connect, task_error
from sli.logs.files import Files, Inputs
from sli.logs.log import feedback_log, predictions_log
from sli.logs.reader import rows_sql
from sli.planning.late_feedback import Horizon

if TYPE_CHECKING:
    import duckdb

PREDICTIONS, FEEDBACK = 20_000, 1_000_000
"""The most rows that are read of each log."""
MEMORY = 512 << 20
"""Bytes that the database of the sample may use."""
SPELLINGS: Mapping[str, str] = {
    "upper and lower case or spaces are ignored": "lower(trim(id))",
    "leading zeros and decimals are ignored": r"ltrim(regexp_replace(lower(trim(id)), '\.0+$', ''), '0')",
    "everything but letters and digits is ignored": "regexp_replace(lower(id), '[^a-z0-9]', '', 'g')",
    "only what follows the last mark counts": "regexp_extract(lower(id), '([a-z0-9]+)$')",
}
"""Ways in which ids may be written differently, and SQL that undoes each."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How many of the sampled predictions have feedback, and when."""

    span: Interval
    """When the sampled predictions were made."""
    predictions: int
    feedback: int
    """How many rows of feedback were read."""
    joined: int
    late: int
    """Predictions that have feedback only later than the horizon."""
    early: int
    """Predictions that have feedback only before they were made."""
    late_by: int
    """The median time from these late predictions to their feedback, in microseconds."""
    early_by: int
    """The median time by which feedback is too early."""
    respelled: Mapping[str, int]
    """How many predictions without feedback have some if ids are compared in another way (see SPELLINGS)."""
    examples: tuple[str, str]
    """An id of each log: of one prediction that is joined if it is spelled otherwise, or of any two rows."""

    @property
    def lacking(self) -> int:
        """Predictions without any feedback."""
        return self.predictions - self.joined - self.late - self.early


def sample_of(config: Config, inputs: Inputs) -> Sample | None:
    """A sample of the logs; None where no prediction lies in it. Raises SliError where rows cannot be read."""
    import duckdb

    horizon, span = Horizon.of(config), _span(config, inputs)
    reach = config.horizon.micros
    near = Interval(span.start, span.end).widened(max(reach, DAY), 4 * reach + DAY)
    if config.known_at_once:
        near = near.widened(horizon.before, 0)
    con = connect(1, MEMORY)
    try:
        for name, files, log, within, most in (
            ("p", inputs.predictions, predictions_log(config), span, PREDICTIONS),
            ("f", inputs.feedback, feedback_log(config), near, FEEDBACK),
        ):
            rows = rows_sql(con, _near(files, within), log, within)
            con.execute(f"CREATE TEMP TABLE {name} AS SELECT id, t FROM {rows} WHERE id IS NOT NULL LIMIT {most}")
        return _counted(con, span, horizon)
    except (duckdb.Error, OSError) as error:
        raise task_error(error, ", ".join(config.predictions.path)) from error
    finally:
        con.close()


def _near(files: Files, span: Interval) -> Files:
    return files.take(files.meeting(span))


def _span(config: Config, inputs: Inputs) -> Interval:
    """The time of about PREDICTIONS predictions, the newest whose feedback should all have come."""
    made, known = inputs.predictions.span, inputs.feedback.span
    assert made is not None
    end = made.end if known is None else min(made.end, known.end - config.horizon.micros)
    end = end if end > made.start else made.end
    file, first, last = inputs.predictions.ranges
    groups = np.bincount(file, minlength=len(inputs.predictions))
    rows = np.array([one.rows for one in inputs.predictions])[file] / groups[file]
    places = np.flatnonzero(first < end)
    places = places[np.argsort(-last[places], kind="stable")]
    enough = int(np.searchsorted(np.cumsum(rows[places]), PREDICTIONS)) + 1
    start = int(first[places[:enough]].min())
    return Interval(min(start, end - 1), end)


def _counted(con: duckdb.DuckDBPyConnection, span: Interval, horizon: Horizon) -> Sample | None:
    late, early = f"f.t > p.t + {horizon.after}", f"f.t < p.t - {horizon.before}"
    con.execute(
        "CREATE TEMP TABLE j AS SELECT p.id, p.t, "
        f"coalesce(bool_or({horizon.counts('f.t', 'p.t')}), false) AS joined, "
        f"min(f.t - p.t) FILTER ({late}) AS late, min(p.t - f.t) FILTER ({early}) AS early "
        "FROM (SELECT id, min(t) AS t FROM p GROUP BY id) p LEFT JOIN f ON p.id = f.id GROUP BY ALL"
    )
    [(predictions, joined, is_late, is_early, late_by, early_by)] = con.execute(
        "SELECT count(*), count(*) FILTER (joined), count(*) FILTER (NOT joined AND late IS NOT NULL), "
        "count(*) FILTER (NOT joined AND late IS NULL AND early IS NOT NULL), "
        "coalesce(median(late) FILTER (NOT joined), 0)::BIGINT, "
        "coalesce(median(early) FILTER (NOT joined AND late IS NULL), 0)::BIGINT FROM j"
    ).fetchall()
    if not predictions:
        return None
    [(feedback,)] = con.execute("SELECT count(*) FROM f").fetchall()
    respelled, examples = _respelled(con)
    return Sample(
        span=span,
        predictions=predictions,
        feedback=feedback,
        joined=joined,
        late=is_late,
        early=is_early,
        late_by=late_by,
        early_by=early_by,
        respelled=respelled,
        examples=examples,
    )


def _respelled(con: duckdb.DuckDBPyConnection) -> tuple[dict[str, int], tuple[str, str]]:
    """How many predictions without feedback get some by each spelling of ids, and an id of each log."""
    con.execute("CREATE TEMP TABLE lacking AS SELECT id FROM j WHERE NOT joined AND late IS NULL AND early IS NULL")
    con.execute("CREATE TEMP TABLE alone AS SELECT DISTINCT id FROM f ANTI JOIN p ON f.id = p.id")
    counts, examples = {}, ("", "")
    for way, spelled in SPELLINGS.items():
        of_log = "SELECT min(id) AS id, {0} AS spelled FROM {1} WHERE {0} <> '' GROUP BY {0} HAVING count(*) = 1"
        both = (
            f"({of_log.format(spelled, 'lacking')}) l JOIN ({of_log.format(spelled, 'alone')}) a "
            "ON l.spelled = a.spelled"
        )
        [(count, ours, theirs)] = con.execute(f"SELECT count(*), min(l.id), min_by(a.id, l.id) FROM {both}").fetchall()
        counts[way] = count
        if count and not examples[0]:
            examples = (ours, theirs)
    if not examples[0]:
        [(ours, theirs)] = con.execute("SELECT (SELECT min(id) FROM lacking), (SELECT min(id) FROM alone)").fetchall()
        examples = (ours or "", theirs or "")
    return counts, examples
