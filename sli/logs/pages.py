"""The pages of Parquet files as their bytes lie there: which ones, and whether they are what their checksums say.

DuckDB reads a page without a look at its checksum, so a flipped bit would become another number. Of a file that has
checksums the needed pages are read once more, but not decoded. Limit: the headers of pages have no checksum.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow.parquet as pq

from sli.calendar.interval import Interval

FIRST = 4
"""Where the first page of a file begins, behind the four letters that every Parquet file begins with."""
HEAD = 512
"""Bytes that hold the header of a page, but where its statistics are long texts."""
BLOCK = 1 << 20
STOP, YES, NO, BYTE, SHORT, INT, LONG, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)
"""Kinds of values in Thrift's compact protocol."""
PAGE_SIZE, CHECKSUM = 3, 4
"""Fields of a page's header."""
GROUPS, COLUMNS, METADATA, SECRET, PATH = 4, 1, 3, 8, 3
"""Fields of a footer, a group of rows in it, a column of that (twice) and what is told of the column."""
DEPTH = 16
"""How deep structs and lists lie in one another at most; less deep in Parquet."""


class Opened(Protocol):
    """A file, or a remote one as far as it is held."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class Chunk(NamedTuple):
    """The pages of one column in one group of rows: bytes `[start, end)`."""

    column: str
    start: int
    end: int


def chunks(
    metadata: Any, columns: frozenset[str], ranges: Sequence[tuple[int, int]], span: Interval
) -> list[list[Chunk]]:
    """Where the needed columns lie, for each group of rows that meets a stretch of time, as far as `ranges` tell."""
    needed = [i for i, path in enumerate(metadata.schema.names) if _top(metadata, i, path) in columns]
    told = ranges if len(ranges) == metadata.num_row_groups else None
    found = []
    for group in range(metadata.num_row_groups):
        if told is not None and not (told[group][0] < span.end and told[group][1] >= span.start):
            continue
        rows = metadata.row_group(group)
        found.append(sorted((_chunk(rows.column(i)) for i in needed), key=lambda chunk: chunk.start))
    return found


def _top(metadata: Any, place: int, name: str) -> str:
    """The column that a leaf belongs to, itself unless it lies in a struct or list."""
    path = metadata.schema.column(place).path
    return name if path == name else path.split(".")[0]


def _chunk(column: Any) -> Chunk:
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        start = min(start, column.dictionary_page_offset)
    return Chunk(column.path_in_schema, start, start + column.total_compressed_size)


def has_checksum(opened: Opened, start: int = FIRST, end: int = FIRST + HEAD) -> bool:
    """Whether the page that begins there has one. Writers give one to all pages of a file, or to none."""
    header = _header(opened, start, end)
    return header is not None and CHECKSUM in header[0]


def broken(opened: Opened, found: Iterable[Chunk]) -> str:
    """Which page is not what its checksum says; empty if all are, or have none.

    A header that makes no sense ends the look at its column: whoever decodes it says what is wrong.
    """
    for column, start, end in found:
        number = 0
        while start < end and (header := _header(opened, start, end)) is not None:
            fields, length = header
            size = fields.get(PAGE_SIZE, -1)
            if not 0 <= size <= end - start - length:
                break
            if CHECKSUM in fields and _checksum(opened, start + length, size) != fields[CHECKSUM] & 0xFFFFFFFF:
                return f"the checksum of page {number} of column '{column}' is not that of its bytes"
            start, number = start + length + size, number + 1
    return ""


def _checksum(opened: Opened, start: int, size: int) -> int:
    opened.seek(start)
    value = 0
    while size > 0:
        block = opened.read(min(size, BLOCK))
        if not block:
            return -1
        value, size = zlib.crc32(block, value), size - len(block)
    return value


def _header(opened: Opened, start: int, end: int) -> tuple[Mapping[int, Any], int] | None:
    """Fields of the header of the page that begins there, and its length."""
    for size in (HEAD, BLOCK):
        opened.seek(start)
        try:
            return fields_of(opened.read(min(size, end - start)))
        except (IndexError, struct.error):
            continue  # cut off, or no header at all
        except ValueError:
            return None
    return None


def damage(opened: Opened, columns: frozenset[str]) -> str:
    """Which page of these columns of a file is not what its checksum says; empty if none, or if it has none."""
    if not has_checksum(opened):
        return ""
    opened.seek(0)
    groups = chunks(pq.read_metadata(opened), columns, (), Interval(0, 0))
    return broken(opened, itertools.chain.from_iterable(groups))


def encrypted(opened: Opened, size: int, metadata: Any, columns: Iterable[str]) -> str:
    """Which of these columns is encrypted, where the footer is not; empty if none is.

    Such a footer is signed, so longer than what it tells. pyarrow would end the process at a look at such a column.
    Raises EOFError where the footer makes no sense.
    """
    opened.seek(size - 8)
    length = int.from_bytes(opened.read(4), "little")
    if length == metadata.serialized_size:
        return ""
    opened.seek(size - 8 - length)
    try:
        footer, _ = fields_of(opened.read(length))
        chunks = [each for group in footer[GROUPS] for each in group[COLUMNS] if SECRET in each]
        secret = {each[METADATA][PATH][0].decode() for each in chunks}
    except (LookupError, TypeError, ValueError, struct.error) as error:
        raise EOFError("the footer makes no sense") from error
    return next((name for name in columns if name in secret), "")


def fields_of(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A struct in Thrift's compact protocol by the numbers of its fields, and where it ends.

    Raises ValueError where it is none, IndexError or struct.error where the bytes end before it.
    """
    if depth > DEPTH:
        raise ValueError("structs in structs without end")
    fields: dict[int, Any] = {}
    name = 0
    while data[at] != STOP:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            name += step
        else:
            name, at = _whole(data, at)
        if kind in (YES, NO):
            fields[name] = kind == YES
        else:
            fields[name], at = _value(data, at, kind, depth + 1)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (SHORT, INT, LONG):
        return _whole(data, at)
    if kind in (YES, NO, BYTE):
        return data[at], at + 1
    if kind == DOUBLE:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == BINARY:
        size, at = _natural(data, at)
        return data[at : at + size], at + size
    if kind in (LIST, SET):
        return _list(data, at, depth)
    if kind == STRUCT:
        return fields_of(data, at, depth)
    raise ValueError(f"no value of kind {kind} is in Parquet")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    size, kind = data[at] >> 4, data[at] & 15
    at += 1
    if depth > DEPTH:
        raise ValueError("lists in lists without end")
    if size == 15:
        size, at = _natural(data, at)
    found = []
    for _ in range(size):
        value, at = _value(data, at, kind, depth + 1)
        found.append(value)
    return found, at


def _natural(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 128:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    return value | data[at] << shift, at + 1


def _whole(data: bytes, at: int) -> tuple[int, int]:
    value, at = _natural(data, at)
    return value >> 1 ^ -(value & 1), at
