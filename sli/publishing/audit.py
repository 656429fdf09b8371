"""The audit: every row and file of the logs that did not count, with its log, count, reason and samples.

It is summed up from the day tiles, so it covers days that a run did not touch, too. Limit: it has one count per log,
check and file, and names only a few of the rows that it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.engine.connection import scratch
from sli.logs.files import Files, LogFile
from sli.planning.published import Published
from sli.rollup.days import sum_checks_sql

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
"""How the names of checks begin that mean bad input."""
EXPLANATIONS = {
    "duplicate": "another prediction with this id won",
    "superseded": "other feedback for the same prediction won",
    "withdrawn": "the feedback that counts is null: the label was taken back",
    "ignored null": "null feedback, ignored as configured",
    "orphan": "no prediction near it in time has this id",
    "late": "known later than the horizon after its prediction: does not count",
    "before prediction": "known before its prediction was made: does not count",
    "before since": "its prediction lies before `since`",
    "invalid": "these rows count nowhere",
    "conflict": "lost to a row of equal rank with another value",
}
"""What a check means, by its name up to the colon."""
_STAMPS = ("run_id", "sequence", "as_of")


def audit_rows(days: pa.Table, files: Iterable[LogFile], unsliced: Iterable[dict[str, object]] = ()) -> pa.Table:
    """The audit of both logs: one row a log, check and file, without the columns run_id, sequence and as_of.

    `days` are all day tiles, `files` the files of both logs that may have a problem, `unsliced` what `unsliced_rows`
    returns.
    """
    con = scratch()
    con.register("days_arrow", days.select(["marks"]))
    checks = "(SELECT unnest(marks) AS m FROM days_arrow)"
    rows = con.sql(f"{sum_checks_sql(checks)} ORDER BY ALL").to_arrow_table().to_pylist()
    rows += [row for row in map(_file_row, files) if row is not None]
    rows += unsliced
    for row in rows:
        if "explanation" not in row:  # a file that is set aside has its own explanation
            row["explanation"] = EXPLANATIONS[row["check"].split(":")[0]]
    rows.sort(key=lambda row: (row["log"], row["check"], row["file"] or ""))
    return pa.Table.from_pylist(rows, schema=pa.schema([f for f in schemas.AUDIT if f.name not in _STAMPS]))


def _file_row(file: LogFile) -> dict[str, object] | None:
    """The row of a file that is set aside, or that holds rows without a time."""
    if file.problem:
        row = {"check": file.problem, "count": file.rows, "explanation": file.explanation}
    elif file.null_times:
        check = "invalid: no time" if not file.explanation else f"invalid: {file.explanation.partition(',')[0]}"
        row = {"check": check, "count": file.null_times}
    else:
        return None
    return {"log": file.side, "file": file.path, "samples": [], **row}


def unsliced_rows(columns: Mapping[str, str], predictions: Files) -> list[dict[str, object]]:
    """The rows for columns that cannot have slices; `columns` maps their names to their types."""
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


def current_audit(published: Published | None) -> pc.Expression:
    """A filter for the current rows of table `audit`, from the last run without an older as_of."""
    return pc.field("sequence") == (published.audit_sequence if published is not None else 0)


def same_audit(audit: pa.Table, before: pa.Table) -> bool:
    """Whether two audits are equal, apart from the run that wrote them."""
    names = [name for name in schemas.AUDIT.names if name not in _STAMPS]
    key: list[tuple[str, Literal["ascending", "descending"]]] = [
        (name, "ascending") for name in ("log", "check", "file")
    ]
    return audit.select(names).sort_by(key).to_pylist() == before.select(names).sort_by(key).to_pylist()


def newly_bad(audit: pa.Table, before: pa.Table) -> pa.Table:
    """The rows of an audit that are bad input and count more than in the audit before."""
    known = {(row["log"], row["check"], row["file"]): row["count"] for row in before.to_pylist()}
    worse = [
        row["check"].startswith(BAD) and row["count"] > known.get((row["log"], row["check"], row["file"]), -1)
        for row in audit.to_pylist()
    ]
    return audit.filter(pa.array(worse, pa.bool_()))


def newly_late(audit: pa.Table, before: pa.Table) -> int:
    """How many rows of feedback came later than the horizon that the audit before did not count."""
    now, then = (
        sum(int(row["count"]) for row in rows.to_pylist() if row["check"].startswith("late"))
        for rows in (audit, before)
    )
    return max(0, now - then)
