"""A connection to PostgreSQL that does not wait for ever, and its errors in words.

Limit: a failed connection has no code, so its cause is told from the message, which may be in another language.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo, errors
from psycopg.abc import PQGen

from sli.config.postgres_section import PostgresSink
from sli.engine.storage import message_of
from sli.errors import ExportError

RIGHTS = "give it the rights that docs/export.md lists"
WAITING: Mapping[str, str] = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "application_name": "sli",
}
"""Settings of a connection that the URL does not have: a server that is gone is noticed within a minute."""
ANSWER_SECONDS = 300.0
"""How long a statement may take. A server that is frozen keeps its connection alive, but never answers."""
LOCK_SECONDS = 60
"""How long an export waits for another one of the same model, and for any lock."""
REFUSED = (
    (r"password authentication failed|no password supplied", "check the user and the password of the URL"),
    (r"SSL|certificate", "check `sslmode` and the certificates of the URL: the server and they do not agree"),
    (r'database "[^"]*" does not exist', "create the database, or name another one in the URL"),
    (r"no pg_hba.conf entry|permission denied", "let the user connect: pg_hba.conf of the server, or GRANT CONNECT"),
    (r"translate host name|Name or service not known|resolve", "check the host of the URL"),
)
"""What to do, by what a refused connection says."""
FAILED: tuple[tuple[tuple[type[psycopg.Error], ...], str, str], ...] = (
    ((errors.InsufficientPrivilege,), "the user lacks a right in the database", RIGHTS),
    (
        (errors.LockNotAvailable,),
        "another export of this model is at work, or a session keeps a lock on its tables",
        "wait until it is done, or end that session: pg_stat_activity lists them",
    ),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.DatatypeMismatch, errors.WrongObjectType),
        "the tables in the database are not those that sli made",
        "drop them, or name another `export.postgres.schema`",
    ),
    (
        (errors.UntranslatableCharacter, errors.CharacterNotInRepertoire),
        "the database cannot hold a character of the results",
        "use a database with the encoding UTF8",
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        "the database is read-only for this user",
        "name the primary server and a user that may write; docs/export.md lists its rights",
    ),
    ((errors.DiskFull,), "the disk of the database is full", "make room on it"),
)
"""What is wrong and what to do, by the error of a statement."""
AWAY = re.compile("|(08|28|3D|57P).*")
"""Codes of a connection that was refused, failed or was ended; most have none."""
T = TypeVar("T")


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection that is cut where the server does not answer in time."""

    def wait(self, gen: PQGen[T], *given: Any, **named: Any) -> T:
        """Wait for an answer, of a statement or of a piece of a COPY. Raises OperationalError."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            # Of the connection itself nothing is safe to call from another thread.
            with socket.socket(fileno=os.dup(self.pgconn.socket)) as own:
                own.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(ANSWER_SECONDS, cut)
        timer.start()
        try:
            return super().wait(gen, *given, **named)
        except psycopg.OperationalError as error:
            if late.is_set():
                raise psycopg.OperationalError(f"no answer for {ANSWER_SECONDS:g} s") from error
            raise
        finally:
            timer.cancel()


# Without a handler Python prints what psycopg logs beside an error, such as a COPY that it could not end.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


@contextmanager
def connected(sink: PostgresSink) -> Iterator[Connection]:
    """A connection, in whose context errors of the database become ExportError.

    What is not committed by the end of the context is undone.
    """
    where = place(sink)
    with _errors(where, "the database does not answer"):
        given = conninfo.conninfo_to_dict(sink.url)
        settings = {name: value for name, value in WAITING.items() if name not in given}
        # Whatever the encoding of the database, rows are sent as UTF-8.
        connection = Connection.connect(conninfo.make_conninfo(sink.url, **settings, client_encoding="UTF8"))
    with _errors(where, "the database went away before it had everything"), connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_SECONDS}s"])
        connection.commit()
        yield connection
        connection.rollback()


def place(sink: PostgresSink) -> str:
    """Which schema of which database, without credentials."""
    try:
        given = conninfo.conninfo_to_dict(sink.url)
    except psycopg.Error as error:
        raise ExportError(
            "the URL of the database cannot be read", where="export.postgres.url", found=message_of(error)
        ) from error
    host, port, database = (str(given.get(name) or "") for name in ("host", "port", "dbname"))
    address = host + f":{port}" * bool(port)
    return f"{address}/{database or given.get('user') or ''}, schema {sink.schema_name}"


@contextmanager
def _errors(where: str, away: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        for kinds, what, todo in FAILED:
            if isinstance(error, kinds):
                raise ExportError(what, where=where, found=message_of(error), todo=todo) from error
        if not isinstance(error, psycopg.OperationalError) or not AWAY.fullmatch(error.sqlstate or ""):
            raise ExportError("the database refused the rows", where=where, found=message_of(error)) from error
        found = message_of(error)
        todo = next((todo for pattern, todo in REFUSED if re.search(pattern, found, re.IGNORECASE)), "")
        what = "the database refused the connection" if todo else away
        todo = todo or "check that it runs and can be reached from here"
        raise ExportError(what, where=where, found=found, todo=todo, passes=what == away) from error
