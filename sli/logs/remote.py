"""The files of folders on other file systems, on S3 by one request for every thousand files.

Limit: other file systems mostly need one request for each folder.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from sli.engine.storage import Storage, filesystem, on_s3
from sli.logs.folders import list_local
from sli.logs.globs import Place, remote_place
from sli.logs.listing import ENDINGS, HIDDEN, Listing, is_text, remote_stamps
from sli.logs.tables import DELTA, HUDI, METADATA, add_snapshot, folders_around, kind_of, snapshot_of, table_of_metadata

Entries = Mapping[str, Mapping[str, Any]]
"""What a file system says of each file, by its path."""


def list_remote(log: str, url: str, storage: Storage) -> Listing | None:
    """The Parquet files at a URL; None if there is nothing. Raises InputError, ConfigError, or as the file system."""
    fs, path = filesystem(url, storage)
    if isinstance(fs, LocalFileSystem):
        return _prefixed(fs, list_local(log, path, storage))
    fs.invalidate_cache()
    named = table_of_metadata(path)
    place = Place(named[0]) if named else remote_place(fs, path)
    entries = _entries(fs, place, on_s3(url))
    if named and path not in entries:
        return None
    tables = {named[0]: (METADATA, [named[1]])} if named else _tables(fs, place, entries)
    if not entries and not tables:
        return Listing.empty() if place.pattern is None and fs.exists(place.root) else None
    prefix = fs.unstrip_protocol(place.root).removesuffix(place.root)
    listing = Listing.empty()

    def stamps_of(file: str) -> tuple[int, str, int]:
        path = file.removeprefix(prefix)
        return remote_stamps(log, file, entries.get(path) or fs.info(path))

    for folder, (kind, in_metadata) in tables.items():
        snapshot = snapshot_of(kind, log, f"{prefix}{folder}", in_metadata, storage)
        add_snapshot(listing, snapshot, f"{prefix}{folder}", Place(f"{prefix}{place.root}", place.pattern), stamps_of)
    in_tables = tuple(f"{folder}/" for folder in tables)
    for path in sorted(entries):
        below = path.removeprefix(place.root).strip("/").split("/")
        if path.startswith(in_tables) or any(part.startswith(HIDDEN) for part in below) or not place.names(path):
            continue
        if path.endswith(ENDINGS):
            listing.add(f"{prefix}{path}", *stamps_of(f"{prefix}{path}"))
        else:
            listing.others.append(path)
    if place.pattern is not None and not listing.paths and not listing.others:
        return None
    return listing if is_text("".join(listing.paths)) and not tables else listing.sorted_by_path()


def _entries(fs: Any, place: Place, s3: bool) -> Entries:
    """The files below the root of a place, on S3 only those whose path can be meant."""
    # Otherwise a folder that cannot be listed would look as if its files were gone.
    options = {"on_error": "raise"} if _lists_by_folder(fs) else {}
    if s3 and place.pattern is not None and place.pattern.beginning:
        options["prefix"] = place.pattern.beginning
    try:
        entries: Entries = fs.find(place.root, detail=True, **options)
    except FileNotFoundError:
        return {}
    return entries


def _tables(fs: Any, place: Place, entries: Entries) -> dict[str, tuple[str, Collection[str]]]:
    """The tables to which files belong, by their folders: their kind and the names in their folders `metadata`."""
    names: dict[str, set[str]] = {}
    in_metadata: dict[str, set[str]] = {}
    for path in entries:
        for marker in (DELTA, HUDI):
            folder, inside, _ = path.partition(f"/{marker}/")
            if inside:
                names.setdefault(folder, set()).add(marker)
        folder, inside, name = path.rpartition(f"/{METADATA}/")
        if inside:
            in_metadata.setdefault(folder, set()).add(name)
    # These are not below the root, or their logs do not begin as the pattern does.
    unlisted = [*folders_around(place.root), *([place.root] if place.pattern else [])]
    for folder in [] if _lists_by_folder(fs) else unlisted:
        # Nobody needs to be allowed to look outside of the log.
        with suppress(FileNotFoundError, PermissionError):
            if fs.exists(f"{folder}/{DELTA}"):
                names.setdefault(folder, set()).add(DELTA)
            found = fs.ls(f"{folder}/{METADATA}", detail=False)
            in_metadata.setdefault(folder, set()).update(map(posixpath.basename, found))
    tables: dict[str, tuple[str, Collection[str]]] = {}
    for folder in sorted(names.keys() | in_metadata.keys()):
        kind = kind_of(names.get(folder, ()), in_metadata.get(folder, ()))
        if kind and not folder.startswith(tuple(f"{table}/" for table in tables)):
            tables[folder] = kind, in_metadata.get(folder, ())
    return tables


def _prefixed(fs: LocalFileSystem, listing: Listing | None) -> Listing | None:
    """A listing of local files, with their paths as URLs."""
    if listing is None:
        return None
    refused, tables = (
        {fs.unstrip_protocol(path): text for path, text in texts.items()} for texts in (listing.refused, listing.tables)
    )
    paths = [fs.unstrip_protocol(path) for path in listing.paths]
    return listing._replace(paths=paths, refused=refused, tables=tables)


def _lists_by_folder(fs: Any) -> bool:
    """Whether a file system lists folder by folder, since it has no faster way."""
    kind = type(fs)
    return kind.find is AbstractFileSystem.find or getattr(kind, "_find", None) is AsyncFileSystem._find
