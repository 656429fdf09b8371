"""What lies at the URL of a log: every Parquet file with its size and stamp, in one pass.

Of a local folder that is one scan of each of its folders, on S3 one request for a thousand files, however deep they
lie. Limit: elsewhere it is whatever the file system does, mostly a request for each folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from sli.errors import ConfigError, InputError
from sli.storage import NOTHING, Storage, filesystem, on_s3, plain

ENDINGS = (".parquet", ".pq", ".parq")
HIDDEN = ("_", ".")
"""How the names of files and folders begin that are no part of a log."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created", "CRC")
"""What file systems call that which tells a file from a later one of the same path and size."""


class Found(NamedTuple):
    """A Parquet file of a log: where it lies, how large it is, what tells it from a later one."""

    path: str
    bytes: int
    fingerprint: str


class Listing(NamedTuple):
    """Parquet files in the order of their paths, and the paths of whatever else lies there and is not hidden."""

    files: list[Found]
    others: list[str]


def listing(log: str, url: str, storage: Storage = NOTHING) -> Listing | None:
    """What lies at the URL of a log; None if nothing does.

    Raises InputError where it cannot be listed, ConfigError where nothing is known that could.
    """
    try:
        return _remote(log, url, storage) if "://" in url else _local(url)
    except ConfigError as error:
        error.where = f"{log}.path, {error.where}"
        raise
    except InputError:
        raise
    except Exception as error:
        # Each kind of storage has errors of its own.
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            found=f"{type(error).__name__}: {plain(error)}",
            todo="check the address and the credentials",
            passes=True,
        ) from error


def _local(root: str) -> Listing | None:
    root = os.path.abspath(root)
    found = Listing([], [])
    if os.path.isdir(root):
        waiting = [root]
        while waiting:
            with suppress(FileNotFoundError):  # gone since its folder was listed
                waiting += _scanned(waiting.pop(), found)
    elif not os.path.exists(root):
        return None
    elif root.endswith(ENDINGS):
        found.files.append(_local_file(root, os.stat(root)))
    else:
        found.others.append(root)
    return Listing(sorted(found.files), sorted(found.others))


def _scanned(folder: str, found: Listing) -> list[str]:
    """Add a folder's files to what was found; its folders. Links to folders are left, lest they lead in circles."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.endswith(ENDINGS):
                try:
                    found.files.append(_local_file(entry.path, entry.stat()))
                except FileNotFoundError:
                    continue  # gone since, or a link that leads nowhere
            else:
                found.others.append(entry.path)
    return folders


def _local_file(path: str, stat: os.stat_result) -> Found:
    return Found(path, stat.st_size, f"{stat.st_size}-{stat.st_mtime}")


def _remote(log: str, url: str, storage: Storage) -> Listing | None:
    fs, root = filesystem(url, storage)
    # Without it a folder that cannot be listed would look as if its files were gone.
    strict = {"on_error": "raise"} if _walks(fs) else {}
    fs.invalidate_cache()
    try:
        entries = fs.find(root, detail=True, **strict)
    except FileNotFoundError:
        entries = {}
    if not entries:
        return Listing([], []) if fs.exists(root) else None
    first = next(iter(entries))
    prefix = fs.unstrip_protocol(first).removesuffix(first)
    found = Listing([], [])
    for path in sorted(entries):
        below = path.removeprefix(root).strip("/").split("/")
        if any(part.startswith(HIDDEN) for part in below):
            continue
        if path.endswith(ENDINGS):
            found.files.append(_remote_file(log, prefix, path, entries[path] or fs.info(path)))
        else:
            found.others.append(path)
    return found


def _walks(fs: Any) -> bool:
    """Whether a file system finds files folder by folder, for want of a better way."""
    kind = type(fs)
    return kind.find is AbstractFileSystem.find or getattr(kind, "_find", None) is AsyncFileSystem._find


def _remote_file(log: str, prefix: str, path: str, entry: Mapping[str, Any]) -> Found:
    size, stamp = entry.get("size"), next((entry[name] for name in STAMPS if entry.get(name)), None)
    if size is None or stamp is None:
        raise InputError(
            f"the {log} log cannot be listed",
            where=f"{prefix}{path}",
            expected="a kind of storage that tells the size of each file, and its time or ETag",
            found=f"only {', '.join(sorted(entry))}",
            todo="copy the log to a folder or to object storage",
        )
    return Found(f"{prefix}{path}", int(size), f"{size}-{stamp}")


def is_current(path: str, fingerprint: str, storage: Storage = NOTHING) -> bool:
    """Whether a file is still the one that was listed. Raises whatever the file system does, but if it is gone."""
    try:
        if "://" not in path:
            return _local_file(path, os.stat(path)).fingerprint == fingerprint
        fs, place = filesystem(path, storage)
        fs.invalidate_cache()
        # What a file system tells of one file may be worded in another way than in a listing.
        entries = [fs.info(place)] if on_s3(path) else fs.ls(fs._parent(place), detail=True)
        return any(_remote_file("", "", e["name"], e).fingerprint == fingerprint for e in entries if e["name"] == place)
    except FileNotFoundError:
        return False
