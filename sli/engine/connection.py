"""DuckDB inside a task: a private database with a memory limit, a folder to spill to, and the errors of its queries.

The folder is the process's own and is removed when it ends. A killed process cannot remove its folder, so the next
process does: a folder is locked as long as its process lives, which also holds between containers that share a disk.
Limit: folders that cannot be locked stay.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sli.engine.interrupts import make_stoppable
from sli.engine.storage import message_of
from sli.errors import EngineError, OutOfMemory

if TYPE_CHECKING:
    import duckdb

PREFIX = "sli-spills-"
"""How the names of these folders begin."""
PYTHON_ERROR = re.compile(r"Traceback \(most recent call last\):\n(?: +.*\n)+(.*)")
"""What DuckDB says of an error of a file system in Python, and the message of that error."""


def connect(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory database that uses at most `memory` bytes, at least 64 MiB, and spills the rest to disk."""
    con = _new_database(threads, memory)
    _begin_session(con, memory)
    return con


@contextmanager
def connected(threads: int, memory: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """As `connect`, but the database goes on to the next that asks, since opening one takes 30 ms.

    A database with file systems of its own, or whose queries read files or return Arrow in another way than at first,
    goes to nobody else. In any other create only temporary tables.
    """
    database = _idle_database(threads, memory)
    with database.cursor() as con:
        _begin_session(con, memory)
        yield con
        reusable = not con.list_filesystems() and bool(con.execute(AS_AT_FIRST).fetchall()[0][0])
    if reusable:
        _IDLE.setdefault((threads, memory), []).append(database)


AS_AT_FIRST = "SELECT current_setting('enable_external_access') AND NOT current_setting('arrow_lossless_conversion')"
"""Whether the settings that tasks change, for all who use a database, are as in a new one."""
Limits = tuple[int, int]
"""Threads and memory."""
_IDLE: dict[Limits, list[duckdb.DuckDBPyConnection]] = {}
"""Databases that nobody uses now, by their limits. One whose queries failed is not kept."""


def _idle_database(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    """A database with these limits: one that has them if there is one, else any other, else a new one."""
    for limits in ((threads, memory), *list(_IDLE)):
        with suppress(KeyError, IndexError):
            database = _IDLE[limits].pop()
            if limits != (threads, memory):
                database.execute(f"SET threads={threads}")
                database.execute(f"SET memory_limit='{_limit(memory)}'")
            return database
    return _new_database(threads, memory)


def _new_database(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    import duckdb  # not at the top: a run that finds nothing to do needs no DuckDB

    database = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": _limit(memory),
            "temp_directory": spill_folder(),
            "preserve_insertion_order": False,
            "enable_external_file_cache": False,
        }
    )
    _prepare(database)
    return database


def _limit(memory: int) -> str:
    return f"{max(64, memory >> 20)}MiB"


def _prepare(database: duckdb.DuckDBPyConnection) -> None:
    """Set what its cursors have, too: times are in UTC, and interactive Python shows no progress bar."""
    import duckdb

    # In a notebook without ipywidgets DuckDB can show no bar, and refuses to be told so.
    with suppress(duckdb.InvalidInputException):
        database.execute("SET enable_progress_bar=false")
    database.execute("SET GLOBAL TimeZone='UTC'")


def _begin_session(con: duckdb.DuckDBPyConnection, memory: int) -> None:
    make_stoppable(con)
    con.execute(f"SET VARIABLE memory={max(64 << 20, memory)}")


@functools.cache
def _scratch_database() -> duckdb.DuckDBPyConnection:
    import duckdb

    database = duckdb.connect()
    _prepare(database)
    return database


def scratch() -> duckdb.DuckDBPyConnection:
    """A connection for queries on small Arrow tables, without limits of its own; what it registers only it sees.

    All share one database, since opening one takes 30 ms: create only temporary tables, and change no global setting.
    """
    return _scratch_database().cursor()


RAISED = {
    "Out of Memory Error": "OutOfMemoryException",
    "INTERRUPT Error": "InterruptException",
    "IO Error": "IOException",
    "HTTP Error": "IOException",
}
"""What DuckDB raises for the errors whose texts begin like this; for others a plain `duckdb.Error` is enough."""


def batches_of(rows: duckdb.DuckDBPyRelation, size: int) -> Iterator[pa.RecordBatch]:
    """The rows of a query, about `size` at a time. Raises duckdb.Error, as if they were read at once."""
    with as_if_read_at_once():
        yield from rows.to_arrow_reader(size)


@contextmanager
def as_if_read_at_once() -> Iterator[None]:
    """A context that reads rows of a query in batches: it raises the duckdb.Error that reading them at once raises."""
    try:
        yield
    except OSError as error:
        # Arrow passes on only the text of an error that comes after the first rows.
        kind, colon, _ = str(error).partition(": ")
        if not colon or not kind.endswith(" Error"):
            raise
        import duckdb

        raised: type[Exception] = getattr(duckdb, RAISED.get(kind, "Error"))
        raise raised(str(error)) from error


def task_error(error: Exception, where: str) -> EngineError:
    """The error to raise for a query that failed although all of its files can be read."""
    import duckdb

    if isinstance(error, duckdb.OutOfMemoryException):
        return out_of_memory(where, message_of(error))
    if raised := PYTHON_ERROR.match(str(error)):
        error = OSError(raised[1])
    passes = isinstance(error, duckdb.IOException | OSError)
    return EngineError("a task failed", where=where, found=message_of(error), passes=passes)


def out_of_memory(where: str, found: str) -> OutOfMemory:
    """The error for a query that takes more than `memory:` although it can spill to disk."""
    return OutOfMemory(
        "a task ran out of memory",
        where=where,
        found=found,
        todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
    )


@contextmanager
def within_memory(where: str) -> Iterator[None]:
    """Raise OutOfMemory where a query inside the block takes more memory than it may."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory(where, message_of(error)) from error


def repeated_keys(con: duckdb.DuckDBPyConnection, keys: str, having: str = "count(*) > 1") -> pa.Table:
    """Column `k`: the 64-bit integers that occur more than once in the column `k` of a query.

    Of these only those `having` something, an SQL condition on the rows of the query that have the same key. In most
    cases no key occurs twice, and sorting is the cheapest way to find that out. Only the upper halves of the keys are
    sorted; the few keys whose upper half occurs twice are then counted.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE keys AS {keys}")
    upper = con.execute("SELECT (k >> 32)::UINTEGER AS upper FROM keys").fetchnumpy()["upper"]
    odd = np.asarray(upper) % 2 == 1
    halves = [upper[odd], upper[~odd]]  # they are sorted in parallel
    with ThreadPoolExecutor(len(halves)) as pool:
        sorted_halves = pool.map(np.sort, halves)
        twice = np.concatenate([np.unique(half[1:][half[1:] == half[:-1]]) for half in sorted_halves])
    repeated = pa.table({"k": pa.array([], pa.int64())})
    if len(twice):
        con.register("twice_arrow", pa.table({"upper": pa.array(twice)}))
        repeated = con.sql(
            f"SELECT k FROM keys WHERE (k >> 32)::UINTEGER IN (FROM twice_arrow) GROUP BY k HAVING {having}"
        ).to_arrow_table()
        con.unregister("twice_arrow")
    con.execute("DROP TABLE keys")
    return repeated


@functools.cache
def spill_folder() -> str:
    """The folder to which this process spills."""
    _remove_abandoned()
    new = tempfile.mkdtemp(prefix="sli-new-")
    # Lock it before it gets the name by which other processes look for abandoned folders.
    _lock(new)
    folder = os.path.join(os.path.dirname(new), PREFIX + os.path.basename(new).removeprefix("sli-new-"))
    os.rename(new, folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_abandoned() -> None:
    """Remove the folders that killed processes of this user left."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):
                if not entry.name.startswith(PREFIX) or entry.stat(follow_symlinks=False).st_uid != os.getuid():
                    continue
                lock = _lock(entry.path)
                if lock is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(lock)


def _lock(folder: str) -> int | None:
    """Lock a folder until the returned descriptor is closed or the process ends; None if another process has it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
