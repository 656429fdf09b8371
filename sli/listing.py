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


class Listing(NamedTuple):
    """The Parquet files of a log in the order of their paths: no object a file, since there may be very many."""

    paths: list[str]
    sizes: list[int]
    fingerprints: list[str]
    """What tells each file from a later one of its path."""
    others: list[str]
    """Paths of whatever else lies there and is not hidden."""

    def add(self, path: str, size: int, fingerprint: str) -> None:
        self.paths.append(path)
        self.sizes.append(size)
        self.fingerprints.append(fingerprint)

    def in_order(self) -> Listing:
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        paths, fingerprints = ([column[i] for i in order] for column in (self.paths, self.fingerprints))
        return Listing(paths, [self.sizes[i] for i in order], fingerprints, sorted(self.others))


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
    found = Listing([], [], [], [])
    if os.path.isdir(root):
        waiting = [root]
        while waiting:
            with suppress(FileNotFoundError):  # gone since its folder was listed
                waiting += _scanned(waiting.pop(), found)
    elif not os.path.exists(root):
        return None
    elif root.endswith(ENDINGS):
        found.add(root, *_stamped(os.stat(root)))
    else:
        found.others.append(root)
    return found.in_order()


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
                    found.add(entry.path, *_stamped(entry.stat()))
                except FileNotFoundError:
                    continue  # gone since, or a link that leads nowhere
            else:
                found.others.append(entry.path)
    return folders


def _stamped(stat: os.stat_result) -> tuple[int, str]:
    """Size and fingerprint of a local file."""
    size = stat.st_size
    return size, f"{size}-{stat.st_mtime}"


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
        return Listing([], [], [], []) if fs.exists(root) else None
    first = next(iter(entries))
    prefix = fs.unstrip_protocol(first).removesuffix(first)
    found = Listing([], [], [], [])
    for path in sorted(entries):
        below = path.removeprefix(root).strip("/").split("/")
        if any(part.startswith(HIDDEN) for part in below):
            continue
        if path.endswith(ENDINGS):
            found.add(f"{prefix}{path}", *_remotely_stamped(log, f"{prefix}{path}", entries[path] or fs.info(path)))
        else:
            found.others.append(path)
    return found


def _walks(fs: Any) -> bool:
    """Whether a file system finds files folder by folder, for want of a better way."""
    kind = type(fs)
    return kind.find is AbstractFileSystem.find or getattr(kind, "_find", None) is AsyncFileSystem._find


def _remotely_stamped(log: str, url: str, entry: Mapping[str, Any]) -> tuple[int, str]:
    """Size and fingerprint of a remote file. Raises InputError where they are not told."""
    size, stamp = entry.get("size"), next((entry[name] for name in STAMPS if entry.get(name)), None)
    if size is None or stamp is None:
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            expected="a kind of storage that tells the size of each file, and its time or ETag",
            found=f"only {', '.join(sorted(entry))}",
            todo="copy the log to a folder or to object storage",
        )
    return int(size), f"{size}-{stamp}"


def is_current(path: str, fingerprint: str, storage: Storage = NOTHING) -> bool:
    """Whether a file is still the one that was listed. Raises whatever the file system does, but if it is gone."""
    try:
        if "://" not in path:
            return _stamped(os.stat(path))[1] == fingerprint
        fs, place = filesystem(path, storage)
        fs.invalidate_cache()
        # What a file system tells of one file may be worded in another way than in a listing.
        entries = [fs.info(place)] if on_s3(path) else fs.ls(fs._parent(place), detail=True)
        return any(_remotely_stamped("", e["name"], e)[1] == fingerprint for e in entries if e["name"] == place)
    except FileNotFoundError:
        return False
