"""The tables in PostgreSQL: made where they are lacking, and brought up to date.

A newer format only adds tables and columns; then everything is sent again. Limit: a column never changes its type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import errors, sql

from sli.errors import ExportError
from sli.export.postgres.connection import Connection

FORMAT = 1
VERSION_TABLE = "sli_format"
# Texts of a key are compared byte by byte: locales make indices slow, and differ from machine to machine.
NAME, TEXT, TIME, DOUBLE, COUNT = 'text COLLATE "C"', "text", "timestamptz", "double precision", "bigint"


@dataclass(frozen=True)
class Target:
    """A table: its columns with their types, of which the key comes first."""

    name: str
    key: Mapping[str, str]
    others: Mapping[str, str]
    indices: tuple[tuple[str, ...], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.others)


RESULTS = Target(
    "results",
    # In the order in which a dashboard asks: the course of one SLI of one slice, or the newest window of each slice.
    {
        "model": NAME,
        "sli": NAME,
        "grain": NAME,
        "slice_key": NAME,
        "window_end": TIME,
        "window_start": TIME,
        "definition": NAME,
    },
    {
        "day": "date",
        "slice_by": "text[]",
        "slice": "jsonb",
        "value": DOUBLE,
        "reason": TEXT,
        "ci_low": DOUBLE,
        "ci_high": DOUBLE,
        "missing_low": DOUBLE,
        "missing_high": DOUBLE,
        "error_bound": DOUBLE,
        "predictions": COUNT,
        "labelled": COUNT,
        "coverage": DOUBLE,
        "maturity": TEXT,
        "objective": TEXT,
        "objective_low": DOUBLE,
        "objective_high": DOUBLE,
        "verdict": TEXT,
        "as_of": TIME,
        "run_id": TEXT,
    },
    # By which rows are found that are published no longer.
    indices=(("model", "grain", "day"),),
)
SLICES = Target(
    "slices", {"model": NAME, "slice_key": NAME}, {"slice_by": "text[]", "slice": "jsonb", "slice_name": TEXT}
)
SLIS = Target(
    "slis",
    {"model": NAME, "sli": NAME},
    {
        "number": COUNT,
        "definition": TEXT,
        "unit": TEXT,
        "better": TEXT,
        "objective": TEXT,
        "objective_low": DOUBLE,
        "objective_high": DOUBLE,
        "value": DOUBLE,
        "reason": TEXT,
        "ci_low": DOUBLE,
        "ci_high": DOUBLE,
        "missing_low": DOUBLE,
        "missing_high": DOUBLE,
        "predictions": COUNT,
        "labelled": COUNT,
        "coverage": DOUBLE,
        "maturity": TEXT,
        "verdict": TEXT,
        "before": DOUBLE,
        "change": DOUBLE,
        "change_low": DOUBLE,
        "change_high": DOUBLE,
        "sentence": TEXT,
    },
)
FINDINGS = Target(
    "findings", {"model": NAME, "sli": NAME, "number": COUNT}, {"question": TEXT, "answer": TEXT, "finding": TEXT}
)
CHANGES = Target(
    "changes",
    {"model": NAME, "number": COUNT},
    {
        "sli": NAME,
        "grain": NAME,
        "slice_key": NAME,
        "window_start": TIME,
        "window_end": TIME,
        "change": TEXT,
        "cause": TEXT,
        "old_value": DOUBLE,
        "value": DOUBLE,
        "reason": TEXT,
        "old_verdict": TEXT,
        "verdict": TEXT,
        "as_of": TIME,
        "run_id": TEXT,
    },
)
AUDIT = Target(
    "audit",
    {"model": NAME, "number": COUNT},
    {
        "log": TEXT,
        "check": TEXT,
        "file": TEXT,
        "count": COUNT,
        "samples": "text[]",
        "explanation": TEXT,
        "as_of": TIME,
        "run_id": TEXT,
    },
)
RUNS = Target(
    "runs",
    {"model": NAME, "run_id": NAME},
    {
        "sequence": COUNT,
        "as_of": TIME,
        "asked_start": TIME,
        "asked_end": TIME,
        "backfill": TEXT,
        "tiles_recomputed": COUNT,
        "results_changed": COUNT,
        "seconds": DOUBLE,
    },
)
MODELS = Target(
    "models",
    {"model": NAME},
    {
        "store": TEXT,
        "version": COUNT,
        "files": TEXT,
        "run_id": TEXT,
        "as_of": TIME,
        "newest": TIME,
        "timezone": TEXT,
        "horizon": TEXT,
        "grains": "text[]",
        "period": TEXT,
        "sentence": TEXT,
        "problems": "text[]",
        "causes": "jsonb",
        "exported_at": TIME,
    },
)
TABLES = (RESULTS, SLICES, SLIS, FINDINGS, CHANGES, AUDIT, RUNS, MODELS)


def prepare(connection: Connection, schema: str, where: str) -> None:
    """Make the tables, or bring them up to date, by a transaction. Raises ExportError, psycopg.Error."""
    if _format(connection, schema, where) != FORMAT:
        lock(connection, schema)
        # Somebody else may have done it meanwhile.
        format = _format(connection, schema, where)
        if format > FORMAT:
            raise ExportError(
                "the tables in the database have a newer format than this version of sli knows",
                where=where,
                expected=f"format {FORMAT}",
                found=f"format {format}",
                todo="upgrade sli, or name another `export.postgres.schema`",
            )
        if format < FORMAT:
            _check_free(connection, schema, where)
            _bring_up_to_date(connection, schema)
    connection.commit()


def lock(connection: Connection, *names: str) -> None:
    """Wait until no other transaction works on what these names name; held until the transaction ends."""
    digest = hashlib.sha256("\0".join(("sli", *names)).encode()).digest()
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], "big", signed=True)])


def _format(connection: Connection, schema: str, where: str) -> int:
    """The format of the tables; 0 if there are none."""
    table = sql.Identifier(schema, VERSION_TABLE)
    # Not by to_regclass: within a transaction it remembers that a table was not there.
    there = (
        "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
    )
    if connection.execute(there, [schema, VERSION_TABLE]).fetchone() is None:
        return 0
    try:
        row = connection.execute(sql.SQL("SELECT format FROM {}").format(table)).fetchone()
    except errors.UndefinedColumn as error:
        raise _foreign(where, VERSION_TABLE) from error
    return int(str(row[0])) if row else 0


def _check_free(connection: Connection, schema: str, where: str) -> None:
    """Raise ExportError if the schema has tables of these names that sli did not make."""
    names = [table.name for table in TABLES]
    found = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = ANY(%s) AND NOT EXISTS (SELECT FROM pg_class v "
        "WHERE v.relnamespace = n.oid AND v.relname = %s) ORDER BY 1",
        [schema, names, VERSION_TABLE],
    ).fetchall()
    if found:
        raise _foreign(where, ", ".join(str(name) for (name,) in found))


def _foreign(where: str, found: str) -> ExportError:
    return ExportError(
        "the schema has tables of the same name that sli did not make",
        where=where,
        found=found,
        todo="name another `export.postgres.schema`; sli changes none of them",
    )


def _bring_up_to_date(connection: Connection, schema: str) -> None:
    """Add the tables and columns that are lacking, and forget how far they had come. Raises psycopg.Error."""
    # `CREATE SCHEMA IF NOT EXISTS` asks for the right to create one even if it exists.
    if connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for table in TABLES:
        name = sql.Identifier(schema, table.name)
        key = sql.SQL(", ").join(
            sql.SQL("{} {} NOT NULL").format(sql.Identifier(column), _type(kind)) for column, kind in table.key.items()
        )
        primary = sql.SQL(", ").join(map(sql.Identifier, table.key))
        connection.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(name, key, primary))
        for column, kind in table.others.items():
            connection.execute(
                sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(
                    name, sql.Identifier(column), _type(kind)
                )
            )
        for columns in table.indices:
            index = sql.Identifier("_".join((table.name, *columns)))
            connection.execute(
                sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                    index, name, sql.SQL(", ").join(map(sql.Identifier, columns))
                )
            )
    version, models = sql.Identifier(schema, VERSION_TABLE), sql.Identifier(schema, MODELS.name)
    connection.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} (format integer PRIMARY KEY)").format(version))
    connection.execute(sql.SQL("DELETE FROM {}").format(version))
    connection.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(version), [FORMAT])
    connection.execute(sql.SQL("DELETE FROM {}").format(models))


def _type(kind: str) -> sql.SQL:
    # The types above are written in this module, though not as one literal.
    return sql.SQL(kind)
