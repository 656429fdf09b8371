"""What the files of a log look like: the columns of its first readable file, and some of its rows.

Limit: only the first `ROWS` rows of one file are read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sli.engine.storage import filesystem
from sli.errors import ConfigError, InputError
from sli.logs.listing import list_files
from sli.masking import masked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    Column = pa.ChunkedArray[Any]

ROWS = 5_000
FILES = 100
"""How many files are tried before the log counts as unreadable."""


@dataclass(frozen=True)
class Sample:
    """One log: its path as the user gave it, its first readable file, the types of its columns, and some rows."""

    log: str
    path: str
    file: str
    types: Mapping[str, pa.DataType]
    rows: pa.Table
    hive: Mapping[str, Collection[str]]
    """Columns that are part of the paths (`origin=JFK/`), with their values."""


def look(log: str, path: str) -> Sample:
    """The first readable file of a log. Raises InputError or ConfigError."""
    listed = list_files(log, path)
    if listed is None:
        raise ConfigError(f"the path of the {log} log does not exist", where=path, todo=f"check --{log}")
    fs, root = filesystem(path)
    files = [filesystem(file)[1] for file in listed.paths if file not in listed.refused]
    if not files:
        refused = [f"{file}: {why}" for file, why in listed.refused.items()]
        raise InputError(
            f"the {log} log has no Parquet files",
            where=path,
            expected="files ending in .parquet, .pq or .parq",
            found=refused[0] if refused else listed.summary,
        )
    hive: dict[str, set[str]] = {}
    for file in files:
        for part in posixpath.relpath(file, root).split("/")[:-1]:
            if "=" in part:
                hive.setdefault(part.split("=", 1)[0], set()).add(part.split("=", 1)[1])
    return _first_readable(log, path, fs, files, hive)


def _first_readable(
    log: str, path: str, fs: AbstractFileSystem, files: Sequence[str], hive: Mapping[str, Collection[str]]
) -> Sample:
    """The first readable file that has rows; or, if none has, the first readable one."""
    empty, problem = None, ""
    for file in files[:FILES]:
        try:
            with fs.open(file, "rb") as opened:
                parquet = pq.ParquetFile(opened)
                schema = parquet.schema_arrow
                batch = next(parquet.iter_batches(ROWS), None) if parquet.metadata.num_rows else None
        except (OSError, pa.ArrowException, EOFError) as error:
            problem = problem or (str(error).splitlines() or [type(error).__name__])[0]
            problem = masked(problem)[:200]
            continue
        rows = schema.empty_table() if batch is None else pa.Table.from_batches([batch])
        types = {**dict.fromkeys(hive, pa.string()), **{field.name: field.type for field in schema}}
        sample = Sample(log, path, file, types, rows, hive)
        if len(rows):
            return sample
        empty = empty or sample
    if empty is None:
        raise InputError(f"no file of the {log} log can be read", where=files[0], expected="Parquet", found=problem)
    return empty


def is_unique(sample: Sample, name: str) -> bool:
    """Whether most values occur once: a corrected label repeats its id."""
    column = sample.rows.column(name)
    return len(column) == 0 or distinct_count(column) > 0.5 * len(column)


def distinct_count(column: Column) -> int:
    return len(distinct_values(column))


def distinct_values(column: Column) -> pa.Array[Any]:
    column = column.cast(pa.string()) if pa.types.is_string_view(column.type) else column
    return pc.unique(column.combine_chunks())


def is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_decimal(kind))


def is_naive(kind: pa.DataType) -> bool:
    """Whether it is a timestamp without a zone."""
    return bool(pa.types.is_timestamp(kind) and kind.tz is None)


def is_share(sample: Sample, name: str) -> bool:
    """Whether all values of a column lie between 0 and 1."""
    values = pc.cast(sample.rows.column(name), pa.float64(), safe=False)
    least, largest = pc.min(values).as_py(), pc.max(values).as_py()
    return least is None or largest is None or (least >= 0 and largest <= 1)
