"""The Parquet files at the URL of a log, each with its size and a fingerprint.

A local log takes one scan of each folder, a log on S3 one request for every thousand files. What has the name of a
Parquet file and is not a file (for example a FIFO) is refused without opening it, since that could block for ever.
Limit: other file systems mostly need one request for each folder.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from sli.calendar.interval import instant
from sli.engine.storage import NO_OPTIONS, Storage, filesystem, message_of, on_s3
from sli.errors import ConfigError, InputError

ENDINGS = (".parquet", ".pq", ".parq")
HIDDEN = ("_", ".")
"""Files and folders whose names begin like this are not part of a log."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created", "CRC")
"""What file systems call the stamp that changes when a file is replaced by another one of the same size."""
TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")
"""What file systems call the time when a file was written."""


class Listing(NamedTuple):
    """The Parquet files of a log, as lists in the order of their paths: objects for very many files would be slow."""

    paths: list[str]
    sizes: list[int]
    fingerprints: list[str]
    """Size and stamp of each file: they differ when the file is replaced."""
    others: list[str]
    """Paths of the other files there that are not hidden."""
    refused: dict[str, str]
    """The paths that cannot be files of a log, with the reason."""
    modified: list[int]
    """When each file was written, in microseconds since 1970 UTC; 0 if its storage does not say."""

    @staticmethod
    def empty() -> Listing:
        return Listing([], [], [], [], {}, [])

    def add(self, path: str, size: int, fingerprint: str, modified: int) -> None:
        self.paths.append(path)
        self.sizes.append(size)
        self.fingerprints.append(fingerprint)
        self.modified.append(modified)

    def refuse(self, path: str, why: str) -> None:
        self.add(path, 0, "", 0)
        self.refused[path] = why

    def take(self, places: Sequence[int]) -> Listing:
        """The files at these places."""
        paths, fingerprints = ([column[i] for i in places] for column in (self.paths, self.fingerprints))
        sizes, modified = ([column[i] for i in places] for column in (self.sizes, self.modified))
        return Listing(paths, sizes, fingerprints, self.others, self.refused, modified)

    def sorted_by_path(self) -> Listing:
        """The same in the order of the paths, which become text that can be printed and stored."""
        if not _is_text("".join(self.paths)):
            return self._printable().sorted_by_path()
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        paths, fingerprints = ([column[i] for i in order] for column in (self.paths, self.fingerprints))
        sizes, modified = ([column[i] for i in order] for column in (self.sizes, self.modified))
        return Listing(paths, sizes, fingerprints, sorted(self.others), self.refused, modified)

    def _printable(self) -> Listing:
        """The same with paths that are not UTF-8 refused; their bytes appear as `\\xff` in the path."""
        listing = Listing([], [], [], self.others, {printable(path): why for path, why in self.refused.items()}, [])
        files = zip(self.paths, self.sizes, self.fingerprints, self.modified, strict=True)
        for path, size, fingerprint, modified in files:
            listing.add(printable(path), size, fingerprint, modified)
            if not _is_text(path):
                listing.refused.setdefault(printable(path), "its name is not UTF-8")
        return listing

    @property
    def summary(self) -> str:
        """What other files lie there, for example `12 .csv files, no .parquet`."""
        kinds = Counter(os.path.splitext(printable(path))[1] for path in self.others)
        counts = [f"{count:,} {kind or 'unnamed'} file{'s' * (count != 1)}" for kind, count in kinds.most_common(3)]
        more = kinds.total() - sum(count for _, count in kinds.most_common(3))
        counts += [f"{more:,} other file{'s' * (more != 1)}"] * bool(more)
        return f"{', '.join(counts)}, no {ENDINGS[0]}" if counts else "an empty folder"


def _is_text(path: str) -> bool:
    try:
        return path.isascii() or bool(path.encode())
    except UnicodeEncodeError:
        return False


def printable(path: str) -> str:
    """A path as text that can be printed and stored: bytes that are not UTF-8 appear as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace") if not _is_text(path) else path


def list_files(log: str, url: str, storage: Storage = NO_OPTIONS) -> Listing | None:
    """The Parquet files at the URL of a log; None if nothing is there.

    Raises InputError if the files cannot be listed, ConfigError if no file system is known for the URL.
    """
    try:
        return _remote(log, url, storage) if "://" in url else _local(url)
    except ConfigError as error:
        error.where = f"{log}.path, {error.where}"
        raise
    except InputError:
        raise
    except Exception as error:
        # Each file system raises errors of its own types.
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            found=f"{type(error).__name__}: {message_of(error)}",
            todo="check the address and the credentials",
            passes=True,
        ) from error


def _local(root: str) -> Listing | None:
    root = os.path.abspath(root)
    listing = Listing.empty()
    if os.path.isdir(root):
        unscanned, named_as_files = [root], []
        while unscanned:
            with suppress(FileNotFoundError):  # the folder was removed since its parent was listed
                folders = _scan_folder(unscanned.pop(), listing)
                unscanned += folders
                named_as_files += [folder for folder in folders if folder.endswith(ENDINGS)]
        _refuse_empty(named_as_files, listing)
    elif root.endswith(ENDINGS) and os.path.lexists(root):
        _add_target(root, listing)
    elif not os.path.exists(root):
        return None
    else:
        listing.others.append(root)
    return listing.sorted_by_path()


def _scan_folder(folder: str, listing: Listing) -> list[str]:
    """Add a folder's files to a listing; returns its folders, without links to folders: these could form a circle."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.endswith(ENDINGS):
                if entry.is_file(follow_symlinks=False):
                    try:
                        listing.add(entry.path, *_stamps(entry.stat()))
                    except FileNotFoundError:
                        continue  # the file was removed meanwhile
                else:
                    _add_target(entry.path, listing)
            else:
                listing.others.append(entry.path)
    return folders


