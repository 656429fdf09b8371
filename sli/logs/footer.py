"""What the footer of one file says: its columns and their types, its rows, and the stretches of time they lie in.

Limit: a file is one footer; how the types of several files go together is the matter of `agreement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from sli.engine.storage import READERS, Storage, message_of
from sli.errors import InputError
from sli.logs import storage as logs
from sli.logs.byte_ranges import ByteRanges, RangedFile
from sli.logs.contradictions import column_chunks, contradiction, encrypted_column, places_of, unknown_rows
from sli.logs.files import LogFile
from sli.logs.log import Log
from sli.logs.storage import ReplacedError
from sli.logs.time_ranges import with_times
from sli.logs.types import with_types
from sli.masking import masked

TAIL = 64 << 10
"""Bytes fetched from the end of a remote file: most footers are shorter than this."""


@dataclass(frozen=True)
class Unread:
    """A file whose footer is to be read. `modified`: when it was written, in microseconds."""

    file: LogFile
    modified: int


class FileReplaced(Exception):
    """A file was replaced or removed after its log was listed and before its footer was read."""


def read_footers(log: Log, unread: Sequence[Unread], refused: Mapping[str, str]) -> Iterator[LogFile]:
    """The files with what their footers say; a `problem` says why a file cannot be used.

    `refused` gives the reasons for which paths must not be opened at all. Raises FileReplaced where a file is not the
    listed one any more, InputError where storage does not answer.
    """

    def read(entry: Unread) -> LogFile:
        if entry.file.path in refused:
            return entry.file.set_aside("unreadable", refused[entry.file.path])
        return _with_footer(log, entry)

    if not any("://" in entry.file.path for entry in unread):
        return map(read, unread)
    with ThreadPoolExecutor(READERS) as pool:
        return iter(list(pool.map(read, unread)))


def _open_remote(file: LogFile, storage: Storage) -> pa.NativeFile:
    """A remote file. One request fetches its last TAIL bytes; bytes before them are fetched when they are read."""
    remote = logs.LogStorage(storage).remote(file)
    ranges, start = ByteRanges(file.bytes, remote.get), max(0, file.bytes - TAIL)
    if file.bytes:
        ranges.add(start, remote.get(start, file.bytes))
    return pa.PythonFile(RangedFile(ranges), mode="r")


def _with_footer(log: Log, unread: Unread) -> LogFile:
    file = unread.file
    try:
        # Arrow opens local files itself, several times faster than through a Python file.
        with _open_remote(file, log.storage) if "://" in file.path else pa.OSFile(file.path, "r") as opened:
            metadata = pq.read_metadata(opened)
            if problem := unknown_rows(metadata):
                return file.set_aside("damaged", problem)
            schema = metadata.schema.to_arrow_schema()
            read = with_types(log, file._replace(rows=metadata.num_rows), schema)
            if not read.usable:
                return read
            places = places_of(metadata, read.stored(log.stored))
            groups = column_chunks(opened, file.bytes, metadata.num_columns, places)
            if secret := encrypted_column(groups, [*places.values()]):
                return read.set_aside("unreadable", f"column '{secret}' is encrypted")
            if problem := contradiction(metadata, file.bytes, groups, places):
                return read.set_aside("damaged", problem)
            return with_times(log, read, metadata, opened, unread.modified)
    except Exception as error:
        remote = "://" in file.path
        # Of a footer that makes no sense Arrow raises an OSError without a number, Python a ValueError for its names.
        nonsense = isinstance(error, pa.ArrowException | EOFError | FileNotFoundError | ValueError | ReplacedError) or (
            type(error) is OSError and error.errno is None
        )
        if not remote and not isinstance(error, pa.ArrowException | EOFError | OSError | ValueError):
            raise
        if not nonsense and (remote or not isinstance(error, PermissionError | IsADirectoryError)):
            # The file may be whole and its storage away. Setting it aside would remove what was published of it.
            raise InputError(
                f"a file of the {file.log} log could not be fetched",
                where=file.path,
                found=f"{type(error).__name__}: {message_of(error)}",
                todo="run again once its storage answers",
                passes=True,
            ) from error
        return _unreadable(log, file, error)


def _unreadable(log: Log, file: LogFile, error: Exception) -> LogFile:
    """The file, set aside. Raises FileReplaced where it was replaced since it was listed: the new one may be whole."""
    if not logs.LogStorage(log.storage).is_current(file.path, file.fingerprint):
        raise FileReplaced(file.path) from error
    if isinstance(error, PermissionError):
        return file.set_aside("unreadable", "no permission to read it")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return file.set_aside("unreadable", masked(text)[:200])
