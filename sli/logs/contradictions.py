"""What a footer says that cannot be true: such a file is damaged, although its footer can be read.

It is looked for before pyarrow looks at a column of a footer: of some footers that contradict themselves pyarrow ends
the process. Limit: statistics that are well-formed are believed; to find those that lie all rows would be read.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from itertools import pairwise

import pyarrow.parquet as pq

from sli.engine.thrift import STRUCT, Struct, decode_struct, find_field, list_head, skip
from sli.logs.pages import Opened

GROUPS, GROUP_COLUMNS, METADATA, ENCRYPTION = 4, 1, 3, 8
"""Numbers of fields: `row_groups` of a footer, `columns` of a group, `meta_data` and `crypto_metadata` of a column."""
KIND, PATH, VALUES, COMPRESSED, PAGES, DICTIONARY, STATISTICS, SIZES = 1, 3, 5, 7, 9, 11, 12, 16
"""Numbers of fields of `meta_data`."""
BOUNDS = (1, 2, 5, 6)
"""Numbers of fields: the least and greatest value in `statistics`."""
TEXT_BYTES, REPETITIONS, DEFINITIONS = 1, 2, 3
"""Numbers of fields of `size_statistics`."""
PHYSICAL = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value."""


def unknown_rows(metadata: pq.FileMetaData) -> str:
    """Why nobody can tell how many rows a file has; empty if its footer says one number."""
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if metadata.num_rows < 0 or min(groups, default=0) < 0:
        return "its footer says that it has less than no rows"
    if sum(groups) != metadata.num_rows:
        return f"its footer says that it has {metadata.num_rows:,} rows, and {sum(groups):,} in all its groups of rows"
    return ""


def places_of(metadata: pq.FileMetaData, columns: Collection[str]) -> dict[int, str]:
    """The columns of the file that columns of the table are stored in: the path of each, by its place."""
    paths = ((place, metadata.schema.column(place).path) for place in range(metadata.num_columns))
    return {place: path for place, path in paths if path in columns or path.partition(".")[0] in columns}


def column_chunks(opened: Opened, size: int, columns: int, places: Collection[int]) -> list[list[Struct]]:
    """What the footer of a file of `size` bytes says of the columns at some places, by group of rows, as Thrift has it.

    `columns`: how many columns its schema has. Raises EOFError where the footer makes no sense.
    """
    opened.seek(size - 8)
    length = int.from_bytes(opened.read(4), "little")
    opened.seek(size - 8 - length)
    footer = opened.read(length)
    try:
        at = find_field(footer, 0, GROUPS)
        if at < 0:
            return []
        number, kind, at = list_head(footer, at)
        groups = []
        for _ in range(number):
            groups.append(_chunks_of_group(footer, at, columns, places))
            at = skip(footer, at, kind)
    except (LookupError, ValueError, struct.error) as error:
        raise EOFError("the footer makes no sense") from error
    return groups


def _chunks_of_group(footer: bytes, at: int, columns: int, places: Collection[int]) -> list[Struct]:
    number, kind, at = list_head(footer, find_field(footer, at, GROUP_COLUMNS))
    if number != columns or kind != STRUCT:
        raise ValueError("a group has other columns than the schema")
    chunks = []
    for place in range(columns):
        if place in places:
            chunk, at = decode_struct(footer, at)
            chunks.append(chunk)
        else:
            at = skip(footer, at, STRUCT)
    return chunks


def encrypted_column(groups: Sequence[Sequence[Struct]], paths: Sequence[str]) -> str:
    """The first of these columns that is encrypted; empty if none is. `paths`: the columns of each group."""
    encrypted = (path for chunks in groups for path, chunk in zip(paths, chunks, strict=True) if ENCRYPTION in chunk)
    return next(encrypted, "").partition(".")[0]


def contradiction(
    metadata: pq.FileMetaData, size: int, groups: Sequence[Sequence[Struct]], places: dict[int, str]
) -> str:
    """What cannot be true of some columns in a file of `size` bytes; empty if all of it can.

    `groups` as `column_chunks` returns them, `places` as `places_of` does.
    """
    for number, chunks in enumerate(groups):
        rows = metadata.row_group(number).num_rows
        if not rows:
            continue  # nobody reads its pages
        for (place, path), chunk in zip(places.items(), chunks, strict=True):
            said = chunk.get(METADATA)
            if not isinstance(said, dict):
                return f"its footer says nothing of '{path}' in group {number}"
            try:
                problem = _of_chunk(metadata.schema.column(place), said, rows, size)
            except (AttributeError, LookupError, TypeError):
                problem = "makes no sense"
            if problem:
                return f"what its footer says of '{path}' in group {number} cannot be: {problem}"
        if _overlap([chunk[METADATA] for chunk in chunks]):
            return f"its footer puts two columns of group {number} in the same place"
    return ""


def _overlap(chunks: Sequence[Struct]) -> bool:
    spans = sorted((_start(chunk), chunk[COMPRESSED]) for chunk in chunks)
    return any(start + size > after for (start, size), (after, _) in pairwise(spans))


def _start(chunk: Struct) -> int:
    return int(min(chunk[PAGES], chunk.get(DICTIONARY) or chunk[PAGES]))


def _of_chunk(column: pq.ColumnSchema, said: Struct, rows: int, size: int) -> str:
    """What cannot be true of one column in one group of `rows` rows; `said` is what the footer says of it."""
    if b".".join(said[PATH]).decode(errors="replace") != column.path or PHYSICAL[said[KIND]] != column.physical_type:
        return "its schema has another column there"
    if column.max_repetition_level == 0 and said[VALUES] != rows:
        return f"{said[VALUES]:,} values for {rows:,} rows"
    first, last = _start(said), max(said[PAGES], said.get(DICTIONARY, 0))
    if first < 0 or last > size or not 0 <= said[COMPRESSED] <= size - first:
        return "its bytes lie outside of the file"
    width = WIDTHS.get(column.physical_type, column.length)
    bounds = [said[STATISTICS][number] for number in BOUNDS if number in said.get(STATISTICS, {})]
    if column.physical_type != "BYTE_ARRAY" and any(len(bound) not in (0, width) for bound in bounds):
        return "its statistics are of another type"
    sizes = said.get(SIZES, {})
    levels = {REPETITIONS: column.max_repetition_level, DEFINITIONS: column.max_definition_level}
    if any(len(sizes.get(number, ())) not in (0, level + 1) for number, level in levels.items()) or (
        TEXT_BYTES in sizes and column.physical_type != "BYTE_ARRAY"
    ):
        return "its statistics of sizes are of another type"
    return ""