def _refuse_empty(folders: list[str], listing: Listing) -> None:
    """Refuse folders named like Parquet files that contain none. Some engines write a table as such a folder."""
    paths = sorted(listing.paths) if folders else []
    for folder in folders:
        at = bisect_left(paths, folder + os.sep)
        if at == len(paths) or not paths[at].startswith(folder + os.sep):
            listing.refuse(folder, "a folder that holds no Parquet file")


KINDS = (
    (stat.S_ISFIFO, "a FIFO, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISDIR, "a link to a folder, which is not followed lest it leads in circles"),
)
LINKS = {errno.ELOOP: "a link that leads to itself", errno.EACCES: "no permission to look at it"}


def _add_target(path: str, listing: Listing) -> None:
    """Add the file that a link leads to, or refuse what has the name of a file and is none, without opening it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):  # else the file was removed meanwhile
            listing.refuse(path, "a link that leads nowhere")
    except OSError as error:
        if error.errno not in LINKS:
            raise
        listing.refuse(path, LINKS[error.errno])
    else:
        if stat.S_ISREG(status.st_mode):
            listing.add(path, *_stamps(status))
        else:
            listing.refuse(path, next(what for is_kind, what in KINDS if is_kind(status.st_mode)))


def _stamps(status: os.stat_result) -> tuple[int, str, int]:
    """Size, fingerprint and time of change of a local file."""
    size = status.st_size
    return size, f"{size}-{status.st_mtime}", status.st_mtime_ns // 1000


def _remote(log: str, url: str, storage: Storage) -> Listing | None:
    fs, root = filesystem(url, storage)
    if isinstance(fs, LocalFileSystem):
        return _prefixed(fs, _local(root))
    # Otherwise a folder that cannot be listed would look as if its files were gone.
    strict = {"on_error": "raise"} if _lists_by_folder(fs) else {}
    fs.invalidate_cache()
    try:
        entries = fs.find(root, detail=True, **strict)
    except FileNotFoundError:
        entries = {}
    if not entries:
        return Listing.empty() if fs.exists(root) else None
    first = next(iter(entries))
    prefix = fs.unstrip_protocol(first).removesuffix(first)
    listing = Listing.empty()
    for path in sorted(entries):
        below = path.removeprefix(root).strip("/").split("/")
        if any(part.startswith(HIDDEN) for part in below):
            continue
        if path.endswith(ENDINGS):
            entry = entries[path] or fs.info(path)
            listing.add(f"{prefix}{path}", *_remote_stamps(log, f"{prefix}{path}", entry))
        else:
            listing.others.append(path)
    return listing if _is_text("".join(listing.paths)) else listing.sorted_by_path()


def _prefixed(fs: LocalFileSystem, listing: Listing | None) -> Listing | None:
    """A listing of local files, with their paths as URLs."""
    if listing is None:
        return None
    refused = {fs.unstrip_protocol(path): why for path, why in listing.refused.items()}
    return listing._replace(paths=[fs.unstrip_protocol(path) for path in listing.paths], refused=refused)


def _lists_by_folder(fs: Any) -> bool:
    """Whether a file system lists folder by folder, since it has no faster way."""
    kind = type(fs)
    return kind.find is AbstractFileSystem.find or getattr(kind, "_find", None) is AsyncFileSystem._find


def _remote_stamps(log: str, url: str, entry: Mapping[str, Any]) -> tuple[int, str, int]:
    """Size, fingerprint and time of change of a remote file.

    Raises InputError if the file system does not give the first two.
    """
    size, stamp = entry.get("size"), next((entry[name] for name in STAMPS if entry.get(name)), None)
    if size is None or stamp is None:
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            expected="storage that gives the size of each file, and its time or ETag",
            found=f"only {', '.join(sorted(entry))}",
            todo="copy the log to a folder or to object storage",
        )
    return int(size), f"{size}-{stamp}", _micros_of(next((entry[name] for name in TIMES if entry.get(name)), 0))


def _micros_of(time: object) -> int:
    """Microseconds since 1970 UTC of a time as file systems give it; 0 if it is none."""
    if isinstance(time, str):
        with suppress(ValueError):
            time = datetime.fromisoformat(time)
    if isinstance(time, datetime):
        return instant(time if time.tzinfo else time.replace(tzinfo=UTC))
    return int(time * 1_000_000) if isinstance(time, int | float) else 0


def is_current(path: str, fingerprint: str, storage: Storage = NO_OPTIONS) -> bool:
    """Whether a file is still the one that was listed; False if it is gone. Errors of the file system are raised."""
    try:
        if "://" not in path:
            return _stamps(os.stat(path))[1] == fingerprint
        fs, place = filesystem(path, storage)
        fs.invalidate_cache()
        # List its folder again, since a file system may format the stamp of a single file in another way.
        entries = [fs.info(place)] if on_s3(path) else fs.ls(fs._parent(place), detail=True)
        entries = [entry for entry in entries if entry["name"] == place]
        return any(_remote_stamps("", place, entry)[1] == fingerprint for entry in entries)
    except FileNotFoundError:
        return False
