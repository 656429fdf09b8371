"""Rows copied to a temporary table, then merged into their table: only what differs is written.

Limit: the rows of a scope (all of a model, or of a grain and some days) are staged before those that no longer exist
are removed; the temporary table has them on the server, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
from psycopg import sql

from sli.export.postgres.connection import Connection
from sli.export.postgres.rows import csv_of, without_nul
from sli.export.postgres.tables import RESULTS, Target


class Merged(NamedTuple):
    """How many rows were written, since they were new or other, and how many removed."""

    written: int
    removed: int


class Staging:
    """Writes to the tables of a schema, within the transaction of a connection."""

    def __init__(self, connection: Connection, schema: str, model: str) -> None:
        self.connection, self.schema, self.model = connection, schema, without_nul(model)
        self._made: set[str] = set()

    def query(self, text: str, *tables: Target) -> sql.Composed:
        """A statement in which each {} is a table; values are its parameters."""
        # Texts of this package only.
        return sql.SQL(text).format(*(sql.Identifier(self.schema, table.name) for table in tables))

    def replace(self, table: Target, batches: Iterable[pa.Table]) -> Merged:
        """Make these all rows of the model in a table."""
        return self._merge(table, batches, "t.model = %s", [self.model])

    def replace_days(self, batches: Iterable[pa.Table], grain: str, days: Sequence[str]) -> Merged:
        """Make these all results of the model for a grain and some days."""
        where = "t.model = %s AND t.grain = %s AND t.day = ANY(%s::date[])"
        return self._merge(RESULTS, batches, where, [self.model, grain, list(days)])

    def add(self, table: Target, rows: pa.Table) -> Merged:
        """Add rows, or change those of the same key."""
        return self._merge(table, [rows], None, [])

    def _merge(self, table: Target, batches: Iterable[pa.Table], scope: str | None, parameters: list[object]) -> Merged:
        staged = self._stage(table, batches)
        own = sql.Identifier(self.schema, table.name)
        names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        key = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in table.key)
        removed = 0
        if scope is not None:
            # Texts of this module.
            condition = sql.SQL(scope)
            delete = sql.SQL("DELETE FROM {} t WHERE {} AND NOT EXISTS (SELECT FROM {} s WHERE {})")
            removed = self.connection.execute(delete.format(own, condition, staged, key), parameters).rowcount
        merge = sql.SQL(
            "INSERT INTO {own} AS t ({names}) SELECT {names} FROM {staged} ON CONFLICT ({key}) DO UPDATE SET {set} "
            "WHERE ({old}) IS DISTINCT FROM ({new})"
        ).format(
            own=own,
            names=names,
            staged=staged,
            key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
            set=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(n)) for n in table.others),
            old=sql.SQL(", ").join(sql.Identifier("t", name) for name in table.others),
            new=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in table.others),
        )
        return Merged(self.connection.execute(merge).rowcount, removed)

    def _stage(self, table: Target, batches: Iterable[pa.Table]) -> sql.Identifier:
        """Copy rows to the temporary table of a table, which they replace."""
        name = f"staged_{table.name}"
        staged, own = sql.Identifier("pg_temp", name), sql.Identifier(self.schema, table.name)
        if name in self._made:
            self.connection.execute(sql.SQL("TRUNCATE {}").format(staged))
        else:
            create = sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WHERE false")
            columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            self.connection.execute(create.format(sql.Identifier(name), columns, own))
            self._made.add(name)
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)")
        with self.connection.cursor() as cursor:
            for rows in batches:
                columns = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
                with cursor.copy(copy.format(staged, columns)) as target:
                    target.write(csv_of(rows))
        # Nobody else does this for a temporary table, and without it a join takes minutes.
        self.connection.execute(sql.SQL("ANALYZE {}").format(staged))
        return staged
