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
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import duckdb
import numpy as np
import pyarrow as pa

from sli.engine.interrupts import stoppable
from sli.engine.sql import literal
from sli.engine.storage import plain
from sli.errors import EngineError, OutOfMemory

PREFIX = "sli-spills-"
MIDDLE = np.uint32(1 << 31)


def connect(threads: int, memory: int) -> duckdb.DuckDBPyConnection:
    """A private in-memory database that spills to disk beyond its memory."""
    con = duckdb.connect()
    con.execute(f"SET threads={threads}")
    con.execute(f"SET VARIABLE memory={max(64 << 20, memory)}")
    con.execute(f"SET memory_limit='{max(64, memory >> 20)}MiB'")
    con.execute(f"SET temp_directory={literal(spill_folder())}")
    for setting in ("preserve_insertion_order=false", "enable_external_file_cache=false"):
        con.execute(f"SET {setting}")
    prepare_cursor(con)
    return con


def prepare_cursor(con: duckdb.DuckDBPyConnection) -> None:
    """What each cursor of a connection needs."""
    stoppable(con)
    for setting in ("enable_progress_bar=false", "TimeZone='UTC'"):
        con.execute(f"SET {setting}")


def task_error(error: Exception, where: str) -> EngineError:
    """What to raise where all files can be read after all."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return out_of_memory(where, plain(error))
    passes = isinstance(error, duckdb.IOException | OSError)
    return EngineError("a task failed", where=where, found=plain(error), passes=passes)


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
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory(where, plain(error)) from error


def repeated(con: duckdb.DuckDBPyConnection, keys: str) -> pa.Table:
    """Column `k`: the 64-bit integers that occur more than once in the column `k` of a query.

    Sorting is the cheapest way to see that none does; their upper halves, sorted, leave few that could.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE keys AS {keys}")
    short = con.execute("SELECT (k >> 32)::UINTEGER AS short FROM keys").fetchnumpy()["short"]
    parts = [short[short < MIDDLE], short[short >= MIDDLE]]
    with ThreadPoolExecutor(len(parts)) as pool:
        twice = [np.unique(each[1:][each[1:] == each[:-1]]) for each in pool.map(np.sort, parts)]
    con.register("twice_arrow", pa.table({"short": np.concatenate(twice)}))
    found = con.sql(
        "SELECT k FROM keys WHERE (k >> 32)::UINTEGER IN (FROM twice_arrow) GROUP BY k HAVING count(*) > 1"
    ).to_arrow_table()
    con.unregister("twice_arrow")
    con.execute("DROP TABLE keys")
    return found


@functools.cache
def spill_folder() -> str:
    """The folder of this process."""
    _remove_left()
    made = tempfile.mkdtemp(prefix="sli-new-")
    # Locked before it has the name by which others look for what was left.
    _locked(made)
    folder = os.path.join(os.path.dirname(made), PREFIX + os.path.basename(made).removeprefix("sli-new-"))
    os.rename(made, folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_left() -> None:
    """Remove the folders of this user's processes that were killed."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):
                if not entry.name.startswith(PREFIX) or entry.stat(follow_symlinks=False).st_uid != os.getuid():
                    continue
                lock = _locked(entry.path)
                if lock is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(lock)


def _locked(folder: str) -> int | None:
    """The lock of a folder, held until it is closed or the process ends; None where another process has it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
