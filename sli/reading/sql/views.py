"""The views that `sli sql` offers, each an SQL query of the published tables. Limit: they show one publication."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from sli.engine.sql import literal, quoted
from sli.meanings import MEANINGS
from sli.publishing.rows import KEY
from sli.schemas import AUDIT, RESULT, REVISIONS, RUNS

AS_KNOWN = "as_known"
"""The view that takes a time: `as_known('2014-01-02')`."""
COLUMNS = "columns"
"""The view that explains the columns of the others; it reads no table of the store."""
PREFIX = "published_"
"""How the names begin by which views read the tables."""


@dataclass(frozen=True)
class View:
    """A view: what it shows, the table it reads, the columns it has, and which rows."""

    meaning: str
    table: str
    columns: tuple[str, ...]
    rows: str = ""
    """What follows FROM in its query; may have `{sequence}` or `{audit_sequence}`."""

    @property
    def query(self) -> str:
        return f"SELECT {', '.join(map(quoted, self.columns))} FROM {PREFIX}{self.table} {self.rows}"


_RESULT = tuple(name for name, _ in RESULT)
_REVISION = tuple(name for name in REVISIONS.names if name != "day")
_KNOWN = (
    f"WHERE as_of <= known_instant(known_at) QUALIFY row_number() OVER "
    f"(PARTITION BY {', '.join(KEY)} ORDER BY as_of DESC, sequence DESC) = 1 AND change <> 'removed'"
)
VIEWS = {
    "current": View("all results, as they are known now", "results", _RESULT),
    "hourly": View("results of hours", "results", _RESULT, "WHERE grain = 'hour'"),
    "daily": View("results of days", "results", _RESULT, "WHERE grain = 'day'"),
    "cumulative": View("results since deployment", "results", _RESULT, "WHERE grain = 'cumulative'"),
    AS_KNOWN: View("as_known('TIME'): all results, as they were known at that time", "revisions", _RESULT, _KNOWN),
    "changes": View("what the last run changed, and why", "revisions", _REVISION, "WHERE sequence = {sequence}"),
    "revisions": View("every value ever published, and why it changed", "revisions", _REVISION),
    "audit": View(
        "rows and files of the logs that do not count now",
        "audit",
        tuple(AUDIT.names),
        "WHERE sequence = {audit_sequence}",
    ),
    "runs": View("what each run did", "runs", tuple(RUNS.names)),
    COLUMNS: View(
        "what each column means",
        COLUMNS,
        ("table_name", "column_name", "unit", "meaning", "when_null"),
    ),
}


def meanings() -> pa.Table:
    """The rows of `columns`."""
    rows = []
    for name, view in VIEWS.items():
        for column in view.columns if view.table in MEANINGS else ():
            meaning = MEANINGS[view.table][column]
            rows.append((name, column, meaning.unit or None, meaning.text, meaning.null or None))
    return pa.Table.from_pylist(
        [dict(zip(VIEWS[COLUMNS].columns, row, strict=True)) for row in rows],
        schema=pa.schema([(name, pa.string()) for name in VIEWS[COLUMNS].columns]),
    )


def definition(name: str, sequence: int, audit_sequence: int, instants: dict[str, int]) -> list[str]:
    """The statements that make a view over the newest publication and its audit, given by their numbers.

    `instants` are the times that `as_known` is asked for, by their texts.
    """
    query = VIEWS[name].query.format(sequence=sequence, audit_sequence=audit_sequence)
    if name != AS_KNOWN:
        return [f"CREATE VIEW {quoted(name)} AS {query}"]
    # Constants, so that DuckDB knows the instant before it reads a row, and a text means what it means elsewhere.
    cases = " ".join(f"WHEN {literal(text)} THEN {instant}" for text, instant in instants.items())
    return [
        f"CREATE MACRO known_instant(known_at) AS make_timestamptz(CASE known_at {cases} END)",
        f"CREATE MACRO {quoted(name)}(known_at) AS TABLE {query}",
    ]
