"""Some rows of a log: of its first files, and of more files spread over all of them.

Limit: what no sampled row has is not seen, for example a label that came only once in a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sli.command.guessing.fields import Field, fields_of
from sli.engine.storage import filesystem
from sli.errors import ConfigError, InputError
from sli.logs.conversion import conversion
from sli.logs.files import folders_of
from sli.logs.paths import list_files
from sli.masking import masked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ROWS = (5_000, 1_000, 250)
"""How many rows are read of the first file, of each of the files next to it, and of each file after those."""
NEAR, SPREAD = 6, 18
"""How many files are read at the start of a log, and how many spread over the rest of it."""
"""The value of a folder for rows that have none."""
TRIED = 100
"""How many files are tried before the log counts as unreadable."""


@dataclass(frozen=True)
class Sample:
    """Some rows of one log, as fields."""

    log: str
    paths: tuple[str, ...]
    """As the user gave them."""
    file: str
    """The first file that could be read."""
    types: Mapping[str, str]
    """The type of each column."""
    fields: Mapping[str, Field]
    written: int
    """When the newest of its files was written, in microseconds since 1970; 0 if unknown."""

    def only(self, rows: pa.Array[Any]) -> Sample:
        """The same log with some of its rows, given as flags."""
        return replace(self, fields={name: field.only(rows) for name, field in self.fields.items()})


def look(log: str, paths: Sequence[str]) -> Sample:
    """Some rows of a log. Raises InputError or ConfigError."""
    listed = list_files(log, paths)
    for path, nearby in listed.missing.items():
        what = f"nothing matches the path of the {log} log" if nearby else f"the path of the {log} log does not exist"
        raise ConfigError(what, where=path, found=nearby, todo=f"check --{log}")
    if not set(listed.paths) - set(listed.refused):
        refused = [f"{file}: {why}" for file, why in listed.refused.items()]
        raise InputError(
            f"the {log} log has no Parquet files",
            where=", ".join(paths),
            expected="files ending in .parquet, .pq or .parq",
            found=refused[0] if refused else listed.summary,
            todo=conversion(listed.others, paths[0], f"--{log}"),
        )
    fs, _ = filesystem(paths[0])
    files = [filesystem(file)[1] for file in listed.paths if file not in listed.refused]
    keys = {file: folders_of(file) for file in files}
    tables = _tables(log, fs, files, keys)
    rows, mixed = _together([table for _, table in tables])
    hive: dict[str, set[str | None]] = {}
    for values in keys.values():
        for key, value in values.items():
            hive.setdefault(key, set()).add(value)
    fields = {
        field.name: replace(
            field,
            hive=field.name in hive,
            mixed=field.name.split(".")[0] in mixed,
            total=len(hive[field.name]) if field.name in hive else None,
        )
        for field in fields_of(rows)
    }
    types = {field.name: str(field.type) for field in rows.schema}
    return Sample(log, tuple(paths), tables[0][0], types, fields, max(listed.modified))


def _chosen(files: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The files to read, and how many rows of each at most: then more until one can be read."""
    rest = files[NEAR:]
    spread = sorted({round(i * (len(rest) - 1) / max(1, SPREAD - 1)) for i in range(SPREAD)}) if rest else []
    first, near, far = ROWS
    yield from ((file, first if i == 0 else near) for i, file in enumerate(files[:NEAR]))
    yield from ((rest[i], far) for i in spread)
    yield from ((file, first) for i, file in enumerate(rest[:TRIED]) if i not in spread)


def _tables(
    log: str, fs: AbstractFileSystem, files: Sequence[str], keys: Mapping[str, Mapping[str, str | None]]
) -> list[tuple[str, pa.Table]]:
    """Rows of the chosen files that have some; if none has, the columns of the first readable one."""
    tables: list[tuple[str, pa.Table]] = []
    problem = ""
    for number, (file, most) in enumerate(_chosen(files)):
        if number >= NEAR + SPREAD and any(len(table) for _, table in tables):
            break
        try:
            table = _head(fs, file, most)
        except (OSError, pa.ArrowException, EOFError) as error:
            problem = problem or masked((str(error).splitlines() or [type(error).__name__])[0])[:200]
            continue
        for key, value in keys[file].items():
            if key not in table.schema.names:
                table = table.append_column(key, pa.array([value] * len(table), pa.string()))
        tables.append((file, table))
    if not tables:
        raise InputError(f"no file of the {log} log can be read", where=files[0], expected="Parquet", found=problem)
    return [pair for pair in tables if len(pair[1])] or tables[:1]


def _head(fs: AbstractFileSystem, file: str, most: int) -> pa.Table:
    """The first rows of a file."""
    with fs.open(file, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        batch = next(parquet.iter_batches(most), None) if parquet.metadata.num_rows else None
        return parquet.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])


def _together(tables: Sequence[pa.Table]) -> tuple[pa.Table, set[str]]:
    """The rows of several files in one table, and the columns that become texts as their types differ in kind."""
    kinds: dict[str, set[str]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(_kind(field.type))
    mixed = {name for name, seen in kinds.items() if len(seen - {"null"}) > 1}
    alike = [_with_texts(table, mixed) for table in tables]
    try:
        return pa.concat_tables(alike, promote_options="permissive"), mixed
    except pa.ArrowException:
        # Nested types that differ: the files that have those of the first one remain.
        same = [table for table in alike if table.schema.equals(alike[0].schema)]
        return pa.concat_tables(same), mixed


def _kind(kind: pa.DataType) -> str:
    """What a type is, as far as ids are compared: whole numbers of all widths are one kind."""
    types = pa.types
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    if types.is_integer(kind):
        return "whole"
    if types.is_floating(kind):
        return "float"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return str(kind.id) if types.is_timestamp(kind) else str(kind)


def _with_texts(table: pa.Table, mixed: set[str]) -> pa.Table:
    for at, name in enumerate(table.schema.names):
        if name in mixed:
            whole = Field(name, pa.array(table.column(name).to_pylist()))
            table = table.set_column(at, name, pa.array(whole.texts, pa.string()))
    return table
