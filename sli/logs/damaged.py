"""Queries on files of the logs, and why one failed: a file is damaged, was replaced, or its storage does not answer.

Limit: a file is damaged only if pyarrow cannot read it either. If only DuckDB cannot, it is unsupported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from sli.calendar.interval import Interval
from sli.engine.connection import connect, connected, out_of_memory, task_error
from sli.engine.storage import message_of
from sli.errors import EngineError
from sli.logs import storage as logs
from sli.logs.fields import HIVE
from sli.logs.files import LogFile, Problem, UnreadableFiles
from sli.logs.log import Log
from sli.logs.pages import header_error
from sli.logs.reader import rows_sql
from sli.masking import masked

if TYPE_CHECKING:
    import duckdb


@contextmanager
def reading(
    threads: int, memory: int, logs: Iterable[tuple[Log, Iterable[LogFile]]], where: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection that reads some files of logs.

    Raises UnreadableFiles for files that turn out unreadable beyond their footer, OutOfMemory, and EngineError for
    anything else.
    """
    import duckdb

    try:
        with connected(threads, memory) as con:
            yield con
    except duckdb.InterruptException:
        raise
    except duckdb.OutOfMemoryException as error:
        for log, files in logs:
            check_headers(files, log, error)
        raise out_of_memory(where, f"memory limit {max(64, memory >> 20)} MiB") from error
    except (duckdb.Error, OSError) as error:
        for log, files in logs:
            check_readable(files, log, error)
        raise task_error(error, where) from error
    finally:
        # Arrow keeps freed memory for later, which Dask would count as memory of the worker.
        pa.default_memory_pool().release_unused()


def check_readable(files: Iterable[LogFile], log: Log, error: Exception) -> None:
    """After a query failed with `error`: raise UnreadableFiles for those files whose rows cannot be read.

    Returns if all can be read. Raises EngineError if their storage does not answer or a file was replaced: only a file
    whose bytes can be fetched can be damaged.
    """
    problems = {}
    for file, problem in _problems(files, log):
        if "://" in file.path:
            storage = logs.LogStorage(log.storage)
            try:
                current = storage.is_current(file.path, file.fingerprint)
                storage.read_to_end(file.path)
            except Exception as failure:
                raise _not_fetched(file, failure) from failure
            if not current:
                raise EngineError(
                    "a file of the logs was replaced while it was read", where=file.path, todo="run again", passes=True
                ) from error
            again = next(_problems([file], log), None)
            if again is None:
                continue
            problem = again[1]
        problems[file.path] = problem
    if problems:
        raise UnreadableFiles("files cannot be read", problems) from error


def _problems(files: Iterable[LogFile], log: Log) -> Iterator[tuple[LogFile, Problem]]:
    """The files whose rows cannot be read, and why. Reads all rows."""
    con = connect(1, 0)
    try:
        for file in files:
            if problem := _problem(con, file, log):
                # What a file has done to a connection must not show in what is said of the next one.
                con.close()
                con = connect(1, 0)
                yield file, problem
    finally:
        con.close()


def check_headers(files: Iterable[LogFile], log: Log, error: Exception) -> None:
    """After a query ran out of memory: raise UnreadableFiles for files whose headers of pages cannot be true.

    A header that says two thousand million bytes makes any reader ask for as much memory.
    """
    problems = {file.path: Problem("damaged", problem) for file in files if (problem := _header_problem(file, log))}
    if problems:
        raise UnreadableFiles("files cannot be read", problems) from error


def _header_problem(file: LogFile, log: Log) -> str:
    try:
        with logs.LogStorage(log.storage).open(file.path) as opened:
            return header_error(opened, pq.read_metadata(opened), file.stored(log.of(file.log).stored))
    except (OSError, pa.ArrowException, EOFError):
        return ""  # whoever reads it next says why it cannot be read


def _problem(con: duckdb.DuckDBPyConnection, file: LogFile, log: Log) -> Problem | None:
    """Why the rows of a file cannot be read; None if they can."""
    import duckdb

    try:
        rows = rows_sql(con, [file], log, Interval(-(2**56), 2**56))
        con.execute(f"SELECT count(*), max(hash(COLUMNS(*))) FROM {rows}").fetchall()
    except UnreadableFiles as unreadable:
        return unreadable.files[file.path]
    except duckdb.OutOfMemoryException:
        # The machine has too little memory, and the file may be fine.
        wrong = _header_problem(file, log)
        return Problem("damaged", wrong) if wrong else None
    except (duckdb.Error, OSError) as error:
        return _reason(file, log, error)
    return None


def _reason(file: LogFile, log: Log, error: Exception) -> Problem:
    """Why DuckDB fails on a file: it is damaged if pyarrow fails too, else unsupported."""
    stored = sorted(name for name, kind in file.columns if kind != HIVE and name in log.of(file.log).stored)
    try:
        with logs.LogStorage(log.storage).open(file.path) as opened:
            for _ in pq.ParquetFile(opened, page_checksum_verification=True).iter_batches(columns=stored):
                pass
    except FileNotFoundError:
        return Problem("unreadable", "it was removed while it was read")
    except (pa.ArrowException, OSError, EOFError) as problem:
        # Of bytes that make no sense pyarrow raises an OSError of no other type and without a number.
        if "://" in file.path and isinstance(problem, OSError) and (problem.errno or type(problem) is not OSError):
            raise _not_fetched(file, problem) from problem
        return Problem("damaged", _first_line(problem))
    if wrong := _header_problem(file, log):
        return Problem("damaged", wrong)
    return Problem("unsupported", f"it is not damaged, but DuckDB cannot read it: {_first_line(error)}")


def _not_fetched(file: LogFile, error: Exception) -> EngineError:
    what = "a file of the logs could not be fetched"
    return EngineError(what, where=file.path, found=message_of(error), passes=True)


def _first_line(error: Exception) -> str:
    return masked((str(error).splitlines() or [type(error).__name__])[0])[:200]
