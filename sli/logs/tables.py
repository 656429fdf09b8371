"""Delta and Iceberg tables as logs: which files their current snapshot names, and what of those would be read wrongly.

Files that a table replaced or did not commit are no part of a log. Limit: Delta tables are read from folders and S3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from sli.engine.storage import Storage, delta_options, message_of, on_s3
from sli.errors import InputError
from sli.logs.globs import Place
from sli.logs.listing import ENDINGS, Listing

if TYPE_CHECKING:
    from deltalake import DeltaTable

DELTA, HUDI, METADATA = "_delta_log", ".hoodie", "metadata"
"""Folders by which a table is told from a folder of files; the last one only if it holds a METADATA_FILE."""
METADATA_FILE = re.compile(r"(?:v?(\d+))[^/]*\.metadata\.json(?:\.gz)?")
"""The name of a metadata file of an Iceberg table, with its number."""
READABLE = {
    "appendOnly",
    "changeDataFeed",
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
}
"""Features of Delta tables with which its files can be read, unless a check here says otherwise."""


StampsOf = Callable[[str], tuple[int, str, int]]
"""Gives size, fingerprint and time of change of the file at a path. Raises FileNotFoundError."""
DROP_FEATURE = "remove the feature by `ALTER TABLE ... DROP FEATURE`, or write the log as plain Parquet files"
UNREACHABLE = "%\\"
"""Characters of a local path that the table library takes for others."""


class Snapshot(NamedTuple):
    """The files of a table: their paths and when each was written, in microseconds since 1970 UTC, 0 if unknown."""

    name: str
    """For example `Delta table, version 12`."""
    paths: list[str]
    modified: list[int]
    misnamed: dict[str, str]
    """Columns that cannot be read from the files by their name, with the reason."""
    refused: dict[str, str]
    """The paths of files that cannot be read, with the reason."""


def folders_around(path: str) -> list[str]:
    """The folders that may be a table to whose files a path leads, for example `table` for `table/day=1/a.parquet`."""
    parts = path.rstrip("/").split("/")
    folders = parts[:-1] if parts[-1].endswith(ENDINGS) else parts[:]
    while folders and "=" in folders[-1]:
        folders.pop()
    candidates = [folders, folders[:-1]] if folders[-1:] == ["data"] else [folders]
    return ["/".join(folder) for folder in candidates if any(folder) and len(folder) < len(parts)]


def table_of_metadata(path: str) -> tuple[str, str] | None:
    """The folder of the Iceberg table that a path of a metadata file is of, and the name of that file."""
    folder, _, name = path.rpartition(f"/{METADATA}/")
    return (folder, name) if folder and METADATA_FILE.fullmatch(name) else None


def kind_of(names: Collection[str], in_metadata: Collection[str]) -> str | None:
    """Which kind of table a folder is, by the names in it and in its folder `metadata`; None for no table."""
    if DELTA in names:
        return DELTA
    if any(map(METADATA_FILE.fullmatch, in_metadata)):
        return METADATA
    return HUDI if HUDI in names else None


def snapshot_of(kind: str, log: str, root: str, in_metadata: Collection[str], storage: Storage) -> Snapshot:
    """The current snapshot of the table at a path or URL. Raises InputError."""
    if kind == HUDI:
        todo = "write the current rows to Parquet files of their own"
        raise InputError(f"the {log} log is a Hudi table", where=root, expected="Parquet, Delta or Iceberg", todo=todo)
    if kind == DELTA:
        return _delta_snapshot(log, root, storage)
    from sli.logs.iceberg import newest_metadata, snapshot_at

    return snapshot_at(log, newest_metadata(log, root, in_metadata), storage)


def add_snapshot(listing: Listing, snapshot: Snapshot, folder: str, place: Place, stamps: StampsOf) -> None:
    """Add the files of a table in a folder that are meant by a path."""
    meant = place.names(folder)
    before = len(listing.paths)
    for path, modified in zip(snapshot.paths, snapshot.modified, strict=True):
        if meant or place.names(path):
            try:
                size, fingerprint, own = stamps(path)
            except FileNotFoundError:
                listing.refuse(path, f"it does not exist, but the {snapshot.name}, names it")
            else:
                listing.add(path, size, fingerprint, modified or own)
    if len(listing.paths) == before and place.pattern is None and place.root.endswith(ENDINGS):
        with suppress(FileNotFoundError):
            stamps(place.root)
            listing.refuse(place.root, f"the {snapshot.name}, in whose folder it lies, does not have it")
    listing.tables[folder] = snapshot.name
    listing.misnamed.update(snapshot.misnamed)
    listing.refused.update(snapshot.refused)


def _delta_snapshot(log: str, root: str, storage: Storage) -> Snapshot:
    from deltalake import DeltaTable

    if "://" in root and not on_s3(root):
        raise InputError(
            f"the {log} log is a Delta table on a file system where it cannot be read",
            where=root,
            expected="a Delta table in a folder or on S3",
            todo="copy it, or log plain Parquet files",
        )
    import pyarrow as pa

    try:
        table = DeltaTable(root, storage_options=delta_options(root, storage))
        _check_features(log, root, table)
        adds = pa.table(table.get_add_actions(flatten=True))
    except InputError:
        raise
    except Exception as error:
        # The table library raises errors of many types, also for a log of a table that it cannot parse.
        raise InputError(
            f"the Delta table of the {log} log cannot be read",
            where=root,
            found=message_of(error),
            todo=_todo(root, message_of(error)),
            passes=True,
        ) from error
    names = [unquote(str(path)) for path in adds.column("path").to_pylist()]
    outside = [name for name in names if "://" in name and not name.startswith(f"{root.partition('://')[0]}://")]
    if outside:
        raise InputError(
            f"the Delta table of the {log} log names files elsewhere",
            where=root,
            found=outside[0],
            todo="copy them into the table, for example by a deep clone",
        )
    misnamed = {**_mapped_columns(table), **_unwritten_partitions(table.metadata().partition_columns, names)}
    paths = [name if "://" in name else f"{root}/{name}" for name in names]
    modified = [1000 * int(millis or 0) for millis in adds.column("modification_time").to_pylist()]
    return Snapshot(f"Delta table, version {table.version()}", paths, modified, misnamed, {})


def _todo(root: str, message: str) -> str:
    """What to do about a table that the table library cannot read."""
    if strange := sorted(set(root) & set(UNREACHABLE)):
        return f"move the table to a path without {' '.join(strange)}"
    if "not supported" in message:
        return DROP_FEATURE
    return "check the table and the credentials"


def _check_features(log: str, root: str, table: DeltaTable) -> None:
    """Raise InputError if the files of a Delta table alone do not say which rows it has."""
    import pyarrow as pa

    features = set(table.protocol().reader_features or ())
    if unknown := sorted(features - READABLE):
        raise InputError(
            f"the Delta table of the {log} log has a feature that is not supported",
            where=root,
            found=", ".join(unknown),
            todo=DROP_FEATURE,
        )
    if "deletionVectors" in features and any(
        batch.num_rows for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors())
    ):
        raise InputError(
            f"the Delta table of the {log} log marks rows as deleted without rewriting their files (deletion vectors)",
            where=root,
            expected="files that hold only rows of the table",
            todo="rewrite those files by `REORG TABLE ... APPLY (PURGE)`",
        )


def _mapped_columns(table: DeltaTable) -> dict[str, str]:
    """The columns that have another name in the files of a Delta table, at the top or within."""
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
        return {}
    fields: list[dict[str, Any]] = json.loads(table.schema().to_json())["fields"]
    misnamed = {}
    for field in fields:
        for name, physical in _physical_names(field):
            if name != physical:
                why = f"'{name}' has the name '{physical}' in the files of the Delta table (column mapping)"
                misnamed[field["name"]] = why
    return misnamed


def _physical_names(tree: object) -> Iterator[tuple[str, str]]:
    """The name of each field, and the one in the files."""
    if isinstance(tree, Mapping):
        if "name" in tree:
            yield tree["name"], tree.get("metadata", {}).get("delta.columnMapping.physicalName", tree["name"])
        for part in (tree.get(key) for key in ("type", "fields", "elementType", "keyType", "valueType")):
            yield from _physical_names(part)
    elif isinstance(tree, list):
        for part in tree:
            yield from _physical_names(part)


def _unwritten_partitions(columns: Collection[str], paths: Collection[str]) -> dict[str, str]:
    """The partition columns of a Delta table that the path of a file does not have."""
    misnamed = {}
    for name in columns:
        if bare := next((path for path in paths if f"/{name}=" not in f"/{path}"), None):
            misnamed[name] = (
                f"'{name}' partitions the Delta table, and neither the files nor the path of {bare} have its value"
            )
    return misnamed
