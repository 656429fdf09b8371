"""Iceberg tables as logs: the data files of the snapshot that a metadata file calls current.

Limit: the table is found by its files, not by a catalog. So of two metadata files with one number nobody knows here
which of them was committed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from typing import TYPE_CHECKING

from sli.engine.storage import Storage, filesystem, message_of
from sli.errors import ConfigError, InputError
from sli.logs.tables import METADATA, METADATA_FILE, Snapshot

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table.metadata import TableMetadata


def newest_metadata(log: str, root: str, names: Collection[str]) -> str:
    """The newest of the metadata files of a table, as a path. Raises InputError if that is none or two."""
    numbers = {name: int(match[1]) for name in names if (match := METADATA_FILE.fullmatch(name))}
    newest = sorted(name for name in numbers if numbers[name] == max(numbers.values()))
    if len(newest) > 1:
        raise InputError(
            f"the Iceberg table of the {log} log has several newest metadata files",
            where=f"{root}/{METADATA}",
            found=", ".join(newest),
            todo=f"write the path of the one that the catalog names, as `{log}.path`",
        )
    return f"{root}/{METADATA}/{newest[0]}"


def snapshot_at(log: str, metadata_file: str, storage: Storage) -> Snapshot:
    """The files of the current snapshot of a metadata file. Raises ConfigError without pyiceberg, else InputError."""
    try:
        import pyiceberg.io.fsspec
    except ImportError as error:
        raise ConfigError(
            f"the {log} log is an Iceberg table, and the package that reads these is missing",
            where=metadata_file,
            found=message_of(error),
            todo="pip install 'sli-recompute[iceberg]'",
        ) from error
    fs = filesystem(metadata_file, storage)[0]

    class Files(pyiceberg.io.fsspec.FsspecFileIO):
        """Reads with the options of the config."""

        def get_fs(self, scheme: str, hostname: str | None = None) -> object:  # noqa: ARG002
            return fs

    try:
        return _snapshot(log, metadata_file, Files({}))
    except InputError:
        raise
    except Exception as error:
        # Files are fetched, decompressed and parsed: each step raises errors of its own types.
        raise InputError(
            f"the Iceberg table of the {log} log cannot be read",
            where=metadata_file,
            found=f"{type(error).__name__}: {message_of(error)}",
            todo="check the table and the credentials",
            passes=True,
        ) from error


def _snapshot(log: str, metadata_file: str, io: FileIO) -> Snapshot:
    from pyiceberg.manifest import FileFormat, ManifestContent
    from pyiceberg.serializers import FromInputFile

    metadata = FromInputFile.table_metadata(io.new_input(metadata_file))
    listed = Snapshot("", [], [], _renamed_columns(metadata), {})
    snapshot = metadata.snapshot_by_id(metadata.current_snapshot_id) if metadata.current_snapshot_id else None
    if snapshot is None:
        return listed._replace(name="Iceberg table without a snapshot")
    times = {known.snapshot_id: 1000 * known.timestamp_ms for known in metadata.snapshots}
    for manifest in snapshot.manifests(io):
        for entry in manifest.fetch_manifest_entry(io):
            if manifest.content == ManifestContent.DELETES:
                raise InputError(
                    f"the Iceberg table of the {log} log marks rows as deleted without rewriting their files",
                    where=metadata_file,
                    expected="files that hold only rows of the table",
                    found=f"the delete file {entry.data_file.file_path}",
                    todo="rewrite its files, for example by `rewrite_data_files` in Spark",
                )
            path = _as_at(metadata_file, entry.data_file.file_path, log)
            listed.paths.append(path)
            listed.modified.append(times.get(entry.snapshot_id or 0, 0))
            if entry.data_file.file_format != FileFormat.PARQUET:
                listed.refused[path] = f"a file of the format {entry.data_file.file_format.name}, expected Parquet"
    return listed._replace(name=f"Iceberg table, snapshot {snapshot.snapshot_id}")


def _as_at(metadata_file: str, path: str, log: str) -> str:
    """The path of a file of a table in the form of the path of its metadata: both local paths, or both URLs."""
    protocol = metadata_file.partition("://")[0] if "://" in metadata_file else ""
    own = path.partition("://")[0] if "://" in path else "file"
    local = path.removeprefix("file://").removeprefix("file:")
    if protocol in ("", "file") and own.startswith("file"):
        local = posixpath.normpath(local)
        return f"file://{local}" if protocol else local
    if {protocol, own} <= {"s3", "s3a", "s3n"} or protocol == own:
        return f"{protocol}://{path.partition('://')[2]}"
    raise InputError(
        f"the Iceberg table of the {log} log names files elsewhere",
        where=metadata_file,
        found=path,
        todo="give the path of the table where its files are",
    )


def _renamed_columns(metadata: TableMetadata) -> dict[str, str]:
    """The columns that have another name in some of the files, or whose name another column had."""
    misnamed: dict[str, str] = {}
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for schema in metadata.schemas:
        for field in schema.fields:
            if names.setdefault(field.field_id, field.name) != field.name:
                why = "is a column of the Iceberg table that was renamed, so its files call it differently"
                misnamed |= {name: f"'{name}' {why}" for name in (field.name, names[field.field_id])}
            if ids.setdefault(field.name, field.field_id) != field.field_id:
                why = "is a column of the Iceberg table whose name an earlier column had"
                misnamed[field.name] = f"'{field.name}' {why}"
    return misnamed
