"""The pages of a Parquet file: where they are, and whether their bytes agree with their checksums.

DuckDB ignores checksums, so a flipped bit would become another number. The needed pages of a file with checksums are
read once more here, but not decoded. Limit: the headers of pages have no checksum.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import IO, NamedTuple, Protocol

import pyarrow.parquet as pq

from sli.calendar.interval import Interval
from sli.engine.thrift import Struct, decode_struct

FIRST = 4
"""Where the first page of a file begins: after the four letters at the start of every Parquet file."""
HEAD = 512
"""Most headers of pages are shorter than this; those with long texts as statistics are not."""
BLOCK = 1 << 20
KIND, UNPACKED, PAGE_SIZE, CHECKSUM = 1, 2, 3, 4
"""Numbers of fields in the header of a page; UNPACKED is its bytes when decompressed."""
KINDS = range(4)
DATA, DATA_2, VALUES = 5, 8, 1
"""Numbers of fields: what a page of data of either version says of itself, and therein how many values it has."""


class Opened(Protocol):
    """A file opened to read bytes."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class ColumnPages(NamedTuple):
    """The pages of one column in one group of rows: bytes `[start, end)`."""

    column: str
    start: int
    end: int


def column_pages(
    metadata: pq.FileMetaData,
    columns: frozenset[str],
    ranges: Sequence[tuple[int, int]],
    span: Interval,
    excluded: Sequence[bool] = (),
) -> list[list[ColumnPages]]:
    """The pages of the needed columns, in the order of the file, for each group of rows that may have rows in the span.

    `excluded` says of which groups `where` excludes all rows. `ranges` are the first and last instant of each other
    group; if there are not as many, all of these count.
    """
    needed = [i for i, name in enumerate(metadata.schema.names) if _top_column(metadata, i, name) in columns]
    groups = []
    kept = [number for number in range(metadata.num_row_groups) if not (excluded and excluded[number])]
    for place, number in enumerate(kept):
        if len(ranges) == len(kept):
            first, last = ranges[place]
            if first >= span.end or last < span.start:
                continue
        group = metadata.row_group(number)
        groups.append(sorted((_pages_of(group.column(i)) for i in needed), key=lambda pages: pages.start))
    return groups


def _top_column(metadata: pq.FileMetaData, place: int, name: str) -> str:
    """The column of the table that a column of the file belongs to: another one inside structs and lists."""
    path = metadata.schema.column(place).path
    return name if path == name else path.split(".")[0]


def _pages_of(column: pq.ColumnChunkMetaData) -> ColumnPages:
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        start = min(start, column.dictionary_page_offset)
    return ColumnPages(column.path_in_schema, start, start + column.total_compressed_size)


def has_checksum(opened: Opened, start: int = FIRST, end: int = FIRST + HEAD) -> bool:
    """Whether the page that begins there has one. Writers give one to all pages of a file, or to none."""
    header = _header(opened, start, end)
    return header is not None and CHECKSUM in header[0]


def checksum_error(opened: Opened, pages: Iterable[ColumnPages]) -> str:
    """Names the first page whose bytes differ from its checksum; empty if there is none.

    The check of a column ends at a header that makes no sense: the query that decodes it says what is wrong.
    """
    for column, start, end in pages:
        number = 0
        while start < end and (header := _header(opened, start, end)) is not None:
            fields, length = header
            size = fields.get(PAGE_SIZE, -1)
            if not 0 <= size <= end - start - length:
                break
            if CHECKSUM in fields and _checksum(opened, start + length, size) != fields[CHECKSUM] & 0xFFFFFFFF:
                return f"the checksum of page {number} of column '{column}' does not match its bytes"
            start, number = start + length + size, number + 1
    return ""


def header_error(opened: Opened, metadata: pq.FileMetaData, columns: frozenset[str]) -> str:
    """What cannot be true in the headers of the pages of some columns; empty if all of it can."""
    needed = [i for i, name in enumerate(metadata.schema.names) if _top_column(metadata, i, name) in columns]
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, needed):
            if problem := _header_error(opened, chunk):
                return problem
    return ""


def _header_error(opened: Opened, chunk: pq.ColumnChunkMetaData) -> str:
    column, start, end = _pages_of(chunk)
    number, values, unpacked = 0, chunk.num_values, max(chunk.total_uncompressed_size, end - start)
    while start < end:
        header = _header(opened, start, end)
        page = f"the header of page {number} of column '{column}'"
        if header is None:
            return f"{page} makes no sense"
        fields, length = header
        size, bytes_ = fields.get(PAGE_SIZE, -1), fields.get(UNPACKED, -1)
        if not 0 <= size <= end - start - length:
            return f"{page} says {size:,} bytes, and {end - start - length:,} are left of the column"
        if not 0 <= bytes_ <= unpacked or (chunk.compression == "UNCOMPRESSED" and bytes_ != size):
            return f"{page} says {bytes_:,} bytes when decompressed, and that cannot be"
        if fields.get(KIND) not in KINDS:
            return f"{page} says that it is of a kind that there is not"
        count = next((fields[kind].get(VALUES, -1) for kind in (DATA, DATA_2) if kind in fields), 0)
        if not 0 <= count <= values:
            return f"{page} says {count:,} values, and {values:,} are left of the column"
        start, number, values, unpacked = start + length + size, number + 1, values - count, unpacked - bytes_
    return f"the pages of column '{column}' have {values:,} values less than its footer says" if values else ""


def _checksum(opened: Opened, start: int, size: int) -> int:
    opened.seek(start)
    value = 0
    while size > 0:
        block = opened.read(min(size, BLOCK))
        if not block:
            return -1
        value, size = zlib.crc32(block, value), size - len(block)
    return value


def _header(opened: Opened, start: int, end: int) -> tuple[Struct, int] | None:
    """The header of the page that begins there, and its length; None if there is none."""
    for size in (HEAD, BLOCK):
        opened.seek(start)
        try:
            return decode_struct(opened.read(min(size, end - start)))
        except (IndexError, struct.error):
            continue  # longer than `size`, or no header at all
        except ValueError:
            return None
    return None


def checksum_error_of_file(opened: IO[bytes], columns: frozenset[str]) -> str:
    """Names the first page of these columns whose bytes differ from its checksum; empty if there is none."""
    if not has_checksum(opened):
        return ""
    opened.seek(0)
    groups = column_pages(pq.read_metadata(opened), columns, (), Interval(0, 0))
    return checksum_error(opened, itertools.chain.from_iterable(groups))
