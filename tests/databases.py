"""A PostgreSQL database for a test, and the comparison of its tables with what is published."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import servers
from psycopg import rows, sql

import sli
from sli.config.model import Config

NUMBERS = itertools.count(1)
SHOWN = ("slice_by", "slice")


class Database:
    """A database of its own on a server."""

    def __init__(self, server: servers.Postgres, name: str) -> None:
        self.server, self.name = server, name

    @property
    def url(self) -> str:
        return self.server.url(database=self.name)

    def execute(self, *queries: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for query in queries:
                cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def rows(self, table: str, schema: str = "sli") -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=rows.dict_row) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            name = sql.Identifier(schema, table)
            return connection.execute(sql.SQL("SELECT * FROM {}").format(name)).fetchall()

    def check(self, config: str | Path | Config, schema: str = "sli") -> int:
        """Assert that `results` equals `sli.read`, to the bit; returns how many rows there are."""
        found = {key_of(row): plain(row) for row in self.rows("results", schema)}
        frame = sli.read(config)
        frame = frame.astype(object).where(frame.notna(), None)
        expected = {key_of(row): plain(row) for row in frame.to_dict("records")}
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            got = {name: found[key][name] for name in row}
            assert got == row, f"{key}: {got} is not {row}"
        return len(expected)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    slice = tuple(sorted(row["slice"].items()))
    return row["sli"], row["grain"], row["window_start"], row["window_end"], slice


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Values that compare equal only if they are: doubles by their bits, nulls of all kinds as None."""
    values = {name: value for name, value in row.items() if name not in SHOWN}
    return {name: bits(value) for name, value in values.items()} | {"slice_by": tuple(row["slice_by"])}


def bits(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack(">d", value)
    return value


class DatabaseAt(Database):
    """One that is there already."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        return self._url


@contextmanager
def database_of(server: servers.Postgres, options: str = "") -> Iterator[Database]:
    """A new database, dropped at the end."""
    database = Database(server, f"results_{next(NUMBERS)}")
    home = Database(server, server.database)
    home.execute(f"CREATE DATABASE {database.name} {options}")
    try:
        yield database
    finally:
        home.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
